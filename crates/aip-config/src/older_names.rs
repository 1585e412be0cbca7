//! Names in the environment that AIP 1 or 2 knew and that have no effect here. Who sets one relies
//! on something that is not done, so it is told.

use crate::Sources;

/// The names, each with what is so instead.
const NAMES: &[(&str, &str)] = &[
    (
        "APP_PASSWORD_ACCESS_TOKEN_EXPIRY",
        "tokens live as long as their PDS says",
    ),
    (
        "APP_PASSWORD_REFRESH_TOKEN_EXPIRY",
        "tokens live as long as their PDS says",
    ),
    (
        "ATPROTO_OAUTH_SIGNING_KEYS",
        "only `aip import aip-v2` uses these keys; AIP_JSON_WEB_KEYS takes a JWK Set",
    ),
    (
        "BACKGROUND_FROM",
        "pages have the colours of the style sheet",
    ),
    ("BACKGROUND_TO", "pages have the colours of the style sheet"),
    (
        "CLIENT_DEFAULT_REDIRECT_EXACT",
        "redirect URIs are always compared exactly",
    ),
    ("DEBUG", "AIP_LOG=debug makes the log more talkative"),
    ("DPOP_NONCE_SEED", "DPoP nonces need no seed"),
    (
        "ENABLE_CLIENT_API",
        "apps are registered with `aip clients create`",
    ),
    (
        "ENCRYPTION_KEY",
        "the database is sealed with the keys of AIP_MASTER_KEYS",
    ),
    ("FORM_COLOR", "pages have the colours of the style sheet"),
    ("HTTP_STATIC_PATH", "pages are part of the program"),
    ("HTTP_TEMPLATES_PATH", "pages are part of the program"),
    (
        "OAUTH_REFRESH_MAX_RETRIES",
        "a session is tried again until it is known to be over",
    ),
    (
        "OAUTH_REFRESH_RETRY_BASE_DELAY",
        "the pause between tries is not a setting",
    ),
    (
        "OAUTH_SIGNING_KEYS",
        "only `aip import aip-v2` uses these keys; AIP_JSON_WEB_KEYS takes a JWK Set",
    ),
    (
        "REFRESH_QUEUE_APP_PASSWORD",
        "what is due for a refresh is read from the database",
    ),
    (
        "REFRESH_QUEUE_OAUTH",
        "what is due for a refresh is read from the database",
    ),
    (
        "SERVICE_AUTH_KEYS",
        "the keys of the purpose `service_auth` in the key set are those of service authentication",
    ),
    (
        "STORAGE_BACKEND",
        "AIP_DATABASE_URL says which database is used",
    ),
    ("SVG_LOGO", "pages show no logo"),
    ("TEXT_COLOR", "pages have the colours of the style sheet"),
    (
        "TOKEN_REFRESH_BEFORE_EXPIRY_RATIO",
        "when a session is refreshed is not a setting",
    ),
];

/// Those that are set; an empty one is not.
pub(crate) fn set<'a>(
    sources: &'a Sources<'_>,
) -> impl Iterator<Item = (&'static str, &'static str)> + use<'a> {
    let text = |name: &str| sources.environment.get(name);
    NAMES
        .iter()
        .copied()
        .filter(move |(name, _)| text(name).is_some_and(|text| !text.is_empty()))
}
