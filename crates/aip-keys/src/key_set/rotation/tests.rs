//! Rotations with a clock moved by hand.

use aip_base::SystemRng;
use secrecy::ExposeSecret as _;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

const POLICY: RotationPolicy = RotationPolicy {
    upstream_every: Some(Duration::from_hours(24 * 30)),
    oidc_every: Some(Duration::from_hours(24 * 7)),
    service_auth_every: None,
    publish_before_use: Duration::from_mins(11),
    publish_after_use: Duration::from_hours(25),
    verify_after_retirement: Duration::from_hours(24 * 90),
};

fn fresh() -> KeySet {
    let mut set = KeySet::generate(&FixedClock(START), &SystemRng).unwrap();
    set.complete_times(START);
    set
}

/// Only the key towards PDSs is rotated.
fn upstream_only() -> RotationPolicy {
    RotationPolicy {
        oidc_every: None,
        ..POLICY
    }
}

/// The steps of a policy until `end`, looked for every `look`; `pinned` says who is bound.
fn run(
    set: &mut KeySet,
    policy: &RotationPolicy,
    pinned: &dyn Fn(Timestamp) -> Vec<(String, u64)>,
    (start, end): (Timestamp, Timestamp),
    look: Duration,
) -> Vec<(Duration, RotationStep)> {
    let mut done = Vec::new();
    let mut now = start;
    while now <= end {
        while let Some(step) = set.next_step(policy, Some(&pinned(now)), now) {
            set.apply(&step, now, &SystemRng).unwrap();
            // Whoever does the next step knows nothing but what is stored.
            let json = set.to_json().unwrap();
            *set = KeySet::load_json(json.expose_secret(), &[]).unwrap();
            done.push((now.since(START), step));
        }
        now = now + look;
    }
    done
}

#[test]
fn nothing_is_due_without_a_period_or_before_it() {
    let set = fresh();
    let off = RotationPolicy {
        upstream_every: None,
        oidc_every: None,
        ..POLICY
    };
    assert!(!off.rotates());
    assert_eq!(set.next_step(&off, Some(&[]), START + 1000 * DAY), None);
    let before = START + 7 * DAY - POLICY.publish_before_use - Duration::from_secs(1);
    assert_eq!(set.next_step(&POLICY, Some(&[]), before), None);
}

#[test]
fn a_key_is_known_before_it_signs_and_stays_until_nothing_it_signed_is_valid() {
    let mut set = fresh();
    let first = set.upstream_active().kid().unwrap().to_owned();
    let policy = upstream_only();
    let nobody = |_| Vec::new();
    let end = START + 30 * DAY + 2 * DAY;
    let done = run(&mut set, &policy, &nobody, (START, end), MINUTE);
    let names: Vec<_> = done.iter().map(|(_, step)| step.name()).collect();
    assert_eq!(names, ["publish", "activate", "retire", "remove"]);
    let [published, activated, retired, _] = [0, 1, 2, 3].map(|it| done[it].0);
    assert!(activated >= published + policy.publish_before_use);
    assert_eq!(activated, 30 * DAY, "it signs when the period is over");
    assert!(retired >= activated + policy.publish_after_use);
    assert_eq!(done[2].1, RotationStep::Retire { kid: first });
}

#[test]
fn a_key_for_service_authentication_is_rotated_alone_and_forgotten_when_it_is_retired() {
    let mut set = fresh();
    let policy = RotationPolicy {
        upstream_every: None,
        oidc_every: None,
        service_auth_every: Some(30 * DAY),
        ..POLICY
    };
    assert!(policy.rotates());
    let kids = |set: &KeySet| -> Vec<String> {
        let keys = set.public_service_auth_keys().into_iter();
        keys.filter_map(|key| key.kid().map(str::to_owned))
            .collect()
    };
    let first = kids(&set).remove(0);
    let others = set.list().count() - 1;
    let nobody = |_| Vec::new();
    let end = START + 30 * DAY;
    let done = run(&mut set, &policy, &nobody, (START, end), MINUTE);
    let names: Vec<_> = done.iter().map(|(_, step)| step.name()).collect();
    assert_eq!(names, ["publish", "activate"]);
    let both = kids(&set);
    assert_eq!(
        (both.len(), both.last()),
        (2, Some(&first)),
        "the new one is the first"
    );
    let end = end + 2 * DAY;
    let start = START + 30 * DAY;
    let done = run(&mut set, &policy, &nobody, (start, end), MINUTE);
    let names: Vec<_> = done.iter().map(|(_, step)| step.name()).collect();
    assert_eq!(names, ["retire", "remove"]);
    assert_eq!(done[0].1, RotationStep::Retire { kid: first });
    assert!(done[0].0 >= 30 * DAY + policy.publish_after_use);
    assert_eq!(kids(&set), both[..1]);
    assert_eq!(set.list().count(), others + 1, "no other key was touched");
}

#[test]
fn a_key_that_sessions_are_bound_to_is_not_retired_nor_one_whose_sessions_are_not_known() {
    let mut set = fresh();
    let first = set.upstream_active().kid().unwrap().to_owned();
    let bound = |_| vec![(first.clone(), 1)];
    let end = START + 300 * DAY;
    let done = run(&mut set, &upstream_only(), &bound, (START, end), DAY);
    let retired = RotationStep::Retire { kid: first.clone() };
    assert!(done.iter().all(|(_, step)| *step != retired));
    assert!(set.upstream_by_kid(&first).is_some());
    assert_eq!(set.next_step(&upstream_only(), None, end), None);
    let due = set.next_step(&upstream_only(), Some(&[]), end);
    assert_eq!(due, Some(retired), "as soon as its sessions ended");
}

#[test]
fn the_set_does_not_grow_and_every_key_towards_apps_is_published_long_enough() {
    let mut set = fresh();
    let nobody = |_| Vec::new();
    let end = START + 200 * DAY;
    let done = run(&mut set, &POLICY, &nobody, (START, end), DAY / 4);
    let rsa = RotationStep::Publish {
        purpose: Purpose::Oidc,
        alg: Alg::Rs256,
    };
    let made = done.iter().filter(|(_, step)| *step == rsa).count();
    assert!((25..=29).contains(&made), "once a week: {made}");
    // 90 days of retired ones at one a week for each of two algorithms, and those in use.
    assert!(set.list().count() < 2 * 15 + 5, "{}", set.list().count());
    assert!(set.public_oidc_jwks().keys().len() <= 6);
}

#[test]
fn an_older_set_without_times_is_rotated_once_and_its_bound_keys_stay() {
    let key = |kid: &str| {
        let key = aip_jose::SigningKey::generate(Alg::Es256, Some(kid.to_owned())).unwrap();
        let json = key.to_private_jwk_json().unwrap();
        serde_json::from_str::<serde_json::Value>(json.expose_secret()).unwrap()
    };
    let json = serde_json::json!({"keys": [key("old"), key("in-use")]}).to_string();
    let mut set = KeySet::load_json(&json, &["in-use".to_owned()]).unwrap();
    set.complete_times(START);
    let policy = upstream_only();
    assert_eq!(set.next_step(&policy, None, START), None);
    let bound = |_| vec![("old".to_owned(), 3), ("in-use".to_owned(), 2)];
    let end = START + 31 * DAY;
    let done = run(&mut set, &policy, &bound, (START, end), DAY / 2);
    let names: Vec<_> = done.iter().map(|(_, step)| step.name()).collect();
    assert_eq!(names, ["publish", "activate"]);
    assert!(set.upstream_by_kid("old").is_some() && set.upstream_by_kid("in-use").is_some());
}

#[test]
fn of_two_keys_that_wait_the_newer_one_signs_and_nothing_goes_back_and_forth() {
    let mut set = fresh();
    let minute_later = FixedClock(START + MINUTE);
    let hour_later = FixedClock(START + 60 * MINUTE);
    set.add(Purpose::Upstream, Alg::Es256, &minute_later, &SystemRng)
        .unwrap();
    let newer = set
        .add(Purpose::Upstream, Alg::Es256, &hour_later, &SystemRng)
        .unwrap();
    let nobody = |_| Vec::new();
    let end = START + 10 * DAY;
    let done = run(&mut set, &upstream_only(), &nobody, (START, end), MINUTE);
    let activations: Vec<_> = done.iter().filter(|it| it.1.name() == "activate").collect();
    assert_eq!(activations.len(), 1, "{done:?}");
    assert_eq!(activations[0].1, RotationStep::Activate { kid: newer });
    let retired = done.iter().filter(|it| it.1.name() == "retire").count();
    assert_eq!(
        retired, 2,
        "the one that signed, and the one that never did"
    );
}

#[test]
fn a_key_for_eddsa_is_rotated_if_there_is_one() {
    let eddsa = RotationStep::Publish {
        purpose: Purpose::Oidc,
        alg: Alg::EdDsa,
    };
    let nobody = |_| Vec::new();
    let end = START + 60 * DAY;
    let mut without = fresh();
    let done = run(&mut without, &POLICY, &nobody, (START, end), DAY / 4);
    assert!(done.iter().all(|(_, step)| *step != eddsa));
    let mut with = fresh();
    let kid = with
        .add(Purpose::Oidc, Alg::EdDsa, &FixedClock(START), &SystemRng)
        .unwrap();
    with.activate(&kid, START).unwrap();
    let done = run(&mut with, &POLICY, &nobody, (START, end), DAY / 4);
    assert!(done.iter().any(|(_, step)| *step == eddsa));
    assert_ne!(with.oidc(Alg::EdDsa).unwrap().kid(), Some(kid.as_str()));
}
