-- The cookie value from before the last sign-in: requests that were under way with it when the
-- cookie was replaced are still recognised for a short time, without the account that was added.
ALTER TABLE browser_sessions ADD COLUMN previous_token BLOB;
ALTER TABLE browser_sessions ADD COLUMN rotated_at BIGINT;
ALTER TABLE browser_sessions ADD COLUMN added_did TEXT;
CREATE INDEX browser_sessions_previous_token ON browser_sessions (previous_token)
    WHERE previous_token IS NOT NULL;

-- How an authorization request was answered a moment ago: whoever repeats the same decision gets
-- the same answer.
CREATE TABLE answered_requests (
    token BLOB NOT NULL PRIMARY KEY,
    browser_id TEXT NOT NULL REFERENCES browser_sessions (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    state TEXT,
    did TEXT,
    grant_id TEXT,
    error TEXT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX answered_requests_browser_id ON answered_requests (browser_id);
CREATE INDEX answered_requests_expires_at ON answered_requests (expires_at);

CREATE INDEX authorization_requests_signed_in_session ON authorization_requests (signed_in_session)
    WHERE signed_in_session IS NOT NULL;
