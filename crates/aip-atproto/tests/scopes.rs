//! Stories about scopes: what is read, how it is written, what it allows, and how people see it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy looks for tests in `#[test]` functions only"
)]

use aip_atproto::{
    AccountAttr, IdentityAttr, Nsid, OpenIdScope, RepoAction, Scope, ScopeError, ScopeSet,
    Transition, for_upstream,
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
    assert!(ScopeSet::parse(&many(128)).is_ok());
    assert_eq!(ScopeSet::parse(&many(129)), Err(ScopeError::TooMany));
    assert_eq!(
        ScopeSet::parse(&"a".repeat(8 * 1024 + 1)),
        Err(ScopeError::TooLong)
    );
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
fn two_hostile_sets_do_not_multiply() {
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
    assert!(both.len() <= 128 && a.covers_all(&both) && b.covers_all(&both));
}

#[test]
fn a_subset_as_text_is_not_a_subset_by_meaning() {
    assert!(set("atproto").is_subset_stringwise(&set("repo:* atproto")));
    assert!(!set("repo:a.b.c").is_subset_stringwise(&set("repo:*")));
    assert_eq!(set("a b").union(&set("b c")).to_string(), "a b c");
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
