-- Definite refusals in a row that a refresh met and that do not say that the token is dead.
ALTER TABLE upstream_sessions ADD COLUMN rejections BIGINT NOT NULL DEFAULT 0;
ALTER TABLE upstream_sessions ADD COLUMN rejected_since BIGINT;
