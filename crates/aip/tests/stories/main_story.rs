//! The main story: an app signs a person in, works with their repository, and says goodbye.

use std::time::Duration;

use aip_jose::{JwkSet, UnverifiedJws};
use aip_storage::audit::AuditKind;
use serde_json::{Value, json};

use crate::app::{SCOPE, Tokens};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(an_app_signs_a_person_in_works_for_them_and_says_goodbye);

async fn an_app_signs_a_person_in_works_for_them_and_says_goodbye(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let alice = world.alice();

    // The app sends alice to AIP, AIP to her PDS, and back to the consent page.
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    assert!(at_pds.away().as_str().starts_with(world.pds().issuer()));
    let callback = browser.at_pds(&at_pds, alice).await;
    let consent = browser.open(callback.as_str()).await;
    for words in ["Example App", "alice.test", "app.example.org"] {
        assert!(consent.answer.text().contains(words), "{words}");
    }
    let back = browser.allow(&consent).await;

    // The code becomes tokens, and the id_token says who she is.
    let code = pending.code(&back);
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    assert_eq!(tokens.answer["token_type"], "Bearer");
    assert_eq!(tokens.answer["expires_in"], 3600);
    assert_eq!(tokens.answer["scope"], SCOPE);
    let claims = verified_claims(world, tokens.id_token()).await;
    assert_eq!(claims["iss"], BASE);
    assert_eq!(claims["sub"], alice.did.as_str());
    assert_eq!(claims["aud"], app.id.as_str());
    assert_eq!(claims["nonce"], pending.nonce);
    let who = app.userinfo(&tokens.access).await.ok();
    let expected = json!({
        "sub": alice.did.as_str(),
        "preferred_username": "alice.test",
        "name": "alice.test",
        "did": alice.did.as_str(),
        "pds_endpoint": world.pds().origin(),
    });
    assert_eq!(who, expected);

    // Her repository is written and read through AIP.
    let post = json!({
        "repo": alice.did.as_str(),
        "collection": "app.bsky.feed.post",
        "record": { "$type": "app.bsky.feed.post", "text": "hello", "createdAt": "2026-01-01T00:00:00Z" },
    });
    let create = "com.atproto.repo.createRecord";
    let created = app.procedure(&tokens.access, create, &post).await.ok();
    let rkey = created["uri"].as_str().unwrap().rsplit('/').next().unwrap();
    let get = format!(
        "com.atproto.repo.getRecord?repo={}&collection=app.bsky.feed.post&rkey={rkey}",
        alice.did
    );
    let record = app.query(&tokens.access, &get).await.ok();
    assert_eq!(record["value"]["text"], "hello");

    // The access token expires, the app refreshes, everything goes on: at the PDS, too.
    world.pass(Duration::from_mins(61));
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    assert_eq!(app.query(&renewed.access, &get).await.ok(), record);

    // The app gives its tokens back: dead at AIP at once, and at the PDS after the next round.
    assert_eq!(world.pds().live_sessions(&alice.did), 1);
    assert_eq!(app.revoke(&renewed.refresh).await.status, 200);
    app.query(&renewed.access, &get)
        .await
        .expect(401, "invalid_token");
    app.refresh(&renewed.refresh)
        .await
        .expect(400, "invalid_grant");
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&alice.did), 0);

    for kind in [
        AuditKind::SignedIn,
        AuditKind::GrantGiven,
        AuditKind::GrantRevoked,
    ] {
        let events = world.audit(kind).await;
        assert_eq!(events.len(), 1, "{kind:?}");
        assert_eq!(events[0].did.as_ref(), Some(&alice.did));
    }
}

/// The claims of an `id_token`, verified with the published keys as every library does.
pub(crate) async fn verified_claims(world: &World, id_token: &str) -> Value {
    let discovery = world.get("/.well-known/openid-configuration").await.ok();
    let jwks_uri = discovery["jwks_uri"].as_str().unwrap();
    let jwks = world.get(jwks_uri.strip_prefix(BASE).unwrap()).await.ok();
    let jwks: JwkSet = serde_json::from_value(jwks).unwrap();
    let token = UnverifiedJws::parse(id_token).unwrap();
    let kid = token.header().kid.clone().unwrap();
    let alg = token.header().alg;
    let key = jwks.select(Some(&kid), alg).unwrap().clone();
    token.verify(&key, alg).unwrap().claims().unwrap()
}
