//! `aip clients` uses the database and nothing else of what servers share.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::command::aip;

/// How many connections the database has seen, once all of them have ended.
async fn connections(url: &str) -> i64 {
    let other = aip_testkit::postgres::create_database().await;
    let mut operator = PgConnection::connect(&other).await.unwrap();
    let before_options = url.split('?').next().unwrap();
    let name = before_options.rsplit('/').next().unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    let open = || sqlx::query_scalar::<_, i64>(open).bind(name);
    while open().fetch_one(&mut operator).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seen = "SELECT sessions FROM pg_stat_database WHERE datname = $1";
    let seen = sqlx::query_scalar(seen).bind(name);
    seen.fetch_one(&mut operator).await.unwrap()
}

#[tokio::test]
async fn clients_are_listed_without_listening_for_notices() {
    let folder = TempDir::new().unwrap();
    let url = aip_testkit::postgres::create_database().await;
    let variables = [("AIP_DATABASE_URL", &*url)];
    aip(folder.path(), &variables, &["migrate"]).ok();
    // The first makes the keys and their check.
    aip(folder.path(), &variables, &["clients", "list"]).ok();
    let mut seen = Vec::new();
    for command in ["sessions", "clients"] {
        let before = connections(&url).await;
        aip(folder.path(), &variables, &[command, "list"]).ok();
        seen.push(connections(&url).await - before);
    }
    assert_eq!(seen[0], seen[1], "`aip sessions list` reads one table");
}

#[test]
fn clients_are_listed_without_valkey() {
    let folder = TempDir::new().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    nobody.set_nonblocking(true).unwrap();
    let url = format!("redis://{}", nobody.local_addr().unwrap());
    let said = aip(
        folder.path(),
        &[("AIP_REDIS_URL", &url)],
        &["clients", "list"],
    );
    said.ok();
    assert!(
        !said.talk.to_lowercase().contains("valkey"),
        "{}",
        said.talk
    );
    let connected = nobody.accept().map(drop);
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::WouldBlock);
}
