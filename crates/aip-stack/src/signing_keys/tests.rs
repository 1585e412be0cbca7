//! The life of a key, step by step.

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
    keys.add(purpose, &SystemClock, &SystemRng).unwrap()
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
    keys.activate(&new).unwrap();
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
    keys.activate(&new).unwrap();
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
    keys.activate(&oidc).unwrap();
    assert_eq!(keys.active(), ["u"]);
    keys.activate(&upstream).unwrap();
    assert_eq!(
        states(&keys),
        format!("u published, o published, r active, x retired, {upstream} active, {oidc} active")
    );
    assert!(matches!(
        keys.activate("x"),
        Err(SigningKeysError::Retired(_))
    ));
    assert!(matches!(
        keys.activate(&oidc),
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
        Err(SigningKeysError::Which(two)) if two.len() == 2
    ));
    assert!(matches!(
        keys.add(Purpose::Oidc, &SystemClock, &SystemRng),
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
