-- +goose Up

-- The public half of the run key with which others seal to the server; empty:
-- none. The row's tag vouches for it.
ALTER TABLE nodes ADD COLUMN run_key BYTEA NOT NULL DEFAULT '';

-- The slot whose token made this one, if this is a run's: it opens only for as
-- long as that one does.
ALTER TABLE profile_slots ADD COLUMN made_by BYTEA NOT NULL DEFAULT '';
CREATE INDEX profile_slots_runs ON profile_slots (made_by) WHERE kind = 'run';

-- How often the profile's session was deleted without a token: a run that was
-- under way then leaves none.
ALTER TABLE profiles ADD COLUMN forgets BIGINT NOT NULL DEFAULT 0;

-- What a profile's manifest says of a session that was deleted without a token,
-- in a box of the server's; until the manifest is made anew.
CREATE TABLE profile_forgotten (
    profile_uid  TEXT   PRIMARY KEY REFERENCES profiles (uid) ON DELETE CASCADE,
    revision     BIGINT NOT NULL,
    box          BYTEA  NOT NULL,
    root_version BIGINT NOT NULL
);
