-- The network that a device asked from, for the person who is to allow it (RFC 8628, 5.4). Without a value: a
-- release before stored it, or somebody has decided.
ALTER TABLE device_codes ADD COLUMN asked_from TEXT;
