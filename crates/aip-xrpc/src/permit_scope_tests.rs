//! Each kind of scope by several calls: what it opens, and which scope a refusal names.

use super::*;

/// The verb of a call, its method, its `Content-Type`, and its body if it has a judged one.
type Call = (Method, &'static str, Option<&'static str>, &'static str);

/// The scope that a call lacks; `None` if it is permitted.
fn missing(scope: &str, call: &Call) -> Option<String> {
    let (verb, method, content_type, body) = call;
    let scope: ScopeSet = scope.parse().unwrap();
    let nsid = Nsid::parse(method).unwrap();
    let head = CallHead {
        verb,
        nsid: &nsid,
        query: None,
        content_type: *content_type,
        content_coding: None,
        proxy: None,
    };
    let judged = match permit(&scope, head) {
        Ok(Judgement::NeedsBody) => permit_write(&scope, head, body.as_bytes()).map(drop),
        Ok(Judgement::NeedsSession) => permit_default_service(&scope, &scope, head).map(drop),
        Ok(Judgement::Allowed(_)) => Ok(()),
        Err(refusal) => Err(refusal),
    };
    match judged {
        Ok(()) => None,
        Err(Refusal::Scope(InsufficientScope(missing))) => Some(missing),
        Err(other) => panic!("{scope}, {method}: {other}"),
    }
}

fn check(call: &Call, expected: &[(&str, Option<&str>)]) {
    for (scope, lacks) in expected {
        assert_eq!(
            missing(scope, call).as_deref(),
            *lacks,
            "{scope}: {}",
            call.1
        );
    }
}

const JSON: Option<&str> = Some("application/json");

fn batch(writes: &'static str) -> Call {
    (Method::POST, "com.atproto.repo.applyWrites", JSON, writes)
}

#[test]
fn a_batch_is_judged_write_by_write() {
    let mixed = batch(
        r#"{"writes":[
        {"$type":"com.atproto.repo.applyWrites#create","collection":"app.bsky.feed.post","value":{}},
        {"$type":"com.atproto.repo.applyWrites#update","collection":"app.bsky.feed.post","rkey":"1","value":{}},
        {"$type":"com.atproto.repo.applyWrites#delete","collection":"app.bsky.feed.like","rkey":"1"}]}"#,
    );
    check(
        &mixed,
        &[
            ("atproto transition:generic", None),
            ("atproto repo:*", None),
            ("repo:app.bsky.feed.post repo:app.bsky.feed.like", None),
            (
                "repo:app.bsky.feed.post?action=create&action=update repo:app.bsky.feed.like?action=delete",
                None,
            ),
            // The first, the second and the last one is what it lacks.
            (
                "repo:app.bsky.feed.post?action=update repo:app.bsky.feed.like",
                Some("repo:app.bsky.feed.post?action=create"),
            ),
            (
                "repo:app.bsky.feed.post?action=create repo:app.bsky.feed.like",
                Some("repo:app.bsky.feed.post?action=update"),
            ),
            (
                "repo:app.bsky.feed.post repo:app.bsky.feed.like?action=create",
                Some("repo:app.bsky.feed.like?action=delete"),
            ),
            (
                "repo:*?action=create",
                Some("repo:app.bsky.feed.post?action=update"),
            ),
            (
                "atproto blob:*/*",
                Some("repo:app.bsky.feed.post?action=create"),
            ),
        ],
    );
    let nothing = batch(r#"{"writes":[]}"#);
    check(&nothing, &[("atproto", None)]);
    let same_twice = batch(
        r#"{"writes":[
        {"$type":"com.atproto.repo.applyWrites#delete","collection":"a.b.c","rkey":"1"},
        {"$type":"com.atproto.repo.applyWrites#delete","collection":"a.b.d","rkey":"1"}]}"#,
    );
    check(
        &same_twice,
        &[
            ("repo:a.b.c?action=delete", Some("repo:a.b.d?action=delete")),
            ("repo?collection=a.b.c&collection=a.b.d&action=delete", None),
        ],
    );
}

#[test]
fn each_way_to_write_needs_its_actions() {
    let body = r#"{"repo":"did:plc:a","collection":"a.b.c","rkey":"1","record":{}}"#;
    for (method, actions) in [
        ("createRecord", &["create"][..]),
        ("putRecord", &["create", "update"]),
        ("deleteRecord", &["delete"]),
    ] {
        let name = match method {
            "createRecord" => "com.atproto.repo.createRecord",
            "putRecord" => "com.atproto.repo.putRecord",
            _ => "com.atproto.repo.deleteRecord",
        };
        let call = (Method::POST, name, JSON, body);
        for action in ["create", "update", "delete"] {
            let others: Vec<_> = actions.iter().filter(|it| **it != action).collect();
            let lacks = others.first().map(|it| format!("repo:a.b.c?action={it}"));
            let scope = format!("repo:a.b.c?action={action}");
            assert_eq!(missing(&scope, &call), lacks, "{method} with {scope}");
        }
        check(
            &call,
            &[
                ("repo:a.b.c", None),
                (
                    "repo:a.b.cd",
                    Some(&*format!("repo:a.b.c?action={}", actions[0])),
                ),
            ],
        );
    }
}

#[test]
fn a_file_needs_its_media_type() {
    let upload = |content_type| -> Call {
        (
            Method::POST,
            "com.atproto.repo.uploadBlob",
            content_type,
            "",
        )
    };
    check(
        &upload(Some("image/png")),
        &[
            ("blob:*/*", None),
            ("blob:image/*", None),
            ("blob:image/png", None),
            ("blob?accept=video/*&accept=image/png", None),
            ("transition:generic", None),
            ("blob:image/jpeg", Some("blob:image/png")),
            ("blob:video/*", Some("blob:image/png")),
            ("repo:*", Some("blob:image/png")),
        ],
    );
    check(
        &upload(Some("IMAGE/PNG; charset=binary")),
        &[
            ("blob:image/png", None),
            ("blob:video/*", Some("blob:image/png")),
        ],
    );
    check(
        &upload(Some("no media type")),
        &[("blob:image/*", Some("blob:*/*"))],
    );
}

#[test]
fn managing_the_account_needs_its_attribute() {
    let post = |method| -> Call { (Method::POST, method, JSON, "{}") };
    let everything_else = "atproto transition:generic transition:email repo:* blob:*/* identity:*";
    for (method, needs) in [
        (
            "com.atproto.server.updateEmail",
            "account:email?action=manage",
        ),
        (
            "com.atproto.server.confirmEmail",
            "account:email?action=manage",
        ),
        (
            "com.atproto.server.requestEmailUpdate",
            "account:email?action=manage",
        ),
        (
            "com.atproto.server.requestEmailConfirmation",
            "account:email?action=manage",
        ),
        ("com.atproto.repo.importRepo", "account:repo?action=manage"),
        (
            "com.atproto.server.activateAccount",
            "account:status?action=manage",
        ),
        (
            "com.atproto.server.deactivateAccount",
            "account:status?action=manage",
        ),
    ] {
        let only_reads = needs.replace("manage", "read");
        check(
            &post(method),
            &[
                (needs, None),
                (&only_reads, Some(needs)),
                (everything_else, Some(needs)),
            ],
        );
    }
    for (method, needs) in [
        ("com.atproto.identity.updateHandle", "identity:handle"),
        ("com.atproto.identity.signPlcOperation", "identity:*"),
        ("com.atproto.identity.submitPlcOperation", "identity:*"),
        (
            "com.atproto.identity.requestPlcOperationSignature",
            "identity:*",
        ),
    ] {
        check(
            &post(method),
            &[
                ("identity:*", None),
                (
                    "atproto transition:generic account:email?action=manage",
                    Some(needs),
                ),
            ],
        );
        let handle = (needs != "identity:handle").then_some(needs);
        check(&post(method), &[("identity:handle", handle)]);
    }
}

#[test]
fn a_published_set_is_the_pds_s_to_read_and_opens_no_write() {
    let timeline: Call = (Method::GET, "app.bsky.feed.getTimeline", None, "");
    let set = "atproto include:app.bsky.authFullApp?aud=did:web:api.bsky.app%23bsky_appview";
    check(&timeline, &[(set, None)]);
    let post: Call = (
        Method::POST,
        "com.atproto.repo.createRecord",
        JSON,
        r#"{"collection":"app.bsky.feed.post"}"#,
    );
    check(
        &post,
        &[(set, Some("repo:app.bsky.feed.post?action=create"))],
    );
    let upload: Call = (
        Method::POST,
        "com.atproto.repo.uploadBlob",
        Some("image/png"),
        "",
    );
    check(&upload, &[(set, Some("blob:image/png"))]);
}
