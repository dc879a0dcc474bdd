-- +goose Up

-- operator is 1 for the one organization that the server's operator owns.
-- limits and quotas are JSON; an empty object means what the settings say.
CREATE TABLE organizations (
    id           TEXT   PRIMARY KEY,
    name         TEXT   NOT NULL,
    operator     BIGINT NOT NULL,
    tier         TEXT   NOT NULL,
    limits       TEXT   NOT NULL,
    quotas       TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    root_version BIGINT NOT NULL,
    tag          BYTEA  NOT NULL
);
CREATE UNIQUE INDEX organizations_operator ON organizations (operator) WHERE operator = 1;

-- email is in lower case; password is a box around the hash.
CREATE TABLE accounts (
    id           TEXT   PRIMARY KEY,
    name         TEXT   NOT NULL,
    email        TEXT   NOT NULL UNIQUE,
    password     BYTEA  NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    root_version BIGINT NOT NULL,
    tag          BYTEA  NOT NULL
);

CREATE TABLE memberships (
    account_id      TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    role            TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    root_version    BIGINT NOT NULL,
    tag             BYTEA  NOT NULL,
    PRIMARY KEY (account_id, organization_id)
);
CREATE INDEX memberships_organization ON memberships (organization_id);

-- A sign-in is a family of refresh tokens; number is the one that is good now.
CREATE TABLE sign_ins (
    id              TEXT   PRIMARY KEY,
    account_id      TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    family_key      BYTEA  NOT NULL,
    number          BIGINT NOT NULL,
    network         TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    rotated_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,
    root_version    BIGINT NOT NULL,
    tag             BYTEA  NOT NULL
);
CREATE INDEX sign_ins_account ON sign_ins (account_id, network);
CREATE INDEX sign_ins_organization ON sign_ins (organization_id);
CREATE INDEX sign_ins_expires ON sign_ins (expires_at);

-- The keys that access tokens are signed with: boxes around private keys.
CREATE TABLE signing_keys (
    id           TEXT   PRIMARY KEY,
    private      BYTEA  NOT NULL,
    created_at   BIGINT NOT NULL,
    active_at    BIGINT NOT NULL,
    retires_at   BIGINT NOT NULL,
    root_version BIGINT NOT NULL
);

-- Codes that make whoever registers with one the owner of the operator's
-- organization; only their digests are kept.
CREATE TABLE setup_codes (
    digest          BYTEA  PRIMARY KEY,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    created_at      BIGINT NOT NULL,
    root_version    BIGINT NOT NULL,
    tag             BYTEA  NOT NULL
);

-- How many of each counted thing an organization has; quotas are kept with it.
CREATE TABLE quota_uses (
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    kind            TEXT   NOT NULL,
    used            BIGINT NOT NULL,
    PRIMARY KEY (organization_id, kind)
);
