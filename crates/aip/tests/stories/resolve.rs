//! Who handles and DIDs are, asked with an access token: at `/api/atprotocol/resolve` and by the methods
//! of `com.atproto.identity`.

use std::time::Duration;

use aip_sandbox::{Endpoint, Reply};
use aip_storage::client::{GrantType, GrantTypes};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, Tokens};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    handles_and_dids_are_resolved_in_their_order_with_source_and_age,
    what_fails_is_said_in_its_place_and_the_others_are_answered,
    a_request_that_names_nobody_or_too_many_is_refused,
    who_has_no_token_of_a_person_is_told_nothing,
    the_methods_of_the_network_are_answered_without_the_pds,
    each_method_of_the_network_has_the_errors_of_its_lexicon,
    a_call_that_names_a_service_is_passed_on,
    what_a_call_changes_of_an_identity_is_reported_at_once,
    look_ups_are_limited_by_app_and_account,
);

const RESOLVE: &str = "/api/atprotocol/resolve";

async fn signed_in(world: &World) -> (App<'_>, Tokens) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    (app, tokens)
}

async fn resolve(app: &App<'_>, tokens: &Tokens, subjects: &[&str]) -> Answer {
    let pairs: Vec<_> = subjects.iter().map(|it| ("subject", *it)).collect();
    let query = serde_urlencoded::to_string(pairs).unwrap();
    let path = format!("{RESOLVE}?{query}");
    app.call(&Method::GET, &path, &tokens.access, &[], Bytes::new())
        .await
}

/// The document of a person, as the directory has it.
fn document(world: &World, did: &aip_atproto::Did) -> Value {
    world.sandbox.plc.document(did).unwrap()
}

async fn handles_and_dids_are_resolved_in_their_order_with_source_and_age(world: &World) {
    let (app, tokens) = signed_in(world).await;
    let before = world.state().await;
    let asked = world.pds().requests().len();
    let (alice, bob) = (world.alice(), world.bob());
    let pasted = format!("@{}", bob.handle);
    let subjects = [bob.did.as_str(), alice.handle.as_str(), &pasted];
    resolve(&app, &tokens, &subjects).await.ok();
    world.pass(Duration::from_secs(90));
    let answer = resolve(&app, &tokens, &subjects).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let told = answer.ok();
    let expected = [(bob, subjects[0]), (alice, subjects[1]), (bob, subjects[2])];
    let identities = told["identities"].as_array().unwrap();
    assert_eq!(identities.len(), expected.len());
    for (identity, (person, subject)) in identities.iter().zip(expected) {
        let document = document(world, &person.did);
        let key = &document["verificationMethod"][0];
        let expected = json!({
            "subject": subject,
            "did": person.did.as_str(),
            "handle": person.handle.as_str(),
            "pds": world.pds().origin(),
            "signing_key": { "type": key["type"], "publicKeyMultibase": key["publicKeyMultibase"] },
            "sources": {
                "document": { "method": "plc", "age": identity["sources"]["document"]["age"] },
                "handle": { "method": "dns", "age": identity["sources"]["handle"]["age"] },
            },
        });
        assert_eq!(identity, &expected);
        for source in ["document", "handle"] {
            let age = identity["sources"][source]["age"].as_u64().unwrap();
            assert!((90..100).contains(&age), "{identity}");
        }
    }
    assert_eq!(world.pds().requests().len(), asked, "no PDS is asked");
    assert_eq!(world.state().await, before, "nothing is stored");
}

async fn what_fails_is_said_in_its_place_and_the_others_are_answered(world: &World) {
    let (app, tokens) = signed_in(world).await;
    let unknown = "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz";
    let alice = world.alice();
    let subjects = [
        "",
        "no handle",
        "did:key:z6Mk",
        "did:web:a.example:path",
        "nobody.test",
        "somebody.local",
        unknown,
        "<script>",
        alice.handle.as_str(),
    ];
    let told = resolve(&app, &tokens, &subjects).await.ok();
    let errors = [
        "InvalidRequest",
        "InvalidRequest",
        "InvalidRequest",
        "InvalidRequest",
        "HandleNotFound",
        "HandleNotFound",
        "DidNotFound",
        "InvalidRequest",
    ];
    for (i, error) in errors.into_iter().enumerate() {
        let entry = &told["identities"][i];
        assert_eq!(entry["subject"], subjects[i]);
        assert_eq!(entry["error"], error, "{entry}");
        assert!(entry["message"].is_string() && entry.get("did").is_none());
    }
    assert_eq!(told["identities"][8]["did"], alice.did.as_str());

    // Somebody else's handle in a document is not shown.
    let mallory = "did:web:mallory.test";
    let document = json!({ "id": mallory, "alsoKnownAs": [format!("at://{}", alice.handle)] });
    let place = "https://mallory.test/.well-known/did.json";
    world.hosted.put(place, 200, document.to_string());
    let told = resolve(&app, &tokens, &[mallory]).await.ok();
    let expected = json!({
        "subject": mallory, "did": mallory, "handle": "handle.invalid",
        "sources": { "document": { "method": "web", "age": 0 } },
    });
    assert_eq!(told["identities"][0], expected);

    // Nor is one that cannot be checked now, but that is said.
    let late = "did:web:late.test";
    let document = json!({ "id": late, "alsoKnownAs": ["at://somebody.test"] });
    let place = "https://late.test/.well-known/did.json";
    world.hosted.put(place, 200, document.to_string());
    let place = "https://somebody.test/.well-known/atproto-did";
    world.hosted.put(place, 503, String::new());
    let told = resolve(&app, &tokens, &[late]).await.ok();
    let expected = json!({
        "subject": late, "did": late, "handle": "handle.invalid", "handle_error": "UpstreamFailure",
        "sources": { "document": { "method": "web", "age": 0 } },
    });
    assert_eq!(told["identities"][0], expected);
}

async fn a_request_that_names_nobody_or_too_many_is_refused(world: &World) {
    let (app, tokens) = signed_in(world).await;
    resolve(&app, &tokens, &["x"; 100]).await.ok();
    for subjects in [&[][..], &["x"; 101], &["x"; 200]] {
        let answer = resolve(&app, &tokens, subjects).await;
        answer.expect(400, "InvalidRequest").logged("caller");
        assert!(answer.json()["message"].is_string());
    }
}

async fn who_has_no_token_of_a_person_is_told_nothing(world: &World) {
    let (app, tokens) = signed_in(world).await;
    let own = App::register(world, |settings| {
        settings.grant_types = GrantTypes::try_from(vec![GrantType::ClientCredentials]).unwrap();
        settings.redirect_uris.clear();
    })
    .await;
    let own = own
        .token(&[("grant_type", "client_credentials")])
        .await
        .ok();
    let own = own["access_token"].as_str().unwrap().to_owned();
    app.revoke(&tokens.access).await;
    let paths = [
        format!("{RESOLVE}?subject={}", world.bob().handle),
        format!(
            "/xrpc/com.atproto.identity.resolveHandle?handle={}",
            world.bob().handle
        ),
        format!(
            "/xrpc/com.atproto.identity.resolveDid?did={}",
            world.bob().did
        ),
    ];
    let plc = world.sandbox.plc.requests().len();
    for path in &paths {
        for bad in [
            None,
            Some("x"),
            Some(&*tokens.refresh),
            Some(&tokens.access),
            Some(&own),
        ] {
            let mut request = Request::get(format!("{BASE}{path}"));
            if let Some(bad) = bad {
                request = request.header(AUTHORIZATION, format!("Bearer {bad}"));
            }
            let answer = world.send(request.body(Bytes::new()).unwrap()).await;
            answer.expect(401, "invalid_token");
            assert!(answer.headers.contains_key("www-authenticate"));
        }
    }
    assert_eq!(world.sandbox.plc.requests().len(), plc, "nobody is asked");
}

async fn the_methods_of_the_network_are_answered_without_the_pds(world: &World) {
    let (app, tokens) = signed_in(world).await;
    let before = world.state().await;
    let asked = world.pds().requests().len();
    let bob = world.bob();
    let (did, handle) = (bob.did.as_str(), bob.handle.as_str());
    let call = async |method: &str, parameter: &str, value: &str| {
        let query = serde_urlencoded::to_string([(parameter, value)]).unwrap();
        let call = format!("com.atproto.identity.{method}?{query}");
        app.query(&tokens.access, &call).await.ok()
    };
    let found = call("resolveHandle", "handle", handle).await;
    assert_eq!(found, json!({ "did": did }));
    let document = document(world, &bob.did);
    let found = call("resolveDid", "did", did).await;
    assert_eq!(found, json!({ "didDoc": document }));
    for identifier in [did, handle] {
        let found = call("resolveIdentity", "identifier", identifier).await;
        let expected = json!({ "did": did, "handle": handle, "didDoc": document });
        assert_eq!(found, expected);
    }
    assert_eq!(world.pds().requests().len(), asked, "no PDS is asked");
    assert_eq!(world.state().await, before, "nothing is stored");
}

async fn each_method_of_the_network_has_the_errors_of_its_lexicon(world: &World) {
    let (app, tokens) = signed_in(world).await;
    let unknown = "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz";
    for (call, error) in [
        ("resolveHandle?handle=nobody.test", "HandleNotFound"),
        ("resolveHandle?handle=x.local", "HandleNotFound"),
        ("resolveHandle", "InvalidRequest"),
        ("resolveHandle?handle=", "InvalidRequest"),
        ("resolveHandle?handle=did:web:a.example", "InvalidRequest"),
        (
            "resolveHandle?handle=a.test&handle=b.test",
            "InvalidRequest",
        ),
        (&format!("resolveDid?did={unknown}"), "DidNotFound"),
        ("resolveDid?did=alice.test", "InvalidRequest"),
        ("resolveDid?did=did:key:z6Mk", "InvalidRequest"),
        (
            &format!("resolveIdentity?identifier={unknown}"),
            "DidNotFound",
        ),
        ("resolveIdentity?identifier=nobody.test", "HandleNotFound"),
        ("resolveIdentity?handle=nobody.test", "InvalidRequest"),
    ] {
        let call = format!("com.atproto.identity.{call}");
        let answer = app.query(&tokens.access, &call).await;
        answer.expect(400, error).logged("caller");
        assert!(answer.json()["message"].is_string(), "{call}");
    }
    let path = "/xrpc/com.atproto.identity.resolveDid?did=did:web:a.example";
    let post = app.call(&Method::POST, path, &tokens.access, &[], Bytes::new());
    let answer = post.await;
    answer.expect(405, "InvalidRequest");
    assert_eq!(answer.header("allow"), "GET, HEAD");

    // A host that does not answer is not the caller's fault, and what AIP met there is for the log.
    let place = "https://down.test/.well-known/did.json";
    world.hosted.put(place, 503, String::new());
    for call in [
        "resolveDid?did=did:web:down.test",
        "resolveIdentity?identifier=did:web:down.test",
    ] {
        let call = format!("com.atproto.identity.{call}");
        let answer = app.query(&tokens.access, &call).await;
        answer.expect(502, "UpstreamFailure").logged("upstream");
        answer.logged("status 503");
        assert!(!answer.text().contains("503"), "{}", answer.text());
    }
    let told = resolve(&app, &tokens, &["did:web:down.test"]).await.ok();
    assert_eq!(told["identities"][0]["error"], "UpstreamFailure");
    assert!(!told.to_string().contains("503"), "{told}");
}

async fn what_a_call_changes_of_an_identity_is_reported_at_once(world: &World) {
    const UPDATE: &str = "com.atproto.identity.updateHandle";
    const SUBMIT: &str = "com.atproto.identity.submitPlcOperation";
    const REFRESH: &str = "com.atproto.identity.refreshIdentity";
    let (app, tokens) = signed_in(world).await;
    let scope = format!("atproto identity:* rpc:{REFRESH}?aud=did:web:api.example%23appview");
    let granted = format!("UPDATE grants SET scope = '{scope}' RETURNING id");
    assert_eq!(world.texts(&granted).await.len(), 1);
    let alice = world.alice();
    let told = async || {
        let told = resolve(&app, &tokens, &[alice.did.as_str()]).await.ok();
        told["identities"][0]["pds"].as_str().unwrap().to_owned()
    };
    let json = ("content-type", "application/json");
    let service = ("atproto-proxy", "did:web:api.example#appview");
    for (method, endpoint, headers) in [
        (UPDATE, Endpoint::Method(UPDATE), &[json][..]),
        (SUBMIT, Endpoint::Xrpc, &[json][..]),
        (REFRESH, Endpoint::Xrpc, &[json, service][..]),
    ] {
        let before = told().await;
        let after = format!("https://{}.test", method.to_lowercase().replace('.', "-"));
        world.sandbox.plc.move_to(&alice.did, &after);
        for (status, expected) in [(StatusCode::BAD_REQUEST, &before), (StatusCode::OK, &after)] {
            let answer = Reply::json(status, &json!({ "error": "InvalidRequest" }));
            world.pds().next(endpoint).answers(answer);
            let path = format!("/xrpc/{method}");
            let body = Bytes::from_static(b"{}");
            let answer = app.call(&Method::POST, &path, &tokens.access, headers, body);
            assert_eq!(answer.await.status, status, "{method}");
            assert_eq!(&told().await, expected, "{method}");
        }
    }
}

async fn a_call_that_names_a_service_is_passed_on(world: &World) {
    let app = world.app().await;
    let scope = "atproto transition:generic";
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), scope)
        .await;
    let path = "/xrpc/com.atproto.identity.resolveDid?did=did:web:a.example";
    let service = "did:web:api.example#appview";
    let headers = [("atproto-proxy", service)];
    let call = async |access: &str| {
        app.call(&Method::GET, path, access, &headers, Bytes::new())
            .await
    };
    assert_eq!(call(&tokens.access).await.ok()["aud"], service);
    let narrowed = Tokens::of(&app.narrow(&tokens.refresh, "atproto").await);
    call(&narrowed.access)
        .await
        .expect(403, "insufficient_scope");
}

async fn look_ups_are_limited_by_app_and_account(world: &World) {
    let (app, tokens) = signed_in(world).await;
    for _ in 0..3 {
        resolve(&app, &tokens, &["x"; 100]).await.ok();
    }
    let refused = resolve(&app, &tokens, &["x"; 2]).await;
    refused
        .expect(429, "RateLimitExceeded")
        .logged("over the limit `lookups`");
    assert_eq!(refused.header("retry-after"), "1");
    let call = "com.atproto.identity.resolveHandle?handle=nobody.test";
    let answer = app.query(&tokens.access, call).await;
    answer.expect(429, "RateLimitExceeded");
    // Another account of the app, and another app of the account, have their own.
    let bob = app.sign_in(&world.browser(), world.bob()).await;
    resolve(&app, &bob, &["x"; 100]).await.ok();
    let (other, its_tokens) = signed_in(world).await;
    resolve(&other, &its_tokens, &["x"; 100]).await.ok();
    world.pass(Duration::from_secs(1));
    resolve(&app, &tokens, &["x"; 2]).await.ok();
}
