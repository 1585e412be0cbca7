-- Resource indicators (RFC 8707): for which resource servers a client may ask tokens, which one it is
-- itself, and whether its access tokens are JWTs (RFC 9068).
ALTER TABLE clients ADD COLUMN resources TEXT;
ALTER TABLE clients ADD COLUMN resource_server TEXT;
ALTER TABLE clients ADD COLUMN access_token_format TEXT NOT NULL DEFAULT 'opaque';
ALTER TABLE clients ADD COLUMN userinfo_alg TEXT;

-- The resource servers that were asked for. Without a value: AIP alone.
ALTER TABLE grants ADD COLUMN resources TEXT;
ALTER TABLE device_codes ADD COLUMN resources TEXT;

-- Those that a token is for. Without a value: those of its grant; of a client's own token, AIP alone.
ALTER TABLE access_tokens ADD COLUMN audience TEXT;
ALTER TABLE client_tokens ADD COLUMN audience TEXT;
