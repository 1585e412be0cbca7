//! `aip keys rekey` while others write: nothing is left that is sealed with another key, or it says so.

use std::path::Path;

use aip_keys::Sealed;
use aip_storage::operations::SealedColumn;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use strum::IntoEnumIterator as _;
use tempfile::TempDir;

use crate::command::{CommandOutput, aip};
use crate::contents::{SECRET, master_keys, session, storage};
use crate::keys::{keys, the};

/// What is sealed of a session.
const VALUES: u64 = 3;

/// Columns that a held session and a released one have in common.
const SHARED: &str = "id, client_id, did, kind, issuer, pds, upstream_client_id, client_key_id, \
    dpop_key, password, scope, access_token, refresh_token, access_expires_at, generation, state, \
    refreshed_at, created_at";

/// A database with three sessions that are sealed with the key before the primary one.
struct Rotated {
    folder: TempDir,
    sessions: Vec<String>,
    old: String,
    new: String,
}

impl Rotated {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let signing = the(&folder, "upstream", "active");
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(session(folder.path(), &signing).await.to_string());
        }
        let old = the(&folder, "master", "active");
        let new = keys(&folder, &["generate", "--purpose", "master"]);
        let new = new.ok().to_owned();
        keys(&folder, &["activate", &new]).ok();
        let rotated = Self {
            folder,
            sessions,
            old,
            new,
        };
        rotated
            .sql("CREATE TABLE old_values AS SELECT id, dpop_key FROM upstream_sessions")
            .await;
        rotated
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn sql(&self, statements: &str) {
        let url = format!("sqlite://{}", self.path().join("aip-data/aip.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        statements.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn rekey(&self) -> CommandOutput {
        keys(&self.folder, &["rekey", "--output", "json"])
    }

    /// Values of all columns that are sealed with another key than the new one.
    async fn left(&self) -> u64 {
        let storage = storage(self.path()).await;
        let new = Sealed::prefix_of(&self.new);
        let mut left = 0;
        for column in SealedColumn::iter() {
            let all = storage.count_sealed(column, Sealed::PREFIX).await.unwrap();
            left += all - storage.count_sealed(column, &new).await.unwrap();
        }
        left
    }
}

fn sealed_again(output: &CommandOutput) -> u64 {
    let rows: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    let numbers = rows.iter().map(|row| row["sealed_again"].as_u64().unwrap());
    numbers.sum()
}

#[tokio::test]
async fn a_session_that_is_released_while_everything_is_sealed_again_is_not_missed() {
    let rotated = Rotated::new().await;
    let client = ["clients", "create", "--id", "photo-book", "--name", "App"];
    let uri = ["--redirect-uri", "https://photos.example/callback"];
    aip(rotated.path(), &[], &[&client[..], &uri[..]].concat()).ok();
    let held = &rotated.sessions[1];
    rotated
        .sql(&format!(
            "INSERT INTO imported_sessions ({SHARED}, content, seen_at)
                 SELECT {SHARED}, x'00', 0 FROM upstream_sessions WHERE id = '{held}';
             DELETE FROM upstream_sessions WHERE id = '{held}';
             CREATE TRIGGER release_held AFTER UPDATE OF refresh_token ON upstream_sessions BEGIN
                 INSERT INTO upstream_sessions ({SHARED}, fence, next_refresh_at, failures,
                         revoke_attempts, rejections)
                     SELECT {SHARED}, 0, access_expires_at, 0, 0, 0 FROM imported_sessions;
                 DELETE FROM imported_sessions;
             END"
        ))
        .await;
    assert_eq!(rotated.left().await, 3 * VALUES);

    let output = rotated.rekey();
    output.ok();
    assert_eq!(sealed_again(&output), 3 * VALUES);
    assert_eq!(rotated.left().await, 0);
    let storage = storage(rotated.path()).await;
    assert_eq!(storage.count_held_sessions().await.unwrap(), 0);
    keys(&rotated.folder, &["remove", &rotated.old]).ok();
    let sealer = master_keys(rotated.path()).sealer();
    let column = SealedColumn::DpopKey;
    let values = storage.sealed_with_other_keys(column, "v2.", "", 10).await;
    let values = values.unwrap();
    assert_eq!(values.len(), 3);
    for value in values {
        let opened = sealer.open_text(&value.sealed, column.place(&value.row));
        assert_eq!(opened.unwrap().expose_secret(), SECRET);
    }
}

#[tokio::test]
async fn what_a_server_seals_with_the_old_key_meanwhile_is_found_by_another_round() {
    let rotated = Rotated::new().await;
    // DPoP keys come before refresh tokens.
    rotated
        .sql(
            "CREATE TRIGGER older_server AFTER UPDATE OF refresh_token ON upstream_sessions BEGIN
                 UPDATE upstream_sessions SET dpop_key =
                     (SELECT dpop_key FROM old_values WHERE old_values.id = NEW.id)
                 WHERE id = NEW.id;
             END",
        )
        .await;
    let output = rotated.rekey();
    output.ok();
    assert_eq!(sealed_again(&output), 3 * VALUES + 3);
    assert_eq!(rotated.left().await, 0);
    keys(&rotated.folder, &["remove", &rotated.old]).ok();
}

#[tokio::test]
async fn sealing_again_ends_and_fails_while_a_server_seals_with_the_old_key() {
    let rotated = Rotated::new().await;
    rotated
        .sql(
            "CREATE TRIGGER older_server AFTER UPDATE OF dpop_key ON upstream_sessions
             WHEN NEW.dpop_key <>
                 (SELECT dpop_key FROM old_values WHERE old_values.id = NEW.id) BEGIN
                 UPDATE upstream_sessions SET dpop_key =
                     (SELECT dpop_key FROM old_values WHERE old_values.id = NEW.id)
                 WHERE id = NEW.id;
             END",
        )
        .await;
    let output = rotated.rekey();
    output.failed_with("in the last of 10 rounds 3 value(s) were sealed with another key");
    assert!(output.stderr.contains(&rotated.new), "{}", output.stderr);
    assert_eq!(sealed_again(&output), 3 * (VALUES - 1) + 10 * 3);
    assert_eq!(rotated.left().await, 3);
    keys(&rotated.folder, &["remove", &rotated.old]).failed_with("`aip keys rekey` first");

    rotated.sql("DROP TRIGGER older_server").await;
    assert_eq!(sealed_again(&rotated.rekey()), 3);
    keys(&rotated.folder, &["remove", &rotated.old]).ok();
}
