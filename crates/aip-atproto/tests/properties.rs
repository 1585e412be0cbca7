//! Laws that hold for every input: parsers never panic, what is written is read back, and
//! comparing scopes is an order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy looks for tests in `#[test]` functions only"
)]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use aip_atproto::{
    AtIdentifier, AtUri, Did, DidDocument, Handle, Issuer, Nsid, Origin, PermissionSet, RepoAction,
    Scope, ScopeSet, ServiceRef, for_upstream,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use strum::IntoEnumIterator as _;

/// Whatever parses is written in a form that parses to the same value and is written the same.
fn is_stable<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    let again: T = written.parse().unwrap();
    assert_eq!(again, value);
    assert_eq!(again.to_string(), written);
}

fn every_parser(text: &str) {
    is_stable::<Did>(text);
    is_stable::<Handle>(text);
    is_stable::<AtIdentifier>(text);
    is_stable::<Nsid>(text);
    is_stable::<AtUri>(text);
    is_stable::<ServiceRef>(text);
    is_stable::<Origin>(text);
    is_stable::<Issuer>(text);
    is_stable::<ScopeSet>(text);
    let _ = (
        Handle::from_user_input(text),
        AtIdentifier::from_user_input(text),
    );
    if let Ok(set) = text.parse::<ScopeSet>() {
        assert_eq!(set.describe().len(), set.len());
        let upstream = for_upstream(&set);
        assert_eq!(upstream.to_string().parse(), Ok(upstream.clone()));
        assert!(set.covers_all(&set.intersect(&upstream)));
        set.allows_blob(text);
    }
    let asked = Nsid::parse("com.example.authBasic").unwrap();
    let _ = (
        DidDocument::parse(text.as_bytes()),
        PermissionSet::parse_for(&asked, text.as_bytes()),
    );
}

/// Pieces that parsers look for, so that random texts come close to valid ones.
const PIECES: [&str; 34] = [
    "did:plc:7iza6de2dwap2sbkpav7c6c6",
    "did:web:",
    "did:",
    "localhost",
    "example.com",
    "%3A",
    "80",
    "at://",
    "@",
    "/",
    "#",
    "?",
    "&",
    "=",
    ":",
    "*",
    "%",
    "%23",
    " ",
    ".",
    "-",
    "repo",
    "rpc",
    "blob",
    "include",
    "collection",
    "action",
    "lxm",
    "aud",
    "image/*",
    "https://",
    "app.bsky.feed.post",
    "\u{200b}",
    "ß",
];

const COLLECTIONS: [&str; 4] = ["a.b.c", "a.b.d", "chat.bsky.x", "*"];
const AUDIENCES: [&str; 3] = ["*", "did:web:x.example%23y", "did:web:x.example%23z"];
const WORDS: [&str; 15] = [
    "atproto",
    "openid",
    "email",
    "transition:generic",
    "transition:chat.bsky",
    "transition:email",
    "account:email",
    "account:email?action=manage",
    "account:repo",
    "identity:handle",
    "identity:*",
    "include:a.b.c",
    "unknown",
    "blob:*/*",
    "rpc:*?aud=did:web:x.example%23y",
];

fn scope() -> impl Strategy<Value = Scope> {
    let list = |name: &str, values: Vec<&str>| {
        values
            .iter()
            .map(|v| format!("{name}={v}"))
            .collect::<Vec<_>>()
            .join("&")
    };
    let repo = (
        subsequence(&COLLECTIONS, 1..=2),
        subsequence(&["action=create", "action=delete"], 0..=2),
    )
        .prop_map(move |(c, a)| format!("repo?{}&{}", list("collection", c), a.join("&")));
    let rpc = (subsequence(&COLLECTIONS, 1..=2), select(&AUDIENCES))
        .prop_map(move |(c, a)| format!("rpc?{}&aud={a}", list("lxm", c)));
    let blob = subsequence(&["image/*", "image/png", "video/mp4"], 1..=2)
        .prop_map(move |types| format!("blob?{}", list("accept", types)));
    prop_oneof![repo, rpc, blob, select(&WORDS).prop_map(str::to_owned)]
        .prop_map(|token| Scope::parse(&token))
}

fn set() -> impl Strategy<Value = ScopeSet> {
    prop::collection::vec(scope(), 0..6).prop_map(|scopes| scopes.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn atproto_parsers_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..256),
        pieces in prop::collection::vec(select(&PIECES), 0..12),
        text in any::<String>(),
    ) {
        let _ = DidDocument::parse(&bytes);
        every_parser(&String::from_utf8_lossy(&bytes));
        every_parser(&pieces.concat());
        every_parser(&text);
    }

    #[test]
    fn what_is_written_is_read_back(
        handle in "[A-Za-z0-9]{1,9}(-[a-z0-9]{1,9})?\\.[a-zA-Z]{2,9}",
        plc in "did:plc:[a-z2-7]{24}",
        port in 1_u16..,
        nsid in "[a-z]{2,5}(\\.[a-z0-9]{1,9}){1,4}\\.[a-zA-Z][a-zA-Z0-9]{0,9}",
        key in "[A-Za-z0-9._~:-]{3,20}",
    ) {
        let text = handle.to_ascii_lowercase();
        prop_assert_eq!(Handle::parse(&handle).unwrap().to_string(), text.clone());
        prop_assert_eq!(Did::parse(&plc).unwrap().to_string(), plc.clone());
        let web = format!("did:web:localhost%3A{port}");
        prop_assert_eq!(Did::parse(&web).unwrap().web_host().unwrap(), format!("localhost:{port}"));
        prop_assert_eq!(Nsid::parse(&nsid).unwrap().to_string(), nsid.clone());
        let uri = format!("at://{plc}/{nsid}/{key}");
        prop_assert_eq!(AtUri::parse(&uri).unwrap().to_string(), uri);
        let service = format!("{plc}#{key}");
        prop_assert_eq!(ServiceRef::parse(&service).unwrap().to_string(), service);
        let origin = Origin::parse(&format!("https://{handle}:{port}")).unwrap();
        prop_assert_eq!(origin.port(), port);
        let issuer = Issuer::parse(origin.as_str()).unwrap();
        prop_assert_eq!(issuer.origin(), &origin);
    }

    #[test]
    fn scopes_are_read_back_from_their_canonical_form(scope in scope(), set in set()) {
        prop_assert_eq!(Scope::parse(&scope.to_string()), scope);
        prop_assert_eq!(ScopeSet::parse(&set.to_string()).unwrap(), set);
    }

    #[test]
    fn covering_is_reflexive_and_transitive(a in set(), b in set(), c in set()) {
        prop_assert!(a.covers_all(&a));
        let narrower = a.intersect(&b);
        prop_assert!(a.covers_all(&narrower.intersect(&c)));
        if a.covers_all(&b) && b.covers_all(&c) {
            prop_assert!(a.covers_all(&c));
        }
        prop_assert!(a.union(&b).unwrap().covers_all(&a));
    }

    #[test]
    fn an_intersection_is_covered_by_both_and_as_wide_as_each_common_scope(a in set(), b in set(), s in scope()) {
        let both = a.intersect(&b);
        prop_assert!(a.covers_all(&both) && b.covers_all(&both));
        prop_assert!(both.covers_all(&b.intersect(&a)));
        // Sign-in words and scopes that are written in either set are never lost.
        if (a.contains(&s) && b.covers(&s)) || (b.contains(&s) && a.covers(&s)) {
            prop_assert!(both.covers(&s));
        }
    }

    #[test]
    fn a_narrower_set_allows_nothing_that_the_wider_does_not(a in set(), b in set()) {
        let narrow = a.intersect(&b);
        for name in COLLECTIONS.iter().filter_map(|name| Nsid::parse(name).ok()) {
            for action in RepoAction::iter() {
                prop_assert!(!narrow.allows_repo(&name, action) || b.allows_repo(&name, action));
            }
            for audience in ["did:web:x.example#y", "did:web:other.example#z"] {
                prop_assert!(!narrow.allows_rpc(&name, audience) || b.allows_rpc(&name, audience));
            }
        }
    }
}
