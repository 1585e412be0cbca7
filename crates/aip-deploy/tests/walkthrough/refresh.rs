//! `config refresh`: back to what was deployed.

use crate::history::deployed;
use crate::place::{PASSPHRASE, Place, STACK};

const REFRESH: &[&str] = &["config", "refresh"];
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

#[test]
fn the_configuration_of_the_last_success_comes_back_and_the_present_one_is_kept() {
    let place = Place::new();
    place.run(REFRESH).fails(
        1,
        "has no successful deployment to take the configuration from",
    );
    let tag = ["config", "set", "--path", "aip_config.image_tag", "v9"];
    place.run(&tag).ok();
    let edited = place.text("main");
    deployed(&place, 1, "succeeded", STACK, LONG_AGO);
    deployed(&place, 2, "failed", &edited, LONG_AGO);
    let history = place.run(&["stack", "history", "--json"]).ok().out;
    assert!(history.contains("\"version\": 2") && !history.contains("aip_config"));
    // The same key: no passphrase is needed.
    let ended = place.run_with(REFRESH, "wrong", None).ok();
    assert!(ended.err.contains("from revision 1"), "{}", ended.err);
    assert_eq!(place.text("main"), STACK);
    let backup = place.folder.path().join("Pulumi.main.yaml.bak");
    assert_eq!(std::fs::read_to_string(backup).unwrap(), edited);
    assert!(place.run(REFRESH).ok().err.contains("already"));
    place.run(&tag).ok();
    place.run(&["config", "refresh", "--force"]).ok();
    assert_eq!(place.text("main"), STACK);
    assert!(
        !place
            .folder
            .path()
            .join("Pulumi.main.yaml.bak.bak")
            .exists()
    );
}

#[test]
fn a_lost_file_is_written_anew() {
    let place = Place::new();
    deployed(&place, 1, "succeeded", STACK, LONG_AGO);
    std::fs::remove_file(place.file("main")).unwrap();
    place
        .run_with(&["-s", "main", "config", "refresh"], "wrong", None)
        .ok();
    assert_eq!(place.text("main"), STACK);
}

#[test]
fn values_that_nobody_can_open_do_not_replace_those_that_somebody_can() {
    let place = Place::new();
    deployed(&place, 1, "succeeded", STACK, LONG_AGO);
    let change = ["stack", "change-secrets-provider", "passphrase"];
    place.run_with(&change, PASSPHRASE, Some("new\n")).ok();
    let now = place.text("main");
    place
        .run_with(REFRESH, "new", None)
        .fails(1, "revision 1 was encrypted with another key");
    assert_eq!(place.text("main"), now);
    assert!(!place.folder.path().join("Pulumi.main.yaml.bak").exists());
    place.run_with(REFRESH, PASSPHRASE, None).ok();
    assert_eq!(place.text("main"), STACK);
}
