-- Clients that are known by a document at their client_id (draft-ietf-oauth-client-id-metadata-document):
-- a row is made when a person has allowed one something, so that a request may be of a client that has
-- no row yet.
ALTER TABLE clients ADD COLUMN from_document BOOLEAN NOT NULL DEFAULT FALSE;
-- Until when what its document said last holds if that cannot be read; a time that is over once the
-- document was withdrawn.
ALTER TABLE clients ADD COLUMN document_holds_until BIGINT;
CREATE INDEX clients_from_document ON clients (updated_at) WHERE from_document;

-- SQLite drops no foreign key: the table is made again without that of client_id.
CREATE TABLE authorization_requests_new (
    token BLOB NOT NULL PRIMARY KEY,
    browser_id TEXT REFERENCES browser_sessions (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL,
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
    params TEXT,
    pushed BLOB
);
INSERT INTO authorization_requests_new
    SELECT token, browser_id, client_id, redirect_uri, scope, state, nonce, code_challenge, dpop_jkt,
        login_hint, prompt, max_age, signed_in_did, signed_in_session, signed_in_at, expires_at,
        authenticated_at, asked, params, pushed
    FROM authorization_requests;
DROP TABLE authorization_requests;
ALTER TABLE authorization_requests_new RENAME TO authorization_requests;
CREATE INDEX authorization_requests_browser_id ON authorization_requests (browser_id);
CREATE INDEX authorization_requests_client_id ON authorization_requests (client_id);
CREATE INDEX authorization_requests_expires_at ON authorization_requests (expires_at);
CREATE INDEX authorization_requests_signed_in_session ON authorization_requests (signed_in_session)
    WHERE signed_in_session IS NOT NULL;
CREATE UNIQUE INDEX authorization_requests_pushed ON authorization_requests (pushed)
    WHERE pushed IS NOT NULL;
