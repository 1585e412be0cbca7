-- Developer tokens: access tokens that people make for scripts of their own. Each is a grant to a client that
-- is part of AIP, and is forgotten with it.
CREATE TABLE developer_tokens (
    grant_id TEXT NOT NULL PRIMARY KEY REFERENCES grants (id) ON DELETE CASCADE,
    did TEXT NOT NULL,
    name TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX developer_tokens_did ON developer_tokens (did);
CREATE INDEX developer_tokens_expires_at ON developer_tokens (expires_at);

-- Those that an operator wants, until the person has made them. Both hashes are of secrets that only whoever
-- ordered it has.
CREATE TABLE developer_token_orders (
    id TEXT NOT NULL PRIMARY KEY,
    link BLOB NOT NULL UNIQUE,
    did TEXT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    life BIGINT NOT NULL,
    access BLOB NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX developer_token_orders_expires_at ON developer_token_orders (expires_at);
