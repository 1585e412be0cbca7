//! URLs of servers: what they mean, and that their passwords are never shown.

use std::path::PathBuf;

use aip_shared_state::valkey::{HostPort, Servers, ValkeyUrl, ValkeyUrlError};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

fn parse(text: &str) -> ValkeyUrl {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn host(host: &str, port: u16) -> HostPort {
    HostPort {
        host: host.to_owned(),
        port,
    }
}

#[test]
fn one_server_is_named_by_host_port_and_database() {
    for (text, expected, database, tls) in [
        ("redis://valkey", host("valkey", 6379), 0, false),
        ("redis://valkey/", host("valkey", 6379), 0, false),
        ("redis://10.0.0.1:7000/3", host("10.0.0.1", 7000), 3, false),
        (
            "rediss://valkey.example/15",
            host("valkey.example", 6379),
            15,
            true,
        ),
        ("valkeys://valkey?db=2", host("valkey", 6379), 2, true),
        (
            "redis://[2001:db8::1]:7000",
            host("2001:db8::1", 7000),
            0,
            false,
        ),
        ("redis://[::1]", host("::1", 6379), 0, false),
    ] {
        let url = parse(text);
        assert_eq!(url.servers, Servers::One(expected), "{text}");
        assert_eq!((url.database, url.tls), (database, tls), "{text}");
    }
}

#[test]
fn a_unix_socket_is_named_by_its_path() {
    for text in [
        "unix:///run/valkey.sock?db=4",
        "redis+unix:///run/valkey.sock?db=4",
    ] {
        let url = parse(text);
        assert_eq!(
            url.servers,
            Servers::Socket(PathBuf::from("/run/valkey.sock"))
        );
        assert_eq!(url.database, 4);
    }
}

#[test]
fn sentinels_have_a_service_and_perhaps_a_login_of_their_own() {
    let url = parse(
        "rediss+sentinel://aip:data@one,two:7000/main/2?sentinel_username=s&sentinel_password=watch",
    );
    let Servers::Sentinel(sentinels) = &url.servers else {
        panic!("{url:?}");
    };
    assert_eq!(sentinels.hosts, [host("one", 26379), host("two", 7000)]);
    assert_eq!(sentinels.service, "main");
    assert_eq!((url.database, url.tls), (2, true));
    let secret =
        |it: &Option<secrecy::SecretString>| it.as_ref().map(|it| it.expose_secret().to_owned());
    assert_eq!(url.login.user.as_deref(), Some("aip"));
    assert_eq!(secret(&url.login.password).as_deref(), Some("data"));
    assert_eq!(sentinels.login.user.as_deref(), Some("s"));
    assert_eq!(secret(&sentinels.login.password).as_deref(), Some("watch"));
}

#[test]
fn a_cluster_is_named_by_scheme_or_parameter() {
    let hosts = vec![host("one", 6379), host("two", 7001)];
    for text in [
        "redis+cluster://one,two:7001",
        "redis://one,two:7001?cluster=true",
    ] {
        assert_eq!(
            parse(text).servers,
            Servers::Cluster(hosts.clone()),
            "{text}"
        );
    }
}

#[test]
fn a_password_is_decoded_and_never_shown() {
    for (text, user, password) in [
        ("redis://:p%40ss%3aw%2Frd@valkey", None, "p@ss:w/rd"),
        ("redis://aip:a:b@valkey", Some("aip"), "a:b"),
        ("unix://aip:hidden@/run/valkey.sock", Some("aip"), "hidden"),
    ] {
        let url = parse(text);
        assert_eq!(url.login.user.as_deref(), user, "{text}");
        let given = url.login.password.as_ref().unwrap();
        assert_eq!(given.expose_secret(), password, "{text}");
        let shown = format!("{url} {url:?}");
        assert!(!shown.contains(password), "{shown}");
    }
}

#[test]
fn what_is_wrong_with_a_url_is_said() {
    use ValkeyUrlError as E;
    for (text, expected) in [
        ("valkey:6379", E::Scheme),
        ("http://valkey", E::Scheme),
        ("redis+other://valkey", E::Scheme),
        ("rediss+unix:///run/valkey.sock", E::Scheme),
        ("redis://", E::NoHost),
        ("redis:///1", E::NoHost),
        ("unix://", E::NoHost),
        ("unix://valkey/run", E::NoHost),
        ("redis://one,two", E::SeveralHosts),
        ("redis://val key", E::Host(1)),
        ("redis+cluster://one,two:seven", E::Host(2)),
        ("redis+cluster://one,,two", E::Host(2)),
        ("redis://[::1", E::Host(1)),
        ("redis+sentinel://one:26379", E::NoService),
        ("redis+sentinel://one:26379/", E::NoService),
        ("redis://valkey/first", E::Database),
        ("redis://valkey/-1", E::Database),
        ("redis://valkey?db=x", E::Database),
        ("redis://valkey/1/2", E::Path),
        ("redis+cluster://valkey/1", E::ClusterDatabase),
        ("redis://:%ff@valkey", E::Encoding("the password")),
        ("redis://valkey?timeout=1", E::Parameter),
        ("redis://valkey?insecure", E::Parameter),
    ] {
        let error = text.parse::<ValkeyUrl>().map(|url| url.to_string());
        assert_eq!(error, Err(expected), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_no_error_quotes_a_password(text in "\\PC{0,60}") {
        let _ = text.parse::<ValkeyUrl>();
        let with = format!("redis://u:hunter2@{text}");
        if let Err(error) = with.parse::<ValkeyUrl>() {
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains("hunter2"));
        }
    }

    #[test]
    fn what_is_shown_reads_as_the_same_servers(
        hosts in prop::collection::vec(("[a-z][a-z0-9.-]{0,20}", 1_u16..), 1..4),
        scheme in prop::sample::select(vec!["redis+cluster", "rediss+cluster"]),
    ) {
        let hosts: Vec<String> = hosts.iter().map(|(name, port)| format!("{name}:{port}")).collect();
        let url = parse(&format!("{scheme}://{}", hosts.join(",")));
        prop_assert_eq!(parse(&url.to_string()).servers, url.servers);
    }
}
