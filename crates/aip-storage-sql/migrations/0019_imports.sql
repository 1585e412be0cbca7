-- Sessions of another server whose place AIP is going to take, until they are released into
-- upstream_sessions, grants, access_tokens and refresh_tokens. Nothing else reads them. The secrets are
-- sealed for their place in upstream_sessions. content is the keyed hash of what the row was made from;
-- seen_at is when the last run of the import began that found it. The id of the grant is that of the
-- session; without grant_scope there is none.
CREATE TABLE imported_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    did TEXT NOT NULL,
    kind TEXT NOT NULL,
    issuer TEXT NOT NULL,
    pds TEXT NOT NULL,
    upstream_client_id TEXT NOT NULL,
    client_key_id TEXT,
    dpop_key TEXT NOT NULL,
    password TEXT,
    scope TEXT NOT NULL,
    access_token TEXT NOT NULL,
    refresh_token TEXT,
    access_expires_at BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    state TEXT NOT NULL,
    refreshed_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    grant_scope TEXT,
    grant_dpop_jkt TEXT,
    grant_created_at BIGINT,
    content BLOB NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE INDEX imported_sessions_client_id ON imported_sessions (client_id);
CREATE INDEX imported_sessions_seen_at ON imported_sessions (seen_at);

CREATE TABLE imported_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES imported_sessions (id) ON DELETE CASCADE,
    is_refresh BOOLEAN NOT NULL,
    scope TEXT,
    dpop_jkt TEXT,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX imported_tokens_session_id ON imported_tokens (session_id);

-- When sessions of another server were first released: one row. What that server has is older than
-- what AIP has since then.
CREATE TABLE imports (
    name TEXT NOT NULL PRIMARY KEY,
    released_at BIGINT NOT NULL
);
