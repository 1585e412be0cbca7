//! Which calls a scope permits: methods, letters, proxy headers and write bodies.

use super::*;

fn scope(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

fn nsid(text: &str) -> Nsid {
    Nsid::parse(text).unwrap()
}

fn allowed(
    granted: &str,
    method: &str,
    query: Option<&str>,
    content_type: Option<&str>,
    proxy: Option<&str>,
) -> bool {
    let nsid = nsid(method);
    let verb = match look_up(&nsid) {
        Lookup::KnownMethod(known) => known.verb.clone(),
        _ => Method::GET,
    };
    let call = CallHead {
        query,
        content_type,
        proxy,
        ..call(&verb, &nsid)
    };
    match permit(&scope(granted), call) {
        Ok(Judgement::Allowed(_)) => true,
        Ok(Judgement::NeedsSession) => {
            permit_default_service(&scope(granted), &scope(granted), call).is_ok()
        }
        Ok(Judgement::NeedsBody) | Err(_) => false,
    }
}

/// A call with nothing but a name.
fn call<'a>(verb: &'a Method, nsid: &'a Nsid) -> CallHead<'a> {
    CallHead {
        verb,
        nsid,
        query: None,
        content_type: None,
        content_coding: None,
        proxy: None,
    }
}

fn write_allowed(granted: &str, method: &str, body: &str) -> Result<(), Refusal> {
    let nsid = nsid(method);
    permit_write(&scope(granted), call(&Method::POST, &nsid), body.as_bytes()).map(drop)
}

#[test]
fn a_write_needs_its_collection_and_action() {
    let post = r#"{"repo":"did:plc:a","collection":"app.bsky.feed.post","record":{}}"#;
    let create = "com.atproto.repo.createRecord";
    assert_eq!(
        write_allowed("atproto transition:generic", create, post),
        Ok(())
    );
    assert_eq!(
        write_allowed("atproto repo:app.bsky.feed.post", create, post),
        Ok(())
    );
    assert_eq!(
        write_allowed(
            "atproto repo:app.bsky.feed.post?action=create",
            create,
            post
        ),
        Ok(())
    );
    for granted in [
        "atproto",
        "atproto repo:app.bsky.feed.like",
        "atproto repo:app.bsky.feed.post?action=delete",
    ] {
        let refusal = write_allowed(granted, create, post);
        assert!(
            matches!(refusal, Err(Refusal::Scope(_))),
            "{granted}: {refusal:?}"
        );
    }
    let only_create = "atproto repo:app.bsky.feed.post?action=create";
    assert!(write_allowed(only_create, "com.atproto.repo.putRecord", post).is_err());
    assert!(write_allowed(only_create, "com.atproto.repo.deleteRecord", post).is_err());
}

#[test]
fn every_write_of_a_batch_is_judged() {
    let batch = r#"{"writes":[
        {"$type":"com.atproto.repo.applyWrites#create","collection":"app.bsky.feed.post","value":{}},
        {"$type":"com.atproto.repo.applyWrites#delete","collection":"app.bsky.feed.like","rkey":"1"}]}"#;
    let method = "com.atproto.repo.applyWrites";
    assert_eq!(
        write_allowed(
            "repo?collection=app.bsky.feed.post&collection=app.bsky.feed.like",
            method,
            batch
        ),
        Ok(())
    );
    assert!(write_allowed("repo:app.bsky.feed.post", method, batch).is_err());
}

#[test]
fn a_body_that_is_no_call_is_refused() {
    for body in [
        "",
        "{",
        "[]",
        r#"{"collection":7}"#,
        r#"{"collection":"x"}"#,
    ] {
        let refusal = write_allowed("transition:generic", "com.atproto.repo.createRecord", body);
        assert!(matches!(refusal, Err(Refusal::Body(_))), "{body}");
    }
    let unknown = r#"{"writes":[{"$type":"x#upsert","collection":"app.bsky.feed.post"}]}"#;
    let refusal = write_allowed(
        "transition:generic",
        "com.atproto.repo.applyWrites",
        unknown,
    );
    assert!(matches!(refusal, Err(Refusal::Body(_))));
}

#[test]
fn proxied_calls_need_the_method_and_the_audience() {
    let timeline = "app.bsky.feed.getTimeline";
    let appview = Some("did:web:api.bsky.app#bsky_appview");
    let granted = "rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview";
    assert!(allowed(granted, timeline, None, None, appview));
    assert!(!allowed(
        granted,
        timeline,
        None,
        None,
        Some("did:web:evil.example#bsky_appview")
    ));
    assert!(!allowed(
        granted,
        "app.bsky.feed.getFeed",
        None,
        None,
        appview
    ));
    assert!(allowed("transition:generic", timeline, None, None, appview));
    assert!(!allowed(
        "transition:generic",
        "chat.bsky.convo.listConvos",
        None,
        None,
        appview
    ));
    // Without the header the PDS chooses the service and judges the audience.
    assert!(allowed(granted, timeline, None, None, None));
    assert!(!allowed("atproto", timeline, None, None, None));
}

#[test]
fn uploads_service_tokens_and_account_management_need_their_scopes() {
    let upload = "com.atproto.repo.uploadBlob";
    assert!(allowed(
        "blob:image/*",
        upload,
        None,
        Some("image/png"),
        None
    ));
    assert!(!allowed(
        "blob:image/*",
        upload,
        None,
        Some("video/mp4"),
        None
    ));
    assert!(!allowed("blob:image/*", upload, None, None, None));
    let service_auth = "com.atproto.server.getServiceAuth";
    let granted = "rpc:app.bsky.feed.getTimeline?aud=*";
    assert!(allowed(
        granted,
        service_auth,
        Some("aud=did:web:x.org&lxm=app.bsky.feed.getTimeline"),
        None,
        None
    ));
    assert!(!allowed(
        granted,
        service_auth,
        Some("aud=did:web:x.org"),
        None,
        None
    ));
    assert!(!allowed(
        granted,
        service_auth,
        Some("aud=did:web:x.org&lxm=com.atproto.repo.importRepo"),
        None,
        None
    ));
    assert!(allowed(
        "identity:handle",
        "com.atproto.identity.updateHandle",
        None,
        None,
        None
    ));
    assert!(!allowed(
        "transition:generic",
        "com.atproto.identity.signPlcOperation",
        None,
        None,
        None
    ));
    assert!(!allowed(
        "account:email",
        "com.atproto.server.updateEmail",
        None,
        None,
        None
    ));
    assert!(allowed(
        "account:email?action=manage",
        "com.atproto.server.updateEmail",
        None,
        None,
        None
    ));
}

#[test]
fn a_query_that_could_be_read_in_two_ways_opens_no_service() {
    let granted = "rpc:app.bsky.feed.getTimeline?aud=*";
    for extra in [
        "&lxm=com.atproto.repo.importRepo",
        "&aud=did:web:evil.example",
        "&lxm[]=com.atproto.repo.importRepo",
        "&aud%5B%5D=did:web:evil.example",
    ] {
        let query =
            |extra: &str| format!("aud=did:web:x.org&lxm=app.bsky.feed.getTimeline&exp=1{extra}");
        let judge = |query: &str| {
            let method = "com.atproto.server.getServiceAuth";
            allowed(granted, method, Some(query), None, None)
        };
        assert!(judge(&query("")));
        assert!(!judge(&query(extra)), "{extra}");
    }
}

#[test]
fn what_is_public_is_open_to_every_token() {
    for method in [
        "com.atproto.repo.getRecord",
        "com.atproto.server.getSession",
        "com.atproto.sync.getBlob",
    ] {
        assert!(allowed("atproto", method, None, None, None), "{method}");
    }
}

/// What refuses a call that a token with every scope makes.
fn refused(verb: &Method, method: &str, proxy: Option<&str>) -> Option<Refusal> {
    let everything = scope(
        "atproto transition:generic transition:chat.bsky account:email?action=manage \
         account:repo?action=manage account:status?action=manage identity:*",
    );
    let nsid = nsid(method);
    let call = CallHead {
        content_type: Some("application/json"),
        proxy,
        ..call(verb, &nsid)
    };
    permit(&everything, call).err()
}

#[test]
fn a_method_in_other_letters_is_refused_with_its_name() {
    for method in [
        "com.atproto.repo.createrecord",
        "com.atproto.Repo.createRecord",
        "COM.atproto.repo.applyWrites",
        "com.atproto.server.getsession",
        "com.atproto.server.GetServiceAuth",
    ] {
        let refusal = refused(&Method::POST, method, None);
        assert!(
            matches!(&refusal, Some(Refusal::Spelling { name, .. }) if name.eq_ignore_ascii_case(method)),
            "{method}: {refusal:?}"
        );
    }
}

#[test]
fn what_is_unknown_of_com_atproto_is_refused() {
    for method in [
        "com.atproto.server.createAppPassword",
        "com.atproto.server.deleteAccount",
        "com.atproto.server.deleteSession",
        "com.atproto.admin.updateAccountPassword",
        "com.atproto.sync.getEverything",
        "com.atproto.future.method",
        "Com.Atproto.Admin.sendEmail",
    ] {
        for proxy in [None, Some("did:web:api.bsky.app#bsky_appview")] {
            let refusal = refused(&Method::POST, method, proxy);
            assert!(matches!(refusal, Some(Refusal::Method(_))), "{method}");
        }
    }
}

#[test]
fn a_query_is_no_procedure_and_a_procedure_no_query() {
    for (verb, method) in [
        (Method::POST, "com.atproto.repo.getRecord"),
        (Method::POST, "com.atproto.server.getSession"),
        (Method::GET, "com.atproto.repo.createRecord"),
        (Method::HEAD, "com.atproto.repo.uploadBlob"),
        (Method::GET, "com.atproto.identity.updateHandle"),
    ] {
        let refusal = refused(&verb, method, None);
        assert!(matches!(refusal, Some(Refusal::Verb { .. })), "{method}");
    }
    assert_eq!(
        refused(&Method::HEAD, "com.atproto.repo.getRecord", None),
        None
    );
}

#[test]
fn a_proxied_call_needs_the_scope_of_the_method_as_well() {
    let proxy = Some("did:web:api.bsky.app#bsky_appview");
    let only_rpc = scope("atproto rpc?lxm=*&aud=did:web:api.bsky.app%23bsky_appview");
    for (method, missing) in [
        ("com.atproto.repo.uploadBlob", "blob:"),
        ("com.atproto.identity.updateHandle", "identity:handle"),
        ("com.atproto.repo.importRepo", "account:repo"),
        ("com.atproto.server.updateEmail", "account:email"),
        ("com.atproto.server.confirmEmail", "account:email"),
        (
            "com.atproto.server.requestEmailConfirmation",
            "account:email",
        ),
        ("com.atproto.server.activateAccount", "account:status"),
    ] {
        let nsid = nsid(method);
        let call = CallHead {
            proxy,
            ..call(&Method::POST, &nsid)
        };
        let refusal = permit(&only_rpc, call).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Scope(it) if it.0.starts_with(missing)),
            "{method}: {refusal:?}"
        );
    }
    let create = nsid("com.atproto.repo.createRecord");
    let call = CallHead {
        proxy,
        content_type: Some("application/json"),
        ..call(&Method::POST, &create)
    };
    let judged = permit(&only_rpc, call);
    assert!(matches!(judged, Ok(Judgement::NeedsBody)), "{judged:?}");
    // And without `rpc:` the header is no way in either.
    let only_repo = scope("atproto repo:app.bsky.feed.post");
    assert!(matches!(permit(&only_repo, call), Err(Refusal::Scope(_))));
}

#[test]
fn a_proxy_header_that_does_not_parse_is_refused() {
    for header in [
        "",
        " ",
        "did:web:api.bsky.app",
        "did:web:api.bsky.app#",
        "did:web:api.bsky.app#a#b",
        "did:web:api.bsky.app#a, did:web:evil.example#b",
        "https://api.bsky.app#a",
        "#bsky_appview",
    ] {
        for method in ["app.bsky.feed.getTimeline", "com.atproto.repo.getRecord"] {
            let refusal = refused(&Method::GET, method, Some(header));
            assert!(matches!(refusal, Some(Refusal::Proxy(_))), "{header:?}");
        }
    }
}

#[test]
fn a_narrowed_token_opens_no_service_that_the_pds_would_choose() {
    let timeline = nsid("app.bsky.feed.getTimeline");
    let call = call(&Method::GET, &timeline);
    let judged = |token: &str, session: &str| {
        permit_default_service(&scope(token), &scope(session), call).is_ok()
    };
    let everywhere = "atproto rpc:app.bsky.feed.getTimeline?aud=*";
    let one = "atproto rpc:app.bsky.feed.getTimeline?aud=did:web:one.example%23a";
    let two = "atproto rpc:app.bsky.feed.getTimeline?aud=did:web:two.example%23b";
    for (token, session, allowed) in [
        (one, one, true),
        (one, everywhere, false),
        (one, "atproto transition:generic", false),
        (one, two, false),
        (one, "atproto include:app.bsky.authFull", false),
        (
            "atproto include:app.bsky.authFull",
            "atproto include:app.bsky.authFull",
            true,
        ),
        (everywhere, "atproto transition:generic", true),
        ("atproto transition:generic", everywhere, true),
    ] {
        assert_eq!(judged(token, session), allowed, "{token} of {session}");
    }
}

#[test]
fn a_refusal_names_a_scope_that_an_app_can_ask_for() {
    let get = "com.example.thing.get";
    let proxy = Some("did:web:a.example#svc");
    for (method, query, content_type, proxy) in [
        ("app.bsky.feed.getTimeline", None, None, None),
        (get, None, None, None),
        (get, None, None, proxy),
        ("com.atproto.repo.uploadBlob", None, None, None),
        (
            "com.atproto.repo.uploadBlob",
            None,
            Some("text/plain; charset=utf-8"),
            None,
        ),
        ("com.atproto.server.updateEmail", None, None, None),
        ("com.atproto.identity.updateHandle", None, None, None),
        (
            "com.atproto.server.getServiceAuth",
            Some("aud=did:web:a.example"),
            None,
            None,
        ),
        (
            "com.atproto.server.getServiceAuth",
            Some("aud=did:web:a.example&lxm=com.example.thing.get"),
            None,
            None,
        ),
    ] {
        let nsid = nsid(method);
        let verb = match look_up(&nsid) {
            Lookup::KnownMethod(known) => known.verb.clone(),
            _ => Method::GET,
        };
        let call = CallHead {
            query,
            content_type,
            proxy,
            ..call(&verb, &nsid)
        };
        let refusal = permit(&scope("atproto"), call).unwrap_err();
        let Refusal::Scope(InsufficientScope(missing)) = refusal else {
            panic!("{method}: {refusal}");
        };
        let asked = Scope::parse(&missing);
        assert!(!matches!(asked, Scope::Other(_)), "{method}: {missing}");
    }
}

#[test]
fn an_empty_content_type_is_the_same_as_none() {
    let upload = "com.atproto.repo.uploadBlob";
    for none in [None, Some(""), Some("  "), Some(";charset=utf-8")] {
        assert!(allowed("blob:*/*", upload, None, none, None), "{none:?}");
        assert!(
            !allowed("blob:image/*", upload, None, none, None),
            "{none:?}"
        );
    }
    let png = Some("image/png");
    assert!(allowed("blob:image/*", upload, None, png, None));
}

#[test]
fn a_write_is_described_by_its_kinds() {
    let words = |method: &str, body: &str| {
        let nsid = nsid(method);
        let call = call(&Method::POST, &nsid);
        let permitted = permit_write(&scope("atproto repo:*"), call, body.as_bytes());
        permitted.unwrap().to_text()
    };
    let create = "com.atproto.repo.createRecord";
    let put = "com.atproto.repo.putRecord";
    let batch = "com.atproto.repo.applyWrites";
    let one = r#"{"repo":"did:plc:a","collection":"a.b.post","rkey":"self","record":{}}"#;
    let write = |kind: &str, collection: &str| {
        format!(
            r#"{{"$type":"{batch}#{kind}","collection":"{collection}","rkey":"x","value":{{}}}}"#
        )
    };
    let writes = [
        write("create", "a.b.post"),
        write("delete", "a.b.like"),
        write("create", "a.b.post"),
    ];
    let several = format!(r#"{{"repo":"did:plc:a","writes":[{}]}}"#, writes.join(","));
    for (method, body, expected) in [
        (create, one, "create a.b.post"),
        (put, one, "create a.b.post, update a.b.post"),
        (batch, &several, "create a.b.post (2), delete a.b.like"),
    ] {
        assert_eq!(words(method, body), format!("{method}: {expected}"));
    }
    assert_eq!(
        words(batch, r#"{"repo":"did:plc:a","writes":[]}"#),
        batch,
        "nothing is written"
    );
}
