//! Mistakes: all of them in one message, each with its place, no secret among them.

use aip_base::DatabaseUrl;
use secrecy::ExposeSecret as _;

use crate::test_sources::TestSources;

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let problems = TestSources::variables([
        ("AIP_LISTEN", "8080"),
        ("AIP_EXTERNAL_BSE", "https://aip.example.com"),
    ])
    .in_file("[tokens]\nrefresh_grace = \"2m\"\n\n[servr]\n")
    .flag("--set", "log.format", "xml")
    .refused();
    assert_eq!(
        problems,
        [
            "AIP_EXTERNAL_BSE: there is no setting of this name; did you mean `AIP_EXTERNAL_BASE`?",
            "aip.toml:4: there is no section `servr`; did you mean `server`?",
            "server.listen (AIP_LISTEN): `8080`: expected ADDRESS:PORT, as in `127.0.0.1:8080` or \
             `[::1]:8080`",
            "log.format (--set): `xml`: expected `json` or `pretty`",
            "tokens.refresh_grace (aip.toml:2): at most 60 s",
        ]
    );
}

#[test]
fn what_is_no_network_and_no_url_of_valkey_is_refused_without_quoting_a_password() {
    let problems = TestSources::variables([
        ("AIP_TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/33"),
        ("AIP_REDIS_URL", "http://:hunter2@valkey"),
    ])
    .refused();
    assert_eq!(
        problems,
        [
            "server.trusted_proxies (AIP_TRUSTED_PROXIES): `10.0.0.0/8,10.0.0.0/33`: member 2: \
             expected ADDRESS/BITS or ADDRESS, as in `10.0.0.0/8` or `2001:db8::1`",
            "redis.url (AIP_REDIS_URL): expected `redis://…`, `rediss://…` or `unix://…`",
        ]
    );
}

#[test]
fn lives_and_limits_have_bounds() {
    for (name, value, bounds) in [
        ("AIP_ACCESS_TOKEN_TTL", "0s", "from 1s to 1d"),
        ("AIP_ACCESS_TOKEN_TTL", "2d", "from 1s to 1d"),
        ("AIP_REFRESH_TOKEN_TTL", "0s", "from 1s to 365d"),
        ("AIP_REFRESH_TOKEN_TTL", "36500d", "from 1s to 365d"),
        ("AIP_REFRESH_GRACE", "61s", "at most 60 s"),
        ("AIP_HEADER_TIMEOUT", "0s", "from 1ms to 1h"),
        ("AIP_HEADER_TIMEOUT", "2h", "from 1ms to 1h"),
        ("AIP_CONNECT_TIMEOUT", "0ms", "from 1ms to 1h"),
        ("AIP_DRAIN_TIMEOUT", "0s", "from 1ms to 1h"),
        ("AIP_SHUTDOWN_DELAY", "61m", "from 0s to 1h"),
    ] {
        let problems = TestSources::variables([(name, value)]).refused();
        assert!(
            problems[0].ends_with(bounds),
            "{name}={value}: {problems:?}"
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
    TestSources::variables([("AIP_REFRESH_GRACE", "0s"), ("AIP_SHUTDOWN_DELAY", "0s")]).loaded();
}

#[test]
fn nobody_trusts_the_whole_world_to_say_who_calls() {
    for networks in [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/8,0.0.0.0/0",
        "0.0.0.0/1,128.0.0.0/1",
        "2000::/3",
        "0.0.0.0/7",
    ] {
        let problems = TestSources::variables([("AIP_TRUSTED_PROXIES", networks)]).refused();
        assert!(
            problems[0].contains("server.trusted_proxies"),
            "{problems:?}"
        );
        assert!(problems[0].contains("nearly everybody"), "{problems:?}");
    }
    let private = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7,127.0.0.1,::1";
    TestSources::variables([("AIP_TRUSTED_PROXIES", private)]).loaded();
}

#[test]
fn what_is_like_nothing_gets_no_hint() {
    for name in ["AIP_TELEPORTATION_FREQUENCY", "AIP_FOO", "AIP_X"] {
        let problems = TestSources::variables([(name, "1")]).refused();
        let expected = format!("{name}: there is no setting of this name");
        assert_eq!(problems, [expected]);
    }
}

#[test]
fn no_message_and_no_list_shows_what_a_url_holds_before_its_host() {
    let refused = TestSources::variables([
        ("AIP_EXTERNAL_BASE", "https://aip:hunter2@id.example.org"),
        (
            "AIP_PLC_URLS",
            "https://plc.directory,https://:hunter2@plc.example.org",
        ),
        (
            "AIP_HANDLE_RESOLVERS",
            r#"["https://aip:hunter2@bsky.social"]"#,
        ),
        ("AIP_LISTEN", "aip:hunter2@127.0.0.1:8080"),
        ("AIP_DATABASE_URL_FILE", "postgres://aip:hunter2@db/aip"),
        ("AIP_STATSD_PORT", "udp://aip:hunter2@agent:8125"),
        ("AIP_LOG", "redis://:hunter2@valkey"),
    ])
    .flag("--set", "database.url:postgres://aip:hunter2@db/aip", "")
    .refused();
    assert_eq!(refused.len(), 8, "{refused:#?}");
    assert!(!refused.concat().contains("hunter2"), "{refused:#?}");
    assert!(refused.concat().contains("https://***@id.example.org"));

    let loaded = TestSources::variables([
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://aip:hunter2@collector:4318",
        ),
        (
            "AIP_CLIENT_LOGO",
            "https://logos.example.org/aip.png?token=hunter2",
        ),
        ("AIP_CLIENT_TOS", "https://aip:hunter2@example.org/tos"),
        ("AIP_BRAND_NAME", "https://aip:hunter2@example.org"),
    ])
    .loaded();
    let shown = format!("{:?}", loaded.display_rows());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("http://***@collector:4318/v1/traces"),
        "{shown}"
    );
}

#[test]
fn a_log_filter_that_would_end_the_log_without_a_word_is_refused() {
    for (text, words) in [
        (
            "warning",
            "`warning` is no level (did you mean `warn`?): expected off, error,",
        ),
        ("WARNING", "`WARNING` is no level (did you mean `warn`?)"),
        ("verbose", "`verbose` is no level: expected"),
        ("trace=", "`` is no level"),
        ("=debug", "nothing before `=`"),
        ("info,aip=loud", "`loud` is no level"),
        ("aip_sessions", "`aip_sessions` is no level"),
        ("3", "`3` is no level"),
        (",", "it is empty"),
        ("[request]=debug", "`[request]=debug` is about spans"),
    ] {
        for name in ["AIP_LOG", "RUST_LOG", "LOG_LEVEL"] {
            let problems = TestSources::variables([(name, text)]).refused();
            let source = format!("log.filter ({name}): `{text}`: ");
            assert!(problems[0].starts_with(&source), "{problems:?}");
            assert!(problems[0].contains(words), "{problems:?}");
        }
    }
    for text in [
        "INFO",
        "off",
        "info,aip_sessions=DEBUG",
        "warn, aip::x=trace",
    ] {
        let loaded = TestSources::variables([("AIP_LOG", text)]).loaded();
        assert_eq!(loaded.config.log.filter.as_str(), text);
    }
}

#[test]
fn what_kubernetes_says_of_services_is_no_setting() {
    let links = TestSources::variables([
        ("AIP_INGRESS_SERVICE_HOST", "10.0.0.1"),
        ("AIP_INGRESS_SERVICE_PORT_HTTP", "80"),
        ("AIP_INGRESS_PORT", "tcp://10.0.0.1:80"),
        ("AIP_INGRESS_PORT_80_TCP_ADDR", "10.0.0.1"),
    ]);
    links.loaded();
    let problems = TestSources::variables([("AIP_INGRESS_PORT", "tcp://10.0.0.1:80")]).refused();
    assert_eq!(problems.len(), 1, "no service of that name: {problems:?}");
}

#[test]
fn unknown_settings_of_file_and_flags_are_refused() {
    let problems = TestSources::empty()
        .in_file("top = 1\n[server]\nlisten_on = \"127.0.0.1:1\"\nlisten = { port = 1 }\n")
        .flag("--set", "server.listn", "127.0.0.1:1")
        .refused();
    assert_eq!(
        problems,
        [
            "--set: there is no setting `server.listn`; did you mean `server.listen`?",
            "aip.toml:1: there is no section `top`",
            "aip.toml:3: there is no setting `server.listen_on`; did you mean `listen`?",
            "aip.toml:4: `server.listen` is a single value or a list",
        ]
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_by_line_without_quoting_it() {
    let problems = TestSources::empty()
        .in_file("[database]\nurl = postgres://aip:hunter2@db\n")
        .refused();
    assert!(problems[0].starts_with("aip.toml:2: "), "{problems:?}");
    assert!(!problems.concat().contains("hunter2"), "{problems:?}");
}

#[test]
fn a_secret_is_read_from_the_file_that_its_twin_names() {
    let by_variable = TestSources::variables([("DATABASE_URL_FILE", "/run/db")])
        .secret_file("/run/db", "postgres://aip:hunter2@db/aip\n");
    let DatabaseUrl::Postgres(url) = by_variable.loaded().database_url() else {
        panic!("it is not the default");
    };
    assert_eq!(url.expose_secret(), "postgres://aip:hunter2@db/aip");
    let by_file = TestSources::empty()
        .in_file("[keys]\nmaster_keys_file = \"/run/keys\"\n")
        .secret_file("/run/keys", "{}");
    assert_eq!(
        by_file.shown("keys.master_keys"),
        (
            "(secret, set)".to_owned(),
            "file named by aip.toml:2".to_owned()
        )
    );
    let problems = TestSources::variables([("AIP_MASTER_KEYS_FILE", "/none")]).refused();
    assert_eq!(
        problems,
        ["keys.master_keys (AIP_MASTER_KEYS_FILE): cannot read `/none`: entity not found"]
    );
}

#[test]
fn no_message_and_no_display_holds_a_secret() {
    let problems = TestSources::variables([
        ("AIP_DATABASE_URL", "mysql://aip:hunter2@db"),
        ("PG_DSN", "postgres://aip:hunter3@db"),
    ])
    .refused();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(!problems.concat().contains("hunter"), "{problems:?}");

    let loaded = TestSources::variables([
        ("AIP_DATABASE_URL", "postgres://aip:hunter2@db"),
        ("AIP_JSON_WEB_KEYS", r#"{"keys": ["hunter2"]}"#),
    ])
    .loaded();
    let everything = format!("{:?} {:?}", loaded.config, loaded.display_rows());
    assert!(!everything.contains("hunter2"));
}

#[test]
fn an_external_base_is_an_https_origin_unless_loopback() {
    let refusal = |base: &str| {
        let problems = TestSources::variables([("AIP_EXTERNAL_BASE", base)]).refused();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.concat()
    };
    for path in ["/a//b", "/a/../b", "/a?x", "/a%20b"] {
        let refused = refusal(&format!("https://aip.example.com{path}"));
        assert!(refused.contains("single slashes"), "{path}: {refused}");
    }
    for path in ["/oauth", "/.well-known/aip", "/xrpc/"] {
        let refused = refusal(&format!("https://aip.example.com{path}"));
        assert!(refused.contains("begin with"), "{path}: {refused}");
        assert!(refused.contains("https://aip.example.com/aip"), "{refused}");
    }
    for path in ["", "/", "/aip", "/aip/", "/apps/sign-in"] {
        let base = format!("https://aip.example.com{path}");
        let loaded = TestSources::variables([("AIP_EXTERNAL_BASE", base.as_str())]).loaded();
        let expected = base.trim_end_matches('/');
        assert_eq!(loaded.external_base.as_str(), expected);
    }
    assert!(refusal("http://aip.example.com").contains("do without https"));
    assert!(refusal("aip.example.com").contains("starts with `https://`"));
    assert!(
        TestSources::variables([("AIP_EXTERNAL_BASE", "http://localhost:8080")])
            .load()
            .is_ok()
    );
}

#[test]
fn a_listener_for_others_needs_an_external_base() {
    for name_and_value in [
        ("AIP_LISTEN", "192.0.2.1:80"),
        ("AIP_LISTEN", "0.0.0.0:8080"),
        ("AIP_LISTEN", "[::]:8080"),
        ("PORT", "5100"),
        ("HTTP_PORT", "8080"),
    ] {
        let problems = TestSources::variables([name_and_value]).refused();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let words = "server.external_base (default): needed";
        assert!(problems[0].starts_with(words), "{problems:?}");
        assert!(problems[0].contains("AIP_EXTERNAL_BASE=https://HOST"));
        let with =
            TestSources::variables([name_and_value, ("EXTERNAL_HOSTNAME", "id.example.org")]);
        assert!(with.load().is_ok());
    }
    let probes = TestSources::variables([("AIP_INTERNAL_LISTEN", "0.0.0.0:9090")]);
    assert!(
        probes.load().is_ok(),
        "nobody is told the address of probes"
    );
}

#[test]
fn development_is_refused_under_a_public_base_unless_its_hosts_are_listed() {
    let public = || {
        TestSources::variables([
            ("AIP_EXTERNAL_BASE", "https://aip.example.com"),
            ("AIP_DEVELOPMENT", "true"),
        ])
    };
    let problems = public().refused();
    assert!(problems[0].starts_with("upstream.development (AIP_DEVELOPMENT): refused"));
    let listed = public().and_variables([("AIP_DEVELOPMENT_HOSTS", "pds.internal=127.0.0.1")]);
    assert!(!listed.loaded().opens_loopback(), "only what is listed");
    let loopback = TestSources::variables([("AIP_DEVELOPMENT", "true")]);
    assert!(loopback.loaded().opens_loopback());
    let https = loopback.and_variables([("AIP_EXTERNAL_BASE", "https://localhost:8443")]);
    assert!(https.loaded().opens_loopback());
    assert!(!TestSources::variables([]).loaded().opens_loopback());
}

#[test]
fn a_rotation_has_a_period_that_leaves_time_and_keys_of_its_own() {
    for (name, key) in [
        (
            "AIP_ROTATE_UPSTREAM_KEYS_EVERY",
            "keys.rotate_upstream_every",
        ),
        ("AIP_ROTATE_OIDC_KEYS_EVERY", "keys.rotate_oidc_every"),
    ] {
        for bad in ["0s", "10m", "1449m", "3651d"] {
            let problems = TestSources::variables([(name, bad)]).refused();
            assert_eq!(problems.len(), 1, "{problems:?}");
            let words = format!("{key} ({name}): from 1450m to 3650d: others go on");
            assert!(problems[0].starts_with(&words), "{problems:?}");
        }
        for no_period in ["90", "monthly", "-1d"] {
            let problems = TestSources::variables([(name, no_period)]).refused();
            assert!(
                problems[0].contains("expected a whole number"),
                "{problems:?}"
            );
        }
        for good in ["1450m", "90d"] {
            assert!(TestSources::variables([(name, good)]).load().is_ok());
        }
        let given = [(name, "90d"), ("AIP_JSON_WEB_KEYS", "keys.json")];
        let problems = TestSources::variables(given).refused();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("`aip keys import`"), "{problems:?}");
    }
    let named = [
        ("AIP_ROTATE_UPSTREAM_KEYS_EVERY", "90d"),
        ("AIP_ACTIVE_SIGNING_KEYS", "a"),
    ];
    let problems = TestSources::variables(named).refused();
    assert!(
        problems[0].contains("refused beside keys.active_signing_keys"),
        "{problems:?}"
    );
    let others = [
        ("AIP_ROTATE_OIDC_KEYS_EVERY", "90d"),
        ("AIP_ACTIVE_SIGNING_KEYS", "a"),
    ];
    assert!(TestSources::variables(others).load().is_ok());
}

#[test]
fn settings_that_need_each_other_come_together() {
    let alone = |name, text| TestSources::variables([(name, text)]).refused().concat();
    assert_eq!(
        alone("AIP_TLS_CERT_FILE", "cert.pem"),
        "server.tls_cert_file (AIP_TLS_CERT_FILE): needs server.tls_key_file too"
    );
    assert_eq!(
        alone("AIP_TLS_KEY_FILE", "key.pem"),
        "server.tls_key_file (AIP_TLS_KEY_FILE): needs server.tls_cert_file too"
    );
    assert_eq!(
        alone("AIP_DEVELOPMENT_HOSTS", "pds.test=127.0.0.1"),
        "upstream.development_hosts (AIP_DEVELOPMENT_HOSTS): needs upstream.development too"
    );
    assert_eq!(
        alone("AIP_INTERNAL_LISTEN", "127.0.0.1:8080"),
        "server.internal_listen (AIP_INTERNAL_LISTEN): the same as server.listen: probes and \
         metrics are not for the public"
    );
    assert_eq!(
        alone("AIP_ACCESS_TOKEN_TTL", "0s"),
        "tokens.access_ttl (AIP_ACCESS_TOKEN_TTL): from 1s to 1d"
    );
    assert!(
        alone("AIP_CLIENT_SCOPE", "atproto \u{7}")
            .starts_with("client_document.scope (AIP_CLIENT_SCOPE): ")
    );
    assert_eq!(
        alone("AIP_PLC_URLS", ","),
        "upstream.plc_urls (AIP_PLC_URLS): at least one is needed"
    );
}
