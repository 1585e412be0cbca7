-- The tables of AIP v2.2.2 on PostgreSQL after its 13 migrations, with types, defaults and keys as its
-- database has them. `_sqlx_migrations` is what sqlx keeps.

CREATE TABLE access_tokens (
    token character varying NOT NULL,
    token_type character varying NOT NULL DEFAULT 'Bearer'::character varying,
    client_id character varying NOT NULL,
    user_id character varying,
    session_id character varying,
    session_iteration integer,
    scope text,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked boolean NOT NULL DEFAULT false,
    dpop_jkt character varying,
    nonce text,
    PRIMARY KEY (token)
);

CREATE TABLE app_password_sessions (
    client_id character varying NOT NULL,
    did character varying NOT NULL,
    access_token text NOT NULL,
    refresh_token text,
    access_token_created_at timestamp with time zone NOT NULL,
    access_token_expires_at timestamp with time zone NOT NULL,
    iteration integer NOT NULL,
    session_exchanged_at timestamp with time zone,
    exchange_error text,
    PRIMARY KEY (client_id, did)
);

CREATE TABLE app_passwords (
    client_id character varying NOT NULL,
    did character varying NOT NULL,
    app_password text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    PRIMARY KEY (client_id, did)
);

CREATE TABLE atp_oauth_sessions (
    session_id character varying NOT NULL,
    did character varying,
    iteration integer NOT NULL,
    session_created_at timestamp with time zone NOT NULL,
    atp_oauth_state text NOT NULL,
    signing_key_jkt character varying NOT NULL,
    dpop_key text NOT NULL,
    access_token text,
    refresh_token text,
    access_token_created_at timestamp with time zone,
    access_token_expires_at timestamp with time zone,
    access_token_scopes jsonb,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    PRIMARY KEY (session_id, iteration)
);

CREATE TABLE authorization_codes (
    code character varying NOT NULL,
    client_id character varying NOT NULL,
    user_id character varying NOT NULL,
    session_id character varying,
    redirect_uri text NOT NULL,
    scope text,
    code_challenge text,
    code_challenge_method character varying,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used boolean NOT NULL DEFAULT false,
    nonce text,
    PRIMARY KEY (code)
);

CREATE TABLE authorization_requests (
    session_id character varying NOT NULL,
    request_data jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb
);

CREATE TABLE device_codes (
    device_code text NOT NULL,
    user_code text NOT NULL,
    client_id text NOT NULL,
    scope text,
    authorized_user text,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (device_code)
);

CREATE TABLE did_documents (
    did character varying NOT NULL,
    document jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    PRIMARY KEY (did)
);

CREATE TABLE keys (
    key_id character varying NOT NULL,
    key_data text NOT NULL,
    key_type character varying NOT NULL DEFAULT 'signing'::character varying,
    created_at timestamp with time zone NOT NULL,
    is_default_signing boolean NOT NULL DEFAULT false
);

CREATE TABLE oauth_clients (
    client_id character varying NOT NULL,
    client_secret text,
    client_name text NOT NULL,
    redirect_uris jsonb NOT NULL,
    grant_types jsonb NOT NULL,
    response_types jsonb NOT NULL,
    scope text,
    token_endpoint_auth_method character varying NOT NULL,
    client_type character varying NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    access_token_expiration bigint NOT NULL DEFAULT 86400,
    refresh_token_expiration bigint NOT NULL DEFAULT 1209600,
    require_redirect_exact boolean NOT NULL DEFAULT true,
    registration_access_token text,
    jwks jsonb,
    application_type character varying,
    software_id text,
    software_version text,
    PRIMARY KEY (client_id)
);

CREATE TABLE oauth_requests (
    oauth_state character varying NOT NULL,
    issuer character varying NOT NULL,
    nonce character varying NOT NULL,
    pkce_verifier text NOT NULL,
    signing_public_key text NOT NULL,
    dpop_private_key text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    authorization_server character varying NOT NULL,
    PRIMARY KEY (oauth_state)
);

CREATE TABLE par_requests (
    request_uri character varying NOT NULL,
    authorization_request jsonb NOT NULL,
    client_id character varying NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    subject character varying,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    PRIMARY KEY (request_uri)
);

CREATE TABLE refresh_tokens (
    token character varying NOT NULL,
    access_token character varying NOT NULL,
    client_id character varying NOT NULL,
    user_id character varying NOT NULL,
    session_id character varying,
    scope text,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    revoked boolean NOT NULL DEFAULT false,
    nonce text,
    PRIMARY KEY (token)
);

CREATE UNIQUE INDEX app_passwords_did ON app_passwords (did);

CREATE TABLE _sqlx_migrations (
    version bigint PRIMARY KEY,
    description text NOT NULL,
    installed_on timestamp with time zone NOT NULL DEFAULT now(),
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    SELECT version, 'step ' || version, true, '\x00', 1 FROM generate_series(1, 13) AS version;
