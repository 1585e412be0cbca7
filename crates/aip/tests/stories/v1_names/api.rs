//! The API of AIP v1 for back ends, and its headers at `/xrpc`.

use aip_jose::SigningKey;
use aip_sandbox::Endpoint;
use aip_storage::audit::AuditKind;
use bytes::Bytes;
use http::{Method, Request};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{JSON, exchange, get, post, send_form, signed_in, v1_app, v1_app_with};
use crate::answer::Answer;
use crate::app::{App, REDIRECT, SCOPE, Tokens};
use crate::app_passwords::make_password;
use crate::delegation::delegate;
use crate::developer_tokens::made;
use crate::keeping::{GET_SESSION, STALE, refreshes};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    an_app_learns_whose_token_it_is_in_the_shape_of_v1,
    credentials_of_v1_need_the_scope_and_are_for_the_own_account,
    permissions_of_v1_are_the_delegations_of_the_owner,
    calls_name_the_account_and_no_server_by_the_headers_of_v1,
    an_app_password_is_given_as_json_and_taken_back,
    accounts_are_resolved_without_a_token_and_within_limits,
);

async fn an_app_learns_whose_token_it_is_in_the_shape_of_v1(world: &World) {
    let app = v1_app(world).await;
    let tokens = signed_in(&app).await;
    let alice = world.alice();
    let answer = get(&app, &tokens.access, "/internal/api/me", &[]).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let mut expected = json!({
        "handle": alice.handle.as_str(),
        "pds": world.pds().origin(),
        "did": alice.did.as_str(),
        "guid": alice.did.as_str(),
        "oauth_session_valid": true,
        "app_password_session_valid": false,
    });
    assert_eq!(answer.ok(), expected);
    let own = [("x-subject", alice.did.as_str())];
    get(&app, &tokens.access, "/internal/api/me", &own)
        .await
        .ok();
    let password = make_password(world).await;
    world.secrets.learn("an app password", &password);
    let body = json!({ "value": password }).to_string();
    let given = post(&app, &tokens.access, "/internal/api/app_password", &body).await;
    assert_eq!((given.status.as_u16(), given.text()), (200, ""));
    expected["app_password_session_valid"] = true.into();
    let told = get(&app, &tokens.access, "/internal/api/me", &[])
        .await
        .ok();
    assert_eq!(told, expected);

    // Refreshed when it is due, and not more often.
    let refreshed = get(&app, &tokens.access, "/auth/atproto/refresh", &[])
        .await
        .ok();
    assert_eq!((refreshed, refreshes(world)), (expected.clone(), 0));
    world.pass(STALE);
    let refreshed = get(&app, &tokens.access, "/auth/atproto/refresh", &[]).await;
    assert_eq!((refreshed.ok(), refreshes(world)), (expected, 1));

    // Whoever has no token, or that of another server, is told nothing.
    for path in [
        "/internal/api/me",
        "/internal/api/credentials",
        "/auth/atproto/refresh",
    ] {
        let refused = world.get(path).await;
        refused.expect(401, "invalid_token");
        assert!(refused.headers.contains_key("www-authenticate"));
        get(&app, "eyJhbGciOiJFUzI1NiJ9.e30.c2ln", path, &[])
            .await
            .expect(401, "invalid_token");
        // Nor may a token act for others here.
        let other = [("x-subject", world.bob().did.as_str())];
        get(&app, &tokens.access, path, &other)
            .await
            .expect(403, "access_denied");
    }
    world.pds().end_sessions(&alice.did);
    world.pass(STALE);
    let refused = get(&app, &tokens.access, "/auth/atproto/refresh", &[]).await;
    refused.expect(401, "invalid_token");
    let told = get(&app, &tokens.access, "/internal/api/me", &[]).await;
    // Its grant ended with its session, or the answer says that the session is no good.
    if told.status.is_success() {
        assert_eq!(told.json()["oauth_session_valid"], false);
    } else {
        told.expect(401, "invalid_token");
    }
}

/// Asks for the credentials, which are secrets.
async fn credentials(app: &App<'_>, access: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = get(app, access, "/internal/api/credentials", headers).await;
    if answer.status.is_success() {
        let told = answer.json();
        for secret in [&told["token"], &told["jwk"]["d"]] {
            let secret = secret.as_str().unwrap_or_default();
            app.world.secrets.learn("a credential", secret);
        }
    }
    answer
}

async fn credentials_of_v1_need_the_scope_and_are_for_the_own_account(world: &World) {
    let plain = v1_app(world).await;
    let tokens = signed_in(&plain).await;
    let refused = credentials(&plain, &tokens.access, &[]).await;
    refused.expect(403, "insufficient_scope");
    assert!(refused.text().contains("aip:credentials"));

    let scope = format!("{SCOPE} aip:credentials");
    let app = v1_app_with(world, &scope, |_| {}).await;
    let tokens = signed_in(&app).await;
    let answer = credentials(&app, &tokens.access, &[]).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let told = answer.ok();
    let mut members: Vec<_> = told.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["issuer", "jwk", "token", "type"]);
    assert_eq!(told["type"], "dpop");
    assert_eq!(told["issuer"], world.pds().issuer());
    let key = SigningKey::from_jwk_json(&told["jwk"].to_string()).unwrap();
    let did_key = key.to_private_did_key().unwrap();
    world.secrets.learn("a DPoP key", did_key.expose_secret());
    assert_eq!(world.audit(AuditKind::CredentialsHandedOut).await.len(), 1);
    // Never for another account, whoever lets the account act for it.
    delegate(world, "everything").await;
    let bobs = {
        let form = [
            ("subject", world.bob().handle.as_str()),
            ("destination", REDIRECT),
        ];
        let browser = world.browser();
        let at_pds = send_form(&browser, &form).await;
        let callback = browser.at_pds(&at_pds, world.bob()).await;
        let consent = browser.open(callback.as_str()).await;
        let back = browser.allow(&consent).await;
        Tokens::of(&exchange(&app, &back, REDIRECT, &[]).await)
    };
    let alice = [("x-subject", world.alice().did.as_str())];
    let refused = credentials(&app, &bobs.access, &alice).await;
    refused.expect(403, "access_denied");
    for named in ["", "alice.test", "01JABCDEF"] {
        let headers = [("x-subject", named)];
        let refused = credentials(&app, &bobs.access, &headers).await;
        refused.expect(403, "access_denied");
    }
    assert_eq!(world.audit(AuditKind::CredentialsHandedOut).await.len(), 1);

    // That of the app password comes first, as with v1.
    let password = make_password(world).await;
    world.secrets.learn("an app password", &password);
    let body = json!({ "value": password }).to_string();
    let given = post(&app, &tokens.access, "/internal/api/app_password", &body).await;
    assert_eq!(given.status, 200);
    let told = credentials(&app, &tokens.access, &[]).await.ok();
    assert_eq!(told["type"], "bearer");
    assert_eq!(told.as_object().unwrap().len(), 2);
}

async fn permissions_of_v1_are_the_delegations_of_the_owner(world: &World) {
    let app = v1_app(world).await;
    let (alice, bob) = (world.alice().did.as_str(), world.bob().did.as_str());
    let tokens = signed_in(&app).await;
    let path = "/internal/api/permissions";
    let send =
        async |operations: Value| post(&app, &tokens.access, path, &operations.to_string()).await;
    let pointer = format!("/{bob}");
    let test = json!([{ "op": "test", "path": pointer }]);
    assert_eq!(send(test.clone()).await.ok(), json!([]));
    assert_eq!(send(json!([])).await.ok(), json!([]));
    // An app cannot give one: the owner is told where they do.
    let before = world.state().await;
    for op in ["add", "replace"] {
        let operation = json!([{ "op": op, "path": pointer, "value": 1 }]);
        let refused = send(operation).await;
        refused.expect(403, "consent_required");
        assert!(refused.text().contains(&format!("{BASE}/account")));
    }
    for body in [
        "",
        "{}",
        "[{}]",
        r#"[{"op":"add","path":"/did:plc:x"}]"#,
        r#"[{"op":"move","path":"/did:web:a.example","value":1}]"#,
        &format!(r#"[{{"op":"add","path":"/{alice}","value":1}}]"#),
        &format!(r#"[{{"op":"add","path":"{pointer}","value":9}}]"#),
        &format!(r#"[{{"op":"add","path":"{pointer}","value":-1}}]"#),
    ] {
        post(&app, &tokens.access, path, body)
            .await
            .expect(400, "invalid_request");
    }
    assert_eq!(world.state().await, before);

    // The number is that of the choice, and grants its scope and no more.
    delegate(world, "posts_with_images").await;
    let found = json!([{ "path": pointer, "value": 2 }]);
    assert_eq!(send(test.clone()).await.ok(), found);
    let same = json!([
        { "op": "replace", "path": pointer, "value": 2 },
        { "op": "test", "path": pointer, "value": 4 },
    ]);
    assert_eq!(send(same).await.ok(), json!([]));
    let more = json!([
        { "op": "remove", "path": pointer },
        { "op": "add", "path": pointer, "value": 4 },
    ]);
    send(more).await.expect(403, "consent_required");
    assert_eq!(
        send(test.clone()).await.ok(),
        found,
        "nothing of it was done"
    );
    // Only the owner's token of that client takes it back.
    let other = world.app().await;
    let others = other.sign_in(&world.browser(), world.alice()).await;
    let remove = json!([{ "op": "remove", "path": pointer }]).to_string();
    post(&other, &others.access, path, &remove)
        .await
        .expect(403, "access_denied");
    let headers = [JSON, ("x-subject", bob)];
    let body = remove.clone().into();
    let refused = app.call(&Method::POST, path, &tokens.access, &headers, body);
    refused.await.expect(403, "access_denied");
    post(&app, "nothing", path, &remove)
        .await
        .expect(401, "invalid_token");
    assert_eq!(send(test.clone()).await.ok(), found);
    let done = post(&app, &tokens.access, path, &remove).await;
    assert_eq!(done.ok(), json!([]));
    assert_eq!(send(test).await.ok(), json!([]));
    assert_eq!(world.audit(AuditKind::DelegationEnded).await.len(), 1);
}

async fn calls_name_the_account_and_no_server_by_the_headers_of_v1(world: &World) {
    let app = v1_app(world).await;
    let bobs = app.sign_in(&world.browser(), world.bob()).await;
    let (alice, bob) = (world.alice().did.as_str(), world.bob().did.as_str());
    let path = format!("/xrpc/{GET_SESSION}");
    let refused = get(&app, &bobs.access, &path, &[("x-subject", alice)]).await;
    refused.expect(403, "Forbidden");
    delegate(world, "posts").await;
    let pds = world.pds().origin().to_owned();
    for headers in [
        &[("x-subject", alice)][..],
        &[("x-subject", alice), ("x-aip-account", alice)],
        &[("x-subject", alice), ("x-service", &*pds)],
    ] {
        let told = get(&app, &bobs.access, &path, headers).await.ok();
        assert_eq!(told["did"], alice);
    }
    let told = get(&app, &bobs.access, &path, &[("x-service", &pds)]).await;
    assert_eq!(told.ok()["did"], bob);
    let sent = world.pds().requests_to(Endpoint::Method(GET_SESSION));
    for name in ["x-subject", "x-service", "x-aip-account"] {
        assert_eq!(sent.last().unwrap().header(name), None);
    }
    let count = world.pds().requests().len();
    for headers in [
        &[("x-subject", "01JABCDEF")][..],
        &[("x-subject", "alice.test")],
        &[("x-subject", alice), ("x-aip-account", bob)],
        &[("x-subject", alice), ("x-subject", bob)],
        &[("x-service", "evil.example")],
        &[("x-service", "https://evil.example")],
        &[("x-service", "http://169.254.169.254")],
        &[("x-service", "did:web:api.bsky.app#bsky_appview")],
        &[("x-service", &*format!("{pds}/x"))],
        &[("x-service", "")],
        &[("x-service", &*pds), ("x-service", &*pds)],
        &[("x-subject", alice), ("x-service", "evil.example")],
    ] {
        get(&app, &bobs.access, &path, headers)
            .await
            .expect(400, "InvalidRequest");
    }
    assert_eq!(world.pds().requests().len(), count, "none of it left");
}

async fn an_app_password_is_given_as_json_and_taken_back(world: &World) {
    let app = v1_app(world).await;
    let tokens = signed_in(&app).await;
    let path = "/internal/api/app_password";
    let before = world.state().await;
    let asked = world.pds().requests().len();
    let main = json!({ "value": world.alice().password }).to_string();
    for body in [
        "",
        "[]",
        "{",
        r#"{"value": 7}"#,
        r#"{"value": "abcd"}"#,
        r#"{"value": "abcd-efgh-ijkl-mnopq"}"#,
        &main,
    ] {
        let refused = post(&app, &tokens.access, path, body).await;
        refused.expect(400, "invalid_request");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = Bytes::from("value=abcd-efgh-ijkl-mnop");
    let refused = app.call(&Method::POST, path, &tokens.access, &form, body);
    refused.await.expect(400, "invalid_request");
    assert_eq!(world.state().await, before, "nothing is stored");
    assert_eq!(world.pds().requests().len(), asked, "nobody is asked");
    let wrong = r#"{"value": "abcd-efgh-ijkl-mnop"}"#;
    post(&app, &tokens.access, path, wrong)
        .await
        .expect(401, "authentication_failed");

    let password = make_password(world).await;
    world.secrets.learn("an app password", &password);
    let given = json!({ "value": password }).to_string();
    let answer = post(&app, &tokens.access, path, &given).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, ""));
    // It is the one of the product API.
    let product = "/api/atprotocol/app-password";
    let there = get(&app, &tokens.access, product, &[]).await;
    assert_eq!(there.status, 204);
    // A developer token neither gives one nor takes it back.
    let (developer_token, _, _) = made(world, "30").await;
    app.userinfo(&developer_token).await.ok();
    let before = world.state().await;
    for body in [&*given, r#"{"value": null}"#] {
        let refused = post(&app, &developer_token, path, body).await;
        refused.expect(403, "insufficient_scope");
    }
    assert_eq!(world.state().await, before);
    for _ in 0..2 {
        let answer = post(&app, &tokens.access, path, r#"{"value": null}"#).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, ""));
        let there = get(&app, &tokens.access, product, &[]).await;
        there.expect(404, "not_found");
    }
    post(&app, "nothing", path, &given)
        .await
        .expect(401, "invalid_token");
}

async fn accounts_are_resolved_without_a_token_and_within_limits(world: &World) {
    let app = v1_app(world).await;
    let tokens = signed_in(&app).await;
    let (alice, bob) = (world.alice(), world.bob());
    let before = world.state().await;
    let path = "/internal/api/resolve";
    assert_eq!(world.get(path).await.ok(), json!([]));
    let subjects = [
        ("subject", bob.did.as_str()),
        ("subject", "nobody.test"),
        ("subject", alice.handle.as_str()),
        ("subject", "not a handle"),
    ];
    let query = serde_urlencoded::to_string(subjects).unwrap();
    let told = world.get(&format!("{path}?{query}")).await.ok();
    let expected = [bob, alice].map(|person| {
        json!({
            "did": person.did.as_str(),
            "handle": person.handle.as_str(),
            "pds": world.pds().origin(),
            "guid": person.did.as_str(),
        })
    });
    assert_eq!(told, json!(expected));
    let query = "subject=a.test&".repeat(101);
    let refused = world.get(&format!("{path}?{query}")).await;
    refused.expect(400, "invalid_request");
    // A network has its share of look-ups.
    let query = format!("subject={}&", alice.did).repeat(100);
    let mut last = world.get(&format!("{path}?{query}")).await;
    for _ in 0..3 {
        last = world.get(&format!("{path}?{query}")).await;
    }
    last.expect(429, "RateLimitExceeded");
    assert!(last.headers.contains_key("retry-after"));
    let path = format!("{path}?subject={}", alice.did);
    let from = async |address: &str| {
        let request = Request::get(format!("{BASE}{path}")).header("x-forwarded-for", address);
        world.send(request.body(Bytes::new()).unwrap()).await
    };
    let told = from("10.0.0.77").await.ok();
    assert_eq!(told.as_array().unwrap().len(), 1);
    // Whoever comes from the Internet shows a token.
    from("203.0.113.77").await.expect(401, "invalid_token");
    let headers = [("x-forwarded-for", "203.0.113.77")];
    let told = get(&app, &tokens.access, &path, &headers).await.ok();
    assert_eq!(told.as_array().unwrap().len(), 1);
    assert_eq!(
        world.state().await,
        before,
        "nothing is stored of strangers"
    );
}
