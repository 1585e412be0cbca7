-- Of a token that a delegate exchanged: by which delegation. So many of one app live at once. This table
-- is altered first, because calls of a running server lock it before "clients".
ALTER TABLE access_tokens ADD COLUMN delegation_id TEXT;

-- Clients for which AIP is a client of its own at PDSs, and what its document shows of them.
ALTER TABLE clients ADD COLUMN own_upstream_document BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN client_assertions BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN logo_uri TEXT;
ALTER TABLE clients ADD COLUMN tos_uri TEXT;
ALTER TABLE clients ADD COLUMN policy_uri TEXT;
-- Those that had such a document and have it no more: sessions may be bound to it. No reference, as a
-- client may be deleted before its sessions are revoked at their PDSs.
CREATE TABLE kept_upstream_documents (
    client_id TEXT NOT NULL PRIMARY KEY,
    lost_at BIGINT NOT NULL
);
CREATE INDEX kept_upstream_documents_lost_at ON kept_upstream_documents (lost_at);

-- The DPoP keys of devices that client assertions are signed for, and the key that signs them.
CREATE TABLE assertion_keys (
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    jkt TEXT NOT NULL,
    client_key_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (client_id, jkt)
);
CREATE INDEX assertion_keys_of_client ON assertion_keys (client_id, used_at);
CREATE INDEX assertion_keys_used_at ON assertion_keys (used_at);

-- In which form a client is told of logouts by AIP itself.
ALTER TABLE clients ADD COLUMN backchannel_logout_format TEXT NOT NULL DEFAULT 'logout_token';
