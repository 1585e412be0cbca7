//! A panic is logged as an error of ours, without what it says.

#![allow(clippy::panic, reason = "this is a test of panics")]

use aip_testkit::logs::Captured;

#[test]
fn a_panic_is_logged_by_its_place_and_not_by_its_message() {
    let log = Captured::begin();
    aip_telemetry::log_panics();
    let ended = std::thread::spawn(|| panic!("cannot parse `a secret`")).join();
    assert!(ended.is_err());
    let log = log.text();
    assert!(log.contains(r#""level":"ERROR""#), "{log}");
    assert!(log.contains("tests/panics.rs:"), "{log}");
    assert!(!log.contains("a secret"), "{log}");
}
