-- Clients that get to know who somebody is and nothing else: no session at a PDS is kept for them.
ALTER TABLE clients ADD COLUMN authentication_only BOOLEAN NOT NULL DEFAULT FALSE;
