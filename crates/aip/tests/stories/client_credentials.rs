//! Tokens of apps themselves (RFC 6749 §4.4): for no account, and of no use where one is needed.

use std::time::Duration;

use aip_oauth::registration::ClientSettings;
use aip_storage::client::{GrantType, GrantTypes};
use serde_json::Value;

use crate::app::App;
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::World;

on_both_engines!(
    an_app_gets_a_token_of_its_own,
    the_scopes_of_an_app_itself_are_what_it_registered_and_about_nobody,
    a_token_of_an_app_itself_opens_nothing_of_a_person,
    the_token_of_an_app_ends_with_its_time_its_app_and_by_revocation,
    a_token_of_an_app_is_bound_to_the_key_of_its_proof,
    a_token_of_an_app_costs_one_statement,
);

fn for_itself(settings: &mut ClientSettings) {
    settings.grant_types = GrantTypes::try_from(vec![GrantType::ClientCredentials]).unwrap();
    settings.redirect_uris.clear();
}

async fn app_for_itself(world: &World) -> App<'_> {
    App::register(world, for_itself).await
}

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// A token of the app itself.
async fn own_token(app: &App<'_>) -> (String, Value) {
    let answer = app.token(&[GRANT]).await.ok();
    (answer["access_token"].as_str().unwrap().to_owned(), answer)
}

async fn an_app_gets_a_token_of_its_own(world: &World) {
    let app = app_for_itself(world).await;
    let answer = app.token(&[GRANT]).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let told = answer.ok();
    assert_eq!(told["token_type"], "Bearer");
    assert_eq!(told["expires_in"], 3600);
    for absent in ["refresh_token", "id_token"] {
        assert_eq!(told.get(absent), None);
    }
    let token = told["access_token"].as_str().unwrap();
    let live = app.introspect(token).await.ok();
    assert_eq!(live["active"], true);
    assert_eq!(live["sub"], app.id.as_str());
    assert_eq!(live["client_id"], app.id.as_str());
    assert_eq!(live["token_type"], "Bearer");
    assert_eq!(live["scope"], told["scope"]);
    assert_eq!(
        live["exp"].as_i64().unwrap() - live["iat"].as_i64().unwrap(),
        3600
    );
    // Another app is told nothing of it.
    let other = world.app().await;
    let dead = other.introspect(token).await.ok();
    assert_eq!(dead, serde_json::json!({ "active": false }));
    assert_eq!(world.dump().await.count("grants"), 0);
    assert_eq!(world.dump().await.count("upstream_sessions"), 0);

    // With a key instead of a secret.
    let app = App::register_with_key(world, for_itself).await;
    own_token(&app).await;
}

async fn the_scopes_of_an_app_itself_are_what_it_registered_and_about_nobody(world: &World) {
    let app = app_for_itself(world).await;
    let scope = "atproto repo:app.bsky.feed.post";
    let narrow = app.token(&[GRANT, ("scope", scope)]).await.ok();
    assert_eq!(narrow["scope"], scope);
    let (_, all) = own_token(&app).await;
    let all = all["scope"].as_str().unwrap();
    assert!(all.contains("transition:generic"), "{all}");
    assert!(!all.contains("openid") && !all.contains("email"), "{all}");
    let before = world.state().await;
    for (scope, logged) in [
        ("openid atproto", "`openid` is about a person"),
        ("offline_access", "about a person"),
        (
            "atproto identity:handle",
            "beyond what the client registered",
        ),
        ("\u{e9}", "malformed"),
    ] {
        let refused = app.token(&[GRANT, ("scope", scope)]).await;
        refused.expect(400, "invalid_scope").logged(logged);
    }
    assert_eq!(world.state().await, before);
    let about_people = App::register(world, |settings| {
        for_itself(settings);
        settings.scope = "openid profile".parse().unwrap();
    });
    let refused = about_people.await.token(&[GRANT]).await;
    refused.expect(400, "invalid_scope");
}

async fn a_token_of_an_app_itself_opens_nothing_of_a_person(world: &World) {
    let app = app_for_itself(world).await;
    let (token, _) = own_token(&app).await;
    for answer in [
        app.userinfo(&token).await,
        app.call(
            &http::Method::GET,
            "/api/atprotocol/session",
            &token,
            &[],
            bytes::Bytes::new(),
        )
        .await,
        app.query(&token, "com.atproto.server.getSession").await,
    ] {
        answer.expect(401, "invalid_token").logged("for no account");
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
}

async fn the_token_of_an_app_ends_with_its_time_its_app_and_by_revocation(world: &World) {
    let app = app_for_itself(world).await;
    let other = app_for_itself(world).await;
    let active =
        async |app: &App<'_>, token: &str| app.introspect(token).await.ok()["active"] == true;
    let (revoked, _) = own_token(&app).await;
    assert_eq!(other.revoke(&revoked).await.status, 200);
    assert!(
        active(&app, &revoked).await,
        "another app's word is nothing"
    );
    assert_eq!(app.revoke(&revoked).await.status, 200);
    assert!(!active(&app, &revoked).await);

    let (expired, _) = own_token(&app).await;
    world.pass(Duration::from_secs(3601));
    assert!(!active(&app, &expired).await);
    let storage = world.aip().app.server.storage.clone();
    let now = aip_base::Clock::now(&*world.clock);
    storage.purge_expired(now, 100).await.unwrap();
    assert_eq!(world.dump().await.count("client_tokens"), 0);

    // An app that is deleted and registered anew, under the same id, is another one.
    let (of_before, _) = own_token(&app).await;
    world.pass(Duration::from_secs(1));
    let now = aip_base::Clock::now(&*world.clock);
    storage.delete_client(&app.id, now).await.unwrap();
    let mut settings = App::settings();
    for_itself(&mut settings);
    let server = world.aip().app.server.clone();
    let id = Some(app.id.clone());
    let (_, secret) = server.register_client(id, settings).await.unwrap();
    let secret = secrecy::ExposeSecret::expose_secret(&secret.unwrap()).to_owned();
    world.secrets.learn("a client secret", &secret);
    let mut anew = app;
    anew.secret = Some(secret);
    assert!(!active(&anew, &of_before).await);
}

async fn a_token_of_an_app_is_bound_to_the_key_of_its_proof(world: &World) {
    let app = app_for_itself(world).await.with_dpop();
    let (token, answer) = own_token(&app).await;
    assert_eq!(answer["token_type"], "DPoP");
    let live = app.introspect(&token).await.ok();
    let jkt = app.key().public().thumbprint();
    assert_eq!(live["cnf"]["jkt"], jkt.as_str());
    assert_eq!(live["token_type"], "DPoP");
}

async fn a_token_of_an_app_costs_one_statement(world: &World) {
    let with_secret = app_for_itself(world).await;
    let with_key = App::register_with_key(world, for_itself).await;
    for (app, least) in [(with_secret, 1), (with_key, 2)] {
        // At first the client is read, and again when a second has passed.
        let mut costs = Vec::new();
        for _ in 0..5 {
            let answer = app.token(&[GRANT]).await;
            answer.ok();
            costs.push(statements(world, &answer));
        }
        assert_eq!(costs.iter().min(), Some(&least), "{costs:?}");
    }
}
