//! What a server refuses to start with, each in words that say how to mend it.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::command::{CommandOutput, Variables, aip};

/// `aip serve`, which must not come up.
fn serve(folder: &Path, variables: Variables<'_>) -> CommandOutput {
    let mut all = vec![
        ("AIP_LISTEN", "127.0.0.1:0"),
        ("AIP_INTERNAL_LISTEN", "127.0.0.1:0"),
        ("AIP_EXTERNAL_BASE", "https://id.example.org"),
    ];
    all.extend_from_slice(variables);
    aip(folder, &all, &["serve"])
}

/// A statement of somebody else.
async fn behind_its_back(url: &str, statement: &str) {
    let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        statement.execute(&mut connection).await.unwrap();
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        statement.execute(&mut connection).await.unwrap();
    }
}

fn copy(name: &str, from: &TempDir, to: &TempDir) {
    let path = |folder: &TempDir| folder.path().join("aip-data").join(name);
    std::fs::copy(path(from), path(to)).unwrap();
}

#[test]
fn a_database_that_cannot_be_reached_or_is_none_is_refused_without_its_password() {
    let folder = TempDir::new().unwrap();
    std::fs::write(
        folder.path().join("letter.txt"),
        "Dear database, ".repeat(100),
    )
    .unwrap();
    for (url, code, words) in [
        ("mysql://aip:hunter2@db/aip", 2, "database.url"),
        (
            "postgres://aip:hunter2@127.0.0.1:1/aip",
            1,
            "cannot connect to PostgreSQL",
        ),
        ("sqlite:///nowhere/aip.db", 1, "cannot open /nowhere/aip.db"),
        (
            "sqlite://letter.txt",
            1,
            "cannot use letter.txt as a database",
        ),
    ] {
        let output = serve(folder.path(), &[("AIP_DATABASE_URL", url)]);
        assert_eq!(output.code, code, "{url}: {}", output.stderr);
        assert!(output.stderr.contains(words), "{url}: {}", output.stderr);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn a_schema_that_does_not_fit_is_refused_with_the_command_that_helps() {
    let folder = TempDir::new().unwrap();
    let postgres = aip_testkit::postgres::create_database().await;
    let variables = [("AIP_DATABASE_URL", &*postgres)];
    serve(folder.path(), &variables).failed_with("run `aip migrate`");

    aip(folder.path(), &variables, &["migrate"]).ok();
    aip(folder.path(), &[], &["clients", "list"]).ok();
    let sqlite = format!(
        "sqlite://{}",
        folder.path().join("aip-data/aip.db").display()
    );
    let later = "INSERT INTO aip_schema_migrations
             (version, description, success, checksum, execution_time)
         SELECT 9999, 'later', success, checksum, 0 FROM aip_schema_migrations WHERE version = 1";
    for url in [&postgres, &sqlite] {
        behind_its_back(url, later).await;
        let output = serve(folder.path(), &[("AIP_DATABASE_URL", url)]);
        output.failed_with("migration 9999, which only a newer program knows");
    }
}

#[tokio::test]
async fn a_database_that_is_read_only_is_refused_before_anything_is_half_written() {
    let folder = TempDir::new().unwrap();
    let url = aip_testkit::postgres::create_database().await;
    let variables = [("AIP_DATABASE_URL", &*url)];
    aip(folder.path(), &variables, &["migrate"]).ok();
    behind_its_back(
        &url,
        "DO $$ BEGIN EXECUTE format(
             'ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
         END $$",
    )
    .await;
    serve(folder.path(), &variables).failed_with("read-only");
}

#[test]
fn keys_that_a_database_was_not_made_with_are_refused() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for folder in [&folder, &other] {
        aip(folder.path(), &[], &["clients", "list"]).ok();
    }
    let own = folder.path().join("aip-data/master-keys.json");
    let before = std::fs::read_to_string(&own).unwrap();
    copy("master-keys.json", &other, &folder);
    serve(folder.path(), &[]).failed_with("do not open this database");
    aip(folder.path(), &[], &["clients", "list"]).failed_with("master-keys.json");

    // The right key with another pepper would open everything and recognise no token.
    let foreign = std::fs::read_to_string(&own).unwrap();
    let pepper = |text: &str| -> String {
        let keys: serde_json::Value = serde_json::from_str(text).unwrap();
        keys["token_pepper"].as_str().unwrap().to_owned()
    };
    std::fs::write(&own, before.replace(&pepper(&before), &pepper(&foreign))).unwrap();
    serve(folder.path(), &[]).failed_with("`token_pepper`");

    std::fs::write(&own, before).unwrap();
    aip(folder.path(), &[], &["clients", "list"]).ok();
}
