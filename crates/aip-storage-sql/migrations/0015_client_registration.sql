-- Whether a client registered itself (RFC 7591), so that an approval touches client_registrations for
-- such a client alone.
ALTER TABLE clients ADD COLUMN registered_itself BOOLEAN NOT NULL DEFAULT FALSE;

-- Clients that registered themselves (RFC 7591). token is the keyed hash of the registration access
-- token (RFC 7592); a client that nobody has used by unused_until is deleted, without it it stays.
CREATE TABLE client_registrations (
    client_id TEXT NOT NULL PRIMARY KEY REFERENCES clients (id) ON DELETE CASCADE,
    token BLOB NOT NULL,
    unused_until BIGINT
);
CREATE INDEX client_registrations_unused_until ON client_registrations (unused_until)
    WHERE unused_until IS NOT NULL;

-- Initial access tokens (RFC 7591), as keyed hashes.
CREATE TABLE initial_access_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    token BLOB NOT NULL UNIQUE,
    uses_left BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX initial_access_tokens_expires_at ON initial_access_tokens (expires_at);
