-- An e-mail address belongs to the session whose grant covers it: it is not shared between apps.
ALTER TABLE upstream_sessions ADD COLUMN email TEXT;
ALTER TABLE upstream_sessions ADD COLUMN email_confirmed BOOLEAN;
ALTER TABLE upstream_sessions ADD COLUMN email_pds TEXT;
ALTER TABLE upstream_sessions ADD COLUMN email_read_at BIGINT;
UPDATE accounts SET email = NULL, email_confirmed = NULL WHERE email IS NOT NULL;

-- When the person last authenticated (`auth_time` of OpenID Connect), if that is known. The older
-- columns auth_time and signed_in_at hold when the PDS said who it is, remembered or not.
ALTER TABLE browser_accounts ADD COLUMN authenticated_at BIGINT;
ALTER TABLE authorization_requests ADD COLUMN authenticated_at BIGINT;
ALTER TABLE grants ADD COLUMN authenticated_at BIGINT;

-- What an app asked for, which may be more than was granted. Without a value: as much.
ALTER TABLE authorization_requests ADD COLUMN asked TEXT;
ALTER TABLE grants ADD COLUMN asked TEXT;

-- The key that an access token is bound to. Without a value: that of its grant.
ALTER TABLE access_tokens ADD COLUMN dpop_jkt TEXT;

ALTER TABLE clients ADD COLUMN auth_method_pinned BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN claims_in_id_token BOOLEAN NOT NULL DEFAULT FALSE;
