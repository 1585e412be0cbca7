-- The claims that an app asked for by name (OpenID Connect Core §5.5). Without a value: none.
ALTER TABLE grants ADD COLUMN claims TEXT;

-- How the answer to a request got to the app: without either, in the query of the redirect URI.
ALTER TABLE answered_requests ADD COLUMN response_mode TEXT;
ALTER TABLE answered_requests ADD COLUMN device_code BLOB;

-- Device codes (RFC 8628). Both codes are keyed hashes; next_poll_at is when a poll is not too early,
-- slowed whether the last one was.
CREATE TABLE device_codes (
    code BLOB NOT NULL PRIMARY KEY,
    user_code BLOB NOT NULL UNIQUE,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    asked TEXT NOT NULL,
    poll_interval BIGINT NOT NULL,
    next_poll_at BIGINT NOT NULL,
    slowed BOOLEAN NOT NULL,
    refused BOOLEAN NOT NULL,
    grant_id TEXT,
    spent_at BIGINT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX device_codes_client_id ON device_codes (client_id);
CREATE INDEX device_codes_grant_id ON device_codes (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX device_codes_expires_at ON device_codes (expires_at);
