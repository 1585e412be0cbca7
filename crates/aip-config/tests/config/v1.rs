//! The settings of AIP v1 (Python): each of its names works, has no effect and says so, or is refused with a
//! reason; and what belongs to `compat.v1`.

use crate::test_sources::TestSources;

/// A deployment of v1, with all that it named.
fn deployment() -> TestSources {
    TestSources::variables([
        ("EXTERNAL_HOSTNAME", "auth.example.com"),
        ("PORT", "5100"),
        ("PG_DSN", "postgresql+asyncpg://aip:pw@db/aip"),
        ("REDIS_DSN", "redis://valkey:6379/1?decode_responses=True"),
        ("PLC_HOSTNAME", "plc.directory"),
        ("SENTRY_DSN", "https://key@sentry.example/1"),
        ("JSON_WEB_KEYS", "/etc/aip/keys.json"),
        ("ACTIVE_SIGNING_KEYS", r#"["01JAB"]"#),
        ("WORKER_ID", "aip-0"),
        ("TELEGRAF_HOST", "telegraf"),
        ("TELEGRAF_PORT", "8125"),
        ("STATSD_PREFIX", "aip"),
        ("BRAND_NAME", "Example"),
        ("ALLOWED_DOMAINS", "app.example.com"),
        ("DESTINATION", "https://app.example.com/signed-in"),
        ("DEFAULT_DESTINATION", "https://app.example.com/"),
    ])
}

#[test]
fn each_name_of_v1_works_or_says_that_it_has_no_effect() {
    let idle = [
        ("DEBUG", "true"),
        ("SERVICE_AUTH_KEYS", r#"["01JAC"]"#),
        ("ENCRYPTION_KEY", "c2VjcmV0"),
        ("REFRESH_QUEUE_OAUTH", "refresh_queue:oauth"),
        ("REFRESH_QUEUE_APP_PASSWORD", "refresh_queue:app_password"),
        ("APP_PASSWORD_ACCESS_TOKEN_EXPIRY", "720"),
        ("APP_PASSWORD_REFRESH_TOKEN_EXPIRY", "7776000"),
        ("TOKEN_REFRESH_BEFORE_EXPIRY_RATIO", "0.8"),
        ("OAUTH_REFRESH_MAX_RETRIES", "3"),
        ("OAUTH_REFRESH_RETRY_BASE_DELAY", "300"),
        ("SVG_LOGO", "<svg/>"),
        ("BACKGROUND_FROM", "#000"),
        ("BACKGROUND_TO", "#111"),
        ("TEXT_COLOR", "#fff"),
        ("FORM_COLOR", "#eee"),
    ];
    let on = [
        ("AIP_COMPAT_V1", "true"),
        ("AIP_COMPAT_V1_CLIENT", "v1-apps"),
    ];
    let loaded = deployment().and_variables(idle).and_variables(on).loaded();
    assert_eq!(loaded.warnings.len(), idle.len(), "{:?}", loaded.warnings);
    let origins: Vec<_> = loaded
        .v1_origins()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(origins, ["https://app.example.com"]);
    let compat = loaded.config.compat;
    assert!(compat.v1);
    assert_eq!(compat.v1_client.as_deref(), Some("v1-apps"));
    let destination = "https://app.example.com/signed-in";
    assert_eq!(compat.v1_destination.as_deref(), Some(destination));
    let destination = "https://app.example.com/";
    assert_eq!(compat.v1_default_destination.as_deref(), Some(destination));
}

#[test]
fn without_the_switch_nothing_of_v1_is_judged() {
    let sources = deployment().and_variables([("ALLOWED_DOMAINS", "*.example.com")]);
    let loaded = sources.loaded();
    assert!(!loaded.config.compat.v1);
    assert!(loaded.v1_origins().is_empty());
    assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);
}

#[test]
fn the_switch_needs_a_client_and_origins_that_are_some() {
    let refused = |more: &[(&str, &str)]| {
        let mut sources = deployment().and_variables([("AIP_COMPAT_V1", "true")]);
        for (name, text) in more {
            sources = sources.and_variables([(*name, *text)]);
        }
        sources.refused()
    };
    let problems = refused(&[]);
    assert_eq!(problems.len(), 1);
    let words = "compat.v1 (AIP_COMPAT_V1): needs compat.v1_client too";
    assert!(problems[0].starts_with(words), "{problems:?}");
    let client = ("AIP_COMPAT_V1_CLIENT", "v1-apps");
    for origin in [
        "*",
        "*.example.com",
        "https://app.example.com/path",
        "ftp://app.example.com",
        "app.example.com https://b.example",
    ] {
        let problems = refused(&[client, ("ALLOWED_DOMAINS", origin)]);
        assert_eq!(problems.len(), 1, "{origin}");
        let words = format!("compat.v1_origins (ALLOWED_DOMAINS): `{origin}`");
        assert!(problems[0].starts_with(&words), "{problems:?}");
    }
    let problems = refused(&[client, ("AIP_REQUIRE_PUSHED_REQUESTS", "true")]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("clients.require_pushed_requests"));
}
