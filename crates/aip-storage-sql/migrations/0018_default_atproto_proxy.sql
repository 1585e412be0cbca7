-- The service (did#id) that XRPC calls of a client go on to when they name none.
ALTER TABLE clients ADD COLUMN default_atproto_proxy TEXT;
