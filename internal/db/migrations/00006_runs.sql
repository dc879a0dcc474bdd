-- +goose Up

-- output and error are boxes, or empty while there is none.
CREATE TABLE runs (
    id              TEXT   PRIMARY KEY,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    agent_uid       TEXT   NOT NULL,
    agent_id        TEXT   NOT NULL,
    account_id      TEXT   NOT NULL,
    key_id          BIGINT NOT NULL,
    profile_name    TEXT   NOT NULL,
    node_id         TEXT   NOT NULL,
    status          TEXT   NOT NULL,
    output          BYTEA  NOT NULL,
    error           BYTEA  NOT NULL,
    created_at      BIGINT NOT NULL,
    started_at      BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,
    root_version    BIGINT NOT NULL
);
CREATE INDEX runs_organization ON runs (organization_id, id);
CREATE INDEX runs_open ON runs (node_id) WHERE ended_at = 0;
