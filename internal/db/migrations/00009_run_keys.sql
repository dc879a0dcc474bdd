-- +goose Up

-- The public half of the run key with which others seal to the server; empty:
-- none. The row's tag vouches for it.
ALTER TABLE nodes ADD COLUMN run_key BYTEA NOT NULL DEFAULT '';

-- The slot whose token made this one, if this is a run's: it opens only for as
-- long as that one does.
ALTER TABLE profile_slots ADD COLUMN made_by BYTEA NOT NULL DEFAULT '';
CREATE INDEX profile_slots_runs ON profile_slots (made_by) WHERE kind = 'run';
