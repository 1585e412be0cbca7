//! What is set and does nothing is told, and does not stop anybody.

use std::path::PathBuf;

use crate::test_sources::TestSources;

fn warnings(sources: &TestSources) -> Vec<String> {
    let loaded = sources.loaded();
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_name_of_an_older_version_that_has_no_effect_is_reported_with_what_is_so_instead() {
    let told = warnings(&TestSources::variables([
        ("ENCRYPTION_KEY", "secret"),
        ("REFRESH_QUEUE_OAUTH", "refresh_queue:oauth"),
        ("TEXT_COLOR", "#fff"),
        ("ATPROTO_OAUTH_SIGNING_KEYS", "did:key:z"),
        ("SVG_LOGO", ""),
        ("PATH", "/bin"),
    ]));
    assert_eq!(
        told,
        [
            "ATPROTO_OAUTH_SIGNING_KEYS: a name of an older version that has no effect: only `aip \
             import aip-v2` uses these keys; AIP_JSON_WEB_KEYS takes a JWK Set",
            "ENCRYPTION_KEY: a name of an older version that has no effect: the database is sealed \
             with the keys of AIP_MASTER_KEYS",
            "REFRESH_QUEUE_OAUTH: a name of an older version that has no effect: what is due for a \
             refresh is read from the database",
            "TEXT_COLOR: a name of an older version that has no effect: pages have the colours of the \
             style sheet",
        ]
    );
    assert!(!told.concat().contains("secret"));
}

#[test]
fn a_setting_that_has_an_effect_only_beside_another_is_told_without_it() {
    let alone = TestSources::variables([
        ("AIP_REDIS_CA_FILE", "ca.pem"),
        ("STATSD_PREFIX", "auth"),
        ("AIP_OTLP_HEADERS", "authorization=x"),
        ("AIP_ENVIRONMENT", "staging"),
        ("ALLOWED_DOMAINS", "*"),
        ("DESTINATION", "https://app.example/"),
        ("DEFAULT_DESTINATION", "https://app.example/home"),
    ]);
    assert_eq!(
        warnings(&alone),
        [
            "compat.v1_default_destination (DEFAULT_DESTINATION): has no effect without compat.v1",
            "compat.v1_destination (DESTINATION): has no effect without compat.v1",
            "compat.v1_origins (ALLOWED_DOMAINS): has no effect without compat.v1",
            "redis.ca_file (AIP_REDIS_CA_FILE): has no effect without redis.url",
            "telemetry.statsd_prefix (STATSD_PREFIX): has no effect without telemetry.statsd_host",
            "telemetry.otlp_headers (AIP_OTLP_HEADERS): has no effect without \
             telemetry.otlp_traces_url",
            "telemetry.environment (AIP_ENVIRONMENT): has no effect without telemetry.sentry_dsn",
        ]
    );
    let together = TestSources::variables([("STATSD_PREFIX", "auth"), ("TELEGRAF_HOST", "agent")]);
    assert!(warnings(&together).is_empty());
    assert!(warnings(&TestSources::empty()).is_empty());
}

#[test]
fn the_files_that_secrets_are_read_from_are_known() {
    let sources = TestSources::variables([
        ("AIP_MASTER_KEYS_FILE", "/run/master"),
        ("JSON_WEB_KEYS", "/run/keys.json"),
        ("AIP_TLS_CERT_FILE", "/run/cert.pem"),
        ("AIP_TLS_KEY_FILE", "/run/key.pem"),
        ("AIP_LISTEN", "127.0.0.1:1"),
    ])
    .in_file("[redis]\nurl = \"redis://:hunter2@valkey\"\n")
    .secret_file("/run/master", "{}");
    let files = ["/run/key.pem", "/run/keys.json", "/run/master", "aip.toml"];
    assert_eq!(sources.loaded().secret_files(), files.map(PathBuf::from));
    let none = TestSources::empty().in_file("[log]\nformat = \"json\"\n");
    assert!(none.loaded().secret_files().is_empty());
}
