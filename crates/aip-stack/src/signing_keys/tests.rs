//! The life of a key, step by step.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aip_base::{SystemClock, SystemRng};

use super::*;

const PLAIN: &str = r#"{"keys":[
    {"kid":"a","kty":"EC","crv":"P-256","d":"private","note":"mine"},
    {"kid":"b","kty":"EC","crv":"P-256","d":"private"}],"more":1}"#;
const WITH_STATES: &str = r#"{"keys":[
    {"kid":"u","kty":"EC","crv":"P-256","aip_purpose":"upstream","aip_state":"active"},
    {"kid":"o","kty":"EC","crv":"P-256","aip_purpose":"oidc","aip_state":"active"},
    {"kid":"r","kty":"RSA","aip_purpose":"oidc","aip_state":"active"},
    {"kid":"x","kty":"EC","crv":"P-256","aip_purpose":"upstream","aip_state":"retired"}]}"#;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn keys(json: &str, active: &[&str]) -> SigningKeys {
    let owned = |kids: &[&str]| kids.iter().map(|kid| (*kid).to_owned()).collect();
    SigningKeys::parse(json, owned(active), owned(&["b"])).unwrap()
}

fn states(keys: &SigningKeys) -> String {
    let list = keys.list();
    let words = list.iter().map(|key| format!("{} {}", key.kid, key.state));
    words.collect::<Vec<_>>().join(", ")
}

fn add(keys: &mut SigningKeys, purpose: Purpose) -> String {
    keys.add(purpose, Alg::Es256, &SystemClock, &SystemRng)
        .unwrap()
}

#[test]
fn a_key_is_published_then_active_then_published_then_gone() {
    let mut keys = keys(PLAIN, &["a"]);
    assert_eq!(states(&keys), "a active, b published");
    let new = add(&mut keys, Purpose::Upstream);
    assert_eq!(
        states(&keys),
        format!("a active, b published, {new} published")
    );
    assert!(matches!(keys.remove("a"), Err(SigningKeysError::Active(_))));
    keys.activate(&new, NOW).unwrap();
    assert_eq!(keys.active(), [new.as_str()]);
    assert_eq!(
        states(&keys),
        format!("a published, b published, {new} active")
    );
    keys.remove("a").unwrap();
    assert_eq!(states(&keys), format!("b published, {new} active"));
    assert!(matches!(
        keys.remove("b"),
        Err(SigningKeysError::Service(_))
    ));
    assert!(matches!(
        keys.remove("a"),
        Err(SigningKeysError::Unknown(_))
    ));
}

#[test]
fn what_is_not_understood_stays_and_a_plain_set_stays_plain() {
    let mut keys = keys(PLAIN, &["a"]);
    let new = add(&mut keys, Purpose::Upstream);
    keys.activate(&new, NOW).unwrap();
    let json: Value = serde_json::from_str(keys.to_json().expose_secret()).unwrap();
    assert_eq!(json["more"], 1);
    assert_eq!(json["keys"][0]["note"], "mine");
    assert_eq!(json["keys"][0]["d"], "private");
    assert!(json["keys"][2][STATE].is_null());
    // What was made is a key that `aip` can use.
    SigningKey::from_jwk_json(&json["keys"][2].to_string()).unwrap();
}

#[test]
fn purposes_are_rotated_apart() {
    let mut keys = keys(WITH_STATES, &["u"]);
    let (upstream, oidc) = (
        add(&mut keys, Purpose::Upstream),
        add(&mut keys, Purpose::Oidc),
    );
    assert_eq!(keys.waiting(Purpose::Oidc).unwrap(), oidc);
    keys.activate(&oidc, NOW).unwrap();
    assert_eq!(keys.active(), ["u"]);
    keys.activate(&upstream, NOW).unwrap();
    assert_eq!(
        states(&keys),
        format!("u published, o published, r active, x retired, {upstream} active, {oidc} active")
    );
    assert!(matches!(
        keys.activate("x", NOW),
        Err(SigningKeysError::Retired(_))
    ));
    assert!(matches!(
        keys.activate(&oidc, NOW),
        Err(SigningKeysError::AlreadyActive(_))
    ));
    let json: Value = serde_json::from_str(keys.to_json().expose_secret()).unwrap();
    assert_eq!(json["keys"][4][PURPOSE], "upstream");
    assert_eq!(json["keys"][4][STATE], "active");
}

#[test]
fn the_key_that_waits_is_meant_unless_there_are_several() {
    let mut keys = keys(PLAIN, &["b"]);
    // `a` is older than the active one: it had its time.
    assert!(matches!(
        keys.waiting(Purpose::Upstream),
        Err(SigningKeysError::NoneWaiting)
    ));
    let new = add(&mut keys, Purpose::Upstream);
    assert_eq!(keys.waiting(Purpose::Upstream).unwrap(), new);
    add(&mut keys, Purpose::Upstream);
    assert!(matches!(
        keys.waiting(Purpose::Upstream),
        Err(SigningKeysError::SeveralWaiting(two)) if two.len() == 2
    ));
    assert!(matches!(
        keys.add(Purpose::Oidc, Alg::Es256, &SystemClock, &SystemRng),
        Err(SigningKeysError::OnePurpose)
    ));
}

#[test]
fn what_is_shown_has_nothing_private() {
    let shown = serde_json::to_string(&keys(PLAIN, &["a"]).list()).unwrap();
    assert!(!shown.contains("private"), "{shown}");
    assert!(shown.contains(r#""alg":"ES256""#), "{shown}");
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[{"kty":"EC"}]}"#,
    ] {
        assert!(
            SigningKeys::parse(bad, Vec::new(), Vec::new()).is_err(),
            "{bad}"
        );
    }
}

const DAY: Duration = Duration::from_hours(24);
const SCHEDULE: Schedule = Schedule {
    every: Duration::from_hours(24 * 90),
    overlap: Duration::from_hours(48),
};

struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A stack whose keys rotate by themselves, as a nightly run would do it.
struct Rotation {
    clock: ManualClock,
    keys: SigningKeys,
    deployed: Deployed<SigningKeys>,
}

impl Rotation {
    fn of(json: &str, active: &[&str]) -> Self {
        let clock = ManualClock(AtomicI64::new(1_800_000_000));
        let keys = keys(json, active);
        let deployed = Deployed(vec![(clock.now(), keys.clone())]);
        Self {
            clock,
            keys,
            deployed,
        }
    }

    fn pass(&self, time: Duration) {
        let seconds = i64::try_from(time.as_secs()).unwrap();
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn due(&self) -> Due {
        let now = self.clock.now();
        self.keys.due(None, SCHEDULE, &self.deployed, now).unwrap()
    }

    /// Makes what is due and deploys it. What was made.
    fn run(&mut self) -> Vec<Step> {
        let steps = self.due().steps;
        for step in &steps {
            self.keys.make(step, &self.clock, &SystemRng).unwrap();
        }
        self.deploy();
        steps
    }

    fn deploy(&mut self) {
        let now = self.clock.now();
        self.deployed.0.insert(0, (now, self.keys.clone()));
    }
}

#[test]
fn every_line_of_keys_is_published_then_activated_and_nothing_is_due_in_between() {
    let mut stack = Rotation::of(WITH_STATES, &["u"]);
    // Nobody knows for how long they have signed.
    let published = stack.run();
    assert_eq!(
        published,
        [
            Step::Publish(Purpose::Upstream, Alg::Es256),
            Step::Publish(Purpose::Oidc, Alg::Es256),
            Step::Publish(Purpose::Oidc, Alg::Rs256),
        ]
    );
    let waiting = stack.due();
    assert_eq!(waiting.steps, []);
    assert_eq!(waiting.next, Some(stack.clock.now() + MIN_PUBLISHED));
    stack.pass(Duration::from_secs(599));
    assert_eq!(stack.run(), []);
    stack.pass(Duration::from_secs(1));
    let activated = stack.run();
    assert_eq!(activated.len(), 3);
    assert!(
        activated
            .iter()
            .all(|step| matches!(step, Step::Activate(_)))
    );
    let signing: Vec<_> = stack.keys.list();
    let signing = signing.iter().filter(|key| key.state == ACTIVE);
    let signing: Vec<_> = signing.map(|key| (key.purpose, key.alg.unwrap())).collect();
    assert_eq!(
        signing,
        [
            (Purpose::Upstream, "ES256"),
            (Purpose::Oidc, "ES256"),
            (Purpose::Oidc, "RS256"),
        ]
    );

    // Those for apps are retired when their tokens have expired; the one for PDSs stays for good.
    stack.pass(Duration::from_secs(48 * 3600 - 1));
    assert_eq!(stack.run(), []);
    stack.pass(Duration::from_secs(1));
    let retired = stack.run();
    assert_eq!(
        retired,
        [Step::Retire("o".to_owned()), Step::Retire("r".to_owned())]
    );
    stack.pass(DAY * 87);
    assert_eq!(stack.run(), []);
    stack.pass(DAY);
    assert_eq!(stack.run().len(), 3, "the next keys are published");
    stack.pass(DAY * 2);
    let later = stack.run();
    assert!(later.contains(&Step::Remove("o".to_owned())), "{later:?}");
    assert!(later.contains(&Step::Remove("r".to_owned())), "{later:?}");
    assert!(stack.keys.has("u") && stack.keys.has("x"));
    assert!(!stack.keys.has("o") && !stack.keys.has("r"));
}

#[test]
fn what_is_not_deployed_yet_is_not_activated_and_not_published_twice() {
    let mut stack = Rotation::of(PLAIN, &["b"]);
    let step = stack.due().steps.remove(0);
    let new = stack.keys.make(&step, &stack.clock, &SystemRng).unwrap();
    // Killed before the deployment: the file has the key, the Pods have not.
    stack.pass(DAY);
    assert_eq!(stack.due(), Due::default());
    assert!(!stack.keys.is_same(&stack.deployed.0[0].1));
    stack.deploy();
    // A deployment without the key, as after a rollback, begins its time anew.
    stack.pass(DAY);
    stack
        .deployed
        .0
        .insert(0, (stack.clock.now(), keys(PLAIN, &["b"])));
    stack.pass(DAY);
    stack.deploy();
    assert_eq!(stack.due().steps, []);
    stack.pass(MIN_PUBLISHED);
    assert_eq!(stack.run(), [Step::Activate(new.clone())]);
    // Whoever sends a key back means it.
    stack.keys.activate("b", stack.clock.now()).unwrap();
    stack.deploy();
    stack.pass(DAY);
    assert_eq!(stack.run(), []);
}

#[test]
fn purposes_can_be_rotated_alone_and_one_without_an_active_key_is_refused() {
    let stack = Rotation::of(WITH_STATES, &["u"]);
    let due = |purpose| {
        let now = stack.clock.now();
        stack
            .keys
            .due(purpose, SCHEDULE, &stack.deployed, now)
            .map(|due| due.steps)
    };
    assert_eq!(
        due(Some(Purpose::Upstream)).unwrap(),
        [Step::Publish(Purpose::Upstream, Alg::Es256)]
    );
    assert_eq!(due(Some(Purpose::Oidc)).unwrap().len(), 2);
    // A plain set without ACTIVE_SIGNING_KEYS, and one without keys for apps.
    for (active, purpose) in [(&[][..], None), (&["a"], Some(Purpose::Oidc))] {
        let plain = keys(PLAIN, active);
        let refused = plain.due(purpose, SCHEDULE, &Deployed::default(), NOW);
        assert!(matches!(refused, Err(SigningKeysError::NoneActive(_))));
    }
}

#[test]
fn a_key_for_pdss_and_one_of_service_authentication_are_never_retired() {
    let mut set = keys(&WITH_STATES.replace(r#""kid":"o""#, r#""kid":"b""#), &["u"]);
    let new = add(&mut set, Purpose::Oidc);
    set.activate(&new, NOW).unwrap();
    assert!(matches!(
        set.retire("b", NOW),
        Err(SigningKeysError::Service(_))
    ));
    assert!(matches!(
        set.retire("u", NOW),
        Err(SigningKeysError::Active(_))
    ));
    let upstream = add(&mut set, Purpose::Upstream);
    assert!(matches!(
        set.retire(&upstream, NOW),
        Err(SigningKeysError::Bound(_))
    ));
    let deployed = Deployed(vec![(NOW, set.clone())]);
    let later = NOW + SCHEDULE.every * 3;
    let due = set
        .due(Some(Purpose::Oidc), SCHEDULE, &deployed, later)
        .unwrap();
    assert!(!due.steps.contains(&Step::Retire("b".to_owned())));
}

#[test]
fn a_key_as_a_service_is_rotated_retired_and_removed_and_is_never_taken_for_one_for_pdss() {
    let states_too = WITH_STATES.replace(
        r#"{"kid":"r""#,
        r#"{"kid":"s","kty":"EC","crv":"P-256","aip_purpose":"service_auth","aip_state":"active"},
           {"kid":"r""#,
    );
    let mut set = keys(&states_too, &["u"]);
    let of = |set: &SigningKeys, kid: &str| set.list().into_iter().find(|key| key.kid == kid);
    assert_eq!(of(&set, "s").unwrap().purpose, Purpose::ServiceAuth);
    let new = add(&mut set, Purpose::ServiceAuth);
    assert_eq!(set.waiting(Purpose::ServiceAuth).unwrap(), new);
    assert!(set.waiting(Purpose::Upstream).is_err());
    set.activate(&new, NOW).unwrap();
    assert_eq!(set.active(), ["u"], "PDSs know nothing of it");
    assert_eq!(of(&set, "o").unwrap().state, ACTIVE);
    assert_eq!(of(&set, "s").unwrap().state, PUBLISHED);
    let deployed = Deployed(vec![(NOW, set.clone())]);
    let due = |set: &SigningKeys, later| {
        let purpose = Some(Purpose::ServiceAuth);
        let due = set.due(purpose, SCHEDULE, &deployed, later);
        due.unwrap().steps
    };
    let retired = NOW + SCHEDULE.overlap;
    assert_eq!(due(&set, retired), [Step::Retire("s".to_owned())]);
    set.retire("s", retired).unwrap();
    let removed = retired + SCHEDULE.every;
    assert!(due(&set, removed).contains(&Step::Remove("s".to_owned())));
    let before = set.clone();
    set.remove("s").unwrap();
    assert_eq!(set.outdated_by(&before), None, "it was retired");
    // A set whose keys have no purposes can have none.
    let plain = keys(PLAIN, &["a"]).add(Purpose::ServiceAuth, Alg::Es256, &SystemClock, &SystemRng);
    assert!(matches!(plain, Err(SigningKeysError::OnePurpose)));
}

#[test]
fn a_file_that_another_copy_has_overtaken_is_distinguished_from_one_that_is_ahead() {
    let first = keys(PLAIN, &["b"]);
    let mut published = first.clone();
    let new = add(&mut published, Purpose::Upstream);
    assert_eq!(
        first.outdated_by(&published),
        Some(OutdatedBy::Lacks(new.clone()))
    );
    assert_eq!(published.outdated_by(&first), None);
    let mut activated = published.clone();
    let later = aip_base::Clock::now(&SystemClock) + DAY;
    activated.activate(&new, later).unwrap();
    assert_eq!(published.outdated_by(&activated), Some(OutdatedBy::Older));
    assert_eq!(activated.outdated_by(&published), None);
    assert_eq!(activated.outdated_by(&activated), None);
    let read = SigningKeys::parse(
        activated.to_json().expose_secret(),
        activated.active().to_vec(),
        vec!["b".to_owned()],
    );
    assert!(activated.is_same(&read.unwrap()));
}

#[test]
fn a_retired_key_for_apps_that_was_removed_does_not_make_a_file_look_older() {
    let mut deployed = keys(
        &WITH_STATES.replace(
            r#"{"kid":"x","#,
            r#"{"kid":"s","kty":"RSA","aip_purpose":"oidc","aip_state":"retired"},
               {"kid":"b","kty":"RSA","aip_purpose":"oidc","aip_state":"retired"},{"kid":"x","#,
        ),
        &["u"],
    );
    let new = add(&mut deployed, Purpose::Oidc);
    deployed.activate(&new, NOW).unwrap();
    // The last change of the set is that of the key that goes.
    deployed.retire("o", NOW + DAY).unwrap();
    for (kid, expected) in [
        ("o", None),
        ("s", None),
        ("b", Some(OutdatedBy::Lacks("b".to_owned()))),
        ("r", Some(OutdatedBy::Lacks("r".to_owned()))),
        ("u", Some(OutdatedBy::Lacks("u".to_owned()))),
        ("x", Some(OutdatedBy::Lacks("x".to_owned()))),
        (new.as_str(), Some(OutdatedBy::Lacks(new.clone()))),
    ] {
        let mut file = deployed.clone();
        file.keys.retain(|key| key["kid"] != kid);
        assert_eq!(file.outdated_by(&deployed), expected, "{kid}");
    }
    let mut file = deployed.clone();
    for kid in ["o", "s"] {
        file.make(&Step::Remove(kid.to_owned()), &SystemClock, &SystemRng)
            .unwrap();
    }
    assert_eq!(file.outdated_by(&deployed), None);
    assert!(!file.is_same(&deployed));
}

#[test]
fn a_file_from_before_a_key_was_made_is_found_when_that_key_is_retired() {
    let mut stack = Rotation::of(WITH_STATES, &["u"]);
    let first = stack.keys.clone();
    let mut copies = Vec::new();
    for _ in 0..40 {
        copies.push(stack.keys.clone());
        stack.run();
        stack.pass(DAY * 10);
    }
    let deployed = &stack.deployed.0[0].1;
    let is_retired = |key: &KeyView| {
        key.purpose == Purpose::Oidc && key.state == RETIRED && !first.has(&key.kid)
    };
    assert!(
        deployed.list().iter().any(is_retired),
        "{}",
        states(deployed)
    );
    let mut behind = 0;
    for copy in &copies {
        // What has changed since is more than that retired keys were removed.
        let kids = |set: &SigningKeys| set.list().into_iter().map(|key| key.kid);
        let is_older = kids(deployed).any(|kid| !copy.has(&kid))
            || copy.last_change() < deployed.last_change();
        assert_eq!(
            copy.outdated_by(deployed).is_some(),
            is_older,
            "{}",
            states(copy)
        );
        behind += usize::from(is_older);
    }
    assert!(behind > 30, "{behind}");
}

#[test]
fn keys_without_a_purpose_that_no_pds_takes_are_for_apps() {
    let plain = keys(
        r#"{"keys":[{"kid":"a","kty":"EC","crv":"P-256"},{"kid":"r","kty":"RSA"},
            {"kid":"e","kty":"OKP","crv":"Ed25519"},
            {"kid":"d","kty":"OKP","crv":"Ed25519","aip_purpose":"upstream"}]}"#,
        &["a"],
    );
    let purposes: Vec<Purpose> = plain.list().iter().map(|key| key.purpose).collect();
    let (upstream, oidc) = (Purpose::Upstream, Purpose::Oidc);
    assert_eq!(purposes, [upstream, oidc, oidc, upstream]);
}
