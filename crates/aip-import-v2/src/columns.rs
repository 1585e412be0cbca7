//! The tables and columns of AIP v2.2.2 that are read.

/// The versions of its migrations.
pub(crate) const MIGRATIONS: std::ops::RangeInclusive<i64> = 1..=13;

/// Each table with its columns.
pub(crate) const COLUMNS: &[(&str, &[&str])] = &[
    (
        "oauth_clients",
        &[
            "client_id",
            "client_secret",
            "client_name",
            "redirect_uris",
            "grant_types",
            "scope",
            "token_endpoint_auth_method",
            "created_at",
            "updated_at",
            "access_token_expiration",
            "refresh_token_expiration",
            "require_redirect_exact",
            "jwks",
            "application_type",
        ],
    ),
    (
        "atp_oauth_sessions",
        &[
            "session_id",
            "did",
            "iteration",
            "session_created_at",
            "signing_key_jkt",
            "dpop_key",
            "access_token",
            "refresh_token",
            "access_token_created_at",
            "access_token_expires_at",
            "access_token_scopes",
        ],
    ),
    (
        "access_tokens",
        &[
            "token",
            "client_id",
            "user_id",
            "session_id",
            "scope",
            "created_at",
            "expires_at",
            "revoked",
            "dpop_jkt",
        ],
    ),
    (
        "refresh_tokens",
        &[
            "token",
            "access_token",
            "client_id",
            "user_id",
            "session_id",
            "scope",
            "created_at",
            "expires_at",
            "revoked",
        ],
    ),
    (
        "app_passwords",
        &["client_id", "did", "app_password", "created_at"],
    ),
    (
        "app_password_sessions",
        &[
            "client_id",
            "did",
            "access_token",
            "refresh_token",
            "access_token_created_at",
            "access_token_expires_at",
            "iteration",
        ],
    ),
    ("did_documents", &["did", "document"]),
];
