-- +goose Up

-- settings is JSON: scopes, agents, addresses, limits, whether requests must be
-- signed, metadata. '' is that of a key that was made before there were any.
ALTER TABLE api_keys ADD COLUMN external_id TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN disabled BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN settings TEXT NOT NULL DEFAULT '';
-- made_with is the digest of the value that the key which made it was presented
-- as, if another key had given it that value.
ALTER TABLE api_keys ADD COLUMN made_with BYTEA NOT NULL DEFAULT '';
CREATE INDEX api_keys_made_with ON api_keys (made_with) WHERE length(made_with) > 0;
CREATE INDEX api_keys_external ON api_keys (organization_id, external_id) WHERE external_id <> '';

-- signing is a box around the secret that requests are signed with, or empty.
ALTER TABLE api_key_secrets ADD COLUMN signing BYTEA NOT NULL DEFAULT '';
-- Of a value that a key gave to another by rotating it: who, and made_with as above.
ALTER TABLE api_key_secrets ADD COLUMN made_by_key BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_key_secrets ADD COLUMN made_with BYTEA NOT NULL DEFAULT '';
CREATE INDEX api_key_secrets_made_by ON api_key_secrets (made_by_key) WHERE made_by_key <> 0;
CREATE INDEX api_key_secrets_made_with ON api_key_secrets (made_with) WHERE length(made_with) > 0;
CREATE INDEX api_key_secrets_expires ON api_key_secrets (expires_at) WHERE expires_at <> 0;

-- What was reserved of a key's limits: a server admits only what it has
-- reserved here. settled_at is 0 while a server holds a part of it, or died with
-- it; else it is when the last one admitted.
CREATE TABLE limit_windows (
    key_id         BIGINT PRIMARY KEY,
    opened_at      BIGINT NOT NULL,
    reserved       BIGINT NOT NULL,
    month          BIGINT NOT NULL,
    month_reserved BIGINT NOT NULL,
    settled_at     BIGINT NOT NULL
);

-- What one server counted in one second, until it is in usage_counts.
CREATE TABLE usage_batches (
    id     TEXT   PRIMARY KEY,
    minute BIGINT NOT NULL,
    counts BYTEA  NOT NULL
);
CREATE INDEX usage_batches_minute ON usage_batches (minute);

-- A roll-up that is under way: step says how much of these batches of a minute
-- is in usage_counts. batches is their ids.
CREATE TABLE usage_rolls (
    minute  BIGINT PRIMARY KEY,
    id      TEXT   NOT NULL,
    step    BIGINT NOT NULL,
    batches BYTEA  NOT NULL
);

-- What was counted in a minute, an hour or a day: a row holds the counts of all
-- keys of one shard.
CREATE TABLE usage_counts (
    grain    TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    shard    BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    counts   BYTEA  NOT NULL,
    PRIMARY KEY (grain, at, shard)
);

-- When and from where keys were last used: a row holds all keys of one shard.
CREATE TABLE key_uses (
    shard    BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL,
    uses     BYTEA  NOT NULL
);

-- When to tell somebody how much of a key's limit is used. secret is a box, or
-- empty where there is no webhook.
CREATE TABLE alerts (
    key_id          BIGINT PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    organization_id TEXT   NOT NULL,
    threshold       BIGINT NOT NULL,
    webhook_url     TEXT   NOT NULL,
    email           TEXT   NOT NULL,
    secret          BYTEA  NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    root_version    BIGINT NOT NULL,
    tag             BYTEA  NOT NULL
);

-- An alert that fired: once for a window of a key's limit.
CREATE TABLE alert_firings (
    id              TEXT   PRIMARY KEY,
    key_id          BIGINT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    organization_id TEXT   NOT NULL,
    key_name        TEXT   NOT NULL,
    span            TEXT   NOT NULL,
    window_at       BIGINT NOT NULL,
    threshold       BIGINT NOT NULL,
    used            BIGINT NOT NULL,
    of              BIGINT NOT NULL,
    fired_at        BIGINT NOT NULL,
    UNIQUE (key_id, span, window_at)
);
CREATE INDEX alert_firings_organization ON alert_firings (organization_id, id);
CREATE INDEX alert_firings_fired ON alert_firings (fired_at);

-- To whom it was told, or is to be told. The tag vouches for the firing too, and
-- not for how the delivery goes. next_at of one that is being made is when it is
-- taken for lost.
CREATE TABLE alert_deliveries (
    id           TEXT   PRIMARY KEY,
    firing_id    TEXT   NOT NULL REFERENCES alert_firings (id) ON DELETE CASCADE,
    channel      TEXT   NOT NULL,
    target       TEXT   NOT NULL,
    status       TEXT   NOT NULL,
    attempts     BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    delivered_at BIGINT NOT NULL,
    last_error   TEXT   NOT NULL,
    root_version BIGINT NOT NULL,
    tag          BYTEA  NOT NULL
);
CREATE INDEX alert_deliveries_firing ON alert_deliveries (firing_id);
CREATE INDEX alert_deliveries_due ON alert_deliveries (next_at) WHERE status = 'pending';

-- Signatures of requests that were received, until they expire: for servers that
-- share the database.
CREATE TABLE signatures_seen (
    key_id    BIGINT NOT NULL,
    signature BYTEA  NOT NULL,
    until     BIGINT NOT NULL,
    PRIMARY KEY (key_id, signature)
);
CREATE INDEX signatures_seen_until ON signatures_seen (until);
