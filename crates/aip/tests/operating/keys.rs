//! `aip keys`: no key is lost that something needs, and nothing private is shown.

use aip_base::{Clock as _, SystemClock};
use aip_keys::Sealed;
use aip_storage::assertion_key::AssertingDevice;
use aip_storage::operations::SealedColumn;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{CommandOutput, aip};
use crate::contents::{SECRET, master_keys, session, storage};

pub(crate) fn keys(folder: &TempDir, words: &[&str]) -> CommandOutput {
    aip(folder.path(), &[], &[&["keys"], words].concat())
}

fn listed(folder: &TempDir) -> Vec<Value> {
    keys(folder, &["list", "--output", "json"]).rows()
}

/// The first key of that purpose and state.
pub(crate) fn the(folder: &TempDir, purpose: &str, state: &str) -> String {
    let keys = listed(folder);
    let found = keys
        .iter()
        .find(|key| key["purpose"] == purpose && key["state"] == state);
    let found = found.unwrap_or_else(|| panic!("no {state} {purpose} key: {keys:?}"));
    found["kid"].as_str().unwrap().to_owned()
}

#[test]
fn a_list_shows_every_key_and_nothing_private() {
    let folder = TempDir::new().unwrap();
    let output = keys(&folder, &["list", "--output", "json"]);
    let mut seen: Vec<_> = output
        .rows()
        .iter()
        .map(|key| format!("{} {} {}", key["purpose"], key["alg"], key["state"]))
        .collect();
    seen.sort();
    let expected = [
        r#""master" "A256GCM" "active""#,
        r#""oidc" "ES256" "active""#,
        r#""oidc" "RS256" "active""#,
        r#""service_auth" "ES256" "active""#,
        r#""upstream" "ES256" "active""#,
    ];
    assert_eq!(seen, expected);

    let table = keys(&folder, &["list"]);
    let file = std::fs::read_to_string(folder.path().join("aip-data/keys.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    for key in file["keys"].as_array().unwrap() {
        let private = key["d"].as_str().unwrap();
        for output in [&output, &table] {
            assert!(!output.stdout.contains(private) && !output.stderr.contains(private));
        }
    }
}

#[test]
fn a_new_key_waits_until_others_have_learned_of_it() {
    let folder = TempDir::new().unwrap();
    let old = the(&folder, "upstream", "active");
    let generate = ["generate", "--purpose", "upstream"];
    let new = keys(&folder, &generate).ok().to_owned();
    assert_eq!(the(&folder, "upstream", "published"), new);

    keys(&folder, &["activate", &new]).failed_with("wait, or say `--now`");
    assert_eq!(the(&folder, "upstream", "active"), old);
    keys(&folder, &["activate", &new, "--now"]).ok();
    assert_eq!(the(&folder, "upstream", "active"), new);
    assert_eq!(the(&folder, "upstream", "published"), old);

    keys(&folder, &["remove", &new]).failed_with("is active: activate another one first");
    keys(&folder, &["retire", "nothing"]).failed_with("there is no key `nothing`");
}

#[test]
fn a_key_for_eddsa_is_made_for_apps_alone() {
    let folder = TempDir::new().unwrap();
    let app = ["clients", "create", "--name", "App", "--redirect-uri"];
    let app = [
        &app[..],
        &["https://app.example/cb", "--id-token-alg", "EdDSA"],
    ]
    .concat();
    let refused = aip(folder.path(), &[], &app);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("there is no EdDSA key"),
        "{}",
        refused.stderr
    );
    let upstream = ["generate", "--purpose", "upstream", "--alg", "EdDSA"];
    keys(&folder, &upstream).failed_with("EdDSA, which is not used for upstream keys");
    let new = keys(
        &folder,
        &["generate", "--purpose", "oidc", "--alg", "EdDSA"],
    );
    let new = new.ok().to_owned();
    keys(&folder, &["activate", &new, "--now"]).ok();
    let signs = listed(&folder);
    let signs = signs.iter().find(|key| key["kid"] == *new).unwrap();
    assert_eq!(
        (&signs["alg"], &signs["state"]),
        (&json!("EdDSA"), &json!("active"))
    );
    let shown = aip(
        folder.path(),
        &[],
        &[&app[..], &["--output", "json"]].concat(),
    );
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["id_token_signed_response_alg"], "EdDSA");
    assert_eq!(shown["from_document"], false);
}

#[tokio::test]
async fn a_key_that_sessions_are_bound_to_stays_unless_their_number_is_typed() {
    let folder = TempDir::new().unwrap();
    let old = the(&folder, "upstream", "active");
    for _ in 0..3 {
        session(folder.path(), &old).await;
    }
    let new = keys(&folder, &["generate", "--purpose", "upstream"]);
    keys(&folder, &["activate", new.ok(), "--now"]).ok();
    let counted = listed(&folder);
    let counted = counted.iter().find(|key| key["kid"] == *old).unwrap();
    assert_eq!(counted["sessions"], json!(3));
    let by = counted["sessions_end_by"].as_str().unwrap().to_owned();
    let years: i32 = by[..4].parse().unwrap();
    let made: i32 = counted["created"].as_str().unwrap()[..4].parse().unwrap();
    assert_eq!(years - made, 2, "{by}");
    let table = keys(&folder, &["list"]);
    assert!(table.ok().contains(&format!("3 session(s), until {by}")));

    for verb in ["retire", "remove"] {
        let refused = keys(&folder, &[verb, &old]);
        refused.failed_with("3 session(s) are bound to");
        assert!(refused.stderr.contains(&by), "{}", refused.stderr);
        for wrong in ["2", "4", "0", "-3", "three", &old] {
            let output = keys(&folder, &[verb, &old, "--force", wrong]);
            assert_eq!(output.code, 2, "{wrong}: {}", output.stderr);
        }
        assert_eq!(the(&folder, "upstream", "published"), old);
    }
    // What is refused anyhow loses nothing.
    let signs = the(&folder, "upstream", "active");
    session(folder.path(), &signs).await;
    keys(&folder, &["remove", &signs, "--force", "1"]).failed_with("activate another one first");
    let live = aip(
        folder.path(),
        &[],
        &["sessions", "list", "--state", "active", "--output", "json"],
    );
    assert_eq!(live.rows().len(), 4);

    let done = keys(&folder, &["remove", &old, "--force", "3"]);
    done.ok();
    assert!(
        done.stderr.contains("3 session(s) ended with it"),
        "{}",
        done.stderr
    );
    assert!(!listed(&folder).iter().any(|key| key["kid"] == *old));
    let live = aip(
        folder.path(),
        &[],
        &["sessions", "list", "--state", "active", "--output", "json"],
    );
    assert_eq!(live.rows().len(), 1, "those of the other key");
}

#[tokio::test]
async fn a_key_that_is_lost_is_given_up_with_its_sessions() {
    let folder = TempDir::new().unwrap();
    keys(&folder, &["list"]).ok();
    session(folder.path(), "lost").await;
    let app = [
        "clients",
        "create",
        "--id",
        "photo-book",
        "--name",
        "Photo Book",
    ];
    let uri = ["--redirect-uri", "https://photos.example/callback"];
    aip(folder.path(), &[], &[&app[..], &uri].concat()).ok();
    // Devices that an app of AIP signs in itself have such sessions, too.
    for jkt in ["phone", "laptop"] {
        let device = AssertingDevice {
            client_id: "photo-book".parse().unwrap(),
            jkt: jkt.to_owned(),
            client_key_id: "lost".to_owned(),
            now: SystemClock.now(),
        };
        let storage = storage(folder.path()).await;
        storage.use_assertion_key(&device, 10).await.unwrap();
    }
    keys(&folder, &["remove", "lost"]).failed_with("3 session(s) are bound to lost");
    let done = keys(&folder, &["remove", "lost", "--force", "3"]);
    done.ok();
    assert!(
        done.stderr.contains("3 session(s) ended with it"),
        "{}",
        done.stderr
    );
    keys(&folder, &["remove", "lost"]).failed_with("there is no key `lost`");
}

#[test]
fn keys_that_are_imported_are_changed_in_the_database() {
    let folder = TempDir::new().unwrap();
    let old = the(&folder, "upstream", "active");
    let file = folder.path().join("aip-data/keys.json");
    let before = std::fs::read_to_string(&file).unwrap();
    keys(&folder, &["import"]).ok();
    keys(&folder, &["import"]).failed_with("the database holds a key set already");

    let output = keys(&folder, &["generate", "--purpose", "upstream"]);
    let new = output.ok();
    assert!(
        output.stderr.contains("Added to the database"),
        "{}",
        output.stderr
    );
    keys(&folder, &["activate", new]).failed_with("wait, or say `--now`");
    keys(&folder, &["activate", new, "--now"]).ok();
    assert_eq!(the(&folder, "upstream", "active"), new);
    keys(&folder, &["retire", &old]).ok();
    assert_eq!(the(&folder, "upstream", "retired"), old);
    keys(&folder, &["remove", &old]).ok();
    assert!(!listed(&folder).iter().any(|key| key["kid"] == *old));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let row = aip(folder.path(), &[], &["doctor", "--output", "json"]).rows_of("signing keys");
    assert!(row.to_string().contains(new), "{row}");

    // The set is sealed like everything else.
    let master = the(&folder, "master", "active");
    let fresh = keys(&folder, &["generate", "--purpose", "master"]);
    keys(&folder, &["activate", fresh.ok()]).ok();
    keys(&folder, &["remove", &master]).failed_with("`aip keys rekey` first");
    keys(&folder, &["rekey"]).ok();
    keys(&folder, &["remove", &master]).ok();
    assert_eq!(the(&folder, "upstream", "active"), new);
}

#[test]
fn a_set_that_cannot_be_written_back_is_not_changed() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    keys(&other, &["list"]).ok();
    let set = std::fs::read_to_string(other.path().join("aip-data/keys.json")).unwrap();
    let variables = [("AIP_JSON_WEB_KEYS", &*set)];
    let words = ["keys", "generate", "--purpose", "upstream"];
    aip(folder.path(), &variables, &words).failed_with("AIP_JSON_WEB_KEYS=PATH");

    std::fs::write(folder.path().join("set.json"), &set).unwrap();
    let variables = [("AIP_JSON_WEB_KEYS", "set.json")];
    let kid = aip(folder.path(), &variables, &words).ok().to_owned();
    let written = std::fs::read_to_string(folder.path().join("set.json")).unwrap();
    assert!(written.contains(&kid));
    let private = std::fs::metadata(folder.path().join("set.json")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&private.permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn everything_is_sealed_again_and_then_nothing_needs_the_old_master_key() {
    let folder = TempDir::new().unwrap();
    let signing = the(&folder, "upstream", "active");
    let mut ids = Vec::new();
    for _ in 0..250 {
        ids.push(session(folder.path(), &signing).await);
    }
    let old = the(&folder, "master", "active");
    let new = keys(&folder, &["generate", "--purpose", "master"]);
    let new = new.ok();
    keys(&folder, &["activate", new]).ok();
    keys(&folder, &["remove", &old]).failed_with("`aip keys rekey` first");

    let done = keys(&folder, &["rekey", "--output", "json"]).rows();
    let sealed_again = |rows: &[Value]| {
        let numbers = rows.iter().map(|row| row["sealed_again"].as_u64().unwrap());
        numbers.sum::<u64>()
    };
    assert_eq!(sealed_again(&done), 3 * 250);
    let again = keys(&folder, &["rekey", "--output", "json"]).rows();
    assert_eq!(sealed_again(&again), 0, "there is nothing left to do");

    keys(&folder, &["remove", &old]).ok();
    let storage = storage(folder.path()).await;
    let prefix = Sealed::prefix_of(new);
    let sealer = master_keys(folder.path()).sealer();
    for column in [
        SealedColumn::DpopKey,
        SealedColumn::AccessToken,
        SealedColumn::RefreshToken,
    ] {
        assert_eq!(storage.count_sealed(column, &prefix).await.unwrap(), 250);
        let value = storage.sample_sealed_value(column).await.unwrap().unwrap();
        let opened = sealer.open_text(&value.sealed, column.place(&value.row));
        assert_eq!(opened.unwrap().expose_secret(), SECRET);
    }
    keys(&folder, &["list"]).ok();
    aip(folder.path(), &[], &["clients", "list"]).ok();
}

#[tokio::test]
async fn a_value_that_no_key_opens_is_reported_and_does_not_hold_up_the_others() {
    let folder = TempDir::new().unwrap();
    let signing = the(&folder, "upstream", "active");
    let damaged = session(folder.path(), &signing).await;
    session(folder.path(), &signing).await;
    let storage = storage(folder.path()).await;
    let column = SealedColumn::AccessToken;
    let all = storage
        .sealed_with_other_keys(column, "", "", 10)
        .await
        .unwrap();
    assert!(all.is_empty(), "every text begins with nothing");
    let values = storage
        .sealed_with_other_keys(column, "v2.", "", 10)
        .await
        .unwrap();
    let old = values.into_iter().find(|it| it.row == damaged.to_string());
    let nonsense = Sealed::from_stored("v1.nobody.AAAA.AAAA".to_owned());
    let written = storage.reseal(column, &[(old.unwrap(), nonsense)]).await;
    assert_eq!(written.unwrap(), 1);

    let new = keys(&folder, &["generate", "--purpose", "master"]);
    keys(&folder, &["activate", new.ok()]).ok();
    let output = keys(&folder, &["rekey"]);
    output.failed_with("1 value(s) open with none of the master keys");
    let prefix = Sealed::prefix_of(new.ok());
    assert_eq!(storage.count_sealed(column, &prefix).await.unwrap(), 1);
}

/// A trigger holds the program up at one value, where it is killed.
#[tokio::test]
async fn sealing_again_that_was_killed_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    let signing = the(&folder, "upstream", "active");
    let mut ids = Vec::new();
    for _ in 0..250 {
        ids.push(session(folder.path(), &signing).await.to_string());
    }
    ids.sort();
    let new = keys(&folder, &["generate", "--purpose", "master"]);
    let prefix = Sealed::prefix_of(new.ok());
    keys(&folder, &["activate", new.ok()]).ok();
    // The third batch of the first column that has values.
    let url = format!(
        "sqlite://{}",
        folder.path().join("aip-data/aip.db").display()
    );
    let hold = format!(
        "CREATE TRIGGER hold BEFORE UPDATE ON upstream_sessions WHEN OLD.id = '{}' BEGIN
             SELECT (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000)
                 SELECT MAX(i) FROM n);
         END",
        ids[220]
    );
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(hold))
        .execute(&mut connection)
        .await
        .unwrap();

    let storage = storage(folder.path()).await;
    let mut sealing = crate::command::command(folder.path(), &[], &["keys", "rekey"])
        .spawn()
        .unwrap();
    let column = SealedColumn::DpopKey;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    while storage.count_sealed(column, &prefix).await.unwrap() < 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it does not come to the third batch"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    sealing.kill().unwrap();
    sealing.wait().unwrap();
    assert_eq!(storage.count_sealed(column, &prefix).await.unwrap(), 200);

    sqlx::raw_sql("DROP TRIGGER hold")
        .execute(&mut connection)
        .await
        .unwrap();
    let output = keys(&folder, &["rekey", "--output", "json"]);
    let numbers = output.rows();
    let numbers = numbers
        .iter()
        .map(|row| row["sealed_again"].as_u64().unwrap());
    assert_eq!(numbers.sum::<u64>(), 3 * 250 - 200, "what was done is done");
    assert!(
        output.stderr.contains("550 of 550 values (100 %)"),
        "{}",
        output.stderr
    );
    assert_eq!(storage.count_sealed(column, &prefix).await.unwrap(), 250);

    let json = [("AIP_LOG_FORMAT", "json")];
    let again = keys(&folder, &["generate", "--purpose", "master"]);
    keys(&folder, &["activate", again.ok()]).ok();
    let output = aip(folder.path(), &json, &["keys", "rekey"]);
    output.ok();
    let line = output.stderr.lines().find(|line| line.contains("progress"));
    let line: Value = serde_json::from_str(line.expect("progress is told")).unwrap();
    assert_eq!((&line["done"], &line["total"]), (&json!(750), &json!(750)));
}
