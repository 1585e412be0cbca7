//! TLS, passwords, databases, Sentinels and clusters, with real servers.

use std::io::Write as _;

use aip_shared_state::valkey::ValkeyConfig;
use aip_storage::notices::{Notice, Notices as _};
use aip_storage::rates::{RateLimits as _, Verdict};
use aip_testkit::shared_state::{notices_hold, rate_limits_hold, shared_nonces_hold, until_heard};
use aip_testkit::valkey::{SERVER_TIMEOUT, ValkeyServer, free_ports};
use rcgen::generate_simple_self_signed;
use tokio::time::{Instant, sleep};

use crate::support::{NOW, ONE_AN_HOUR, config, connected, start, until_it_works};

#[tokio::test]
async fn tls_needs_a_certificate_of_a_trusted_authority_for_this_name() {
    let [port] = free_ports();
    let pair = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let _server = ValkeyServer::with_tls(port, &certificate, &key).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(certificate.as_bytes()).unwrap();
    let with_authority = |url: String| {
        let url = url.parse().unwrap();
        ValkeyConfig::new(url, Some(&file.path().to_owned())).unwrap()
    };

    let trusted = with_authority(format!("rediss://localhost:{port}"));
    trusted.check().await.unwrap();
    let valkey = start(trusted);
    assert!(valkey.wait(SERVER_TIMEOUT).await);
    rate_limits_hold(&*valkey).await;

    // The system's authorities do not know it.
    let unknown = config(&format!("rediss://localhost:{port}"));
    assert!(unknown.check().await.is_err());
    let another_name = with_authority(format!("rediss://127.0.0.1:{port}"));
    assert!(another_name.check().await.is_err());
    let in_the_clear = config(&format!("redis://localhost:{port}"));
    assert!(in_the_clear.check().await.is_err());
}

#[tokio::test]
async fn a_file_without_certificates_is_named() {
    let path = tempfile::NamedTempFile::new().unwrap();
    let url = "rediss://localhost".parse().unwrap();
    let error = ValkeyConfig::new(url, Some(&path.path().to_owned())).unwrap_err();
    let expected = format!("{}: it contains no PEM certificate", path.path().display());
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn user_password_and_database_are_used() {
    let [port] = free_ports();
    let server = ValkeyServer::listening(port, &[]).await;
    // What the operator's guide says such a user needs.
    let rule = "ACL SETUSER aip on >p@ss:w/rd ~aip:* &aip:* \
                +@read +@write +@connection +@scripting +@pubsub +role";
    let rule: Vec<&str> = rule.split(' ').filter(|it| !it.is_empty()).collect();
    server.cli(&rule).await;
    server.cli(&["CONFIG", "SET", "requirepass", "other"]).await;

    let valkey = connected(&format!("redis://aip:p%40ss%3Aw%2Frd@127.0.0.1:{port}/7")).await;
    let verdict = valkey.take("somebody", ONE_AN_HOUR, NOW).await;
    assert_eq!(verdict.unwrap(), Verdict::Permitted);
    let in_seven = ["-a", "other", "--no-auth-warning", "-n", "7", "KEYS", "*"];
    assert_eq!(server.cli(&in_seven).await, "aip:rate:somebody");

    let wrong = config(&format!("redis://aip:secret-guess@127.0.0.1:{port}/7"));
    let error = wrong.check().await.unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("secret-guess"),
        "{error:?}"
    );
    let nobody = config(&format!("redis://127.0.0.1:{port}"));
    assert!(nobody.check().await.is_err());
}

#[tokio::test]
async fn the_primary_is_found_through_sentinels_and_found_again_after_a_failover() {
    let [primary, replica, one, two, three] = free_ports();
    let mut first = ValkeyServer::listening(primary, &[]).await;
    let of = ["--replicaof", "127.0.0.1", &primary.to_string()].map(str::to_owned);
    let of: Vec<&str> = of.iter().map(String::as_str).collect();
    let second = ValkeyServer::listening(replica, &of).await;
    let configuration = format!(
        "sentinel monitor aip 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds aip 500\n\
         sentinel failover-timeout aip 5000\n"
    );
    let mut sentinels = Vec::new();
    for port in [one, two, three] {
        sentinels.push(ValkeyServer::sentinel(port, &configuration).await);
    }
    until(async || {
        let known = sentinels[0].cli(&["SENTINEL", "CKQUORUM", "aip"]).await;
        let synced = second.cli(&["INFO", "replication"]).await;
        let seen = sentinels[0].cli(&["SENTINEL", "REPLICAS", "aip"]).await;
        known.starts_with("OK 3") && synced.contains("master_link_status:up") && !seen.is_empty()
    })
    .await;

    // Nobody listens at the first one.
    let [nobody] = free_ports();
    let url = format!(
        "redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{one},127.0.0.1:{two},127.0.0.1:{three}/aip"
    );
    let valkey = connected(&url).await;
    rate_limits_hold(&*valkey).await;
    first.kill().await;
    until_it_works(&valkey).await;
    let role = second.cli(&["ROLE"]).await;
    assert!(role.starts_with("master"), "{role}");
    shared_nonces_hold(&*valkey).await;
    notices_hold(&*valkey, &*connected(&url).await).await;

    let unknown = url.replace("/aip", "/other");
    let error = config(&unknown).check().await.unwrap_err().to_string();
    assert!(
        error.contains("no Sentinel names a primary of `other`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_cluster_is_used_whole() {
    let ports: [u16; 3] = cluster_ports();
    let mut nodes = Vec::new();
    for port in ports {
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        nodes.push(ValkeyServer::listening(port, &arguments).await);
    }
    let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
    let create = [
        "--cluster",
        "create",
        &addresses[0],
        &addresses[1],
        &addresses[2],
    ];
    nodes[0]
        .cli(&[&create[..], &["--cluster-yes"]].concat())
        .await;
    until(async || {
        let mut agreed = true;
        for node in &nodes {
            agreed &= node
                .cli(&["CLUSTER", "INFO"])
                .await
                .contains("cluster_state:ok");
        }
        agreed
    })
    .await;

    // One of them leads to all.
    for url in [
        format!("redis+cluster://{}", addresses.join(",")),
        format!("redis://{}/?cluster=true", addresses[1]),
    ] {
        let (here, there) = (connected(&url).await, connected(&url).await);
        rate_limits_hold(&*here).await;
        shared_nonces_hold(&*here).await;
        notices_hold(&*here, &*there).await;
        for key in 0..100 {
            let verdict = here.take(&format!("key {key}"), ONE_AN_HOUR, NOW).await;
            assert_eq!(verdict.unwrap(), Verdict::Permitted);
        }
        for node in &nodes {
            assert_ne!(node.cli(&["DBSIZE"]).await, "0", "each holds a part");
            node.wipe().await;
        }
        let mut listener = there.subscribe();
        nodes[0].cli(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        nodes[0].cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        until_it_works(&here).await;
        let row = "0192f3a4-7b1c-7def-8abc-0123456789ab";
        let notice = Notice::SessionSettled(row.parse().unwrap());
        until_heard(&*here, &notice, &mut listener).await;
    }
}

/// Ports whose cluster bus, 10,000 further up, is a port too.
fn cluster_ports() -> [u16; 3] {
    let candidates: [u16; 40] = free_ports();
    let mut low = candidates.into_iter().filter(|port| *port < 55_000);
    [(); 3].map(|()| low.next().expect("some free ports are below 55,000"))
}

async fn until(condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + SERVER_TIMEOUT;
    while !condition().await {
        assert!(Instant::now() < deadline, "it does not come true");
        sleep(std::time::Duration::from_millis(50)).await;
    }
}
