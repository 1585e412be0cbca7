//! `aip keys`: no key is lost that something needs, and nothing private is shown.

use aip_keys::Sealed;
use aip_storage::operations::SealedColumn;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{Said, aip};
use crate::contents::{SECRET, master_keys, session, storage};

fn keys(folder: &TempDir, words: &[&str]) -> Said {
    aip(folder.path(), &[], &[&["keys"], words].concat())
}

fn listed(folder: &TempDir) -> Vec<Value> {
    keys(folder, &["list", "--output", "json"]).rows()
}

/// The first key of that purpose and state.
fn the(folder: &TempDir, purpose: &str, state: &str) -> String {
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
    let said = keys(&folder, &["list", "--output", "json"]);
    let mut seen: Vec<_> = said
        .rows()
        .iter()
        .map(|key| format!("{} {} {}", key["purpose"], key["alg"], key["state"]))
        .collect();
    seen.sort();
    let expected = [
        r#""master" "A256GCM" "active""#,
        r#""oidc" "ES256" "active""#,
        r#""oidc" "RS256" "active""#,
        r#""upstream" "ES256" "active""#,
    ];
    assert_eq!(seen, expected);

    let table = keys(&folder, &["list"]);
    let file = std::fs::read_to_string(folder.path().join("aip-data/keys.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    for key in file["keys"].as_array().unwrap() {
        let private = key["d"].as_str().unwrap();
        for said in [&said, &table] {
            assert!(!said.result.contains(private) && !said.talk.contains(private));
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

#[tokio::test]
async fn a_key_that_sessions_are_bound_to_stays_unless_its_id_is_typed_again() {
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

    for verb in ["retire", "remove"] {
        keys(&folder, &[verb, &old]).failed_with("3 session(s) are bound to");
        let said = keys(&folder, &[verb, &old, "--force", new.ok()]);
        assert_eq!(said.code, 2, "another key was typed: {}", said.talk);
        assert_eq!(the(&folder, "upstream", "published"), old);
    }
    keys(&folder, &["remove", &old, "--force", &old]).ok();
    assert!(!listed(&folder).iter().any(|key| key["kid"] == *old));
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
        let value = storage.any_sealed(column).await.unwrap().unwrap();
        let opened = sealer.open_text(&value.sealed, column.place(&value.row));
        assert_eq!(opened.unwrap().expose_secret(), SECRET);
    }
    keys(&folder, &["list"]).ok();
    aip(folder.path(), &[], &["clients", "list"]).ok();
}

#[tokio::test]
async fn a_value_that_no_key_opens_is_told_and_does_not_hold_up_the_others() {
    let folder = TempDir::new().unwrap();
    let signing = the(&folder, "upstream", "active");
    let damaged = session(folder.path(), &signing).await;
    session(folder.path(), &signing).await;
    let storage = storage(folder.path()).await;
    let column = SealedColumn::AccessToken;
    let all = storage.sealed_otherwise(column, "", "", 10).await.unwrap();
    assert!(all.is_empty(), "every text begins with nothing");
    let values = storage
        .sealed_otherwise(column, "v2.", "", 10)
        .await
        .unwrap();
    let old = values.into_iter().find(|it| it.row == damaged.to_string());
    let nonsense = Sealed::from_stored("v1.nobody.AAAA.AAAA".to_owned());
    let written = storage.reseal(column, &[(old.unwrap(), nonsense)]).await;
    assert_eq!(written.unwrap(), 1);

    let new = keys(&folder, &["generate", "--purpose", "master"]);
    keys(&folder, &["activate", new.ok()]).ok();
    let said = keys(&folder, &["rekey"]);
    said.failed_with("1 value(s) open with none of the master keys");
    let prefix = Sealed::prefix_of(new.ok());
    assert_eq!(storage.count_sealed(column, &prefix).await.unwrap(), 1);
}
