-- Which grants a client may use (RFC 7591 §2), the keys it proves itself with, and the rules it is
-- held to.
ALTER TABLE clients ADD COLUMN grant_types TEXT NOT NULL DEFAULT 'authorization_code refresh_token';
ALTER TABLE clients ADD COLUMN jwks TEXT;
ALTER TABLE clients ADD COLUMN jwks_uri TEXT;
ALTER TABLE clients ADD COLUMN dpop_bound_access_tokens BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN security_profile TEXT NOT NULL DEFAULT 'oauth2_1';

-- The access tokens of clients themselves (RFC 6749 §4.4). As with other tokens there is no foreign
-- key: every look-up joins the client.
CREATE TABLE client_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    dpop_jkt TEXT,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX client_tokens_expires_at ON client_tokens (expires_at);
