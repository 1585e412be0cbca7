//! Which of several texts a setting has, and under which names it is known.

use std::time::Duration;

use crate::test_sources::TestSources;

#[test]
fn with_nothing_said_the_defaults_make_a_loopback_server() {
    let loaded = TestSources::empty().loaded();
    assert_eq!(loaded.external_base.as_str(), "http://127.0.0.1:8080");
    assert_eq!(
        loaded.database_url().to_string(),
        "sqlite://./aip-data/aip.db"
    );
    let config = loaded.config;
    assert_eq!(config.server.internal_listen.to_string(), "127.0.0.1:9090");
    assert_eq!(
        config.upstream.plc_urls[0].as_str(),
        "https://plc.directory"
    );
    assert_eq!(config.tokens.refresh_grace, Duration::from_secs(30));
    assert!(!config.upstream.development);
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\n";
    let sources = TestSources::empty().in_file(file);
    let listen = |sources: &TestSources| sources.shown("server.listen");
    let shown = |text: &str, source: &str| (text.to_owned(), source.to_owned());
    assert_eq!(
        listen(&TestSources::empty()),
        shown("127.0.0.1:8080", "default")
    );
    assert_eq!(listen(&sources), shown("127.0.0.1:1", "aip.toml:2"));
    let sources = sources.and_variables([("AIP_LISTEN", "127.0.0.1:2")]);
    assert_eq!(listen(&sources), shown("127.0.0.1:2", "AIP_LISTEN"));
    let sources = sources.flag("--listen", "server.listen", "127.0.0.1:3");
    assert_eq!(listen(&sources), shown("127.0.0.1:3", "--listen"));
}

#[test]
fn an_empty_variable_is_not_set() {
    let sources = TestSources::variables([("AIP_EXTERNAL_BASE", ""), ("AIP_LISTEN", "")]);
    assert_eq!(
        sources.loaded().external_base.as_str(),
        "http://127.0.0.1:8080"
    );
}

#[test]
fn the_external_base_follows_the_port_that_is_listened_on() {
    let base = |listen| {
        let sources = TestSources::variables([("AIP_LISTEN", listen)]);
        let base = sources.loaded().external_base.to_string();
        assert_eq!(sources.shown("server.external_base").0, base);
        base
    };
    assert_eq!(base("127.0.0.1:3000"), "http://127.0.0.1:3000");
    assert_eq!(base("[::1]:3000"), "http://[::1]:3000");
}

#[test]
fn in_development_others_are_on_this_machine() {
    for listen in ["0.0.0.0:3000", "[::]:3000"] {
        let sources = TestSources::variables([("AIP_LISTEN", listen), ("AIP_DEVELOPMENT", "true")]);
        let base = sources.loaded().external_base;
        assert_eq!(base.as_str(), "http://127.0.0.1:3000");
    }
}

#[test]
fn names_of_older_versions_are_read() {
    let sources = TestSources::variables([
        ("EXTERNAL_HOSTNAME", "aip.example.com"),
        ("PORT", "5100"),
        ("PG_DSN", "postgresql+asyncpg://aip:pw@db/aip"),
        ("PLC_HOSTNAME", "plc.example.com"),
        ("DNS_NAMESERVERS", "1.1.1.1, [2606:4700::1111]:5353"),
        ("ACTIVE_SIGNING_KEYS", r#"["new", "old"]"#),
        ("CLIENT_DEFAULT_ACCESS_TOKEN_EXPIRATION", "1d"),
        ("ATPROTO_CLIENT_NAME", "Example"),
        ("OAUTH_SUPPORTED_SCOPES", "atproto openid"),
        ("WORKER_ID", "aip-0"),
        ("REDIS_DSN", "redis://:pw@valkey/1"),
    ]);
    let loaded = sources.loaded();
    assert_eq!(loaded.external_base.as_str(), "https://aip.example.com");
    assert_eq!(loaded.database_url().to_string(), "postgres://***@db/aip");
    let config = loaded.config;
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:5100");
    assert_eq!(
        config.upstream.plc_urls[0].as_str(),
        "https://plc.example.com"
    );
    let servers = config.upstream.nameservers.iter();
    let servers: Vec<_> = servers.map(|server| server.0.to_string()).collect();
    assert_eq!(servers, ["1.1.1.1:53", "[2606:4700::1111]:5353"]);
    assert_eq!(config.keys.active_signing_keys, ["new", "old"]);
    assert_eq!(config.tokens.access_ttl, Duration::from_hours(24));
    assert_eq!(config.client_document.name, "Example");
    assert_eq!(config.client_document.scope, "atproto openid");
    assert_eq!(config.server.worker_id.as_deref(), Some("aip-0"));
    assert_eq!(config.redis.url.unwrap().expose(), "redis://:pw@valkey/1");
}

#[test]
fn networks_of_proxies_are_networks_or_addresses() {
    let sources =
        TestSources::variables([("AIP_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1,2001:db8::/32")]);
    let networks = sources.loaded().config.server.trusted_proxies;
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
}

#[test]
fn two_names_of_a_setting_may_agree_and_must_not_differ() {
    let agree = [
        ("AIP_EXTERNAL_BASE", "https://aip.example.com"),
        ("EXTERNAL_HOSTNAME", "aip.example.com"),
    ];
    assert!(TestSources::variables(agree).load().is_ok());
    let differ = [
        ("AIP_EXTERNAL_BASE", "https://aip.example.com"),
        ("EXTERNAL_HOSTNAME", "other.example.com"),
    ];
    assert_eq!(
        TestSources::variables(differ).refused(),
        [
            "server.external_base (AIP_EXTERNAL_BASE): EXTERNAL_HOSTNAME says something else; \
             set only one of them"
        ]
    );
}

#[test]
fn a_name_of_an_older_version_that_has_no_effect_is_shown_as_such() {
    let sources = TestSources::variables([("SVG_LOGO", "<svg/>"), ("PATH", "/bin")]);
    let (value, source) = sources.shown("SVG_LOGO");
    assert_eq!(
        (value.as_str(), source.as_str()),
        ("(no effect)", "SVG_LOGO")
    );
    assert!(
        sources
            .loaded()
            .display_rows()
            .iter()
            .all(|line| line.setting != "PATH")
    );
}

#[test]
fn the_file_has_lists_numbers_and_switches_of_its_own() {
    let config = TestSources::empty()
        .in_file(
            r#"
            server.max_connections = 10_000
            [upstream]
            plc_urls = ["https://mirror.example.com", "https://plc.directory"]
            extra_ports = [2583, 2584]
            development = true
            development_hosts = ["pds.test=127.0.0.1", "plc.test=127.0.0.1:2582"]
            "#,
        )
        .loaded()
        .config;
    assert_eq!(config.server.max_connections.get(), 10_000);
    assert_eq!(config.upstream.plc_urls.len(), 2);
    assert_eq!(config.upstream.extra_ports, [2583, 2584]);
    let hosts = config.upstream.development_hosts.iter();
    let ports: Vec<_> = hosts.map(|host| host.port).collect();
    assert_eq!(ports, [None, Some(2582)]);
}
