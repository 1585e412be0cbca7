//! The life of a master key, step by step, and copies of the file that were overtaken.

use aip_base::{SystemClock, SystemRng};
use secrecy::ExposeSecret as _;

use super::*;

const SET: &str = r#"{"primary":"m","keys":[{"kid":"m","key":"AAAA"}],"token_pepper":"pepper"}"#;
const EVERY: Duration = Duration::from_hours(24 * 90);
const MINUTE: Duration = Duration::from_mins(1);

fn keys() -> MasterKeys {
    MasterKeys::parse(SET).unwrap()
}

/// Sets that were deployed, newest first, each a number of minutes ago.
fn deployed(now: Timestamp, sets: &[(u32, &MasterKeys)]) -> Deployed<MasterKeys> {
    let sets = sets.iter().map(|(minutes, set)| {
        let ago = MINUTE * *minutes;
        (now - ago, (*set).clone())
    });
    Deployed(sets.collect())
}

fn with(set: &MasterKeys, step: &MasterStep) -> MasterKeys {
    let mut set = set.clone();
    set.make(step, &SystemClock, &SystemRng);
    set
}

/// A published key, its activation and the removal of the old one.
fn rotation() -> (MasterKeys, MasterKeys, MasterKeys, MasterKeys, String) {
    let old = keys();
    let published = with(&old, &MasterStep::Publish);
    let new = published.kids().last().unwrap().to_owned();
    let active = with(&published, &MasterStep::Activate(new.clone()));
    let removed = with(&active, &MasterStep::Remove(vec!["m".to_owned()]));
    (old, published, active, removed, new)
}

#[test]
fn a_key_is_published_then_seals_and_the_old_one_is_removed_each_after_a_deployment() {
    let now = SystemClock.now();
    let (old, published, active, removed, new) = rotation();
    // A key that does not say when it was made has sealed for long enough.
    let due = old.due(EVERY, &deployed(now, &[(0, &old)]), now);
    assert_eq!(due.step, Some(MasterStep::Publish));

    let waits = published.due(EVERY, &deployed(now, &[(99, &old)]), now);
    assert_eq!(waits, MasterDue::default(), "not deployed yet");
    let history = deployed(now, &[(9, &published), (99, &old)]);
    let due = published.due(EVERY, &history, now);
    assert_eq!((due.step, due.next), (None, Some(now + MINUTE)));
    let history = deployed(now, &[(10, &published), (99, &old)]);
    let due = published.due(EVERY, &history, now);
    assert_eq!(due.step, Some(MasterStep::Activate(new.clone())));

    let waits = active.due(EVERY, &history, now);
    assert_eq!(waits, MasterDue::default(), "not deployed yet");
    let history = deployed(now, &[(10, &active), (20, &published), (99, &old)]);
    let due = active.due(EVERY, &history, now);
    assert_eq!(due.step, Some(MasterStep::Remove(vec!["m".to_owned()])));

    let history = deployed(now, &[(0, &removed), (10, &active), (20, &published)]);
    let due = removed.due(EVERY, &history, now);
    assert!(due.step.is_none() && due.next.unwrap() > now + EVERY - MINUTE);
    let later = now + EVERY + MINUTE;
    let due = removed.due(EVERY, &history, later);
    assert_eq!(due.step, Some(MasterStep::Publish));
}

#[test]
fn what_aip_reads_is_what_is_written() {
    let (_, published, _, removed, new) = rotation();
    let json: Value = serde_json::from_str(published.to_json().expose_secret()).unwrap();
    assert_eq!(
        (&json["primary"], &json["token_pepper"]),
        (&json!("m"), &json!("pepper"))
    );
    let key = &json["keys"][1];
    assert_eq!(
        key.as_object().unwrap().len(),
        2,
        "AIP refuses other members"
    );
    assert_eq!(
        key["key"].as_str().unwrap().len(),
        43,
        "256 bits as base64url"
    );
    let is_plain = |kid: &str| kid.len() <= 32 && kid.bytes().all(|b| b.is_ascii_alphanumeric());
    assert!(is_plain(&new), "{new}");
    let again = MasterKeys::parse(removed.to_json().expose_secret()).unwrap();
    assert!(again == removed && again.primary() == new);
    assert_eq!(again.kids().collect::<Vec<_>>(), [new.as_str()]);
}

#[test]
fn the_primary_key_is_never_removed() {
    let (.., active, _, new) = rotation();
    let tried = with(
        &active,
        &MasterStep::Remove(vec![new.clone(), "m".to_owned()]),
    );
    assert!(tried.has(&new) && !tried.has("m"));
}

#[test]
fn a_key_that_nobody_knows_is_left_alone() {
    let now = SystemClock.now();
    let more = SET.replace("}]", r#"},{"kid":"by-hand","key":"BBBB"}]"#);
    let set = MasterKeys::parse(&more).unwrap();
    let due = set.due(EVERY, &deployed(now, &[(99, &set)]), now);
    assert_eq!(due.step, Some(MasterStep::Publish));
    // One that has sealed in a deployment is an old one, whatever its id says.
    let mut before = set.clone();
    before.primary = "by-hand".to_owned();
    let history = deployed(now, &[(99, &set), (199, &before)]);
    let due = set.due(EVERY, &history, now);
    assert_eq!(
        due.step,
        Some(MasterStep::Remove(vec!["by-hand".to_owned()]))
    );
}

#[test]
fn a_key_that_somebody_went_back_from_is_not_activated_again() {
    let now = SystemClock.now();
    let (_, published, active, _, new) = rotation();
    let history = deployed(now, &[(99, &published), (199, &active), (299, &published)]);
    let due = published.due(EVERY, &history, now);
    assert_eq!(due.step, Some(MasterStep::Remove(vec![new])));
}

#[test]
fn a_copy_that_was_overtaken_at_any_step_is_found() {
    let now = SystemClock.now();
    let (old, published, active, removed, new) = rotation();
    let history = |sets: &[&MasterKeys]| {
        let sets: Vec<(u32, &MasterKeys)> = sets.iter().map(|set| (0, *set)).collect();
        deployed(now, &sets)
    };
    let lacks = Some(OutdatedBy::Lacks(new));
    assert_eq!(old.outdated_by(&history(&[&published, &old])), lacks);
    assert_eq!(old.outdated_by(&history(&[&removed, &active])), lacks);
    assert_eq!(
        published.outdated_by(&history(&[&active, &published])),
        Some(OutdatedBy::Older)
    );
    assert_eq!(
        active.outdated_by(&history(&[&removed, &active])),
        Some(OutdatedBy::Older)
    );
    // What was written here and is not deployed yet is ahead.
    assert_eq!(published.outdated_by(&history(&[&old])), None);
    assert_eq!(active.outdated_by(&history(&[&published, &old])), None);
    assert_eq!(removed.outdated_by(&history(&[&active, &published])), None);
    assert_eq!(removed.removed_since(&active), ["m"]);
    for same in [&old, &published, &active, &removed] {
        assert_eq!(same.outdated_by(&history(&[same])), None);
        assert_eq!(same.removed_since(same), [""; 0]);
    }
}

#[test]
fn a_text_that_is_no_set_of_master_keys_is_refused_without_quoting_it() {
    for text in [
        "",
        "/etc/aip/master-keys.json",
        "[]",
        "{}",
        r#"{"primary":"m","keys":[{"kid":"m","key":"AAAA"}]}"#,
        r#"{"primary":"m","keys":[{"kid":"m"}],"token_pepper":"p"}"#,
        r#"{"primary":1,"keys":[],"token_pepper":"p"}"#,
        r#"{"primary":"m","keys":{"m":"AAAA"},"token_pepper":"p"}"#,
        r#"{"primary":"n","keys":[{"kid":"m","key":"AAAA"}],"token_pepper":"p"}"#,
    ] {
        let error = MasterKeys::parse(text).err().unwrap().to_string();
        assert!(!error.contains("AAAA"), "{error}");
    }
}
