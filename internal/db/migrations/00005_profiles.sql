-- +goose Up

CREATE TABLE profiles (
    uid             TEXT   PRIMARY KEY,
    organization_id TEXT   NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    agent_uid       TEXT   NOT NULL REFERENCES agents (uid) ON DELETE CASCADE,
    name            TEXT   NOT NULL,
    keep_session    BIGINT NOT NULL,
    revision        BIGINT NOT NULL,
    epoch           BIGINT NOT NULL,
    destination     TEXT   NOT NULL,
    manifest        BYTEA  NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    last_used_at    BIGINT NOT NULL,
    UNIQUE (organization_id, agent_uid, name)
);
CREATE INDEX profiles_agent ON profiles (agent_uid);

CREATE TABLE profile_values (
    profile_uid TEXT   NOT NULL REFERENCES profiles (uid) ON DELETE CASCADE,
    name        TEXT   NOT NULL,
    position    BIGINT NOT NULL,
    revision    BIGINT NOT NULL,
    box         BYTEA  NOT NULL,
    PRIMARY KEY (profile_uid, name)
);

CREATE TABLE profile_sessions (
    profile_uid TEXT   PRIMARY KEY REFERENCES profiles (uid) ON DELETE CASCADE,
    revision    BIGINT NOT NULL,
    box         BYTEA  NOT NULL
);

-- What an auth token opens: the profile's key, sealed to the token.
CREATE TABLE profile_slots (
    locator      BYTEA  PRIMARY KEY,
    profile_uid  TEXT   NOT NULL REFERENCES profiles (uid) ON DELETE CASCADE,
    kind         TEXT   NOT NULL,
    epoch        BIGINT NOT NULL,
    salt         BYTEA  NOT NULL,
    sealed       BYTEA  NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    root_version BIGINT NOT NULL
);
CREATE INDEX profile_slots_profile ON profile_slots (profile_uid);
CREATE INDEX profile_slots_expires ON profile_slots (expires_at) WHERE expires_at <> 0;
