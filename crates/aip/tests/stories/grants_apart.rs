//! What a person shares with one app is not told to another, and what they allowed once is not lost
//! by a smaller wish.

use std::time::Duration;

use aip_oauth::registration::ClientSettings;
use aip_sandbox::{Decision, Document, Endpoint, Lie};

use crate::app::{App, SCOPE, Tokens};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    an_address_that_one_app_may_know_is_not_told_to_another,
    an_address_belongs_to_its_grant_even_of_the_same_app,
    an_address_is_verified_only_by_a_pds_that_the_operator_named,
    what_is_no_address_is_not_told,
    an_address_that_may_have_changed_is_read_again,
    a_narrower_wish_takes_no_wider_consent_away,
    the_session_that_fits_is_used_though_a_newer_one_does_not,
    an_app_may_have_the_claims_in_its_id_token,
);

const WITH_EMAIL: &str = "atproto openid profile email repo:app.bsky.feed.post";
const WIDER: &str = "atproto openid profile repo:app.bsky.feed.like repo:app.bsky.feed.post";

/// Alice signs in for an app that wants her address, and keeps it for herself at her PDS.
async fn without_address(app: &App<'_>) -> Tokens {
    let world = app.world;
    let pending = app.begin_authorization(&[("scope", WITH_EMAIL)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let kept = Decision::AuthorizeOnly(&["repo:app.bsky.feed.post"]);
    let callback = browser.decide_at_pds(&at_pds, world.alice(), kept).await;
    let consent = browser.open(callback.as_str()).await;
    let page = consent.answer.text();
    assert!(page.contains("app.bsky.feed.post"));
    assert!(!page.contains("See your e-mail address"), "{page}");
    let back = browser.allow(&consent).await;
    Tokens::of(&app.redeem(&pending, &pending.code(&back)).await)
}

async fn an_address_that_one_app_may_know_is_not_told_to_another(world: &World) {
    let claims = |settings: &mut ClientSettings| settings.claims_in_id_token = true;
    let (app, other) = (world.app().await, App::register(world, claims).await);
    // In this order, because a PDS does not ask again for what it was once allowed to give.
    let without = without_address(&other).await;
    assert_eq!(without.answer["scope"], SCOPE);
    let browser = world.browser();
    let with = app.sign_in_for(&browser, world.alice(), WITH_EMAIL).await;
    assert_eq!(with.answer["scope"], WITH_EMAIL);
    let told = app.userinfo(&with.access).await.ok();
    assert_eq!(told["email"], "alice-test@mail.test");

    let claims = verified_claims(world, without.id_token()).await;
    let introspected = other.introspect(&without.access).await.ok();
    assert_eq!(introspected["scope"], SCOPE);
    let session = "com.atproto.server.getSession";
    for answer in [
        claims,
        other.userinfo(&without.access).await.ok(),
        other.query(&without.access, session).await.ok(),
    ] {
        assert!(answer.get("email").is_none(), "{answer}");
        assert!(answer.get("email_verified").is_none(), "{answer}");
    }
    let told = app.userinfo(&with.access).await.ok();
    assert_eq!(
        told["email"], "alice-test@mail.test",
        "the first app's stays"
    );
}

async fn an_address_belongs_to_its_grant_even_of_the_same_app(world: &World) {
    let app = world.app().await;
    let without = without_address(&app).await;
    let with = app
        .sign_in_for(&world.browser(), world.alice(), WITH_EMAIL)
        .await;
    let told = app.userinfo(&without.access).await.ok();
    assert!(told.get("email").is_none(), "{told}");
    let told = app.userinfo(&with.access).await.ok();
    assert_eq!(told["email"], "alice-test@mail.test");
}

async fn an_address_is_verified_only_by_a_pds_that_the_operator_named(world: &World) {
    let app = world.app().await;
    let victim = "victim@bank.example";
    world
        .pds()
        .lie(Lie::set(Document::Session, "email", victim));
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), WITH_EMAIL)
        .await;
    let told = app.userinfo(&tokens.access).await.ok();
    assert_eq!(told["email"], victim);
    assert_eq!(told["email_verified"], false);

    world.pds().tell_truth();
    world.trust_pds_with_emails().await;
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), WITH_EMAIL)
        .await;
    let told = app.userinfo(&tokens.access).await.ok();
    assert_eq!(told["email"], "alice-test@mail.test");
    assert_eq!(told["email_verified"], true);

    let unconfirmed = Lie::set(Document::Session, "emailConfirmed", false);
    world.pds().lie(unconfirmed);
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), WITH_EMAIL)
        .await;
    let told = app.userinfo(&tokens.access).await.ok();
    assert_eq!(told["email_verified"], false);
}

async fn what_is_no_address_is_not_told(world: &World) {
    let app = world.app().await;
    let long = format!("{}@mail.test", "a".repeat(250));
    for lie in [
        "<b>victim</b>@bank.example",
        "alice@mail.test, victim@bank.example",
        "no address",
        "",
        &long,
    ] {
        world.pds().lie(Lie::set(Document::Session, "email", lie));
        let tokens = app
            .sign_in_for(&world.browser(), world.alice(), WITH_EMAIL)
            .await;
        let told = app.userinfo(&tokens.access).await.ok();
        assert!(told.get("email").is_none(), "{told}");
        assert!(told.get("email_verified").is_none(), "{told}");
        world.pds().tell_truth();
    }
}

async fn an_address_that_may_have_changed_is_read_again(world: &World) {
    let app = world.app().await;
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), WITH_EMAIL)
        .await;
    let new = Lie::set(Document::Session, "email", "new@mail.test");
    world.pds().lie(new);
    world.pass(Duration::from_mins(11));
    let told = app.userinfo(&tokens.access).await.ok();
    assert_eq!(told["email"], "new@mail.test");

    // A PDS that does not tell it any more is taken at its word.
    world.pds().lie(Lie::omit(Document::Session, "email"));
    world.pass(Duration::from_mins(11));
    let told = app.userinfo(&tokens.access).await.ok();
    assert!(told.get("email").is_none(), "{told}");

    // A PDS that cannot be asked leaves nothing that could be wrong.
    world.pds().tell_truth();
    world.pass(Duration::from_mins(11));
    assert!(
        app.userinfo(&tokens.access)
            .await
            .ok()
            .get("email")
            .is_some()
    );
    world.pds().always(Endpoint::Xrpc).is_unavailable();
    world.pass(Duration::from_mins(11));
    let told = app.userinfo(&tokens.access).await.ok();
    assert!(told.get("email").is_none(), "{told}");
    world.pds().heal(Endpoint::Xrpc);
    world.pass(Duration::from_mins(2));
    let told = app.userinfo(&tokens.access).await.ok();
    assert_eq!(told["email"], "alice-test@mail.test");
}

async fn a_narrower_wish_takes_no_wider_consent_away(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    app.sign_in_for(&browser, world.alice(), WIDER).await;

    let narrower =
        app.begin_authorization(&[("login_hint", "alice.test"), ("scope", "atproto openid")]);
    let back = browser.open(&narrower.url).await.away();
    narrower.code(&back);

    let again = app.begin_authorization(&[("prompt", "none"), ("scope", WIDER)]);
    let back = browser.open(&again.url).await.away();
    let tokens = Tokens::of(&app.redeem(&again, &again.code(&back)).await);
    assert_eq!(tokens.answer["scope"], WIDER);

    // Another scope that is allowed later is added to what was allowed before.
    let email = app.begin_authorization(&[("scope", WITH_EMAIL), ("prompt", "select_account")]);
    let login = browser.open(&email.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    email.code(&browser.allow(&consent).await);
    for scope in [WIDER, WITH_EMAIL, SCOPE] {
        let silent = app.begin_authorization(&[("prompt", "none"), ("scope", scope)]);
        let back = browser.open(&silent.url).await.away();
        let tokens = Tokens::of(&app.redeem(&silent, &silent.code(&back)).await);
        assert_eq!(tokens.answer["scope"], scope);
    }
}

async fn the_session_that_fits_is_used_though_a_newer_one_does_not(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    app.sign_in_for(&browser, world.alice(), WIDER).await;
    let narrower = app.begin_authorization(&[("prompt", "login"), ("scope", "atproto openid")]);
    let login = browser.open(&narrower.url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    let narrow = Tokens::of(&app.redeem(&narrower, &narrower.code(&page.away())).await);

    let visits = world.pds().requests_to(Endpoint::Authorize).len();
    let wider = app.begin_authorization(&[("login_hint", "alice.test"), ("scope", WIDER)]);
    let back = browser.open(&wider.url).await.away();
    let tokens = Tokens::of(&app.redeem(&wider, &wider.code(&back)).await);
    assert_eq!(tokens.answer["scope"], WIDER);
    assert_eq!(world.pds().requests_to(Endpoint::Authorize).len(), visits);

    // When the wider session is over, the narrower one does not serve for it.
    assert_eq!(app.revoke(&tokens.refresh).await.status, 200);
    let records = "com.atproto.server.getSession";
    app.query(&narrow.access, records).await.ok();
}

async fn an_app_may_have_the_claims_in_its_id_token(world: &World) {
    let claims = |settings: &mut ClientSettings| settings.claims_in_id_token = true;
    let app = App::register(world, claims).await;
    let tokens = app
        .sign_in_for(&world.browser(), world.alice(), WITH_EMAIL)
        .await;
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    for tokens in [&tokens, &renewed] {
        let claims = verified_claims(world, tokens.id_token()).await;
        assert_eq!(claims["preferred_username"], "alice.test");
        assert_eq!(claims["name"], "alice.test");
        assert_eq!(claims["email"], "alice-test@mail.test");
        assert_eq!(claims["email_verified"], false);
    }
    let narrow = Tokens::of(&app.narrow(&renewed.refresh, "openid").await);
    let claims = verified_claims(world, narrow.id_token()).await;
    for claim in ["preferred_username", "name", "email", "email_verified"] {
        assert!(claims.get(claim).is_none(), "{claims}");
    }

    let plain = world.app().await;
    let tokens = plain
        .sign_in_for(&world.browser(), world.alice(), WITH_EMAIL)
        .await;
    let claims = verified_claims(world, tokens.id_token()).await;
    assert!(claims.get("email").is_none(), "{claims}");
    let told = plain.userinfo(&tokens.access).await.ok();
    assert_eq!(told["name"], "alice.test");
}
