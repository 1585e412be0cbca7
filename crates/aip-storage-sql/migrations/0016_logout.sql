-- Where apps are told of logouts: by AIP itself (OpenID Connect Back-Channel Logout 1.0), and by the
-- browser (Front-Channel Logout 1.0).
ALTER TABLE clients ADD COLUMN backchannel_logout_uri TEXT;
ALTER TABLE clients ADD COLUMN backchannel_logout_session_required BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN frontchannel_logout_uri TEXT;
ALTER TABLE clients ADD COLUMN frontchannel_logout_session_required BOOLEAN NOT NULL DEFAULT FALSE;

-- The browser in which a grant was given, until the person signs out there; of clients that are told
-- of logouts alone.
ALTER TABLE grants ADD COLUMN browser_id TEXT;
CREATE INDEX grants_browser_id ON grants (browser_id) WHERE browser_id IS NOT NULL;

-- Sign-ins that have ended, and whose clients do not know yet. No reference to grants and clients:
-- whoever deletes these and whoever ends a grant would wait for each other.
CREATE TABLE logout_deliveries (
    grant_id TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL,
    did TEXT NOT NULL,
    ended_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL
);
CREATE INDEX logout_deliveries_due_at ON logout_deliveries (due_at);
CREATE INDEX logout_deliveries_client_id ON logout_deliveries (client_id);
CREATE INDEX logout_deliveries_ended_at ON logout_deliveries (ended_at);
