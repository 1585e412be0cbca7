//! The stand-in has the manners of the reference PDS. Each test is a fact measured there.

use std::time::Duration;

use aip_base::SystemRng;
use aip_jose::dpop::Proof;
use aip_sandbox::{AccountState, Endpoint, When, deny};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::json;

use crate::client::{Body, Client, new_key, query, sandbox};

const SCOPE: &str = "atproto transition:generic";

#[tokio::test]
async fn a_sign_in_gives_tokens_of_the_known_shape() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    assert_eq!(tokens.body["token_type"], "DPoP");
    assert_eq!(tokens.body["expires_in"], 3600);
    assert_eq!(tokens.body["scope"], SCOPE);
    assert_eq!(tokens.text("sub"), sandbox.accounts.alice.did.as_str());
    assert_eq!(tokens.text("refresh_token").len(), 68);
    assert!(tokens.text("refresh_token").starts_with("ref-"));
    let view = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    assert_eq!(view.body["handle"], "alice.test");
    assert_eq!(view.body.get("email"), None);
    sandbox.finish().unwrap();
}

#[tokio::test]
async fn after_a_refresh_the_old_access_token_is_dead() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, old) = client.sign_in(&sandbox.accounts.alice).await;
    let new = client
        .refresh(&session.key, old.text("refresh_token"))
        .await;
    assert_eq!(new.status, StatusCode::OK);
    let answer = client
        .get_session(&session.key, old.text("access_token"))
        .await;
    assert_eq!(answer.error(), (401, "invalid_token", "Invalid token"));
    let answer = client
        .get_session(&session.key, new.text("access_token"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_replayed_refresh_token_ends_the_whole_session() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, old) = client.sign_in(&sandbox.accounts.alice).await;
    let new = client
        .refresh(&session.key, old.text("refresh_token"))
        .await;
    let replay = client
        .refresh(&session.key, old.text("refresh_token"))
        .await;
    assert_eq!(
        replay.error(),
        (400, "invalid_grant", "Refresh token replayed")
    );
    let answer = client
        .get_session(&session.key, new.text("access_token"))
        .await;
    assert_eq!(answer.error(), (401, "invalid_token", "Invalid token"));
    let answer = client
        .refresh(&session.key, new.text("refresh_token"))
        .await;
    assert_eq!(
        answer.error(),
        (400, "invalid_grant", "Invalid refresh token")
    );
}

#[tokio::test]
async fn of_two_refreshes_at_once_one_fails_with_500_and_the_session_lives() {
    let (sandbox, clock) = sandbox().await;
    sandbox
        .pds
        .set_lifetimes(|lifetimes| lifetimes.refresh_takes = Duration::from_millis(300));
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, old) = client.sign_in(&sandbox.accounts.alice).await;
    let token = old.text("refresh_token");
    let gate = sandbox
        .pds
        .next(Endpoint::Token)
        .times(2)
        .holds(When::Before);
    let both_arrived = async {
        gate.reached_by(2).await;
        gate.open();
    };
    let (one, two, ()) = tokio::join!(
        client.refresh(&session.key, token),
        client.refresh(&session.key, token),
        both_arrived
    );
    let (won, lost) = if one.status == StatusCode::OK {
        (one, two)
    } else {
        (two, one)
    };
    assert_eq!(lost.error(), (500, "server_error", "Server error"));
    let answer = client
        .get_session(&session.key, won.text("access_token"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_with_another_dpop_key_ends_the_session() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let answer = client
        .refresh(&new_key(), tokens.text("refresh_token"))
        .await;
    let why = "DPoP proof does not match the expected JKT";
    assert_eq!(answer.error(), (400, "invalid_grant", why));
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(
        answer.error(),
        (400, "invalid_grant", "Invalid refresh token")
    );
}

#[tokio::test]
async fn a_code_used_twice_ends_the_session_that_it_produced() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let session = client.begin(&[]).await;
    let callback = aip_sandbox::approve(&session.authorize_url, &sandbox.accounts.alice)
        .await
        .unwrap();
    let code = query(&callback, "code").unwrap();
    let tokens = client.exchange(&session, &code).await;
    let again = client.exchange(&session, &code).await;
    assert_eq!(again.error(), (400, "invalid_grant", "Invalid code"));
    let answer = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    assert_eq!(answer.error(), (401, "invalid_token", "Invalid token"));
}

#[tokio::test]
async fn an_expired_access_token_is_refused_and_can_be_refreshed() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    clock.advance(Duration::from_hours(1));
    let answer = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    let why = "\"exp\" claim timestamp check failed";
    assert_eq!(answer.error(), (401, "invalid_token", why));
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_that_runs_out_between_the_two_looks_ends_the_session() {
    let (sandbox, clock) = sandbox().await;
    let pds = &sandbox.pds;
    pds.set_lifetimes(|it| it.row_read_takes = Duration::from_millis(300));
    let client = Client::loopback(pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let call = || client.get_session(&session.key, tokens.text("access_token"));

    // Good at both looks; so good that the second one is in time.
    assert_eq!(call().await.status, StatusCode::OK);
    clock.advance(Duration::from_hours(1) - Duration::from_millis(301));
    assert_eq!(call().await.status, StatusCode::OK);
    clock.advance(Duration::from_millis(1));
    let answer = call().await;
    assert_eq!(answer.error(), (401, "invalid_token", "Token expired"));
    let why: Vec<String> = pds.ended_sessions().into_iter().map(|it| it.why).collect();
    assert_eq!(why, ["Token expired"]);
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    let why = "Invalid refresh token";
    assert_eq!(answer.error(), (400, "invalid_grant", why));
}

#[tokio::test]
async fn clients_can_be_told_that_tokens_live_shorter_than_they_do() {
    let (sandbox, clock) = sandbox().await;
    let told = Some(Duration::from_secs(2));
    sandbox.pds.set_lifetimes(|it| it.told = told);
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    assert_eq!(tokens.body["expires_in"], 2);
    clock.advance(Duration::from_mins(59));
    let answer = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_public_session_ends_after_two_weeks_however_often_it_is_refreshed() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, mut tokens) = client.sign_in(&sandbox.accounts.alice).await;
    for _ in 0..13 {
        clock.advance(Duration::from_hours(24));
        tokens = client
            .refresh(&session.key, tokens.text("refresh_token"))
            .await;
        assert_eq!(tokens.status, StatusCode::OK, "{:?}", tokens.body);
    }
    clock.advance(Duration::from_hours(24));
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(answer.error(), (400, "invalid_grant", "Session expired"));
}

#[tokio::test]
async fn revoking_ends_the_session_and_never_fails() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    for token in [
        "nonsense",
        tokens.text("access_token"),
        tokens.text("refresh_token"),
    ] {
        let answer = client.revoke(&session.key, token).await;
        assert_eq!((answer.status, answer.body), (StatusCode::OK, json!({})));
    }
    let answer = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    assert_eq!(answer.error(), (401, "invalid_token", "Invalid token"));
    assert_eq!(sandbox.pds.live_sessions(&sandbox.accounts.alice.did), 0);
}

#[tokio::test]
async fn nonces_are_demanded_with_400_by_the_issuer_and_401_by_the_resource_server() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;

    client.forget_nonces();
    let url = format!("{}/oauth/token", client.issuer);
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.text("refresh_token")),
    ];
    let answer = client
        .dpop_once(&session.key, Method::POST, &url, None, &Body::Form(&form))
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.error().1),
        (400, "use_dpop_nonce")
    );
    assert!(answer.headers.contains_key("dpop-nonce"));

    client.set_nonce(&client.resource, "made-up");
    let url = format!("{}/xrpc/com.atproto.server.getSession", client.resource);
    let token = Some(tokens.text("access_token"));
    let answer = client
        .dpop_once(&session.key, Method::GET, &url, token, &Body::None)
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.error().1),
        (401, "use_dpop_nonce")
    );
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("DPoP ") && challenge.contains("error=\"use_dpop_nonce\""));
}

#[tokio::test]
async fn an_old_nonce_is_accepted_for_two_minutes_and_not_for_three() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let url = format!("{}/xrpc/com.atproto.server.getSession", client.resource);
    let answer = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    let nonce = answer.headers["dpop-nonce"].to_str().unwrap().to_owned();
    for (seconds, status) in [(120, 200), (60, 401)] {
        clock.advance(Duration::from_secs(seconds));
        client.set_nonce(&client.resource, &nonce);
        let token = Some(tokens.text("access_token"));
        let answer = client
            .dpop_once(&session.key, Method::GET, &url, token, &Body::None)
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), status);
    }
}

#[tokio::test]
async fn proofs_are_refused_when_replayed_misdirected_missing_or_of_another_key() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let token = tokens.text("access_token");
    let url = format!("{}/xrpc/com.atproto.server.getSession", client.resource);
    let nonce = client.get_session(&session.key, token).await;
    let nonce = nonce.headers["dpop-nonce"].to_str().unwrap().to_owned();
    let proof = |htu: &str| {
        let proof = Proof {
            htm: "GET",
            htu,
            nonce: Some(&nonce),
            access_token: Some(token),
        };
        proof
            .make(&session.key, &SystemRng, aip_base::Clock::now(&*clock))
            .unwrap()
    };
    let call = async |scheme: &str, proof: Option<&str>| {
        let mut request = Request::get(&url).header("authorization", format!("{scheme} {token}"));
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        client
            .send(request.body(Bytes::new()).unwrap())
            .await
            .unwrap()
    };

    let once = proof(&url);
    assert_eq!(call("DPoP", Some(&once)).await.status, StatusCode::OK);
    let answer = call("DPoP", Some(&once)).await;
    assert_eq!(
        answer.error(),
        (401, "invalid_dpop_proof", "DPoP proof replayed")
    );
    let answer = call("DPoP", Some(&proof("http://localhost/xrpc/other"))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().1),
        (401, "invalid_dpop_proof")
    );
    let answer = call("DPoP", None).await;
    assert_eq!(
        answer.error(),
        (401, "invalid_dpop_proof", "DPoP proof required")
    );
    let answer = call("Bearer", None).await;
    assert_eq!(answer.error(), (400, "InvalidToken", "Malformed token"));
    let answer = client.get_session(&new_key(), token).await;
    assert_eq!(
        answer.error(),
        (401, "invalid_token", "Invalid DPoP key binding")
    );
}

#[tokio::test]
async fn granular_scopes_are_enforced_and_unknown_ones_dropped() {
    let post = "repo:app.bsky.feed.post?action=create";
    let missing = format!("Missing required scope \"{post}\"");
    // Scope asked for, whether it allows a post, whether getSession shows the e-mail address.
    let table = [
        ("atproto".to_owned(), false, false),
        ("atproto transition:generic".to_owned(), true, false),
        ("atproto transition:email".to_owned(), false, true),
        ("atproto account:email".to_owned(), false, true),
        (format!("atproto {post}"), true, false),
        ("atproto repo:app.bsky.feed.like".to_owned(), false, false),
    ];
    let (sandbox, clock) = sandbox().await;
    for (scope, posts, email) in table {
        let client = Client::loopback(&sandbox.pds, &clock, &scope);
        let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
        assert_eq!(tokens.text("scope"), scope);
        let answer = client.post_text(&session.key, &tokens, "hello").await;
        if posts {
            assert_eq!(answer.status, StatusCode::OK, "{scope}: {:?}", answer.body);
        } else {
            assert_eq!(
                answer.error(),
                (403, "ScopeMissingError", missing.as_str()),
                "{scope}"
            );
        }
        let view = client
            .get_session(&session.key, tokens.text("access_token"))
            .await;
        assert_eq!(view.body.get("email").is_some(), email, "{scope}");
    }

    let client = Client::loopback(&sandbox.pds, &clock, "atproto bogus:thing");
    let (_, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    assert_eq!(tokens.text("scope"), "atproto");
}

#[tokio::test]
async fn par_refuses_what_the_reference_refuses() {
    let (sandbox, clock) = sandbox().await;
    let declared = "atproto openid include:app.bsky.authFullApp";
    let client = Client::loopback(&sandbox.pds, &clock, declared);
    let table = [
        (("scope", "atproto transition:chat.bsky"), "invalid_scope"),
        (("scope", "atproto openid"), "invalid_scope"),
        (
            ("scope", "atproto include:app.bsky.authFullApp"),
            "invalid_scope",
        ),
        (("scope", ""), "invalid_scope"),
        (
            ("redirect_uri", "http://127.0.0.1:8765/other"),
            "invalid_request",
        ),
        (
            ("redirect_uri", "http://127.0.0.1:9999/callback"),
            "invalid_request",
        ),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("login_hint", "not a handle"), "invalid_request"),
        (("nonce", "abc"), "invalid_request"),
        (("prompt", "none"), "invalid_request"),
    ];
    for (number, (change, error)) in table.into_iter().enumerate() {
        let verifier = format!("verifier-{number:0>40}");
        let answer = client
            .par(
                &new_key(),
                &verifier,
                &[("scope", "atproto"), change][usize::from(change.0 == "scope")..],
            )
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.error().1),
            (400, error),
            "{change:?}"
        );
    }
}

#[tokio::test]
async fn denying_gives_access_denied_with_state_and_issuer() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let session = client.begin(&[]).await;
    let callback = deny(&session.authorize_url, &sandbox.accounts.alice)
        .await
        .unwrap();
    assert_eq!(query(&callback, "error").unwrap(), "access_denied");
    assert_eq!(
        query(&callback, "error_description").unwrap(),
        "The user rejected the request"
    );
    assert_eq!(query(&callback, "state").unwrap(), "some-state");
    assert_eq!(query(&callback, "iss").unwrap(), client.issuer);
    assert_eq!(query(&callback, "code"), None);
}

#[tokio::test]
async fn deactivation_keeps_sessions_and_takedown_ends_them() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, SCOPE);
    let alice = &sandbox.accounts.alice;
    let (session, tokens) = client.sign_in(alice).await;
    sandbox
        .pds
        .set_account_state(&alice.did, AccountState::Deactivated);
    let view = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    assert_eq!(view.body["active"], false);
    assert_eq!(view.body["status"], "deactivated");
    let tokens = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(tokens.status, StatusCode::OK);

    sandbox
        .pds
        .set_account_state(&alice.did, AccountState::TakenDown);
    let answer = client
        .get_session(&session.key, tokens.text("access_token"))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().1),
        (401, "invalid_token")
    );
    let answer = client
        .refresh(&session.key, tokens.text("refresh_token"))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().1),
        (400, "invalid_grant")
    );
}
