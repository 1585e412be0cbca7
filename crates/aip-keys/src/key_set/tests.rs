//! Key sets: purposes stay apart, old files load, and no step of a rotation loses a key.

use aip_base::{SystemClock, SystemRng};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::*;

/// Later than the keys are made.
const NOW: Timestamp = Timestamp::from_secs(4_000_000_000);

fn generate() -> KeySet {
    KeySet::generate(&SystemClock, &SystemRng).unwrap()
}

fn kids(set: &JwkSet) -> Vec<&str> {
    set.keys().iter().filter_map(|key| key.kid()).collect()
}

fn private(alg: Alg, kid: Option<&str>) -> Value {
    let key = SigningKey::generate(alg, kid.map(str::to_owned)).unwrap();
    serde_json::from_str(key.to_private_jwk_json().unwrap().expose_secret()).unwrap()
}

fn load(keys: &[Value], active: &[&str]) -> Result<KeySet, KeySetError> {
    let active: Vec<_> = active.iter().map(|kid| (*kid).to_owned()).collect();
    KeySet::load_json(&json!({"keys": keys}).to_string(), &active)
}

#[test]
fn a_fresh_set_signs_for_every_purpose() {
    let mut set = generate();
    assert_eq!(set.upstream_active().alg(), Alg::Es256);
    assert_eq!(set.oidc(Alg::Es256).unwrap().alg(), Alg::Es256);
    assert_eq!(set.oidc(Alg::Rs256).unwrap().alg(), Alg::Rs256);
    assert!(set.oidc(Alg::Es256k).is_none());
    assert!(!set.add_missing_oidc(&SystemClock, &SystemRng).unwrap());
    let service = set.public_service_auth_keys();
    assert_eq!(service.len(), 1);
    assert_eq!(service[0].alg(), Alg::Es256);
}

#[test]
fn a_key_for_service_authentication_is_of_its_purpose_alone() {
    let set = generate();
    let kid = set.public_service_auth_keys()[0].kid().unwrap().to_owned();
    assert!(set.upstream_by_kid(&kid).is_none() && set.oidc_by_kid(&kid).is_none());
    let others = [set.public_upstream_jwks(), set.public_oidc_jwks()];
    assert!(
        others
            .iter()
            .all(|jwks| !kids(jwks).contains(&kid.as_str()))
    );
    // Its purpose survives the file, and only what PDSs and resolvers of the AT Protocol verify does.
    let json = set.to_json().unwrap();
    let read = KeySet::load_json(json.expose_secret(), &[]).unwrap();
    assert!(read.is_same(&set));
    for alg in [Alg::Rs256, Alg::EdDsa, Alg::Es256k] {
        let mut key = private(alg, Some("s"));
        key["aip_purpose"] = "service_auth".into();
        let refused = load(&[private(Alg::Es256, Some("a")), key], &[]);
        assert!(matches!(refused, Err(KeySetError::Unsuitable { .. })));
    }
    let active = KeySet::load_json(json.expose_secret(), &[kid]);
    assert!(matches!(active, Err(KeySetError::NotUpstream { .. })));
    // An older set has none.
    let older = load(&[private(Alg::Es256, Some("a"))], &[]).unwrap();
    assert!(older.public_service_auth_keys().is_empty());
}

#[test]
fn upstream_keys_and_keys_towards_apps_never_mix() {
    let mut set = generate();
    set.add(Purpose::Upstream, Alg::Es256, &SystemClock, &SystemRng)
        .unwrap();
    set.add(Purpose::Oidc, Alg::Es256, &SystemClock, &SystemRng)
        .unwrap();
    let (upstream, oidc) = (set.public_upstream_jwks(), set.public_oidc_jwks());
    assert_eq!((upstream.keys().len(), oidc.keys().len()), (2, 3));
    for kid in kids(&upstream) {
        assert!(!kids(&oidc).contains(&kid));
        assert!(set.oidc_by_kid(kid).is_none());
    }
    for kid in kids(&oidc) {
        assert!(set.upstream_by_kid(kid).is_none());
    }
}

#[test]
fn one_key_cannot_serve_two_purposes() {
    let mut upstream = private(Alg::Es256, Some("a"));
    let mut oidc = upstream.clone();
    upstream["aip_purpose"] = "upstream".into();
    oidc["aip_purpose"] = "oidc".into();
    oidc["kid"] = "b".into();
    assert!(matches!(
        load(&[upstream, oidc], &["a"]),
        Err(KeySetError::Duplicate(_))
    ));
}

#[test]
fn published_sets_carry_no_private_member() {
    let set = generate();
    let private = set.to_json().unwrap();
    let private: Value = serde_json::from_str(private.expose_secret()).unwrap();
    let published = format!(
        "{} {} {set:?}",
        serde_json::to_string(&set.public_upstream_jwks()).unwrap(),
        serde_json::to_string(&set.public_oidc_jwks()).unwrap(),
    );
    for key in private["keys"].as_array().unwrap() {
        assert!(!published.contains(key["d"].as_str().unwrap()));
    }
}

#[test]
fn a_set_survives_its_file_with_purposes_and_states() {
    let mut set = generate();
    let next = set
        .add(Purpose::Upstream, Alg::Es256, &SystemClock, &SystemRng)
        .unwrap();
    let first = set.upstream_active().kid().unwrap().to_owned();
    set.activate(&next, NOW).unwrap();
    let loaded = KeySet::load_json(set.to_json().unwrap().expose_secret(), &[]).unwrap();
    assert_eq!(
        loaded.list().collect::<Vec<_>>(),
        set.list().collect::<Vec<_>>()
    );
    assert_eq!(loaded.upstream_active().kid(), Some(next.as_str()));
    assert!(loaded.upstream_by_kid(&first).is_some());
}

#[test]
fn the_times_of_a_key_are_members_of_its_jwk() {
    let mut set = generate();
    let old = set.upstream_active().kid().unwrap().to_owned();
    let made = set.list().next().unwrap().times.created.unwrap();
    let next = set
        .add(Purpose::Upstream, Alg::Es256, &SystemClock, &SystemRng)
        .unwrap();
    set.activate(&next, NOW).unwrap();
    let later = NOW + std::time::Duration::from_millis(1500);
    set.retire(&old, later).unwrap();
    let json: Value = serde_json::from_str(set.to_json().unwrap().expose_secret()).unwrap();
    let (retired, active) = (&json["keys"][0], &json["keys"][4]);
    assert_eq!(retired["aip_created"], made.as_secs());
    assert_eq!(retired["aip_published_since"], made.as_secs());
    assert_eq!(retired["aip_active_since"], made.as_secs());
    assert_eq!(retired["aip_superseded_since"], 4_000_000_000_i64);
    assert_eq!(retired["aip_retired_since"], 4_000_000_001_i64);
    assert_eq!(active["aip_active_since"], 4_000_000_000_i64);
    assert!(active.get("aip_superseded_since").is_none());
    let published = serde_json::to_string(&set.public_upstream_jwks()).unwrap();
    assert!(!published.contains("aip_"), "{published}");

    // Whoever signs again is not superseded any more.
    let back = set
        .add(Purpose::Upstream, Alg::Es256, &SystemClock, &SystemRng)
        .unwrap();
    set.activate(&back, NOW).unwrap();
    set.activate(&next, later).unwrap();
    let times = set.list().find(|key| key.kid == next).unwrap().times;
    assert_eq!(
        (times.superseded, times.activated),
        (None, Some(Timestamp::from_secs(4_000_000_001)))
    );
}

#[test]
fn a_time_that_is_none_is_refused_by_its_name() {
    for value in [json!("yesterday"), json!(-1), json!(1.5), json!(null)] {
        let mut key = private(Alg::Es256, Some("a"));
        key["aip_active_since"] = value;
        let refused = load(&[key], &[]).unwrap_err();
        assert!(
            refused.to_string().contains("`aip_active_since`"),
            "{refused}"
        );
    }
}

#[test]
fn an_older_set_without_purposes_loads_with_its_list_of_active_keys() {
    let keys = ["a", "b", "c"].map(|kid| private(Alg::Es256, Some(kid)));
    let mut set = load(&keys, &["b", "a"]).unwrap();
    assert_eq!(set.upstream_active().kid(), Some("b"));
    assert_eq!(kids(&set.public_upstream_jwks()), ["a", "b", "c"]);
    assert!(set.public_oidc_jwks().keys().is_empty());
    assert!(set.add_missing_oidc(&SystemClock, &SystemRng).unwrap());
    assert_eq!(set.public_oidc_jwks().keys().len(), 2);
    assert_eq!(kids(&set.public_upstream_jwks()), ["a", "b", "c"]);
}

#[test]
fn without_a_list_the_first_key_of_an_older_set_signs() {
    let keys = [
        private(Alg::Rs256, Some("r")),
        private(Alg::EdDsa, Some("e")),
        private(Alg::Es256, None),
        private(Alg::EdDsa, Some("f")),
    ];
    let set = load(&keys, &[]).unwrap();
    let signing = set.upstream_active();
    assert_eq!(signing.kid(), Some(signing.public().thumbprint().as_str()));
    assert_eq!(set.oidc(Alg::Rs256).unwrap().kid(), Some("r"));
    assert_eq!(set.oidc(Alg::EdDsa).unwrap().kid(), Some("e"));
    assert_eq!(kids(&set.public_oidc_jwks()), ["r", "e", "f"]);
}

#[test]
fn the_setting_wins_over_the_states_of_the_file() {
    let mut keys = ["a", "b"].map(|kid| private(Alg::Es256, Some(kid)));
    keys[0]["aip_state"] = "active".into();
    let set = load(&keys, &["b"]).unwrap();
    assert_eq!(set.upstream_active().kid(), Some("b"));
    let states: Vec<_> = set.list().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Published, KeyState::Active]);
}

#[test]
fn mistakes_in_a_set_are_named() {
    let a = private(Alg::Es256, Some("a"));
    let with = |member: &str, value: &str| {
        let mut key = a.clone();
        key[member] = value.into();
        load(&[key], &[])
    };
    assert!(matches!(load(&[], &[]), Err(KeySetError::NoUpstream)));
    for alg in [Alg::Rs256, Alg::EdDsa] {
        assert!(matches!(
            load(&[private(alg, None)], &[]),
            Err(KeySetError::NoUpstream)
        ));
    }
    assert!(
        matches!(load(std::slice::from_ref(&a), &["z"]), Err(KeySetError::NotUpstream { kid, .. }) if kid == "z")
    );
    assert!(matches!(
        load(&[a.clone(), a.clone()], &[]),
        Err(KeySetError::Duplicate(_))
    ));
    assert!(matches!(
        with("aip_state", "new"),
        Err(KeySetError::Member { number: 1, .. })
    ));
    assert!(matches!(
        with("aip_purpose", "all"),
        Err(KeySetError::Member { number: 1, .. })
    ));
    assert!(matches!(
        with("d", "AA"),
        Err(KeySetError::Key { number: 1, .. })
    ));
    assert!(matches!(
        with("aip_state", "retired"),
        Err(KeySetError::NoUpstream)
    ));
    let k256 = private(Alg::Es256k, Some("k"));
    assert!(matches!(
        load(&[k256], &[]),
        Err(KeySetError::Unsuitable { .. })
    ));
    let mut two = ["a", "b"].map(|kid| private(Alg::Es256, Some(kid)));
    for key in &mut two {
        key["aip_state"] = "active".into();
    }
    assert!(matches!(
        load(&two, &[]),
        Err(KeySetError::TwoActive { .. })
    ));
    assert!(matches!(
        KeySet::load_json("[]", &[]),
        Err(KeySetError::Malformed)
    ));
}

#[test]
fn a_rotation_publishes_then_activates_then_retires() {
    let mut set = generate();
    let old = set.upstream_active().kid().unwrap().to_owned();
    let new = set
        .add(Purpose::Upstream, Alg::Es256, &SystemClock, &SystemRng)
        .unwrap();
    assert_eq!(
        set.upstream_active().kid(),
        Some(old.as_str()),
        "published only"
    );
    assert_eq!(
        kids(&set.public_upstream_jwks()),
        [old.as_str(), new.as_str()]
    );

    assert!(matches!(set.retire(&old, NOW), Err(KeySetError::Active(_))));
    assert!(matches!(set.remove(&old), Err(KeySetError::Active(_))));
    set.activate(&new, NOW).unwrap();
    assert_eq!(set.upstream_active().kid(), Some(new.as_str()));
    assert!(
        set.upstream_by_kid(&old).is_some(),
        "sessions bound to it go on"
    );

    set.retire(&old, NOW).unwrap();
    assert!(set.upstream_by_kid(&old).is_none());
    assert_eq!(kids(&set.public_upstream_jwks()), [new.as_str()]);
    assert!(matches!(
        set.activate(&old, NOW),
        Err(KeySetError::Retired(_))
    ));
    set.remove(&old).unwrap();
    assert!(set.list().all(|key| key.kid != old));
}

#[test]
fn a_retired_key_still_verifies_old_id_token_hints() {
    let mut set = generate();
    let old = set.oidc(Alg::Es256).unwrap().kid().unwrap().to_owned();
    let new = set
        .add(Purpose::Oidc, Alg::Es256, &SystemClock, &SystemRng)
        .unwrap();
    set.activate(&new, NOW).unwrap();
    set.retire(&old, NOW).unwrap();
    assert!(!kids(&set.public_oidc_jwks()).contains(&old.as_str()));
    assert!(set.oidc_by_kid(&old).is_some());
    assert_eq!(set.oidc(Alg::Es256).unwrap().kid(), Some(new.as_str()));
    assert!(
        set.oidc(Alg::Rs256).is_some(),
        "the other algorithm is left alone"
    );
}

#[test]
fn a_key_for_eddsa_is_for_apps_alone_and_there_only_if_it_was_added() {
    let mut set = generate();
    assert!(set.oidc(Alg::EdDsa).is_none() && !set.lacks_oidc());
    let refused = set.add(Purpose::Upstream, Alg::EdDsa, &SystemClock, &SystemRng);
    assert!(matches!(refused, Err(KeySetError::Unsuitable { .. })));
    let kid = set.add(Purpose::Oidc, Alg::EdDsa, &SystemClock, &SystemRng);
    let kid = kid.unwrap();
    assert!(set.oidc(Alg::EdDsa).is_none(), "published alone");
    set.activate(&kid, NOW).unwrap();
    let json = set.to_json().unwrap();
    let read = KeySet::load_json(json.expose_secret(), &[]).unwrap();
    assert!(read.is_same(&set));
    let key = read.oidc(Alg::EdDsa).unwrap();
    assert_eq!((key.alg(), key.kid()), (Alg::EdDsa, Some(kid.as_str())));
    assert!(
        read.public_oidc_jwks()
            .select(Some(&kid), Alg::EdDsa)
            .is_some()
    );
    assert!(read.oidc(Alg::Es256).is_some() && read.oidc(Alg::Rs256).is_some());
    // Nor may a PDS be told of it.
    let mut mixed = private(Alg::EdDsa, Some("e"));
    mixed["aip_purpose"] = "upstream".into();
    let refused = load(&[private(Alg::Es256, Some("a")), mixed], &[]);
    assert!(matches!(refused, Err(KeySetError::Unsuitable { .. })));
}
