-- +goose Up

-- A key is what its owner sees; what its holder presents is a secret of it,
-- kept as a SHA-256 digest in api_key_secrets.
CREATE TABLE api_keys (
    id              BIGINT PRIMARY KEY,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    account_id      TEXT   NOT NULL,
    name            TEXT   NOT NULL,
    type            TEXT   NOT NULL,
    made_by_key     BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    revoked_at      BIGINT NOT NULL,
    root_version    BIGINT NOT NULL,
    tag             BYTEA  NOT NULL
);
CREATE UNIQUE INDEX api_keys_name ON api_keys (organization_id, name) WHERE revoked_at = 0;
CREATE INDEX api_keys_organization ON api_keys (organization_id, created_at, id);
CREATE INDEX api_keys_account ON api_keys (account_id);
CREATE INDEX api_keys_made_by ON api_keys (made_by_key) WHERE made_by_key <> 0;
CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at <> 0;

CREATE TABLE api_key_secrets (
    digest       BYTEA  PRIMARY KEY,
    key_id       BIGINT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    hint         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    root_version BIGINT NOT NULL,
    tag          BYTEA  NOT NULL
);
CREATE INDEX api_key_secrets_key ON api_key_secrets (key_id);
