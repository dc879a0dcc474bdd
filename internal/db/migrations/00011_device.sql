-- +goose Up

-- A program that waits until somebody approves it. device_code is a digest of the
-- device code together with the session secret, user_code one of the user code
-- that is keyed. account_id and organization_id are who answered, key_id is the
-- key that was picked up; they are empty until then. expires_at is when the code
-- ends, or until when it is remembered that the key was picked up.
CREATE TABLE device_logins (
    id              TEXT   PRIMARY KEY,
    device_code     BYTEA  NOT NULL UNIQUE,
    user_code       BYTEA  NOT NULL UNIQUE,
    state           TEXT   NOT NULL,
    network         TEXT   NOT NULL,
    address         TEXT   NOT NULL,
    program         TEXT   NOT NULL,
    scopes          TEXT   NOT NULL,
    account_id      TEXT   NOT NULL,
    organization_id TEXT   NOT NULL,
    key_id          BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    picked_up_at    BIGINT NOT NULL,
    root_version    BIGINT NOT NULL,
    tag             BYTEA  NOT NULL
);
CREATE INDEX device_logins_waiting ON device_logins (network) WHERE picked_up_at = 0;
CREATE INDEX device_logins_expires ON device_logins (expires_at);
