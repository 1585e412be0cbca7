//! The three servers that `aip-deploy` makes, each with a Sentinel: with the script of their containers, real
//! servers and loopback addresses for names.

use std::net::{Ipv4Addr, TcpListener};

use aip_shared_state::SharedState;
use aip_shared_state::valkey::COMMAND_TIMEOUT;
use aip_storage::rates::Verdict;
use aip_testkit::shared_state::{notices_hold, shared_nonces_hold};
use aip_testkit::valkey::{SERVER_TIMEOUT, ValkeyServer};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::{NOW, ONE_AN_HOUR, config, connected, until_it_works};

const SCRIPT: &str = include_str!("../../../aip-stack/src/desired/dependencies/valkey_of_three.sh");
const PASSWORD: &str = "correct-horse-battery-staple";

/// One Pod.
struct Pod {
    server: ValkeyServer,
    sentinel: ValkeyServer,
    _data: TempDir,
}

/// Three loopback addresses at which nobody listens on either port.
fn three_names() -> [String; 3] {
    let process = std::process::id();
    for subnet in 0..=u8::MAX {
        let [.., high, low] = (process.wrapping_mul(64) + u32::from(subnet)).to_be_bytes();
        let addresses = [1, 2, 3].map(|host| Ipv4Addr::new(127, high, low, host));
        let is_free = |address: &Ipv4Addr| {
            let mut ports = [6379, 26379].into_iter();
            ports.all(|port| TcpListener::bind((*address, port)).is_ok())
        };
        if addresses.iter().all(is_free) {
            return addresses.map(|address| address.to_string());
        }
    }
    panic!("no free addresses");
}

impl Pod {
    async fn start(name: &str, names: &[String; 3]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = data.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let password_file = file("password", PASSWORD);
        let configuration = file(
            "valkey.conf",
            &format!("requirepass {PASSWORD}\nmasterauth {PASSWORD}\n"),
        );
        let sentinel_file = data.path().join("sentinel.conf").display().to_string();
        let servers = names.join(" ");
        let variables = [
            ("SERVER_NAME", name),
            ("SERVERS", &servers),
            ("PASSWORD_FILE", &password_file),
            ("SENTINEL_FILE", &sentinel_file),
        ];
        let at = |port| ["-h", name, "-p", port, "-a", PASSWORD, "--no-auth-warning"];
        let folder = data.path().display().to_string();
        let server = ["server", &configuration, "--bind", name, "--port", "6379"];
        let server = [&server[..], &["--dir", &folder, "--appendonly", "yes"]].concat();
        let server = ValkeyServer::of_script(SCRIPT, &server, &variables, &at("6379")).await;
        let sentinel = ["sentinel", "--bind", name, "--port", "26379"];
        let sentinel = ValkeyServer::of_script(SCRIPT, &sentinel, &variables, &at("26379")).await;
        Self {
            server,
            sentinel,
            _data: data,
        }
    }

    async fn is_replica(&self) -> bool {
        self.server.cli(&["ROLE"]).await.starts_with("slave")
    }

    /// Whom its Sentinel takes for the primary.
    async fn primary(&self) -> String {
        let named = ["--raw", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "aip"];
        let named = self.sentinel.cli(&named).await;
        named.lines().next().unwrap_or_default().to_owned()
    }

    /// Whether its Sentinel knows two others, and two replicas.
    async fn is_settled(&self) -> bool {
        let quorum = self.sentinel.cli(&["SENTINEL", "CKQUORUM", "aip"]).await;
        let all = self.sentinel.cli(&["INFO", "sentinel"]).await;
        quorum.starts_with("OK 3") && all.contains("slaves=2,sentinels=3")
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + 2 * SERVER_TIMEOUT;
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_three_servers_of_a_stack_are_used_through_a_failover() {
    let names = three_names();
    let mut first = Pod::start(&names[0], &names).await;
    let second = Pod::start(&names[1], &names).await;
    let third = Pod::start(&names[2], &names).await;
    assert!(!first.is_replica().await && second.is_replica().await && third.is_replica().await);
    until("all know each other", async || {
        let pods = [&first, &second, &third];
        let mut settled = true;
        for pod in pods {
            settled &= pod.is_settled().await;
        }
        settled
    })
    .await;

    let hosts = names.each_ref().map(|name| format!("{name}:26379"));
    let url = |of_servers: &str, of_sentinels: &str| {
        let hosts = hosts.join(",");
        format!("redis+sentinel://:{of_servers}@{hosts}/aip/0?sentinel_password={of_sentinels}")
    };
    for (wrong, words) in [
        (url(PASSWORD, "another"), "no Sentinel names a primary"),
        (url("another", PASSWORD), names[0].as_str()),
    ] {
        let refused = config(&wrong).check().await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let url = url(PASSWORD, PASSWORD);
    let (valkey, other) = (connected(&url).await, connected(&url).await);
    let shared = SharedState::local().behind(&valkey);
    let take = || shared.rates.take("somebody", ONE_AN_HOUR, NOW);
    assert_eq!(take().await.unwrap(), Verdict::Permitted);
    assert_ne!(take().await.unwrap(), Verdict::Permitted);

    // The node of the primary and of its Sentinel goes. What stands behind Valkey answers meanwhile.
    first.server.kill().await;
    first.sentinel.kill().await;
    assert_eq!(take().await.unwrap(), Verdict::Permitted);
    let began = Instant::now();
    for _ in 0..20 {
        assert_ne!(take().await.unwrap(), Verdict::Permitted);
    }
    assert!(
        // If each of them waited for Valkey, it were 20 times that.
        began.elapsed() < 10 * COMMAND_TIMEOUT,
        "an outage holds nobody up"
    );
    until_it_works(&valkey).await;
    until_it_works(&other).await;
    assert!(second.is_replica().await != third.is_replica().await);
    shared_nonces_hold(&*valkey).await;
    notices_hold(&*valkey, &*other).await;
    let primary = second.primary().await;
    assert!(names[1..].contains(&primary), "{primary}");

    // It is back elsewhere, and joins the others from the beginning.
    first.server.begin().await;
    assert!(first.is_replica().await);
    first.sentinel.begin().await;
    assert_eq!(first.primary().await, primary);
    until("all know each other again", async || {
        first.is_settled().await && third.is_settled().await
    })
    .await;
}
