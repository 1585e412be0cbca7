//! `aip doctor`: a healthy installation has no failing line, and whatever is broken has its own.

mod postgres;

use std::net::TcpListener;
use std::path::Path;

use aip_sandbox::{NameServer, Sandbox, SandboxOptions};
use aip_testkit::valkey::{ValkeyServer, free_ports};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use crate::command::{CommandOutput, Variables, aip};
use crate::contents::session;
use crate::server::Server;

/// The lines of the doctor, by the name of their check.
struct Report {
    output: CommandOutput,
    lines: Vec<Value>,
}

fn examine(folder: &Path, variables: Variables<'_>, words: &[&str]) -> Report {
    let output = aip(folder, variables, &[&["doctor", "--json"], words].concat());
    let lines = serde_json::from_str(&output.stdout).unwrap();
    Report { output, lines }
}

impl Report {
    #[track_caller]
    fn line(&self, check: &str) -> &Value {
        let found = self.lines.iter().find(|line| line["check"] == check);
        found.unwrap_or_else(|| panic!("no check `{check}`: {}", self.output.stdout))
    }

    fn failing(&self) -> Vec<&str> {
        let failing = self.lines.iter().filter(|line| line["status"] == "fail");
        failing
            .map(|line| line["check"].as_str().unwrap())
            .collect()
    }

    /// The one line that fails, in these words, with advice, and the exit code.
    #[track_caller]
    fn only(&self, check: &str, found: &str) {
        assert_eq!(self.failing(), [check], "{}", self.output.stdout);
        let line = self.line(check);
        assert!(line["found"].as_str().unwrap().contains(found), "{line}");
        assert!(!line["advice"].as_str().unwrap().is_empty(), "{line}");
        assert_eq!(self.output.code, 1);
        assert!(
            !self.output.stdout.contains("hunter2"),
            "{}",
            self.output.stdout
        );
    }
}

/// A folder in which AIP has keys and a database.
fn begun() -> TempDir {
    let folder = TempDir::new().unwrap();
    aip(folder.path(), &[], &["clients", "list"]).ok();
    folder
}

fn offline(folder: &TempDir, variables: Variables<'_>) -> Report {
    examine(folder.path(), variables, &["--offline"])
}

#[test]
fn an_empty_folder_is_left_empty_and_nothing_fails() {
    let folder = TempDir::new().unwrap();
    let report = offline(&folder, &[]);
    assert_eq!(report.output.code, 0, "{}", report.output.stdout);
    assert_eq!(report.line("database")["status"], "warn");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_configuration_that_cannot_be_used_is_the_only_thing_looked_at() {
    let folder = TempDir::new().unwrap();
    let report = offline(
        &folder,
        &[("AIP_LISTN", "1"), ("AIP_ACCESS_TOKEN_TTL", "soon")],
    );
    report.only("configuration", "AIP_LISTN");
    let found = report.line("configuration")["found"].as_str().unwrap();
    assert!(found.contains("tokens.access_ttl"), "{found}");
    assert_eq!(report.line("database")["status"], "skipped");
}

#[test]
fn a_database_that_is_away_and_a_valkey_that_is_away_have_their_lines() {
    let folder = begun();
    let away = [("AIP_DATABASE_URL", "postgres://aip:hunter2@127.0.0.1:1/aip")];
    offline(&folder, &away).only("database", "cannot connect to PostgreSQL");
    let away = [("AIP_REDIS_URL", "redis://:hunter2@127.0.0.1:1")];
    offline(&folder, &away).only("Valkey", "");
}

#[tokio::test]
async fn a_schema_that_is_behind_and_a_server_that_takes_no_writes_have_their_lines() {
    let folder = begun();
    let url = aip_testkit::postgres::create_database().await;
    let postgres = [("AIP_DATABASE_URL", &*url)];
    let report = offline(&folder, &postgres);
    report.only("schema", "not applied");
    assert!(
        report.line("schema")["advice"]
            .to_string()
            .contains("aip migrate")
    );

    aip(folder.path(), &postgres, &["migrate"]).ok();
    let report = offline(&folder, &postgres);
    assert_eq!(report.failing(), [""; 0], "{}", report.output.stdout);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let read_only = "DO $$ BEGIN EXECUTE format(
             'ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
         END $$";
    connection.execute(read_only).await.unwrap();
    offline(&folder, &postgres).only("schema", "read-only");
}

/// A folder whose database is a PostgreSQL one of its own.
async fn begun_on_postgres() -> (TempDir, String) {
    let folder = begun();
    let url = aip_testkit::postgres::create_database().await;
    aip(folder.path(), &[("AIP_DATABASE_URL", &*url)], &["migrate"]).ok();
    (folder, url)
}

#[tokio::test]
async fn postgres_tells_its_version_and_whether_it_has_enough_connections() {
    let (folder, url) = begun_on_postgres().await;
    let postgres = [("AIP_DATABASE_URL", &*url)];
    let report = offline(&folder, &postgres);
    let line = report.line("PostgreSQL");
    assert_eq!(line["status"], "ok", "{line}");
    let found = line["found"].as_str().unwrap();
    assert!(found.starts_with("PostgreSQL 1"), "{found}");
    assert!(found.contains("297 connection(s) allowed"), "{found}");
    assert!(found.contains("17 needed by 1 server(s)"), "{found}");

    let many = ["--offline", "--servers", "18"];
    let report = examine(folder.path(), &postgres, &many);
    report.only("PostgreSQL", "306 needed by 18 server(s)");
    let advice = report.line("PostgreSQL")["advice"].to_string();
    assert!(advice.contains("max_connections = 402"), "{advice}");

    let mut connection = PgConnection::connect(&url).await.unwrap();
    let limited = "DO $$ BEGIN EXECUTE format(
             'ALTER DATABASE %I CONNECTION LIMIT 16', current_database());
         END $$";
    connection.execute(limited).await.unwrap();
    offline(&folder, &postgres).only("PostgreSQL", "16 connection(s) allowed");
    let sqlite = offline(&begun(), &[]);
    assert_eq!(sqlite.line("PostgreSQL")["status"], "skipped");
    assert_eq!(sqlite.line("PostgreSQL replicas")["status"], "skipped");
}

#[tokio::test]
async fn what_receives_the_write_ahead_log_of_postgres_has_its_line() {
    let (folder, url) = begun_on_postgres().await;
    let (_, socket) = url.split_once("?host=").unwrap();
    let log = TempDir::new().unwrap();
    let mut receiver = tokio::process::Command::new("pg_receivewal");
    let receiver = receiver
        .args(["--username", "aip", "--host", socket, "--directory"])
        .arg(log.path())
        .kill_on_drop(true);
    let _receiver = receiver.spawn().unwrap();
    let postgres = [("AIP_DATABASE_URL", &*url)];
    let until = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let report = offline(&folder, &postgres);
        let line = report.line("PostgreSQL replicas");
        let found = line["found"].as_str().unwrap();
        if found.contains("pg_receivewal: streaming, async, behind by ") {
            assert_eq!(line["status"], "ok", "{line}");
            return;
        }
        assert!(tokio::time::Instant::now() < until, "{line}");
    }
}

#[tokio::test]
async fn valkey_tells_its_version_and_memory_and_that_it_takes_writes() {
    let folder = begun();
    let [port, full, replica] = free_ports();
    let primary = ValkeyServer::listening(port, &[]).await;
    let url = |port: u16| format!("redis://127.0.0.1:{port}");
    let line = |url: String| {
        let report = offline(&folder, &[("AIP_REDIS_URL", &*url)]);
        (report.line("Valkey").clone(), report)
    };
    let (fine, _) = line(url(port));
    assert_eq!(fine["status"], "ok", "{fine}");
    let found = fine["found"].as_str().unwrap();
    assert!(
        found.starts_with("answers, ") && found.contains("not encrypted"),
        "{found}"
    );
    assert!(found.contains("bytes used, without maxmemory"), "{found}");

    let most = ["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"];
    let _full = ValkeyServer::listening(full, &most).await;
    let (warned, _) = line(url(full));
    assert_eq!(warned["status"], "warn", "{warned}");
    assert!(
        warned["found"]
            .as_str()
            .unwrap()
            .contains("maxmemory-policy noeviction"),
        "{warned}"
    );

    let of = ["--replicaof", "127.0.0.1", &port.to_string()];
    let _replica = ValkeyServer::listening(replica, &of).await;
    let (_, report) = line(url(replica));
    report.only("Valkey", "it is a replica, which takes no writes");

    // With the rights that AIP needs it is not told everything, and that is fine.
    let rights = "on >hunter2 ~aip:* &aip:* +@read +@write +@connection +@scripting +@pubsub +role";
    let arguments: Vec<&str> = ["ACL", "SETUSER", "aip"]
        .into_iter()
        .chain(rights.split(' '))
        .collect();
    primary.cli(&arguments).await;
    let (fine, _) = line(format!("redis://aip:hunter2@127.0.0.1:{port}"));
    assert_eq!(fine["status"], "ok", "{fine}");
    assert!(
        !fine["found"].as_str().unwrap().contains("bytes used"),
        "{fine}"
    );
}

#[tokio::test]
async fn keys_that_are_broken_foreign_or_gone_have_their_lines() {
    let (folder, other) = (begun(), begun());
    let data = |folder: &TempDir, name: &str| folder.path().join("aip-data").join(name);
    let keep = |name: &str| std::fs::read(data(&folder, name)).unwrap();
    let (signing, master) = (keep("keys.json"), keep("master-keys.json"));

    std::fs::write(data(&folder, "keys.json"), "{}").unwrap();
    offline(&folder, &[]).only("signing keys", "not a JWK Set");
    std::fs::write(data(&folder, "keys.json"), signing).unwrap();

    std::fs::copy(
        data(&other, "master-keys.json"),
        data(&folder, "master-keys.json"),
    )
    .unwrap();
    offline(&folder, &[]).only("master keys", "do not open this database");
    std::fs::write(data(&folder, "master-keys.json"), master).unwrap();

    session(folder.path(), "a-key-of-old").await;
    offline(&folder, &[]).only("pinned keys", "`a-key-of-old`, which 1 session(s)");
}

/// A server behind TLS under its external base, with a PLC directory.
struct Site {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    server: Server,
    sandbox: Sandbox,
}

impl Site {
    async fn begin() -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../aip-listen/tests/certificates");
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let variables = vec![
            ("AIP_LISTEN", address.to_string()),
            (
                "AIP_EXTERNAL_BASE",
                format!("https://localhost:{}", address.port()),
            ),
            ("AIP_TLS_CERT_FILE", file("first.cert.pem")),
            ("AIP_TLS_KEY_FILE", file("first.key.pem")),
            ("AIP_CERTIFICATE_BUNDLES", file("first.cert.pem")),
            ("AIP_PLC_URLS", sandbox.plc.origin().to_owned()),
            ("AIP_DEVELOPMENT", "true".to_owned()),
        ];
        let folder = TempDir::new().unwrap();
        let server = Server::start(folder.path(), &borrowed(&variables));
        Self {
            folder,
            variables,
            server,
            sandbox,
        }
    }

    fn examine(&self) -> Report {
        examine(self.folder.path(), &borrowed(&self.variables), &[])
    }

    fn aip(&self, words: &[&str]) -> CommandOutput {
        aip(self.folder.path(), &borrowed(&self.variables), words)
    }
}

fn borrowed<'a>(variables: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    variables
        .iter()
        .map(|(name, text)| (*name, &**text))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pdss_fetch_is_fetched_as_they_do_it() {
    let mut site = Site::begin().await;
    let report = site.examine();
    assert_eq!(report.failing(), [""; 0], "{}", report.output.stdout);
    assert_eq!(report.output.code, 0);
    for check in ["PLC directory", "clock", "client document", "public keys"] {
        assert_eq!(report.line(check)["status"], "ok", "{}", report.line(check));
    }

    let kid = site.aip(&["keys", "generate", "--purpose", "upstream"]);
    site.examine().only("public keys", kid.ok());
    site.server.signal("HUP");
    site.server.logged("key set reloaded");
    assert_eq!(site.examine().failing(), [""; 0]);

    site.sandbox.plc.go_down().await;
    let report = site.examine();
    report.only("PLC directory", "no connection");

    site.sandbox.plc.come_up().await.unwrap();
    site.server.signal("TERM");
    assert_eq!(site.server.ended(), 0);
    let report = site.examine();
    assert_eq!(report.failing(), ["client document", "public keys"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_looked_up_in_both_ways_and_its_pds_is_asked() {
    let site = Site::begin().await;
    let names = NameServer::start(site.sandbox.dns.clone()).await.unwrap();
    let name_server = names.address.to_string();
    let mut variables = borrowed(&site.variables);
    variables.push(("AIP_DNS_NAMESERVERS", &name_server));
    let handle = site.sandbox.accounts.alice.handle.to_string();
    let look_up = || examine(site.folder.path(), &variables, &["--handle", &handle]);

    let report = look_up();
    let did = site.sandbox.accounts.alice.did.as_str();
    for (check, status, words) in [
        ("handle in DNS", "ok", did),
        ("handle at its host", "warn", "`alice.test` is a local name"),
        ("account", "ok", did),
        ("PDS", "ok", "answers in"),
    ] {
        let line = report.line(check);
        assert_eq!(line["status"], status, "{line}");
        assert!(line["found"].as_str().unwrap().contains(words), "{line}");
    }

    site.sandbox.pds.go_down().await;
    let report = look_up();
    let line = report.line("PDS");
    assert_eq!(line["status"], "fail", "{line}");
    let found = line["found"].as_str().unwrap();
    assert!(found.contains("connection refused"), "{line}");
    site.sandbox.pds.come_up().await.unwrap();

    drop(names);
    let report = look_up();
    for check in ["handle in DNS", "account"] {
        assert_eq!(report.line(check)["status"], "fail", "{check}");
    }

    let without = examine(site.folder.path(), &variables, &[]);
    assert_eq!(without.line("account")["status"], "skipped");
    let output = site.aip(&["doctor", "--handle", "no handle"]);
    assert_eq!(output.code, 2, "{}", output.stderr);
}
