//! `aip backup` and `aip restore`: copies that are whole, and restores that change nothing unless
//! everything fits. What a restore means for sessions is shown with a PDS of the sandbox here, and
//! with a real one in `tests/e2e`.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aip_base::{Clock as _, SystemClock};
use aip_sandbox::{Sandbox, SandboxOptions};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::command::{CommandOutput, aip};
use crate::contents::{session, session_at};
use crate::server::Server;

const DATABASE: &str = "aip-data/aip.db";

fn run(folder: &TempDir, words: &[&str]) -> CommandOutput {
    aip(folder.path(), &[], words)
}

fn create_client(folder: &TempDir, id: &str) {
    let uri = "https://photos.example/callback";
    run(
        folder,
        &[
            "clients",
            "create",
            "--id",
            id,
            "--name",
            id,
            "--redirect-uri",
            uri,
        ],
    )
    .ok();
}

fn clients(folder: &TempDir) -> Vec<String> {
    let rows = run(folder, &["clients", "list", "--output", "json"]).rows();
    let ids = rows.iter().map(|row| row["client_id"].as_str().unwrap());
    ids.map(ToOwned::to_owned).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The files of the data folder that hold, or held, a database.
fn databases(folder: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path().join("aip-data")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().contains("aip.db"))
        .collect();
    found.sort();
    found
}

/// A folder with one client, and a copy of its database.
fn with_copy() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    create_client(&folder, "early");
    run(&folder, &["backup", "copy.db"]).ok();
    let copy = folder.path().join("copy.db");
    (folder, copy)
}

async fn execute(database: &Path, statement: &str) {
    let url = format!("sqlite://{}", database.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_copy_of_a_running_server_brings_back_what_there_was_and_the_newer_database_is_kept() {
    let folder = TempDir::new().unwrap();
    create_client(&folder, "early");
    fs::create_dir(folder.path().join("copies")).unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let output = run(&folder, &["backup", "copies", "--output", "json"]);
    let done: Value = serde_json::from_str(output.ok()).unwrap();
    let copy = folder.path().join(done["file"].as_str().unwrap());
    assert_eq!(mode(&copy), 0o600);
    assert_eq!(
        fs::metadata(&copy).unwrap().len(),
        done["bytes"].as_u64().unwrap()
    );
    assert!(
        output.stderr.contains("Keep the keys, too"),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("master-keys.json"),
        "{}",
        output.stderr
    );
    create_client(&folder, "late");

    let restore = ["restore", copy.to_str().unwrap()];
    run(&folder, &restore).failed_with("another `aip serve` runs on the data folder");
    server.signal("TERM");
    assert_eq!(server.ended(), 0);
    let before = fs::read(&copy).unwrap();
    let output = run(&folder, &restore);
    output.ok();
    assert!(
        output.stderr.contains("as it was at 2"),
        "{}",
        output.stderr
    );
    assert_eq!(clients(&folder), ["early"]);
    assert_eq!(fs::read(&copy).unwrap(), before, "the copy is not changed");

    let kept = databases(&folder);
    let kept: Vec<_> = kept
        .iter()
        .filter(|path| path.to_string_lossy().contains(".before-"))
        .collect();
    let [kept] = kept.as_slice() else {
        panic!("not one database is kept: {kept:?}");
    };
    run(&folder, &["restore", kept.to_str().unwrap()]).ok();
    assert_eq!(clients(&folder), ["early", "late"]);
    let mut server = Server::start(folder.path(), &[]);
    assert_eq!(server.get("/internal/ready").0, 200);
    server.signal("TERM");
    assert_eq!(server.ended(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_made_while_others_write_is_the_database_at_one_instant() {
    let folder = TempDir::new().unwrap();
    create_client(&folder, "early");
    let path = folder.path().to_owned();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        let mut written = Vec::new();
        while stopped.try_recv().is_err() {
            written.push(session(&path, "some-key").await.to_string());
        }
        written
    });
    let mut copies = Vec::new();
    for number in 0..5 {
        let name = format!("copy-{number}.db");
        let words = ["backup", &name];
        let (path, words) = (folder.path().to_owned(), words.map(ToOwned::to_owned));
        let output = tokio::task::spawn_blocking(move || {
            aip(&path, &[], &words.each_ref().map(String::as_str))
        });
        output.await.unwrap().ok();
        copies.push(folder.path().join(name));
    }
    stop.send(()).unwrap();
    let written = writer.await.unwrap();
    for copy in copies {
        let url = format!("sqlite://{}", copy.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM upstream_sessions ORDER BY id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let check: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(check, "ok");
        let mut expected = written[..ids.len()].to_vec();
        expected.sort();
        assert_eq!(
            ids, expected,
            "what was written first is there, and nothing later"
        );
    }
}

#[test]
fn nothing_is_overwritten_unless_told() {
    let (folder, copy) = with_copy();
    let before = fs::read(&copy).unwrap();
    create_client(&folder, "late");
    run(&folder, &["backup", "copy.db"]).failed_with("say `--overwrite`");
    assert_eq!(fs::read(&copy).unwrap(), before);
    run(&folder, &["backup", "copy.db", "--overwrite"]).ok();
    assert_ne!(fs::read(&copy).unwrap(), before);
    assert_eq!(mode(&copy), 0o600);

    // Never the database itself, by whatever name.
    std::os::unix::fs::symlink("aip-data/aip.db", folder.path().join("alias.db")).unwrap();
    for name in [DATABASE, "alias.db"] {
        let output = run(&folder, &["backup", name, "--overwrite"]);
        output.failed_with("is a database in use");
    }
    assert_eq!(clients(&folder).len(), 2);
}

#[test]
fn what_cannot_be_copied_is_refused_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    run(&folder, &["backup", "copy.db"]).failed_with("there is no database");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    create_client(&folder, "early");
    run(&folder, &["backup", "nowhere/copy.db"]).failed_with("nowhere");
    let postgres = [("AIP_DATABASE_URL", "postgres://aip:hunter2@127.0.0.1:1/aip")];
    for (words, tool) in [
        (["backup", "copy.db"], "pg_dump"),
        (["restore", "copy.db"], "pg_restore"),
    ] {
        let output = aip(folder.path(), &postgres, &words);
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains(tool), "{}", output.stderr);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
    fs::write(
        folder.path().join("damaged.db"),
        "no database ".repeat(1000),
    )
    .unwrap();
    let damaged = [("AIP_DATABASE_URL", "sqlite://damaged.db")];
    let output = aip(folder.path(), &damaged, &["backup", "copy.db"]);
    output.failed_with("file is not a database");
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("copy"))
        .collect();
    assert_eq!(names, [""; 0]);
}

#[test]
fn a_copy_that_was_cut_off_is_begun_again_and_two_do_not_write_one_file() {
    let folder = TempDir::new().unwrap();
    create_client(&folder, "early");
    let draft = folder.path().join(".copy.db.new");
    fs::write(&draft, "half of a copy").unwrap();
    let other = File::open(&draft).unwrap();
    other.lock().unwrap();
    run(&folder, &["backup", "copy.db"]).failed_with("another `aip backup` is writing");
    drop(other);
    run(&folder, &["backup", "copy.db"]).ok();
    assert!(!draft.exists());
    run(&folder, &["restore", "copy.db"]).ok();
    assert_eq!(clients(&folder), ["early"]);
}

#[test]
fn keys_are_copied_into_another_folder_only_when_asked_for() {
    let (folder, _) = with_copy();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("copies")).unwrap();
    let both = ["backup", "copies/a.db", "--with-keys", "copies"];
    run(&folder, &both).failed_with("name another folder for the keys");
    assert!(!path("copies/a.db").exists());

    let apart = |copy: &str| run(&folder, &["backup", copy, "--with-keys", "keys"]);
    let output = apart("copies/a.db");
    output.ok();
    assert!(
        output.stderr.contains("keys/master-keys.json"),
        "{}",
        output.stderr
    );
    assert_eq!(mode(&path("keys")), 0o700);
    for name in ["keys.json", "master-keys.json"] {
        let copied = path("keys").join(name);
        assert_eq!(mode(&copied), 0o600);
        let original = fs::read(path("aip-data").join(name)).unwrap();
        assert_eq!(fs::read(copied).unwrap(), original);
    }
    apart("copies/b.db").ok();

    // Other keys under these names are somebody's only copy of them.
    fs::write(path("keys/master-keys.json"), "{}").unwrap();
    apart("copies/c.db").failed_with("holds other keys");
    assert!(!path("copies/c.db").exists());
}

#[tokio::test]
async fn a_copy_that_does_not_fit_changes_nothing() {
    let (folder, copy) = with_copy();
    let other = TempDir::new().unwrap();
    create_client(&other, "stranger");
    create_client(&folder, "late");
    let path = |name: &str| folder.path().join(name);

    fs::write(path("letter.db"), "Dear database, ".repeat(1000)).unwrap();
    fs::write(path("empty.db"), "").unwrap();
    let whole = fs::read(&copy).unwrap();
    fs::write(path("half.db"), &whole[..whole.len() / 2]).unwrap();
    let mut flipped = whole.clone();
    let page = flipped.len() / 2;
    flipped[page..page + 4096].fill(0xa5);
    fs::write(path("flipped.db"), flipped).unwrap();
    fs::copy(&copy, path("newer.db")).unwrap();
    let later = "INSERT INTO aip_schema_migrations
             (version, description, success, checksum, execution_time)
         SELECT 9999, 'later', success, checksum, 0 FROM aip_schema_migrations WHERE version = 1";
    execute(&path("newer.db"), later).await;
    run(&other, &["backup", path("foreign.db").to_str().unwrap()]).ok();
    fs::copy(&copy, path("somebodys.db")).unwrap();
    execute(
        &path("somebodys.db"),
        "DROP TABLE aip_schema_migrations; CREATE TABLE recipes (name TEXT)",
    )
    .await;

    let files = databases(&folder);
    for (file, words) in [
        ("nowhere.db", "cannot read the copy nowhere.db"),
        ("aip-data", "is no file"),
        (DATABASE, "is the database itself"),
        ("letter.db", "is damaged, or no SQLite database"),
        ("half.db", "is damaged, or no SQLite database"),
        ("flipped.db", "is damaged, or no SQLite database"),
        ("empty.db", "none of AIP"),
        ("somebodys.db", "none of AIP"),
        ("newer.db", "which only a newer program knows"),
        ("foreign.db", "these master keys do not open this database"),
    ] {
        run(&folder, &["restore", file]).failed_with(words);
        assert_eq!(databases(&folder), files, "{file}");
        assert_eq!(clients(&folder), ["early", "late"], "{file}");
    }

    fs::rename(path("aip-data/master-keys.json"), path("master-keys.json")).unwrap();
    run(&folder, &["restore", "copy.db"]).failed_with("there are no master keys");
    assert!(!path("aip-data/master-keys.json").exists(), "none are made");
    fs::rename(path("master-keys.json"), path("aip-data/master-keys.json")).unwrap();
    run(&folder, &["restore", "copy.db"]).ok();
    assert_eq!(clients(&folder), ["early"]);
}

#[test]
fn an_empty_machine_takes_a_copy_once_it_has_the_keys() {
    let (folder, copy) = with_copy();
    let machine = TempDir::new().unwrap();
    let restore = ["restore", copy.to_str().unwrap()];
    run(&machine, &restore).failed_with("there are no master keys");
    for name in ["keys.json", "master-keys.json"] {
        let key = |folder: &TempDir| folder.path().join("aip-data").join(name);
        fs::copy(key(&folder), key(&machine)).unwrap();
    }
    let output = run(&machine, &restore);
    output.ok();
    assert!(!output.stderr.contains("is kept as"), "{}", output.stderr);
    assert_eq!(clients(&machine), ["early"]);
    let database = machine.path().join(DATABASE);
    assert_eq!(mode(&database), 0o600);
}

#[test]
fn the_files_of_a_machine_that_died_are_taken_with_their_last_transactions() {
    let folder = TempDir::new().unwrap();
    create_client(&folder, "early");
    let server = Server::start(folder.path(), &[]);
    create_client(&folder, "late");
    for ending in ["", "-wal"] {
        let from = folder.path().join(format!("{DATABASE}{ending}"));
        fs::copy(from, folder.path().join(format!("died.db{ending}"))).unwrap();
    }
    drop(server);
    run(&folder, &["clients", "delete", "late"]).ok();
    let output = run(&folder, &["restore", "died.db"]);
    output.ok();
    assert!(
        output.stderr.contains("`aip backup` did not make it"),
        "{}",
        output.stderr
    );
    assert_eq!(clients(&folder), ["early", "late"]);
}

/// A copy that is older than the last refresh of a session, and of one that was not refreshed.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_a_session_that_was_refreshed_since_must_sign_in_again_and_others_go_on() {
    let folder = TempDir::new().unwrap();
    run(&folder, &["keys", "list"]).ok();
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let variables = [
        ("AIP_DEVELOPMENT", "true"),
        ("AIP_PLC_URLS", sandbox.plc.origin()),
    ];
    let with_pds = |words: &[&str]| aip(folder.path(), &variables, words);
    let later = SystemClock.now() + Duration::from_hours(24);
    let refreshed = session_at(folder.path(), &sandbox, later).await.to_string();
    let untouched = session_at(folder.path(), &sandbox, later).await.to_string();
    let restored_line = || {
        let output = with_pds(&["doctor", "--offline", "--json"]);
        output.rows_of("restored copy")
    };
    assert_eq!(restored_line()["status"], "ok");
    // The time of a copy is kept to the second.
    let earlier = "UPDATE upstream_sessions SET refreshed_at = refreshed_at - 3600000000";
    execute(&folder.path().join(DATABASE), earlier).await;

    run(&folder, &["backup", "copy.db"]).ok();
    with_pds(&["sessions", "refresh", &refreshed]).ok();
    let output = run(&folder, &["restore", "copy.db", "--output", "json"]);
    let done: Value = serde_json::from_str(output.ok()).unwrap();
    assert_eq!(
        (&done["sessions"], &done["sessions_due"]),
        (&2.into(), &0.into())
    );
    let line = restored_line();
    assert_eq!(line["status"], "warn", "{line}");
    let found = line["found"].as_str().unwrap();
    assert!(
        found.contains("2 session(s) not refreshed since, 0 refused"),
        "{found}"
    );

    with_pds(&["sessions", "refresh", &refreshed]).failed_with("sign in again");
    with_pds(&["sessions", "refresh", &untouched]).ok();
    let show = |id: &str| -> Value {
        let output = with_pds(&["sessions", "show", id, "--output", "json"]);
        serde_json::from_str(output.ok()).unwrap()
    };
    let (ended, going_on) = (show(&refreshed), show(&untouched));
    assert_eq!(
        (&ended["state"], &ended["reason"]),
        (&"needs_reauth".into(), &"refused".into())
    );
    assert_eq!(
        (&going_on["state"], &going_on["generation"]),
        (&"active".into(), &2.into())
    );
    let line = restored_line();
    assert_eq!(line["status"], "ok", "{line}");
    let found = line["found"].as_str().unwrap();
    assert!(
        found.contains("0 session(s) not refreshed since, 1 refused"),
        "{found}"
    );
}
