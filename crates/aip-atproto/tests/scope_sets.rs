//! Stories about what sets of scopes allow, cover, have in common, and ask of a PDS.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy looks for tests in `#[test]` functions only"
)]

use aip_atproto::{AccountAttr, IdentityAttr, Nsid, RepoAction, ScopeSet, for_upstream};

const APPVIEW: &str = "did:web:api.bsky.app#bsky_appview";

fn set(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

fn nsid(text: &str) -> Nsid {
    text.parse().unwrap()
}

#[test]
fn granular_scopes_allow_what_they_name_and_nothing_else() {
    let granted = set(
        "repo:app.bsky.feed.post?action=create&action=delete blob:image/* \
         rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview \
         rpc:app.bsky.actor.getProfile?aud=* account:email?action=manage identity:handle",
    );
    let post = nsid("app.bsky.feed.post");
    assert!(granted.allows_repo(&post, RepoAction::Create));
    assert!(!granted.allows_repo(&post, RepoAction::Update));
    assert!(!granted.allows_repo(&nsid("app.bsky.feed.like"), RepoAction::Create));

    let (timeline, profile) = (
        nsid("app.bsky.feed.getTimeline"),
        nsid("app.bsky.actor.getProfile"),
    );
    assert!(granted.allows_rpc(&timeline, APPVIEW));
    assert!(!granted.allows_rpc(&timeline, "did:web:evil.example#bsky_appview"));
    assert!(
        !granted.allows_rpc(&timeline, "did:web:api.bsky.app"),
        "the bare DID is another audience"
    );
    assert!(granted.allows_rpc(&profile, "did:web:other.example#appview"));

    assert!(granted.allows_blob("image/png") && granted.allows_blob("IMAGE/Jpeg; q=1"));
    assert!(
        !granted.allows_blob("video/mp4")
            && !granted.allows_blob("*/*")
            && !granted.allows_blob("")
    );

    assert!(
        granted.allows_account(AccountAttr::Email, false),
        "managing includes reading"
    );
    assert!(granted.allows_account(AccountAttr::Email, true));
    assert!(!granted.allows_account(AccountAttr::Repo, false));
    assert!(
        granted.allows_identity(IdentityAttr::Handle)
            && !granted.allows_identity(IdentityAttr::Any)
    );
}

#[test]
fn transition_generic_allows_everything_but_chat_and_the_account() {
    let generic = set("atproto transition:generic");
    let chat = nsid("chat.bsky.convo.getLog");
    assert!(generic.allows_repo(&nsid("com.example.thing"), RepoAction::Delete));
    assert!(generic.allows_blob("video/mp4"));
    assert!(generic.allows_rpc(&nsid("app.bsky.feed.getTimeline"), APPVIEW));
    assert!(!generic.allows_rpc(&chat, "did:web:api.bsky.chat#bsky_chat"));
    assert!(
        !generic.allows_rpc(&nsid("CHAT.Bsky.convo.getLog"), APPVIEW),
        "case opens no back door"
    );
    assert!(!generic.allows_account(AccountAttr::Email, false));
    assert!(!generic.allows_identity(IdentityAttr::Handle));

    assert!(
        !set("atproto transition:chat.bsky").allows_rpc(&chat, APPVIEW),
        "only with generic"
    );
    assert!(set("transition:generic transition:chat.bsky").allows_rpc(&chat, APPVIEW));

    let email = set("transition:email");
    assert!(email.allows_account(AccountAttr::Email, false));
    assert!(!email.allows_account(AccountAttr::Email, true));
}

#[test]
fn a_set_covers_what_its_scopes_allow_together() {
    let covered = [
        ("repo:*", "repo:a.b.c?action=create"),
        (
            "repo:a.b.c?action=create repo:a.b.c?action=update&action=delete",
            "repo:a.b.c",
        ),
        (
            "repo:a.b.c repo:a.b.d",
            "repo?collection=a.b.c&collection=a.b.d",
        ),
        (
            "rpc:*?aud=did:web:x.example%23y",
            "rpc:a.b.c?aud=did:web:x.example%23y",
        ),
        ("rpc:a.b.c?aud=*", "rpc:a.b.c?aud=did:web:x.example%23y"),
        ("blob:*/*", "blob?accept=image/*&accept=video/mp4"),
        ("identity:*", "identity:handle"),
        ("account:repo?action=manage", "account:repo"),
        ("transition:generic", "repo:*"),
        ("transition:generic", "rpc:a.b.c?aud=*"),
        (
            "transition:generic transition:chat.bsky",
            "rpc:*?aud=did:web:x.example%23y",
        ),
        ("transition:email", "account:email"),
        ("include:a.b.c", "include:a.b.c"),
        ("anything", "anything"),
    ];
    for (granted, wanted) in covered {
        assert!(
            set(granted).covers_all(&set(wanted)),
            "{granted} covers {wanted}"
        );
    }
    let not_covered = [
        ("repo:*?action=create", "repo:a.b.c"),
        ("repo:a.b.c", "repo:*"),
        ("rpc:a.b.c?aud=did:web:x.example%23y", "rpc:a.b.c?aud=*"),
        ("rpc:a.b.c?aud=*", "rpc:*?aud=did:web:x.example%23y"),
        ("blob:image/png", "blob:image/*"),
        ("blob:image/*", "blob:*/*"),
        ("blob:image/*", "blob:imagery/png"),
        ("identity:handle", "identity:*"),
        ("account:repo", "account:repo?action=manage"),
        ("transition:generic", "rpc:*?aud=did:web:x.example%23y"),
        ("transition:generic", "rpc:chat.bsky.convo.getLog?aud=*"),
        ("transition:generic", "account:email"),
        (
            "repo:* rpc:*?aud=did:web:x.example%23y blob:*/*",
            "transition:generic",
        ),
        ("transition:generic", "include:a.b.c"),
        ("atproto", "openid"),
        ("account:email", "email"),
    ];
    for (granted, wanted) in not_covered {
        assert!(
            !set(granted).covers_all(&set(wanted)),
            "{granted} does not cover {wanted}"
        );
    }
}

#[test]
fn an_intersection_is_what_both_sides_allow() {
    let cases = [
        (
            "atproto repo:*",
            "atproto repo:a.b.c?action=create",
            "atproto repo:a.b.c?action=create",
        ),
        (
            "repo:*?action=create",
            "repo?collection=a.b.c&collection=a.b.d",
            "repo?collection=a.b.c&collection=a.b.d&action=create",
        ),
        (
            "repo?collection=a.b.c&collection=a.b.d",
            "repo?collection=a.b.d&collection=a.b.e",
            "repo:a.b.d",
        ),
        ("repo:a.b.c?action=create", "repo:a.b.c?action=delete", ""),
        (
            "rpc:*?aud=did:web:x.example%23y",
            "rpc:a.b.c?aud=*",
            "rpc:a.b.c?aud=did:web:x.example%23y",
        ),
        (
            "rpc:a.b.c?aud=did:web:x.example%23y",
            "rpc:a.b.c?aud=did:web:x.example%23z",
            "",
        ),
        (
            "blob?accept=image/*&accept=video/mp4",
            "blob?accept=image/png&accept=video/*",
            "blob?accept=image/png&accept=video/mp4",
        ),
        ("account:repo?action=manage", "account:repo", "account:repo"),
        ("identity:*", "identity:handle", "identity:handle"),
        (
            "transition:generic",
            "transition:generic repo:a.b.c",
            "transition:generic repo:a.b.c",
        ),
        (
            "transition:generic",
            "atproto repo:a.b.c blob:*/* account:email",
            "repo:a.b.c blob:*/*",
        ),
        ("include:a.b.c x", "include:a.b.c y", "include:a.b.c"),
    ];
    for (a, b, both) in cases {
        assert_eq!(set(a).intersect(&set(b)).to_string(), both, "{a} and {b}");
        assert_eq!(set(b).intersect(&set(a)).to_string(), both, "{b} and {a}");
    }
}

#[test]
fn what_two_hostile_sets_have_in_common_is_still_a_set_that_can_be_read_back() {
    let scopes = |letter: char| {
        let scope = |i: usize| {
            format!(
                "repo?collection={letter}.b.c{i}&collection=x.y.a{i}&collection=x.y.b{}",
                i % 7
            )
        };
        (0..100).map(scope).collect::<Vec<_>>().join(" ")
    };
    let (a, b) = (set(&scopes('p')), set(&scopes('q')));
    let both = a.intersect(&b);
    assert!(!both.is_empty() && a.covers_all(&both) && b.covers_all(&both));
    assert_eq!(set(&both.to_string()), both);
}

#[test]
fn what_is_in_both_sets_is_in_their_union_once() {
    assert_eq!(set("a b").union(&set("b c")).unwrap().to_string(), "a b c");
}

#[test]
fn a_pds_is_asked_for_its_own_scopes_only() {
    let requested = set("openid profile offline_access repo:a.b.c include:a.b.d space:x strange");
    assert_eq!(
        requested.upstream_part().to_string(),
        "atproto repo:a.b.c include:a.b.d"
    );
    assert_eq!(for_upstream(&requested), requested.upstream_part());
    assert_eq!(for_upstream(&set("openid")).to_string(), "atproto");

    // `email` of OpenID Connect is answered from the PDS, which wants a scope of its own for it.
    assert_eq!(
        for_upstream(&set("openid email")).to_string(),
        "atproto account:email"
    );
    for enough in ["transition:email", "account:email?action=manage"] {
        let asked = for_upstream(&set(&format!("email {enough}")));
        assert_eq!(asked.to_string(), format!("atproto {enough}"));
    }
}
