-- +goose Up

-- Whether a run that was cut short may be done again from its beginning, and how
-- many runs there may be at once; 0 is no bound.
ALTER TABLE agents ADD COLUMN idempotent BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN max_concurrent BIGINT NOT NULL DEFAULT 0;
