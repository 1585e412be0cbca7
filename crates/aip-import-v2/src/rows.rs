//! Rows of AIP v2 as they are read: nothing is believed of them yet.

use secrecy::SecretString;
use serde::Deserialize;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// Microseconds since the epoch; null for `infinity`, which would end the whole query.
macro_rules! micros {
    ($column:literal) => {
        concat!(
            "CASE WHEN isfinite(",
            $column,
            ") THEN CAST(LEAST(EXTRACT(EPOCH FROM ",
            $column,
            ") * 1000000, 9000000000000000000) AS BIGINT) END"
        )
    };
}

/// The same of an instant that is always there.
macro_rules! began {
    ($column:literal) => {
        concat!("COALESCE(", micros!($column), ", 0)")
    };
}

/// The instant before which tokens have expired.
macro_rules! now {
    () => {
        "to_timestamp(CAST(current_setting('aip_import.now') AS numeric) / 1000000)"
    };
}

/// The registered apps, without v2's own.
pub(crate) const CLIENTS: &str = concat!(
    "DECLARE import NO SCROLL CURSOR FOR
     SELECT client_id, client_secret, client_name, redirect_uris::text AS redirect_uris,
         grant_types::text AS grant_types, scope, token_endpoint_auth_method,
         application_type, jwks::text AS jwks, access_token_expiration, refresh_token_expiration,
         require_redirect_exact, ",
    began!("created_at"),
    " AS created_at, ",
    began!("updated_at"),
    " AS updated_at FROM oauth_clients ORDER BY client_id"
);

/// Each session at a PDS once: its newest row that holds tokens, or else its newest. Besides it, the
/// number of the newest row, the live tokens of apps (the newest 100 of each kind), and the DID document
/// that v2 has read last.
pub(crate) const SESSIONS: &str = concat!(
    "DECLARE import NO SCROLL CURSOR FOR
     WITH live AS (
         SELECT session_id, did, iteration, session_created_at, signing_key_jkt, dpop_key,
             access_token, refresh_token, access_token_created_at, access_token_expires_at,
             access_token_scopes,
             max(iteration) OVER (PARTITION BY session_id) AS newest,
             row_number() OVER (PARTITION BY session_id
                 ORDER BY (access_token IS NOT NULL) DESC, iteration DESC) AS place
         FROM atp_oauth_sessions),
     access AS (
         SELECT session_id, jsonb_agg(jsonb_build_object('token', token, 'client_id', client_id,
                 'user_id', user_id, 'scope', scope, 'created_at', ",
    began!("created_at"),
    ", 'expires_at', ",
    micros!("expires_at"),
    ", 'dpop_jkt', dpop_jkt) ORDER BY created_at DESC, token)::text AS tokens, max(total) AS total
         FROM (SELECT *, row_number() OVER (PARTITION BY session_id
                 ORDER BY created_at DESC, token) AS place,
                 count(*) OVER (PARTITION BY session_id) AS total
             FROM access_tokens
             WHERE NOT revoked AND session_id IS NOT NULL AND user_id IS NOT NULL
                 AND expires_at > ",
    now!(),
    ") AS newest WHERE place <= 100 GROUP BY session_id),
     refresh AS (
         SELECT session_id, jsonb_agg(jsonb_build_object('token', token, 'client_id', client_id,
                 'user_id', user_id, 'scope', scope, 'created_at', ",
    began!("created_at"),
    ", 'expires_at', ",
    micros!("expires_at"),
    ", 'dpop_jkt', dpop_jkt) ORDER BY created_at DESC, token)::text AS tokens, max(total) AS total
         FROM (SELECT r.*, a.dpop_jkt, row_number() OVER (PARTITION BY r.session_id
                 ORDER BY r.created_at DESC, r.token) AS place,
                 count(*) OVER (PARTITION BY r.session_id) AS total
             FROM refresh_tokens r LEFT JOIN access_tokens a ON a.token = r.access_token
             WHERE NOT r.revoked AND r.session_id IS NOT NULL
                 AND (r.expires_at IS NULL OR r.expires_at > ",
    now!(),
    ")) AS newest WHERE place <= 100 GROUP BY session_id)
     SELECT live.session_id, live.did, live.iteration::bigint AS iteration,
         live.newest::bigint AS newest, live.signing_key_jkt, live.dpop_key, live.access_token,
         live.refresh_token, live.access_token_scopes::text AS scopes, ",
    began!("live.session_created_at"),
    " AS created_at, ",
    micros!("live.access_token_created_at"),
    " AS refreshed_at, ",
    micros!("live.access_token_expires_at"),
    " AS access_expires_at, d.document::text AS document, access.tokens AS access,
         refresh.tokens AS refresh, COALESCE(access.total, 0)::bigint AS access_total,
         COALESCE(refresh.total, 0)::bigint AS refresh_total,
         encode(sha256(convert_to(CAST(ROW(live.*, access.tokens, refresh.tokens) AS text),
             'UTF8')), 'hex') AS content
     FROM live LEFT JOIN access ON access.session_id = live.session_id
         LEFT JOIN refresh ON refresh.session_id = live.session_id
         LEFT JOIN did_documents d ON d.did = live.did
     WHERE live.place = 1 ORDER BY live.session_id"
);

/// App passwords with their sessions, and whether the app has a live token of the account.
pub(crate) const APP_PASSWORDS: &str = concat!(
    "DECLARE import NO SCROLL CURSOR FOR
     SELECT p.client_id, p.did, p.app_password, s.access_token, s.refresh_token,
         COALESCE(s.iteration, 0)::bigint AS iteration, ",
    began!("p.created_at"),
    " AS created_at, ",
    micros!("s.access_token_created_at"),
    " AS refreshed_at, ",
    micros!("s.access_token_expires_at"),
    " AS access_expires_at, d.document::text AS document,
         EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.client_id = p.client_id
                 AND r.user_id = p.did AND NOT r.revoked
                 AND (r.expires_at IS NULL OR r.expires_at > ",
    now!(),
    ")) OR EXISTS (SELECT 1 FROM access_tokens a WHERE a.client_id = p.client_id
                 AND a.user_id = p.did AND NOT a.revoked AND a.expires_at > ",
    now!(),
    ") AS in_use,
         encode(sha256(convert_to(CAST(ROW(p.*, s.*) AS text), 'UTF8')), 'hex') AS content
     FROM app_passwords p
         LEFT JOIN app_password_sessions s ON s.client_id = p.client_id AND s.did = p.did
         LEFT JOIN did_documents d ON d.did = p.did
     ORDER BY p.client_id, p.did"
);

/// Live tokens of apps that belong to no session.
pub(crate) const ORPHAN_TOKENS: &str = concat!(
    "DECLARE import NO SCROLL CURSOR FOR
     SELECT 'access_tokens' AS place, client_id, user_id, session_id, ",
    began!("created_at"),
    " AS created_at FROM access_tokens t
     WHERE NOT revoked AND expires_at > ",
    now!(),
    " AND (user_id IS NULL OR session_id IS NULL OR NOT EXISTS (
             SELECT 1 FROM atp_oauth_sessions s WHERE s.session_id = t.session_id))
     UNION ALL
     SELECT 'refresh_tokens', client_id, user_id, session_id, ",
    began!("created_at"),
    " FROM refresh_tokens t
     WHERE NOT revoked AND (expires_at IS NULL OR expires_at > ",
    now!(),
    ") AND (session_id IS NULL OR NOT EXISTS (
             SELECT 1 FROM atp_oauth_sessions s WHERE s.session_id = t.session_id))"
);

/// A row of `oauth_clients`.
pub(crate) struct ClientRow {
    pub(crate) client_id: String,
    pub(crate) secret: Option<SecretString>,
    pub(crate) name: String,
    /// A JSON array, as the next.
    pub(crate) redirect_uris: String,
    pub(crate) grant_types: String,
    pub(crate) scope: Option<String>,
    pub(crate) auth_method: String,
    pub(crate) application_type: Option<String>,
    pub(crate) jwks: Option<String>,
    pub(crate) access_seconds: i64,
    pub(crate) refresh_seconds: i64,
    pub(crate) exact_redirects: bool,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

/// A session at a PDS, with what apps hold of it.
pub(crate) struct SessionRow {
    pub(crate) session_id: String,
    pub(crate) did: Option<String>,
    pub(crate) iteration: i64,
    pub(crate) newest: i64,
    pub(crate) signing_key_jkt: String,
    pub(crate) dpop_key: SecretString,
    pub(crate) access_token: Option<SecretString>,
    pub(crate) refresh_token: Option<SecretString>,
    /// A JSON array.
    pub(crate) scopes: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) refreshed_at: Option<i64>,
    pub(crate) access_expires_at: Option<i64>,
    pub(crate) document: Option<String>,
    pub(crate) access: Vec<AppToken>,
    pub(crate) refresh: Vec<AppToken>,
    /// How many there are, with those that are too old to be among `access`.
    pub(crate) access_total: i64,
    /// Likewise of `refresh`.
    pub(crate) refresh_total: i64,
    pub(crate) content: String,
}

/// A live token of an app.
#[derive(Deserialize)]
pub(crate) struct AppToken {
    pub(crate) token: String,
    pub(crate) client_id: String,
    pub(crate) user_id: String,
    pub(crate) scope: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) dpop_jkt: Option<String>,
}

pub(crate) struct AppPasswordRow {
    pub(crate) client_id: String,
    pub(crate) did: String,
    pub(crate) password: SecretString,
    pub(crate) access_token: Option<SecretString>,
    pub(crate) refresh_token: Option<SecretString>,
    pub(crate) iteration: i64,
    pub(crate) created_at: i64,
    pub(crate) refreshed_at: Option<i64>,
    pub(crate) access_expires_at: Option<i64>,
    pub(crate) document: Option<String>,
    pub(crate) in_use: bool,
    pub(crate) content: String,
}

/// A token without a session.
pub(crate) struct OrphanToken {
    pub(crate) table: String,
    pub(crate) client_id: String,
    pub(crate) user_id: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) created_at: i64,
}

fn secret(row: &PgRow, column: &'static str) -> Result<Option<SecretString>, sqlx::Error> {
    Ok(row.try_get::<Option<String>, _>(column)?.map(Into::into))
}

fn tokens(row: &PgRow, column: &'static str) -> Result<Vec<AppToken>, sqlx::Error> {
    let Some(json) = row.try_get::<Option<String>, _>(column)? else {
        return Ok(Vec::new());
    };
    // The error of the parser could quote a token.
    serde_json::from_str(&json).map_err(|_| sqlx::Error::Decode(column.into()))
}

impl TryFrom<&PgRow> for ClientRow {
    type Error = sqlx::Error;

    fn try_from(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            client_id: row.try_get("client_id")?,
            secret: secret(row, "client_secret")?,
            name: row.try_get("client_name")?,
            redirect_uris: row.try_get("redirect_uris")?,
            grant_types: row.try_get("grant_types")?,
            scope: row.try_get("scope")?,
            auth_method: row.try_get("token_endpoint_auth_method")?,
            application_type: row.try_get("application_type")?,
            jwks: row.try_get("jwks")?,
            access_seconds: row.try_get("access_token_expiration")?,
            refresh_seconds: row.try_get("refresh_token_expiration")?,
            exact_redirects: row.try_get("require_redirect_exact")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }
}

impl TryFrom<&PgRow> for SessionRow {
    type Error = sqlx::Error;

    fn try_from(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            session_id: row.try_get("session_id")?,
            did: row.try_get("did")?,
            iteration: row.try_get("iteration")?,
            newest: row.try_get("newest")?,
            signing_key_jkt: row.try_get("signing_key_jkt")?,
            dpop_key: row.try_get::<String, _>("dpop_key")?.into(),
            access_token: secret(row, "access_token")?,
            refresh_token: secret(row, "refresh_token")?,
            scopes: row.try_get("scopes")?,
            created_at: row.try_get("created_at")?,
            refreshed_at: row.try_get("refreshed_at")?,
            access_expires_at: row.try_get("access_expires_at")?,
            document: row.try_get("document")?,
            access: tokens(row, "access")?,
            refresh: tokens(row, "refresh")?,
            access_total: row.try_get("access_total")?,
            refresh_total: row.try_get("refresh_total")?,
            content: row.try_get("content")?,
        })
    }
}

impl TryFrom<&PgRow> for AppPasswordRow {
    type Error = sqlx::Error;

    fn try_from(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            client_id: row.try_get("client_id")?,
            did: row.try_get("did")?,
            password: row.try_get::<String, _>("app_password")?.into(),
            access_token: secret(row, "access_token")?,
            refresh_token: secret(row, "refresh_token")?,
            iteration: row.try_get("iteration")?,
            created_at: row.try_get("created_at")?,
            refreshed_at: row.try_get("refreshed_at")?,
            access_expires_at: row.try_get("access_expires_at")?,
            document: row.try_get("document")?,
            in_use: row.try_get("in_use")?,
            content: row.try_get("content")?,
        })
    }
}

impl TryFrom<&PgRow> for OrphanToken {
    type Error = sqlx::Error;

    fn try_from(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            table: row.try_get("place")?,
            client_id: row.try_get("client_id")?,
            user_id: row.try_get("user_id")?,
            session_id: row.try_get("session_id")?,
            created_at: row.try_get("created_at")?,
        })
    }
}
