//! `aip doctor` with PostgreSQL over TLS, and with a standby.

use std::time::Duration;

use aip_testkit::postgres::{TcpCluster, TlsCluster};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;

use super::{begun, offline};
use crate::command::aip;

/// How much of the write-ahead log a standby may leave for later before it is warned of, and more.
const TOO_MUCH: &str = "SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1048576)) FROM generate_series(1, 280)";

#[tokio::test]
async fn the_encryption_of_postgres_is_reported_and_a_server_that_is_not_believed_has_its_line() {
    let folder = begun();
    let server = TlsCluster::start().await;
    let url = server.url("localhost", "trusted.pem");
    let postgres = [("AIP_DATABASE_URL", &*url)];
    aip(folder.path(), &postgres, &["migrate"]).ok();
    let report = offline(&folder, &postgres);
    assert_eq!(report.failing(), [""; 0], "{}", report.output.stdout);
    let line = report.line("PostgreSQL");
    assert_eq!(line["status"], "ok", "{line}");
    let found = line["found"].as_str().unwrap();
    assert!(found.contains(", TLSv1.3, "), "{found}");

    let plain = TcpCluster::start().await;
    let plain = plain.url();
    for (url, words) in [
        (server.url("localhost", "other.pem"), "UnknownIssuer"),
        (server.url("127.0.0.1", "trusted.pem"), "not valid for name"),
        (server.url("localhost", "missing.pem"), "No such file"),
        (
            format!("{plain}?sslmode=verify-full"),
            "the PostgreSQL server offers no TLS, which sslmode of the database URL requires",
        ),
    ] {
        let postgres = [("AIP_DATABASE_URL", &*url)];
        offline(&folder, &postgres).only("database", words);
        // What a server says that is to start with it.
        aip(folder.path(), &postgres, &["migrate"]).failed_with(words);
    }
    // Without a word about encryption it is used as it is: on this machine nobody listens.
    let postgres = [("AIP_DATABASE_URL", &*plain)];
    aip(folder.path(), &postgres, &["migrate"]).ok();
    let line = offline(&folder, &postgres).line("PostgreSQL").clone();
    assert_eq!(line["status"], "ok", "{line}");
    let found = line["found"].as_str().unwrap();
    assert!(found.contains(", not encrypted, "), "{found}");
}

#[tokio::test]
async fn a_standby_is_reported_with_its_lag_and_refused_as_the_database() {
    let folder = begun();
    let primary = TcpCluster::start().await;
    let url = primary.url();
    let postgres = [("AIP_DATABASE_URL", &*url)];
    aip(folder.path(), &postgres, &["migrate"]).ok();
    let standby = primary.standby().await;
    // Until a line of the standby is so.
    let becomes = async |status: &str, words: &str| {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let line = offline(&folder, &postgres)
                .line("PostgreSQL replicas")
                .clone();
            let found = line["found"].as_str().unwrap().to_owned();
            if line["status"] == status && found.contains(words) {
                return found;
            }
            assert!(Instant::now() < until, "{line}");
        }
    };
    becomes("ok", "standby1: streaming, async, behind by 0 bytes").await;

    let of_standby = standby.url();
    let mut connection = PgConnection::connect(&of_standby).await.unwrap();
    connection
        .execute("SELECT pg_wal_replay_pause()")
        .await
        .unwrap();
    let mut writer = PgConnection::connect(&url).await.unwrap();
    writer.execute(TOO_MUCH).await.unwrap();
    let found = becomes("warn", "standby1: streaming, async, behind by 29").await;
    assert!(found.contains(" bytes"), "{found}");
    connection
        .execute("SELECT pg_wal_replay_resume()")
        .await
        .unwrap();
    becomes("ok", "standby1: streaming, async, behind by ").await;

    let named = [("AIP_DATABASE_URL", &*of_standby)];
    let report = offline(&folder, &named);
    let line = report.line("PostgreSQL");
    assert_eq!(line["status"], "fail", "{line}");
    let found = line["found"].as_str().unwrap();
    assert!(
        found.contains("it is a replica, which takes no writes"),
        "{found}"
    );
    assert!(
        line["advice"].to_string().contains("name the primary"),
        "{line}"
    );
    // Its tables cannot be looked at for writing either.
    let schema = report.line("schema");
    assert!(
        schema["found"].as_str().unwrap().contains("read-only"),
        "{schema}"
    );
    assert_eq!(report.failing(), ["schema", "PostgreSQL"]);
    assert_eq!(report.output.code, 1);
}
