-- +goose Up

-- node_id is empty while a run waits on the disk for any server; a run that its
-- caller waits for belongs to that caller's server from the start. width is how
-- many runs of its agent there might be at once when it was started, lane the
-- auth profile whose session it may leave, empty if none.
ALTER TABLE runs ADD COLUMN async BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN profile_uid TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN lane TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN width BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN most_tries BIGINT NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN cancel_asked BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN events BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN has_log BIGINT NOT NULL DEFAULT 0;
CREATE INDEX runs_waiting ON runs (organization_id, id) WHERE status = 'queued' AND node_id = '';
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at <> 0;
CREATE INDEX runs_logged ON runs (ended_at) WHERE has_log = 1 AND ended_at <> 0;

-- What a run that waits needs, for as long as it has not ended: its token, sealed
-- to the servers' run keys, its inputs in a box that the token opens, and the
-- locator of its slot, empty if it has no auth profile.
CREATE TABLE run_inputs (
    run_id  TEXT  PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    locator BYTEA NOT NULL,
    tokens  BYTEA NOT NULL,
    inputs  BYTEA NOT NULL
);

-- The servers that hold no key to a waiting run.
CREATE TABLE run_gone (
    run_id  TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    node_id TEXT NOT NULL,
    PRIMARY KEY (run_id, node_id)
);

-- A run under way is in its agent's lane, if the agent bounds its runs, and in
-- its auth profile's, if that keeps a session. A lane has so many places.
CREATE TABLE run_lanes (
    lane   TEXT   NOT NULL,
    place  BIGINT NOT NULL,
    run_id TEXT   NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    PRIMARY KEY (lane, place)
);
CREATE INDEX run_lanes_run ON run_lanes (run_id);

-- Each row is the events first, …, seq of a run, in one box.
CREATE TABLE run_events (
    run_id       TEXT   NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq          BIGINT NOT NULL,
    first        BIGINT NOT NULL,
    box          BYTEA  NOT NULL,
    root_version BIGINT NOT NULL,
    PRIMARY KEY (run_id, seq)
);

-- The Idempotency-Keys of the last day. Both digests are keyed.
CREATE TABLE run_requests (
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    digest          BYTEA  NOT NULL,
    fingerprint     BYTEA  NOT NULL,
    run_id          TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (organization_id, digest)
);
CREATE INDEX run_requests_created ON run_requests (created_at);

-- The key of those digests, in a box, in the one row of this table.
CREATE TABLE run_request_keys (
    id           BIGINT PRIMARY KEY,
    box          BYTEA  NOT NULL,
    root_version BIGINT NOT NULL
);
