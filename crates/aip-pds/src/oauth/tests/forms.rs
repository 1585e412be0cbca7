//! Every odd but legal and every illegal form of an answer, at every step after which something is
//! spent: what is kept of it, and what is told.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, StatusCode};

use super::*;
use crate::testing::{Answer, CUT_OFF_HEADER};

/// What an answer looks like on the wire.
#[derive(Clone)]
struct Form {
    name: &'static str,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
}

impl Form {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "it is what the stand-in answers with"
    )]
    fn answer(&self) -> Answer {
        let mut answer = answer(200, "", &[]).unwrap();
        answer.status = StatusCode::from_u16(self.status).unwrap();
        for (name, value) in &self.headers {
            answer
                .headers
                .insert(*name, HeaderValue::from_static(value));
        }
        answer.body = self.body.clone();
        Ok(answer)
    }
}

fn with(member: &str, value: Value) -> Value {
    let mut tokens = tokens();
    tokens[member] = value;
    tokens
}

fn without(member: &str) -> Value {
    let mut tokens = tokens();
    tokens.as_object_mut().unwrap().remove(member);
    tokens
}

fn gzip(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

/// Forms in which everything can be read.
fn readable(content: &Value) -> Vec<Form> {
    let text = content.to_string();
    let form = |name, status, headers: &[(&'static str, &'static str)], body: String| Form {
        name,
        status,
        headers: headers.to_vec(),
        body: body.into(),
    };
    let open = text.trim_end_matches('}');
    let mut forms = vec![
        form("plain", 200, &[], text.clone()),
        form("201", 201, &[], text.clone()),
        form("203", 203, &[], text.clone()),
        form(
            "text/html",
            200,
            &[("content-type", "text/html")],
            text.clone(),
        ),
        form(
            "text/plain with charset",
            200,
            &[("content-type", "text/plain; charset=latin1")],
            text.clone(),
        ),
        form(
            "an unreadable content type",
            200,
            &[("content-type", ";;;")],
            text.clone(),
        ),
        form("a byte order mark", 200, &[], format!("\u{feff}{text}")),
        form(
            "white space around it",
            200,
            &[],
            format!("\r\n\t {text}\n\n"),
        ),
        form(
            "a comment of a proxy behind it",
            200,
            &[],
            format!("{text}<!-- cached -->"),
        ),
        form(
            "a second document",
            200,
            &[],
            format!("{text}{{\"error\":\"x\"}}"),
        ),
        form(
            "a guard against inclusion",
            200,
            &[],
            format!(")]}}',\n{text}"),
        ),
        form("a trailing comma", 200, &[], format!("{open},}}")),
        form(
            "the same members twice",
            200,
            &[],
            format!("{open},{}", &text[1..]),
        ),
        form(
            "members nobody knows",
            200,
            &[],
            format!("{open},\"x\":{{\"y\":[1,null]}}}}"),
        ),
        form(
            "an identity coding",
            200,
            &[("content-encoding", "identity")],
            text.clone(),
        ),
        form(
            "a body that breaks off at its end",
            200,
            &[(CUT_OFF_HEADER, "1")],
            open.to_owned(),
        ),
        // Illegal, but no reason to throw the tokens away.
        form("a status of failure", 500, &[], text.clone()),
        form("a status of refusal", 400, &[], text.clone()),
    ];
    forms.push(Form {
        name: "gzip",
        status: 200,
        headers: vec![("content-encoding", "gzip")],
        body: gzip(&text),
    });
    forms.push(Form {
        name: "gzip that breaks off",
        status: 200,
        headers: vec![("content-encoding", "X-GZIP"), (CUT_OFF_HEADER, "1")],
        body: gzip(&text).slice(..gzip(&text).len() - 6),
    });
    forms
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

#[tokio::test]
async fn tokens_of_a_refresh_are_kept_in_every_form_that_can_be_read() {
    for form in readable(&tokens()) {
        let world = World::with_alice();
        let name = form.name;
        world.network.on(TOKEN, move || form.answer());
        let tokens = refresh(&world)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(tokens.access.expose_secret(), "at-1", "{name}");
        assert_eq!(tokens.refresh.unwrap().expose_secret(), "rt-2", "{name}");
        assert!(world.network.to(REVOKE).is_empty(), "{name}");
        assert_eq!(world.network.to(TOKEN).len(), 1, "{name}");
        let sent = world.network.to(TOKEN);
        assert_eq!(sent[0].headers()["accept-encoding"], "identity", "{name}");
    }
}

#[tokio::test]
async fn a_refresh_is_kept_whatever_its_members_say_and_nothing_is_revoked() {
    let before = "atproto transition:generic";
    let granted = "atproto repo:app.bsky.feed.post";
    for (content, life, scope) in [
        (without("expires_in"), minutes(5), granted),
        (with("expires_in", json!("900")), minutes(15), granted),
        (with("expires_in", json!(900.7)), minutes(15), granted),
        (with("expires_in", json!("soon")), minutes(5), granted),
        (with("expires_in", json!(-1)), minutes(0), granted),
        (with("expires_in", json!({})), minutes(5), granted),
        (without("scope"), minutes(15), before),
        (with("scope", Value::Null), minutes(15), before),
        (with("scope", json!("")), minutes(15), before),
        (with("scope", json!(["atproto"])), minutes(15), before),
        (
            with("scope", json!("transition:generic")),
            minutes(15),
            before,
        ),
        (
            with("scope", json!("  atproto   repo:app.bsky.feed.post ")),
            minutes(15),
            granted,
        ),
        (without("token_type"), minutes(15), granted),
        (with("token_type", json!("dpop")), minutes(15), granted),
        (with("token_type", json!("DPoP ")), minutes(15), granted),
        (with("token_type", json!("Bearer")), minutes(15), granted),
        (with("token_type", json!(7)), minutes(15), granted),
        (without("sub"), minutes(15), granted),
        (with("sub", Value::Null), minutes(15), granted),
        (
            with("sub", json!(format!(" {ALICE}\n"))),
            minutes(15),
            granted,
        ),
    ] {
        let world = World::with_alice();
        world.network.on(TOKEN, json(&content));
        let tokens = refresh(&world)
            .await
            .unwrap_or_else(|error| panic!("{content}: {error}"));
        assert_eq!(tokens.refresh.unwrap().expose_secret(), "rt-2", "{content}");
        let left = tokens.expires_at.since(aip_base::Clock::now(&*world.clock));
        assert_eq!(left, life, "{content}");
        assert_eq!(tokens.scope, ScopeSet::parse(scope).unwrap(), "{content}");
        assert!(world.network.to(REVOKE).is_empty(), "{content}");
    }
}

#[tokio::test]
async fn the_refresh_token_of_an_answer_that_is_no_good_otherwise_is_kept() {
    for (content, told) in [
        (without("access_token"), "lacks `access_token`"),
        (with("access_token", json!("")), "lacks `access_token`"),
        (with("access_token", json!(["at"])), "lacks `access_token`"),
        (
            with("access_token", json!("a\u{e9}b")),
            "characters that none may have",
        ),
        (
            with("sub", json!("alice.org")),
            "the `sub` `alice.org`, which is no DID",
        ),
        (with("sub", json!(7)), "the `sub` `7`, which is no DID"),
        (json!({ "refresh_token": "rt-2" }), "lacks `access_token`"),
    ] {
        for form in readable(&content) {
            let world = World::with_alice();
            let name = format!("{} of {content}", form.name);
            world.network.on(TOKEN, move || form.answer());
            let error = refresh(&world).await.unwrap_err();
            assert!(error.to_string().contains(told), "{name}: {error}");
            let RefreshError::Unusable { refresh, .. } = error else {
                panic!("{name}: {error}")
            };
            assert_eq!(refresh.unwrap().expose_secret(), "rt-2", "{name}");
            assert!(world.network.to(REVOKE).is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn what_came_of_an_answer_that_breaks_off_is_kept_and_the_rest_may_have_been_lost() {
    let text = r#"{"refresh_token":"rt-2","access_token":"at-1","sub":"did"#;
    for (length, kept) in [
        (text.len(), true),
        (text.find("access").unwrap(), true),
        (text.find("-2").unwrap(), false),
        (0, false),
    ] {
        let world = World::with_alice();
        let body = text[..length].to_owned();
        world
            .network
            .on(TOKEN, move || answer(200, &body, &[(CUT_OFF_HEADER, "1")]));
        match refresh(&world).await {
            Ok(tokens) => assert_eq!(
                (tokens.refresh.unwrap().expose_secret(), kept),
                ("rt-2", true)
            ),
            Err(RefreshError::Unusable { refresh, .. }) => {
                assert_eq!((refresh.unwrap().expose_secret(), kept), ("rt-2", true));
            }
            Err(RefreshError::MayHaveArrived(HttpError::Broken(_))) => assert!(!kept, "{length}"),
            Err(error) => panic!("{length}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_coding_that_nobody_here_knows_is_named() {
    let zstd = || answer(200, "\u{28}\u{b5}", &[("content-encoding", "zstd")]);
    let world = World::with_alice();
    world.network.on(TOKEN, zstd).on(PAR, zstd);
    let error = complete(&world, None).await.unwrap_err();
    assert!(
        error.to_string().contains("Content-Encoding: zstd"),
        "{error}"
    );
    let error = push(&world).await.unwrap_err();
    assert!(
        error.to_string().contains("Content-Encoding: zstd"),
        "{error}"
    );
}

#[tokio::test]
async fn a_sign_in_takes_every_form_that_can_be_read() {
    for form in readable(&tokens()) {
        let world = World::with_alice();
        let name = form.name;
        world.network.on(TOKEN, move || form.answer());
        let signed_in = complete(&world, None).await;
        let signed_in = signed_in.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            signed_in.tokens.refresh.unwrap().expose_secret(),
            "rt-2",
            "{name}"
        );
    }
    for (content, life) in [
        (without("expires_in"), minutes(5)),
        (with("expires_in", json!("600")), minutes(10)),
        (with("expires_in", json!(6e2)), minutes(10)),
        (with("expires_in", json!(0)), minutes(0)),
        (without("refresh_token"), minutes(15)),
        (with("token_type", json!("DPOP")), minutes(15)),
    ] {
        let world = World::with_alice();
        world.network.on(TOKEN, json(&content));
        let tokens = complete(&world, None).await.unwrap().tokens;
        let left = tokens.expires_at.since(aip_base::Clock::now(&*world.clock));
        assert_eq!(left, life, "{content}");
    }
}

#[tokio::test]
async fn a_sign_in_that_lacks_what_it_must_have_is_refused_and_revoked_with_the_reason() {
    for (content, told) in [
        (without("scope"), "the server's token answer lacks `scope`"),
        (
            with("scope", json!("repo:*")),
            "the `scope` `repo:*`, which does not contain `atproto`",
        ),
        (
            with("scope", json!(["atproto"])),
            "the `scope` `[\"atproto\"]`",
        ),
        (
            with("token_type", json!("Bearer")),
            "the `token_type` `Bearer` instead of `DPoP`",
        ),
        (
            without("token_type"),
            "the server's token answer lacks `token_type`",
        ),
        (without("sub"), "the server's token answer lacks `sub`"),
        (
            with("sub", json!("alice.org")),
            "the `sub` `alice.org`, which is no DID",
        ),
        (
            with("sub", json!("did:key:zQ3sh")),
            "the `sub` `did:key:zQ3sh`, which is no DID",
        ),
        (
            with("sub", json!("x".repeat(5000))),
            "xxx…`, which is no DID",
        ),
        (
            without("access_token"),
            "the server's token answer lacks `access_token`",
        ),
    ] {
        let world = World::with_alice();
        world
            .network
            .on(TOKEN, json(&content))
            .on(REVOKE, || answer(200, "", &[]));
        let error = complete(&world, None).await.unwrap_err();
        assert!(
            matches!(error, SignInError::Tokens(_)),
            "{content}: {error}"
        );
        assert!(error.to_string().contains(told), "{content}: {error}");
        assert_eq!(
            param(&world.network.to(REVOKE)[0], "token"),
            "rt-2",
            "{content}"
        );
    }
    let world = World::with_alice();
    world.network.on(TOKEN, || answer(200, "<html>", &[]));
    let error = complete(&world, None).await.unwrap_err().to_string();
    assert_eq!(error, "the server's token answer is not readable as JSON");
}

async fn push(world: &World) -> Result<StartedSignIn, ExchangeError> {
    let (server, keys) = (server(world).await, keys());
    let scope = ScopeSet::parse("atproto").unwrap();
    let request = PushedRequest {
        server: &server,
        keys: &keys,
        redirect_uri: CALLBACK,
        scope: &scope,
        state: "state-1",
        login_hint: None,
        prompt: None,
    };
    world.client.start_sign_in(request).await
}

#[tokio::test]
async fn a_pushed_request_is_taken_in_every_form_and_its_error_says_what_is_missing() {
    for content in [
        json!({ "request_uri": "urn:x:1", "expires_in": 60 }),
        json!({ "request_uri": "urn:x:1" }),
    ] {
        for form in readable(&content)
            .into_iter()
            .filter(|form| form.status < 400)
        {
            let world = World::with_alice();
            let name = form.name;
            world.network.on(PAR, move || form.answer());
            let started = push(&world)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let url = started.authorization_url.to_string();
            assert!(url.ends_with("request_uri=urn%3Ax%3A1"), "{name}: {url}");
        }
    }
    for (body, told) in [
        ("{}", "it lacks `request_uri`"),
        ("<html>", "it lacks `request_uri`"),
        (r#"{"request_uri":7}"#, "its `request_uri` is no URI"),
        (
            r#"{"error":"invalid_scope","error_description":"why"}"#,
            "answered `invalid_scope`: why",
        ),
    ] {
        let world = World::with_alice();
        world.network.on(PAR, move || answer(200, body, &[]));
        let error = push(&world).await.unwrap_err();
        assert!(error.to_string().contains(told), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_revocation_is_done_when_the_server_took_it_in_whatever_words() {
    let revoke = async |respond: Respond| {
        let world = World::with_alice();
        world.network.on(REVOKE, respond);
        let server = server(&world).await;
        world.client.revoke(&keys(), &server, &"rt-1".into()).await
    };
    let answers =
        |status, body: &'static str| Box::new(move || answer(status, body, &[])) as Respond;
    for (status, body) in [
        (200, ""),
        (200, "<html>"),
        (200, "{}"),
        (204, ""),
        (400, r#"{"error":"invalid_token"}"#),
        (400, r#"{"error":"invalid_grant"}"#),
    ] {
        revoke(answers(status, body))
            .await
            .unwrap_or_else(|error| panic!("{status} {body}: {error}"));
    }
    for (status, body) in [(503, ""), (401, r#"{"error":"invalid_client"}"#), (302, "")] {
        assert!(
            revoke(answers(status, body)).await.is_err(),
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn the_email_is_read_in_every_form_and_left_out_when_it_is_none() {
    let pds = Origin::parse("https://pds.org").unwrap();
    let ask = async |respond: Respond| {
        let world = World::with_alice();
        world.network.on(EMAIL, respond);
        world
            .client
            .session_email(&keys(), &"at-1".into(), &pds)
            .await
    };
    for (content, address, confirmed) in [
        (
            json!({ "email": "a@b.org", "emailConfirmed": true }),
            Some("a@b.org"),
            true,
        ),
        (
            json!({ "email": "a@b.org", "emailConfirmed": "true" }),
            Some("a@b.org"),
            false,
        ),
        (json!({ "email": "a@b.org" }), Some("a@b.org"), false),
        (json!({ "email": null }), None, false),
        (json!({ "email": 7 }), None, false),
        (json!({}), None, false),
    ] {
        let found = ask(Box::new(json(&content))).await.unwrap();
        let found = found.as_ref().map(|it| (it.address.as_str(), it.confirmed));
        assert_eq!(
            found,
            address.map(|address| (address, confirmed)),
            "{content}"
        );
    }
    let zipped = ask(Box::new(|| {
        answer(200, "{}", &[("content-encoding", "gzip")])
    }))
    .await;
    let error = zipped.unwrap_err().to_string();
    assert!(error.contains("Content-Encoding: gzip"), "{error}");
}

/// An authorization server that takes only the nonce that it gave last, whoever it gave it to.
fn newest_nonce_only(world: &World, url: &str) {
    let given = Arc::new(std::sync::Mutex::new((0, String::new())));
    world.network.on_request(url, move |request| {
        let mut given = given.lock().unwrap();
        let sent = proof_claims(request)["nonce"].as_str().map(str::to_owned);
        let good = sent.as_deref() == Some(given.1.as_str());
        given.0 += 1;
        given.1 = format!("n-{}", given.0);
        let headers = [("dpop-nonce", given.1.as_str())];
        if good {
            answer(200, &tokens().to_string(), &headers)
        } else {
            answer(400, r#"{"error":"use_dpop_nonce"}"#, &headers)
        }
    });
}

#[tokio::test]
async fn refreshes_side_by_side_succeed_at_a_server_that_takes_only_its_newest_nonce() {
    let world = Arc::new(World::with_alice());
    newest_nonce_only(&world, TOKEN);
    let refreshes = (0..16).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { refresh(&world).await.map(drop) })
    });
    for refresh in refreshes.collect::<Vec<_>>() {
        refresh.await.unwrap().unwrap();
    }
    let asked = world.network.to(TOKEN).len();
    assert!(asked <= 16 * 4, "{asked} requests for 16 refreshes");
    // From now on they go one after the other, each with the newest nonce.
    for _ in 0..4 {
        refresh(&world).await.unwrap();
    }
    assert_eq!(world.network.to(TOKEN).len(), asked + 4);
}
