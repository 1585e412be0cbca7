//! `aip import aip-v2` as an operator runs it: what it prints, what it refuses, and that no secret is in
//! either.

use std::path::Path;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::command::{CommandOutput, aip};

/// v2's key towards PDSs, and what it is published under.
const KEY: &str = "did:key:z42ttb6eHovCKHsNMnDnhsZ8uep5tu2kyhPJdXCxojgn8QHX";
const KID: &str = "did:key:zDnaeyDaygqu4Hm3armenkYD7jpHzx3geUBswo2eDJ2w8JJ2Y";
const CLIENT: &str = "18841372-4202-41bf-89a4-e58d29f206ac";

/// The secrets of v2's rows.
const SECRETS: &[&str] = &[
    KEY,
    "did:key:z42tr7CE7TjiVxqtffwnagF6HWFTCwkYWTdEBasMTwyJCxcv",
    "j1soqSORIeJozwGYSOywA8LVjckX2Kd8kODQU0g_Jjw",
    "G-ixO0eqh7PER8juy4OpatASsm-qKNYSfeSHQ5feADI",
    "StrAYSAjBDSsyY2z4I5wcB99eqFW-Va5kzRQaFNoi04",
    "ref-dc53497c7b8f7aca",
];

async fn v2_database() -> String {
    let url = aip_testkit::postgres::create_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for statements in [
        include_str!("../../../aip-import-v2/testdata/v2_schema.sql"),
        include_str!("../../../aip-import-v2/testdata/v2_rows.sql"),
    ] {
        let statements = sqlx::raw_sql(statements);
        statements.execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    url
}

/// Runs it with v2's keys in the variable that v2 has; no secret is said.
fn import(folder: &Path, database: &str, words: &[&str]) -> CommandOutput {
    let variables = [
        ("AIP_EXTERNAL_BASE", "https://auth.example.com"),
        ("ATPROTO_OAUTH_SIGNING_KEYS", KEY),
    ];
    let output = aip(
        folder,
        &variables,
        &[&["import", "aip-v2", "--from", database], words].concat(),
    );
    for secret in SECRETS {
        assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret));
    }
    output
}

#[tokio::test]
async fn a_server_of_aip_v2_is_taken_over_by_two_commands() {
    let (folder, url) = (TempDir::new().unwrap(), v2_database().await);
    let folder = folder.path();
    let json = |words: &[&str]| -> Value {
        let output = import(folder, &url, &[words, &["--output", "json"]].concat());
        serde_json::from_str(output.ok()).unwrap()
    };
    let keys = || aip(folder, &[], &["keys", "list"]).ok().to_owned();
    let dry = json(&["--dry-run"]);
    assert_eq!(
        (&dry["sessions"], &dry["held_sessions"]),
        (&1.into(), &0.into())
    );
    assert!(!keys().contains(KID));

    let held = json(&[]);
    assert_eq!(held["clients"]["new"], 1);
    assert_eq!(held["held_sessions"], 1);
    assert_eq!(held["signing_keys"], serde_json::json!([KID]));
    assert_eq!(held["left_out"], serde_json::json!([]));
    assert_eq!(
        held["credentials_commands"][0],
        format!("aip clients update {CLIENT} --scope 'atproto transition:generic aip:credentials'")
    );
    assert!(keys().contains(KID));
    // A key that sessions are bound to is not lost, also while they are held.
    let refused = aip(folder, &[], &["keys", "retire", KID]);
    refused.failed_with("1 session(s) are bound to");
    // Given up with its key, it is held again by the next run, which brings the key.
    aip(folder, &[], &["keys", "remove", KID, "--force", "1"]).ok();
    assert!(!keys().contains(KID));
    aip(folder, &[], &["keys", "remove", KID]).failed_with("there is no key");
    assert_eq!(json(&[])["held_sessions"], 1);
    assert!(keys().contains(KID));
    assert_eq!(
        aip(folder, &[], &["sessions", "list", "--output", "json"])
            .rows()
            .len(),
        0
    );

    let done = import(folder, &url, &["--finish"]);
    done.ok();
    assert!(
        done.stderr.contains("Do not start v2 again"),
        "{}",
        done.stderr
    );
    let sessions = aip(folder, &[], &["sessions", "list", "--output", "json"]).rows();
    assert_eq!(sessions[0]["issuer"], "https://pds.example.com");
    assert_eq!(sessions[0]["client_id"], CLIENT);
}

#[tokio::test]
async fn a_key_that_v2_has_for_both_purposes_is_taken_for_its_sessions() {
    let (folder, url) = (TempDir::new().unwrap(), v2_database().await);
    let folder = folder.path();
    let twice = format!("{KEY};{KEY}");
    for (upstream, oidc) in [(KEY, KEY), (&*twice, ""), (&*twice, KEY)] {
        let variables = [
            ("AIP_EXTERNAL_BASE", "https://auth.example.com"),
            ("ATPROTO_OAUTH_SIGNING_KEYS", upstream),
            ("OAUTH_SIGNING_KEYS", oidc),
        ];
        let words = ["import", "aip-v2", "--from", &url, "--output", "json"];
        let output = aip(folder, &variables, &words);
        let done: Value = serde_json::from_str(output.ok()).unwrap();
        assert_eq!(done["signing_keys"], serde_json::json!([KID]));
        assert_eq!(done["held_sessions"], 1);
    }
}

#[tokio::test]
async fn what_cannot_be_imported_is_refused_in_words_that_help() {
    let (folder, url) = (TempDir::new().unwrap(), v2_database().await);
    let folder = folder.path();
    let words = ["import", "aip-v2", "--from", &url];
    let base = ("AIP_EXTERNAL_BASE", "https://auth.example.com");
    let upstream = "ATPROTO_OAUTH_SIGNING_KEYS";
    for (variables, code, expected) in [
        (vec![(upstream, KEY)], 2, "must be v2's EXTERNAL_BASE"),
        (vec![base], 2, "name a file with --atproto-keys"),
        (
            vec![base, (upstream, "did:key:z42open-sesame")],
            2,
            "key number 1",
        ),
        (vec![base, (upstream, KID)], 2, "key number 1"),
    ] {
        let output = aip(folder, &variables, &words);
        assert_eq!(output.code, code, "{}", output.stderr);
        assert!(output.stderr.contains(expected), "{}", output.stderr);
        assert!(!output.stderr.contains("open-sesame"), "{}", output.stderr);
    }
    for (database, expected) in [
        (
            "postgres://aip:open-sesame@127.0.0.1:1/v2",
            "cannot connect to AIP v2's database",
        ),
        ("sqlite:///var/v2.db", "malformed"),
    ] {
        let output = import(folder, database, &[]);
        output.failed_with(expected);
        assert!(!output.stderr.contains("open-sesame"), "{}", output.stderr);
    }
    let other = aip_testkit::postgres::create_database().await;
    import(folder, &other, &[]).failed_with("not a database of AIP v2");
    // While somebody is connected, v2 may be running.
    let connected = PgConnection::connect(&url).await.unwrap();
    import(folder, &url, &["--finish"]).failed_with("say --force 1");
    import(folder, &url, &["--finish", "--force", "1"]).ok();
    connected.close().await.unwrap();
}
