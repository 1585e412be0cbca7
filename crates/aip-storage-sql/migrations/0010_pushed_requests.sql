-- Pushed authorization requests (RFC 9126): the keyed hash of the `request_uri`.
ALTER TABLE authorization_requests ADD COLUMN pushed BLOB;
CREATE UNIQUE INDEX authorization_requests_pushed ON authorization_requests (pushed)
    WHERE pushed IS NOT NULL;

ALTER TABLE clients ADD COLUMN require_par BOOLEAN NOT NULL DEFAULT FALSE;
