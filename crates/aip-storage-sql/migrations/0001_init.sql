-- Times are microseconds since the epoch (UTC), durations are microseconds, ids are UUIDs as text.
-- Columns of type BLOB hold keyed hashes; the columns sealed, dpop_key, access_token and
-- refresh_token hold sealed (encrypted) values.

CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    application_type TEXT NOT NULL,
    auth_method TEXT NOT NULL,
    secret_hash BLOB,
    redirect_uris TEXT NOT NULL,
    post_logout_redirect_uris TEXT NOT NULL,
    scope TEXT NOT NULL,
    require_pkce BOOLEAN NOT NULL,
    first_party BOOLEAN NOT NULL,
    id_token_alg TEXT NOT NULL,
    access_token_ttl BIGINT NOT NULL,
    refresh_token_ttl BIGINT NOT NULL,
    refresh_grace BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE accounts (
    did TEXT NOT NULL PRIMARY KEY,
    handle TEXT,
    pds TEXT NOT NULL,
    email TEXT,
    email_confirmed BOOLEAN,
    proven_at BIGINT NOT NULL
);

CREATE TABLE browser_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    token BLOB NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX browser_sessions_expires_at ON browser_sessions (expires_at);

CREATE TABLE browser_accounts (
    browser_id TEXT NOT NULL REFERENCES browser_sessions (id) ON DELETE CASCADE,
    did TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    PRIMARY KEY (browser_id, did)
);

CREATE TABLE consents (
    browser_id TEXT NOT NULL REFERENCES browser_sessions (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    did TEXT NOT NULL,
    scope TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (browser_id, client_id, did)
);
CREATE INDEX consents_client_id ON consents (client_id, did);

CREATE TABLE authorization_requests (
    token BLOB NOT NULL PRIMARY KEY,
    browser_id TEXT NOT NULL REFERENCES browser_sessions (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    redirect_uri TEXT NOT NULL,
    scope TEXT NOT NULL,
    state TEXT,
    nonce TEXT,
    code_challenge TEXT,
    dpop_jkt TEXT,
    login_hint TEXT,
    prompt TEXT,
    max_age BIGINT,
    signed_in_did TEXT,
    signed_in_session TEXT,
    signed_in_at BIGINT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX authorization_requests_browser_id ON authorization_requests (browser_id);
CREATE INDEX authorization_requests_client_id ON authorization_requests (client_id);
CREATE INDEX authorization_requests_expires_at ON authorization_requests (expires_at);

-- `request` has no reference: the callback must be able to say that its request is gone.
CREATE TABLE upstream_flows (
    state_hash BLOB NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    browser_id TEXT NOT NULL REFERENCES browser_sessions (id) ON DELETE CASCADE,
    request BLOB,
    issuer TEXT NOT NULL,
    expected_did TEXT,
    sealed TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX upstream_flows_browser_id ON upstream_flows (browser_id);
CREATE INDEX upstream_flows_expires_at ON upstream_flows (expires_at);

-- No references: a session outlives its client and its grants until its PDS knows that it ended.
CREATE TABLE upstream_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    did TEXT NOT NULL,
    issuer TEXT NOT NULL,
    pds TEXT NOT NULL,
    upstream_client_id TEXT NOT NULL,
    client_key_id TEXT,
    dpop_key TEXT NOT NULL,
    scope TEXT NOT NULL,
    access_token TEXT NOT NULL,
    refresh_token TEXT,
    access_expires_at BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    lease_owner TEXT,
    lease_until BIGINT,
    fence BIGINT NOT NULL,
    next_refresh_at BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    refreshed_at BIGINT NOT NULL,
    revoke_due_at BIGINT,
    revoke_attempts BIGINT NOT NULL,
    ended_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX upstream_sessions_account ON upstream_sessions (client_id, did);
CREATE INDEX upstream_sessions_due ON upstream_sessions (next_refresh_at)
    WHERE state IN ('active', 'uncertain');
CREATE INDEX upstream_sessions_revoke_due ON upstream_sessions (revoke_due_at)
    WHERE revoke_due_at IS NOT NULL;
CREATE INDEX upstream_sessions_created_at ON upstream_sessions (created_at)
    WHERE state <> 'ended';
CREATE INDEX upstream_sessions_ended_at ON upstream_sessions (ended_at)
    WHERE ended_at IS NOT NULL;

CREATE TABLE upstream_refresh_journal (
    session_id TEXT NOT NULL PRIMARY KEY REFERENCES upstream_sessions (id) ON DELETE CASCADE,
    fence BIGINT NOT NULL,
    refresh_hash BLOB NOT NULL,
    sent_at BIGINT NOT NULL
);

CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    did TEXT NOT NULL,
    scope TEXT NOT NULL,
    upstream_session TEXT NOT NULL,
    dpop_jkt TEXT,
    auth_time BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    revoke_reason TEXT
);
CREATE INDEX grants_client_id ON grants (client_id, did);
CREATE INDEX grants_did ON grants (did);
CREATE INDEX grants_upstream_session ON grants (upstream_session);
CREATE INDEX grants_revoked_at ON grants (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX grants_created_at ON grants (created_at);

CREATE TABLE codes (
    hash BLOB NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    code_challenge TEXT,
    dpop_jkt TEXT,
    nonce TEXT,
    expires_at BIGINT NOT NULL,
    spent_at BIGINT
);
CREATE INDEX codes_grant_id ON codes (grant_id);
CREATE INDEX codes_expires_at ON codes (expires_at);

-- The tokens carry no foreign key: checking one would lock and dirty the grant's row at every
-- refresh. A token without its grant is dead, because every look-up joins the grant.
CREATE TABLE access_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    scope TEXT,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX access_tokens_expires_at ON access_tokens (expires_at);

CREATE TABLE refresh_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    successor BLOB,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_grant_id ON refresh_tokens (grant_id);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);

CREATE TABLE replays (
    hash BLOB NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX replays_expires_at ON replays (expires_at);

CREATE TABLE audit_events (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    did TEXT,
    client_id TEXT,
    detail TEXT NOT NULL
);
CREATE INDEX audit_events_at ON audit_events (at);
