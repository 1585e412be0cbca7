//! Every misbehaviour that AIP has to survive can be ordered.

use std::time::Duration;

use aip_base::HttpError;
use aip_sandbox::{Document, Endpoint, Lie, Reply, When, approve, deny};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::client::{Answer, Body, Client, query, sandbox};

const SCOPE: &str = "atproto transition:generic";

async fn metadata(client: &Client, path: &str) -> Answer {
    let url = format!("{}/.well-known/{path}", client.resource);
    client
        .send(Request::get(url).body(bytes::Bytes::new()).unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_token_response_can_lie_in_every_member() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (alice, bob) = (&sandbox.accounts.alice, &sandbox.accounts.bob);
    let token = Document::TokenResponse;
    let table: [(Lie, &str, Option<Value>); 6] = [
        (Lie::sub_of(&bob.did), "sub", Some(json!(bob.did.as_str()))),
        (
            Lie::set(token, "sub", "not a DID"),
            "sub",
            Some(json!("not a DID")),
        ),
        (
            Lie::set(token, "token_type", "Bearer"),
            "token_type",
            Some(json!("Bearer")),
        ),
        (
            Lie::set(token, "scope", "transition:generic"),
            "scope",
            Some(json!("transition:generic")),
        ),
        (Lie::omit(token, "scope"), "scope", None),
        (Lie::omit(token, "expires_in"), "expires_in", None),
    ];
    for (lie, member, expected) in table {
        sandbox.pds.lie(lie);
        let (_, tokens) = client.sign_in(alice).await;
        assert_eq!(tokens.body.get(member), expected.as_ref());
        sandbox.pds.tell_truth();
    }
    let (_, tokens) = client.sign_in(alice).await;
    assert_eq!(tokens.text("sub"), alice.did.as_str());
}

#[tokio::test]
async fn a_callback_can_name_another_issuer_or_none() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let slash = format!("{}/", client.issuer);
    for iss in [None, Some("https://evil.test"), Some(slash.as_str())] {
        sandbox.pds.lie(match iss {
            Some(iss) => Lie::set(Document::Callback, "iss", iss),
            None => Lie::omit(Document::Callback, "iss"),
        });
        let session = client.begin(&[]).await;
        let callback = approve(&session.authorize_url, &sandbox.accounts.alice)
            .await
            .unwrap();
        assert_eq!(query(&callback, "iss").as_deref(), iss);
        assert!(query(&callback, "code").is_some());
        sandbox.pds.tell_truth();
    }
}

#[tokio::test]
async fn a_callback_can_carry_any_error() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    sandbox
        .pds
        .lie(Lie::set(Document::Callback, "error", "server_error"));
    let session = client.begin(&[]).await;
    let callback = deny(&session.authorize_url, &sandbox.accounts.alice)
        .await
        .unwrap();
    assert_eq!(query(&callback, "error").unwrap(), "server_error");
}

#[tokio::test]
async fn metadata_can_lie() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (resource, server) = (Document::ResourceMetadata, Document::ServerMetadata);
    let two = json!([client.issuer, "https://other.test"]);
    let table = [
        (resource, "authorization_servers", two),
        (
            resource,
            "authorization_servers",
            json!(["http://plain.test"]),
        ),
        (
            resource,
            "authorization_servers",
            json!(["https://as.test/path"]),
        ),
        (resource, "resource", json!("https://other.test")),
        (server, "issuer", json!("https://other.test")),
        (server, "token_endpoint", json!("https://10.0.0.1/token")),
        (
            server,
            "require_pushed_authorization_requests",
            json!(false),
        ),
    ];
    for (document, member, value) in table {
        sandbox.pds.lie(Lie::set(document, member, value.clone()));
        let path = match document {
            Document::ResourceMetadata => "oauth-protected-resource",
            _ => "oauth-authorization-server",
        };
        assert_eq!(metadata(&client, path).await.body[member], value);
        sandbox.pds.tell_truth();
        assert_ne!(metadata(&client, path).await.body[member], value);
    }
}

#[tokio::test]
async fn metadata_can_redirect_be_a_page_or_have_another_status() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let endpoint = Endpoint::ResourceMetadata;
    sandbox
        .pds
        .next(endpoint)
        .redirects_to("https://other.test/");
    let answer = metadata(&client, "oauth-protected-resource").await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.headers["location"], "https://other.test/");
    sandbox.pds.next(endpoint).answers_html();
    let answer = metadata(&client, "oauth-protected-resource").await;
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    sandbox
        .pds
        .next(endpoint)
        .changes_status(StatusCode::NON_AUTHORITATIVE_INFORMATION);
    let answer = metadata(&client, "oauth-protected-resource").await;
    assert_eq!(answer.status.as_u16(), 203);
    assert_eq!(answer.body["resource"], client.resource.as_str());
    sandbox.finish().unwrap();
}

#[tokio::test]
async fn a_nonce_can_be_demanded_as_often_as_one_likes() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    sandbox.pds.forget_requests();

    sandbox.pds.next(Endpoint::Token).demands_nonce();
    let tokens = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(tokens.status, StatusCode::OK);
    sandbox.finish().unwrap();
    let sent = sandbox.pds.requests_to(Endpoint::Token);
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0].dpop_jti(), sent[1].dpop_jti());
    assert_eq!(sent[0].answered(), Some(StatusCode::BAD_REQUEST));
    assert_eq!(sent[1].answered(), Some(StatusCode::OK));

    sandbox.pds.always(Endpoint::Token).demands_nonce();
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().1),
        (400, "use_dpop_nonce")
    );
    sandbox.pds.heal(Endpoint::Token);
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn an_issuer_of_its_own_origin_has_nonces_of_its_own() {
    let (sandbox, clock) = sandbox().await;
    let options = aip_sandbox::PdsOptions {
        separate_issuer: true,
        ..Default::default()
    };
    let pds = sandbox.another_pds(options).await.unwrap();
    let carol = pds
        .add_account(&"carol.test".parse().unwrap(), "carol-pass")
        .unwrap();
    let client = Client::loopback(&pds, &clock, SCOPE);
    assert_ne!(client.issuer, client.resource);
    assert_eq!(
        metadata(&client, "oauth-protected-resource").await.body["authorization_servers"],
        json!([client.issuer])
    );
    assert_eq!(
        metadata(&client, "oauth-authorization-server").await.status,
        StatusCode::NOT_FOUND
    );
    let (session, tokens) = client.sign_in(&carol).await;
    let view = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    assert_eq!(view.status, StatusCode::OK);
    let of_resource_server = view.headers["dpop-nonce"].to_str().unwrap();
    client.set_nonce(&client.issuer, of_resource_server);
    let url = format!("{}/oauth/token", client.issuer);
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.text("refresh_token")),
    ];
    let form = Body::Form(&form);
    let answer = client
        .dpop_once(&session.key, Method::POST, &url, None, &form)
        .await
        .unwrap();
    assert_eq!(answer.error().1, "use_dpop_nonce");
}

#[tokio::test]
async fn a_refresh_can_be_lost_before_or_after_it_took_effect() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;

    sandbox.pds.next(Endpoint::Token).drops_request();
    let lost = client
        .try_refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert!(matches!(lost, Err(HttpError::Broken(_))), "{lost:?}");
    let tokens = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(tokens.status, StatusCode::OK);

    sandbox.pds.next(Endpoint::Token).drops_response();
    let lost = client
        .try_refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert!(matches!(lost, Err(HttpError::Broken(_))), "{lost:?}");
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(
        answer.error(),
        (400, "invalid_grant", "Refresh token replayed")
    );
    sandbox.finish().unwrap();

    // Only what took effect counts as lost.
    let lost = sandbox.pds.lost_answers(Endpoint::Token);
    assert_eq!(lost.len(), 1);
    let lost: Value = serde_json::from_slice(&lost[0].body).unwrap();
    assert_eq!(lost["sub"], sandbox.accounts.alice.did.as_str());
}

#[tokio::test]
async fn an_overloaded_pds_answers_503_or_429_and_recovers() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let token = tokens.text("refresh_token");
    sandbox.pds.next(Endpoint::Token).times(2).is_unavailable();
    sandbox.pds.next(Endpoint::Token).is_unavailable_for(7);
    sandbox.pds.next(Endpoint::Token).rate_limits(7);
    sandbox
        .pds
        .next(Endpoint::Token)
        .answers_error(StatusCode::BAD_REQUEST, "invalid_grant");
    let (mute, telling) = (None, Some("7"));
    for (status, retry_after) in [
        (503, mute),
        (503, mute),
        (503, telling),
        (429, telling),
        (400, mute),
        (200, mute),
    ] {
        let answer = client.refresh(&session.key, token).await;
        assert_eq!(answer.status.as_u16(), status);
        let told = answer.headers.get("retry-after");
        assert_eq!(told.map(|it| it.to_str().unwrap()), retry_after);
    }
    sandbox.finish().unwrap();
}

#[tokio::test]
async fn a_request_can_be_held_in_the_middle_and_hung() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let gate = sandbox.pds.next(Endpoint::Token).holds(When::After);
    let refresh = client.refresh(&session.key, tokens.text("refresh_token"));
    let meanwhile = async {
        gate.reached_by(1).await;
        // The refresh took effect: the old token is dead while its successor is on its way.
        let answer = client
            .get_session(&session.key, tokens.text("access_token"))
            .await;
        assert_eq!(answer.error(), (401, "invalid_token", "Invalid token"));
        gate.open();
    };
    let (answer, ()) = tokio::join!(refresh, meanwhile);
    assert_eq!(answer.status, StatusCode::OK);

    let endpoint = Endpoint::Method("com.atproto.server.getSession");
    sandbox.pds.next(endpoint).hangs(When::Before);
    let call = client.get_session(&session.key, answer.text("access_token"));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    let answer = client
        .get_session(&session.key, answer.text("access_token"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_pds_goes_down_and_comes_back_with_its_sessions() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    sandbox.pds.go_down().await;
    let refused = client
        .try_refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert!(matches!(refused, Err(HttpError::Connect(_))), "{refused:?}");
    sandbox.pds.come_up().await.unwrap();
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn an_account_moves_to_another_pds_while_its_old_session_goes_on() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let alice = &sandbox.accounts.alice;
    let (session, tokens) = client.sign_in(alice).await;
    client
        .post_text(&session.key, &tokens, "before the move")
        .await;

    let new_home = sandbox
        .another_pds(aip_sandbox::PdsOptions::default())
        .await
        .unwrap();
    new_home.adopt(&sandbox.pds, &alice.did).unwrap();
    let document = sandbox.plc.document(&alice.did).unwrap();
    assert_eq!(document["service"][0]["serviceEndpoint"], new_home.origin());
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "the old PDS does not know better"
    );

    let there = Client::loopback(&new_home, &clock, SCOPE);
    let (_, tokens) = there.sign_in(alice).await;
    assert_eq!(tokens.text("sub"), alice.did.as_str());
    let url = format!(
        "{}/xrpc/com.atproto.repo.listRecords?repo={}&collection=app.bsky.feed.post",
        new_home.origin(),
        alice.did
    );
    let list = there
        .send(Request::get(url).body(bytes::Bytes::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(list.body["records"][0]["value"]["text"], "before the move");
}

#[tokio::test]
async fn an_order_that_is_not_reached_fails_the_test() {
    let (sandbox, _) = sandbox().await;
    sandbox
        .pds
        .next(Endpoint::Revoke)
        .answers(Reply::text(StatusCode::OK, "unused"));
    let left = sandbox.finish().unwrap_err().left;
    assert_eq!(left.len(), 1);
    assert!(left[0].starts_with("Revoke, 1 more"), "{left:?}");
}
