-- +goose Up

-- The versions of the root key that this database has been sealed under. The
-- sentinel is a box that only that version opens; of a retired one it is a box
-- under a later version, which proves that the version was given up on purpose.
CREATE TABLE root_versions (
    version    BIGINT PRIMARY KEY,
    id         TEXT   NOT NULL,
    sentinel   BYTEA  NOT NULL,
    active     BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT NOT NULL
);

-- The running servers. seen_at is a heartbeat and stands outside the tag.
CREATE TABLE nodes (
    id            TEXT   PRIMARY KEY,
    host          TEXT   NOT NULL,
    started_at    BIGINT NOT NULL,
    seen_at       BIGINT NOT NULL,
    root_versions TEXT   NOT NULL,
    root_active   BIGINT NOT NULL,
    root_version  BIGINT NOT NULL,
    tag           BYTEA  NOT NULL
);

-- What was done, by whom. A row is written and tagged in the transaction of the
-- act; the follower gives it seq and chain afterwards.
CREATE TABLE audit_entries (
    id              TEXT   PRIMARY KEY,
    at              BIGINT NOT NULL,
    organization_id TEXT   NOT NULL,
    account_id      TEXT   NOT NULL,
    key_id          BIGINT NOT NULL,
    action          TEXT   NOT NULL,
    subject_kind    TEXT   NOT NULL,
    subject_id      TEXT   NOT NULL,
    subject_name    TEXT   NOT NULL,
    address         TEXT   NOT NULL,
    request_id      TEXT   NOT NULL,
    notes           TEXT   NOT NULL,
    root_version    BIGINT NOT NULL,
    tag             BYTEA  NOT NULL,
    seq             BIGINT NOT NULL,
    chain           BYTEA  NOT NULL
);
CREATE INDEX audit_entries_organization ON audit_entries (organization_id, id);
CREATE INDEX audit_entries_unnumbered ON audit_entries (id) WHERE seq = 0;
CREATE INDEX audit_entries_seq ON audit_entries (seq);

-- The end of the audit chain: one row.
CREATE TABLE audit_head (
    one          BIGINT PRIMARY KEY,
    seq          BIGINT NOT NULL,
    chain        BYTEA  NOT NULL,
    root_version BIGINT NOT NULL,
    tag          BYTEA  NOT NULL
);

-- Doors that were closed: a cache that has read up to a seq knows them all.
CREATE TABLE changes (
    id      TEXT   PRIMARY KEY,
    at      BIGINT NOT NULL,
    kind    TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    seq     BIGINT NOT NULL
);
CREATE INDEX changes_unnumbered ON changes (id) WHERE seq = 0;
CREATE INDEX changes_seq ON changes (seq);

CREATE TABLE change_head (
    one BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL
);
