-- Clients that know people by identifiers of their sector (OpenID Connect Core 8.1): the sector, or the
-- address of the document that names it. Grants have the identifier of the sector.
ALTER TABLE clients ADD COLUMN pairwise TEXT;
ALTER TABLE grants ADD COLUMN sector TEXT;
