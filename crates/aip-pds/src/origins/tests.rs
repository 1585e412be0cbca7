//! Breakers and paces, with a clock moved by hand.

use aip_base::SystemRng;
use http::HeaderValue;

use super::*;
use crate::testing::ManualClock;

fn origins() -> (Origins, Arc<ManualClock>, Origin) {
    let clock = Arc::new(ManualClock::default());
    let origins = Origins::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(SystemRng));
    (origins, clock, Origin::parse("https://pds.org").unwrap())
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn break_down(origins: &Origins, origin: &Origin) {
    for _ in 0..FAILURES_TO_OPEN {
        origins.admit(origin).unwrap().failed();
    }
}

#[test]
fn a_server_that_is_down_is_left_alone_and_others_are_not() {
    let (origins, _, down) = origins();
    break_down(&origins, &down);
    assert!(origins.admit(&down).is_err());
    assert!(origins.refresh_wait(&down).is_some());
    assert_eq!(origins.throttled(), [down]);
    let up = Origin::parse("https://other.org").unwrap();
    origins.admit(&up).unwrap().answered();
    assert_eq!(origins.refresh_wait(&up), None);
}

#[test]
fn one_answer_among_failures_keeps_the_breaker_closed() {
    let (origins, _, origin) = origins();
    for _ in 0..3 {
        for _ in 1..FAILURES_TO_OPEN {
            origins.admit(&origin).unwrap().failed();
        }
        origins.admit(&origin).unwrap().answered();
    }
    assert!(origins.throttled().is_empty());
}

#[test]
fn one_probe_finds_out_whether_the_server_is_back() {
    let (origins, clock, origin) = origins();
    break_down(&origins, &origin);
    clock.advance(OPEN_BACKOFF.base);
    let probe = origins.admit(&origin).unwrap();
    assert_eq!(origins.admit(&origin).err(), Some(Paused(PROBE_WAIT)));
    probe.failed();
    assert!(origins.admit(&origin).is_err());
    clock.advance(OPEN_BACKOFF.base * 2);
    // Nobody heard how this one went, so the next one probes.
    drop(origins.admit(&origin).unwrap());
    origins.admit(&origin).unwrap().answered();
    origins.admit(&origin).unwrap().answered();
    assert!(origins.throttled().is_empty());
}

#[test]
fn a_pause_that_the_server_asks_for_is_kept_and_bounded() {
    let (origins, clock, origin) = origins();
    let asked = headers(&[("retry-after", "30")]);
    origins.learn_limits(&origin, StatusCode::TOO_MANY_REQUESTS, &asked, true);
    assert_eq!(origins.refresh_wait(&origin), Some(Duration::from_secs(30)));
    // The server is up: whatever is no refresh goes on.
    origins.admit(&origin).unwrap().answered();
    clock.advance(Duration::from_secs(30));
    assert_eq!(origins.refresh_wait(&origin), None);
    let mistake = headers(&[("retry-after", "99999999999")]);
    origins.learn_limits(&origin, StatusCode::TOO_MANY_REQUESTS, &mistake, true);
    assert_eq!(origins.refresh_wait(&origin), Some(MAX_PAUSE));
}

#[test]
fn what_apps_called_forth_holds_back_only_what_nobody_waits_for() {
    let (origins, _, origin) = origins();
    let asked = headers(&[("retry-after", "30")]);
    origins.learn_limits(&origin, StatusCode::TOO_MANY_REQUESTS, &asked, false);
    assert_eq!(origins.refresh_wait(&origin), None);
    assert_eq!(origins.throttled(), [origin]);
}

#[test]
fn the_last_tenth_of_a_budget_is_for_apps_and_an_empty_one_for_nobody() {
    let (origins, clock, origin) = origins();
    let reset = (clock.now() + Duration::from_mins(2)).as_secs().to_string();
    let budget = |remaining| {
        headers(&[
            ("ratelimit-limit", "3000"),
            ("ratelimit-remaining", remaining),
            ("ratelimit-reset", &reset),
        ])
    };
    origins.learn_limits(&origin, StatusCode::OK, &budget("300"), true);
    assert!(origins.throttled().is_empty());
    origins.learn_limits(&origin, StatusCode::OK, &budget("299"), true);
    assert_eq!(origins.throttled(), std::slice::from_ref(&origin));
    assert_eq!(origins.refresh_wait(&origin), None);
    origins.learn_limits(&origin, StatusCode::OK, &budget("0"), true);
    assert_eq!(origins.refresh_wait(&origin), Some(Duration::from_mins(2)));
}

#[test]
fn the_labels_of_servers_are_few() {
    for (origin, label) in [
        ("https://bsky.social", "bsky.network"),
        ("https://oyster.us-east.host.bsky.network", "bsky.network"),
        ("https://evil-bsky.network", "other"),
        ("https://pds.example.org", "other"),
    ] {
        assert_eq!(server_class(&Origin::parse(origin).unwrap()), label);
    }
}

#[test]
fn a_flood_of_servers_in_trouble_is_not_remembered_without_bound() {
    let (origins, _, _) = origins();
    for number in 0..2 * MAX_ORIGINS {
        let origin = Origin::parse(&format!("https://h{number}.example.org")).unwrap();
        origins.admit(&origin).unwrap().failed();
    }
    assert!(lock(&origins.states).len() <= MAX_ORIGINS);
}
