//! Stories about scopes as text: what is read, how it is written, and what people see.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy looks for tests in `#[test]` functions only"
)]

use aip_atproto::{
    AccountAttr, IdentityAttr, Nsid, OpenIdScope, RepoAction, Scope, ScopeError, ScopeSet,
    Transition,
};

const APPVIEW: &str = "did:web:api.bsky.app#bsky_appview";

fn set(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

fn nsid(text: &str) -> Nsid {
    text.parse().unwrap()
}

fn is_unknown(token: &str) -> bool {
    matches!(Scope::parse(token), Scope::Other(word) if word == token)
}

#[test]
fn every_scope_has_one_canonical_form() {
    let forms = [
        ("atproto", "atproto"),
        ("transition:chat.bsky", "transition:chat.bsky"),
        ("repo:app.bsky.feed.post", "repo:app.bsky.feed.post"),
        (
            "repo?collection=app.bsky.feed.post",
            "repo:app.bsky.feed.post",
        ),
        ("repo:app.bsky.feed.post?", "repo:app.bsky.feed.post"),
        ("repo:app%2Ebsky.feed.post", "repo:app.bsky.feed.post"),
        (
            "repo:a.b.c?action=delete&action=create&action=update",
            "repo:a.b.c",
        ),
        (
            "repo:a.b.c?action=delete&action=create&action=create",
            "repo:a.b.c?action=create&action=delete",
        ),
        (
            "repo?action=create&collection=a.b.d&collection=a.b.c",
            "repo?collection=a.b.c&collection=a.b.d&action=create",
        ),
        ("repo?collection=a.b.c&collection=*", "repo:*"),
        (
            "rpc:a.b.c?aud=did:web:api.bsky.app%23bsky_appview",
            "rpc:a.b.c?aud=did:web:api.bsky.app%23bsky_appview",
        ),
        (
            "rpc?aud=did:web:api.bsky.app#bsky_appview&lxm=a.b.c",
            "rpc:a.b.c?aud=did:web:api.bsky.app%23bsky_appview",
        ),
        (
            "rpc?lxm=a.b.d&lxm=a.b.c&aud=*",
            "rpc?lxm=a.b.c&lxm=a.b.d&aud=*",
        ),
        (
            "rpc:*?aud=did:web:localhost%253A80%23x",
            "rpc:*?aud=did:web:localhost%253A80%23x",
        ),
        ("blob:image/*", "blob:image/*"),
        ("blob:Image/SVG+xml", "blob:image/svg+xml"),
        (
            "blob?accept=video/mp4&accept=image/png&accept=image/*",
            "blob?accept=image/*&accept=video/mp4",
        ),
        (
            "blob?accept=image/svg%2Bxml&accept=a/b",
            "blob?accept=a/b&accept=image/svg%2Bxml",
        ),
        ("account:email?action=read", "account:email"),
        (
            "account?attr=repo&action=manage",
            "account:repo?action=manage",
        ),
        ("identity:*", "identity:*"),
        ("identity?attr=handle", "identity:handle"),
        // A permission set is handed back as it was written.
        (
            "include?nsid=a.b.c&aud=did:web:x.example%23y",
            "include?nsid=a.b.c&aud=did:web:x.example%23y",
        ),
    ];
    for (written, canonical) in forms {
        let scope = Scope::parse(written);
        assert!(!matches!(scope, Scope::Other(_)), "{written}");
        assert_eq!(scope.to_string(), canonical);
        assert_eq!(Scope::parse(canonical), scope, "{canonical}");
    }
}

#[test]
fn what_the_grammar_forbids_is_an_unknown_word_that_grants_nothing() {
    let forbidden = [
        "Atproto",
        "transition:",
        "transition:everything",
        "space:a.b.c",
        "address",
        "repo",
        "repo:",
        "repo:app.bsky.*",
        "repo:a.b",
        "repo:a.b.c?action=read",
        "repo:a.b.c?action=",
        "repo:a.b.c?collection=a.b.d",
        "repo:a.b.c?unknown=1",
        "repo:a.b.c?aud=*",
        "repo:%zz",
        "repo:a.b.c%",
        "repo:%ff",
        "Repo:a.b.c",
        "repo:*:*",
        "rpc:a.b.c",
        "rpc:*?aud=*",
        "rpc?aud=*",
        "rpc:a.b.c?aud=did:web:api.bsky.app",
        "rpc:a.b.c?aud=*&aud=*",
        "rpc:a.b.c?aud=did:web:a.example%23b%23c",
        "rpc:a.b.c?aud=did:plc:111%23x",
        "rpc:?aud=*",
        "blob",
        "blob:",
        "blob:*",
        "blob:*/png",
        "blob:image",
        "blob:image/png;q=1",
        "blob:image/*/*",
        "account",
        "account:password",
        "account:email?action=write",
        "account:email?action=read&action=manage",
        "account?attr=email&attr=repo",
        "identity",
        "identity:did",
        "identity:handle?action=manage",
        "include",
        "include:*",
        "include:a.b",
        "include:a.b.c?aud=*",
        "include:a.b.c?aud=did:web:x.example",
    ];
    for token in forbidden {
        assert!(is_unknown(token), "{token}");
    }
    let all = set(&forbidden.join(" "));
    assert_eq!(all.unknown().count(), all.len());
    assert!(!all.allows_repo(&nsid("a.b.c"), RepoAction::Create));
    assert!(!all.allows_rpc(&nsid("a.b.c"), APPVIEW));
    assert!(!all.allows_blob("image/png") && !all.allows_account(AccountAttr::Email, false));
    assert!(!all.allows_identity(IdentityAttr::Handle));
}

#[test]
fn a_set_is_printable_ascii_and_bounded() {
    assert!(set("").is_empty() && set("   ").is_empty());
    let mixed = set("  profile atproto  openid atproto ");
    assert_eq!(
        (mixed.to_string().as_str(), mixed.len()),
        ("atproto openid profile", 3)
    );
    for text in ["a\tb", "a\nb", "a\"b", "a\\b", "ä", "a\u{7f}"] {
        assert_eq!(
            ScopeSet::parse(text),
            Err(ScopeError::Characters),
            "{text:?}"
        );
    }
    let many = |n: usize| {
        (0..n)
            .map(|i| format!("w{i}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(ScopeSet::parse(&many(126)).is_ok());
    assert_eq!(
        ScopeSet::parse(&many(127)),
        Err(ScopeError::TooMany),
        "a PDS is asked for more"
    );
    assert_eq!(
        ScopeSet::parse(&"a".repeat(8 * 1024 + 1)),
        Err(ScopeError::TooLong)
    );
    // Canonical escapes are longer than what they replace.
    let grows = format!("blob?accept=a/{}&accept=b/c", "+".repeat(7 * 1024));
    assert_eq!(ScopeSet::parse(&grows), Err(ScopeError::TooLong));
    assert_eq!(
        set(&many(100)).union(&set("atproto openid")).unwrap().len(),
        102
    );
    let others = many(100).replace('w', "v");
    assert_eq!(
        set(&many(100)).union(&set(&others)),
        Err(ScopeError::TooMany)
    );
}

#[test]
fn words_are_typed() {
    assert_eq!(Scope::parse("email"), Scope::OpenId(OpenIdScope::Email));
    assert_eq!(
        Scope::parse("transition:email"),
        Scope::Transition(Transition::Email)
    );
    assert!(set("openid atproto").contains(&Scope::Atproto));
}

#[test]
fn people_read_scopes_in_plain_words() {
    let titles = [
        ("atproto", "Sign you in"),
        ("offline_access", "Stay signed in"),
        (
            "transition:generic",
            "Do everything your account can do except chat",
        ),
        (
            "repo:app.bsky.feed.post?action=create&action=delete",
            "Create and delete posts (app.bsky.feed.post)",
        ),
        (
            "repo:app.bsky.feed.post",
            "Create, update and delete posts (app.bsky.feed.post)",
        ),
        (
            "repo:com.example.thing?action=create",
            "Create records of one kind (com.example.thing)",
        ),
        (
            "repo?collection=app.bsky.feed.like&collection=app.bsky.feed.post&action=create",
            "Create likes and posts",
        ),
        (
            "repo?collection=app.bsky.feed.like&collection=com.example.thing&action=create",
            "Create records of 2 kinds",
        ),
        ("repo:*?action=delete", "Delete records of every kind"),
        ("blob:image/*", "Upload images"),
        (
            "blob?accept=image/*&accept=video/mp4",
            "Upload images and video/mp4 files",
        ),
        (
            "rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview",
            "Use the Bluesky app server in your name for feeds and posts",
        ),
        ("rpc:com.example.get?aud=*", "Use any service in your name"),
        (
            "rpc:*?aud=did:web:x.example%23y",
            "Use everything at did:web:x.example#y in your name",
        ),
        ("account:email", "See your e-mail address"),
        ("identity:*", "Control your identity"),
        (
            "include:com.example.authBasic",
            "Use the permissions published as com.example.authBasic",
        ),
        ("space:x", "Unknown permission (space:x)"),
    ];
    for (scope, title) in titles {
        let lines = set(scope).describe();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].title.as_str(), lines[0].raw.as_str()),
            (title, scope)
        );
        assert!(lines[0].detail.ends_with('.'), "{}", lines[0].detail);
    }
    let detail = &set("repo?collection=a.b.c&collection=a.b.d").describe()[0].detail;
    assert_eq!(detail, "Only in your collections a.b.c, a.b.d.");
}
