-- Clients that are known by a document at their client_id (draft-ietf-oauth-client-id-metadata-document):
-- a row is made when a person has allowed one something, so that a request may be of a client that has
-- no row yet.
ALTER TABLE clients ADD COLUMN from_document BOOLEAN NOT NULL DEFAULT FALSE;
-- Until when what its document said last holds if that cannot be read; a time that is over once the
-- document was withdrawn.
ALTER TABLE clients ADD COLUMN document_holds_until BIGINT;
CREATE INDEX clients_from_document ON clients (updated_at) WHERE from_document;
ALTER TABLE authorization_requests DROP CONSTRAINT authorization_requests_client_id_fkey;
