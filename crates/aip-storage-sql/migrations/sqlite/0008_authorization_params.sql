-- What an app asked for is one JSON document. The columns that held it stay for the release before,
-- and are dropped after it. A request that one release has stored cannot be finished at the other: the
-- person starts again. A request that an app has pushed belongs to no browser yet.
--
-- SQLite drops no NOT NULL: the table is made again.
CREATE TABLE authorization_requests_new (
    token BLOB NOT NULL PRIMARY KEY,
    browser_id TEXT REFERENCES browser_sessions (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    redirect_uri TEXT,
    scope TEXT,
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
    expires_at BIGINT NOT NULL,
    authenticated_at BIGINT,
    asked TEXT,
    params TEXT
);
INSERT INTO authorization_requests_new
    SELECT token, browser_id, client_id, redirect_uri, scope, state, nonce, code_challenge, dpop_jkt,
        login_hint, prompt, max_age, signed_in_did, signed_in_session, signed_in_at, expires_at,
        authenticated_at, asked, NULL
    FROM authorization_requests;
DROP TABLE authorization_requests;
ALTER TABLE authorization_requests_new RENAME TO authorization_requests;
CREATE INDEX authorization_requests_browser_id ON authorization_requests (browser_id);
CREATE INDEX authorization_requests_client_id ON authorization_requests (client_id);
CREATE INDEX authorization_requests_expires_at ON authorization_requests (expires_at);
CREATE INDEX authorization_requests_signed_in_session ON authorization_requests (signed_in_session)
    WHERE signed_in_session IS NOT NULL;
