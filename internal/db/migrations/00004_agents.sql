-- +goose Up

-- uid is the server's own and is never used again; id is what people gave.
-- input_arguments and runner are JSON. declared is 1 for an agent of the config
-- file. runner_secret is a box.
CREATE TABLE agents (
    uid             TEXT   PRIMARY KEY,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    id              TEXT   NOT NULL,
    name            TEXT   NOT NULL,
    description     TEXT   NOT NULL,
    input_arguments TEXT   NOT NULL,
    runner          TEXT   NOT NULL,
    visibility      TEXT   NOT NULL,
    timeout_seconds BIGINT NOT NULL,
    declared        BIGINT NOT NULL,
    runner_secret   BYTEA  NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    root_version    BIGINT NOT NULL,
    UNIQUE (organization_id, id)
);
