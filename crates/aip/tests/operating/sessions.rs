//! `aip sessions`: what an operator sees and may do, and never a token.

use std::time::Duration;

use aip_base::{Clock as _, SystemClock};
use aip_sandbox::{Endpoint, Sandbox, SandboxOptions};
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{CommandOutput, aip};
use crate::contents::{SECRET, session, session_at};

fn sessions(folder: &TempDir, arguments: &[&str]) -> CommandOutput {
    let output = aip(folder.path(), &[], &[&["sessions"], arguments].concat());
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains(SECRET) && !text.contains("v1."), "{text}");
    }
    output
}

/// A folder with sessions.
async fn begin(number: usize) -> (TempDir, Vec<String>) {
    let folder = TempDir::new().unwrap();
    let keys = aip(folder.path(), &[], &["keys", "list", "--output", "json"]).rows();
    let kid = keys[0]["kid"].as_str().unwrap();
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.push(session(folder.path(), kid).await.to_string());
    }
    ids.sort();
    (folder, ids)
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn sessions_are_listed_page_by_page_and_by_what_they_are() {
    let (folder, all) = begin(5).await;
    let list = |arguments: &[&str]| {
        let arguments = [&["list", "--output", "json"], arguments].concat();
        sessions(&folder, &arguments).rows()
    };
    assert_eq!(ids(&list(&[])), all);
    assert_eq!(ids(&list(&["--limit", "2"])), all[..2]);
    assert_eq!(ids(&list(&["--limit", "2", "--after", &all[1]])), all[2..4]);
    assert_eq!(ids(&list(&["--state", "active"])), all);
    assert!(list(&["--state", "needs_reauth"]).is_empty());
    assert!(list(&["--client", "another"]).is_empty());
    assert!(list(&["--did", "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"]).is_empty());

    let table = sessions(&folder, &["list", "--limit", "5"]);
    assert!(table.ok().contains("photo-book"), "{}", table.stdout);
    assert!(table.stderr.contains(&format!("--after {}", all[4])));
}

#[tokio::test]
async fn a_session_is_shown_and_ended() {
    let (folder, all) = begin(1).await;
    let id = &*all[0];
    let show = || -> Value {
        let output = sessions(&folder, &["show", id, "--output", "json"]);
        serde_json::from_str(output.ok()).unwrap()
    };
    let shown = show();
    assert_eq!(shown["state"], "active");
    assert_eq!(shown["did"], "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa");
    assert_eq!(shown["pds"], "https://pds.invalid");
    assert!(shown["next_refresh_at"].is_string());

    let output = sessions(&folder, &["revoke", id]);
    output.ok();
    assert!(output.stderr.contains("Ended"), "{}", output.stderr);
    let shown = show();
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&"ended".into(), &"by_operator".into())
    );
    assert!(shown["next_refresh_at"].is_null());
    let output = sessions(&folder, &["revoke", id]);
    assert!(
        output.stderr.contains("had ended before"),
        "{}",
        output.stderr
    );
    sessions(&folder, &["refresh", id]).failed_with("has ended");
}

#[tokio::test]
async fn a_session_that_is_not_there_or_cannot_be_read_is_reported() {
    let (folder, all) = begin(2).await;
    let nobody = "0192f3a4-7b1c-7def-8abc-0123456789ab";
    for verb in ["show", "refresh", "revoke"] {
        sessions(&folder, &[verb, nobody]).failed_with("there is no");
    }
    let damage = format!(
        "UPDATE upstream_sessions SET state = 'confused' WHERE id = '{}'",
        all[0]
    );
    let url = format!(
        "sqlite://{}",
        folder.path().join("aip-data/aip.db").display()
    );
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(damage))
        .execute(&mut connection)
        .await
        .unwrap();
    let output = sessions(&folder, &["list", "--output", "json"]);
    output.failed_with(&all[0]);
    let rows: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(ids(&rows), all[1..], "the other one is shown all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_refreshed_on_demand_and_what_a_failure_met_is_reported() {
    let (folder, _) = begin(0).await;
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let later = SystemClock.now() + Duration::from_hours(24);
    let id = session_at(folder.path(), &sandbox, later).await.to_string();
    let variables = [
        ("AIP_DEVELOPMENT", "true"),
        ("AIP_PLC_URLS", sandbox.plc.origin()),
    ];
    let refresh = || {
        let arguments = ["sessions", "refresh", &id, "--output", "json"];
        aip(folder.path(), &variables, &arguments)
    };
    let shown: Value = serde_json::from_str(refresh().ok()).unwrap();
    assert_eq!(shown["generation"], 2);
    assert_eq!(shown["state"], "active");

    sandbox.pds.always(Endpoint::Token).is_unavailable();
    refresh().failed_with("cannot refresh now");
    let output = sessions(&folder, &["show", &id, "--output", "json"]);
    let shown: Value = serde_json::from_str(output.ok()).unwrap();
    assert_eq!(
        (&shown["generation"], &shown["failures"]),
        (&2.into(), &1.into())
    );
    assert!(
        shown["last_error"]
            .as_str()
            .unwrap()
            .contains("cannot refresh now"),
        "{shown}"
    );

    sandbox.pds.heal(Endpoint::Token);
    let shown: Value = serde_json::from_str(refresh().ok()).unwrap();
    assert_eq!(
        (&shown["generation"], &shown["failures"]),
        (&3.into(), &0.into())
    );
}
