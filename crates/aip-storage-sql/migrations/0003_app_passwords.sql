-- Sessions of app passwords beside those of OAuth. In their rows the columns of OAuth (issuer,
-- upstream_client_id, dpop_key) are empty, and `password` is sealed.
ALTER TABLE upstream_sessions ADD COLUMN kind TEXT NOT NULL DEFAULT 'oauth';
ALTER TABLE upstream_sessions ADD COLUMN password TEXT;

-- What the last failed refresh met, for operators.
ALTER TABLE upstream_sessions ADD COLUMN last_error TEXT;
