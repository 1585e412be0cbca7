//! `keys`: a rotation, step by step.

use serde_json::Value;

use crate::history::deployed;
use crate::place::Place;

const SERVICE: &str = "aip_config.required_env.SERVICE_AUTH_KEYS";

fn status(place: &Place) -> Vec<(String, String)> {
    let shown = place.run(&["keys", "status", "--json"]).ok().out;
    let list: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let text = |key: &Value, member: &str| key[member].as_str().unwrap().to_owned();
    list.iter()
        .map(|key| (text(key, "kid"), text(key, "state")))
        .collect()
}

fn rotate(place: &Place, more: &[&str]) -> crate::place::Ended {
    place.run(&[&["keys", "rotate"][..], more].concat())
}

#[test]
fn a_key_is_added_deployed_activated_and_the_old_one_removed() {
    let place = Place::new();
    let [(old, state)] = &status(&place)[..] else {
        panic!("the recorded stack has one key");
    };
    assert_eq!(state, "active");

    let added = rotate(&place, &[]).ok();
    let new = added.out.trim().to_owned();
    assert!(
        added.err.contains(&format!("keys rotate --activate {new}")),
        "{}",
        added.err
    );
    assert_eq!(status(&place)[1], (new.clone(), "published".to_owned()));
    assert!(
        !place.text("main").contains(&new),
        "the key set is encrypted"
    );

    // Not before the Pods have it, and everybody who verifies.
    let before = place.text("main");
    rotate(&place, &["--activate"]).fails(1, "is not deployed yet");
    deployed(&place, 1, "succeeded", &before, "2100-01-01T00:00:00Z");
    rotate(&place, &["--activate"]).fails(1, "Try again in ");
    assert_eq!(place.text("main"), before);
    deployed(&place, 1, "succeeded", &before, "2026-01-01T00:00:00Z");
    rotate(&place, &["--remove", old, "--yes"]).fails(2, "is active");
    rotate(&place, &["--activate"]).ok();
    let states: Vec<String> = status(&place).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["published", "active"]);
    place.set_repository();
    place.run(&["config", "check"]).ok();

    // Something else may sign with it still.
    let service = ["config", "set", "--path", SERVICE];
    place.run(&[&service[..], &[old.as_str()]].concat()).ok();
    rotate(&place, &["--remove", old, "--yes"]).fails(2, "SERVICE_AUTH_KEYS");
    place.run(&[&service[..], &[new.as_str()]].concat()).ok();
    rotate(&place, &["--remove", old]).fails(2, "pass --yes");
    rotate(&place, &["--remove", old, "--yes"]).ok();
    assert_eq!(status(&place), [(new, "active".to_owned())]);
    place.run(&["config", "check"]).ok();
}

#[test]
fn nothing_private_is_shown_and_a_stack_without_keys_says_so() {
    let place = Place::new();
    rotate(&place, &["--activate", "nope"]).fails(2, "there is no key `nope`");
    rotate(&place, &["--purpose", "oidc"]).fails(2, "no keys for apps yet");
    let shown = place.run(&["keys", "status"]).ok().out;
    assert!(
        shown.contains("ES256") && shown.contains("towards PDSs"),
        "{shown}"
    );
    let set = [
        "config",
        "get",
        "--path",
        "aip_config.signing_keys_json_string",
    ];
    let set: Value = serde_json::from_str(&place.run(&set).ok().out).unwrap();
    assert!(!shown.contains(set["keys"][0]["d"].as_str().unwrap()));
    place.run(&["stack", "init", "dev"]).ok();
    place
        .run(&["keys", "status"])
        .fails(2, "signing_keys_json_string is missing");
}
