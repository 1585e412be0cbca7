//! Apps with a client document of their own (`--own-upstream-document`): PDSs know AIP by another
//! `client_id` for each of them, and sessions stay with the one that they began with.

use std::collections::BTreeSet;
use std::time::Duration;

use aip_base::Clock as _;
use aip_oauth::client_registration::RegistrationMode;
use aip_oauth::registration::{ClientSettings, RegistrationError};
use aip_sandbox::Endpoint;
use aip_storage::client::ClientId;
use aip_storage::display_uri::DisplayUris;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, Tokens};
use crate::client_registration::{
    initial_token, may_register, metadata, register, send, text, told,
};
use crate::keeping::{GET_SESSION, STALE};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    each_app_is_a_client_of_its_own_at_the_pds,
    sessions_stay_with_the_document_that_they_began_with,
    a_sign_in_under_way_ends_with_the_document_that_it_began_with,
    a_document_is_there_until_the_last_session_of_a_deleted_app_is_over,
    who_has_no_document_of_its_own_has_none_at_all,
    an_app_that_calls_itself_something_else_loses_its_document,
);

const SHARED: &str = "https://aip.example.com/oauth-client-metadata.json";
const DAY: Duration = Duration::from_hours(24);

/// An app with its own document, whose access tokens outlive those of the PDS.
async fn app<'w>(world: &'w World, name: &str, scope: &str) -> App<'w> {
    App::register(world, |settings| {
        name.clone_into(&mut settings.name);
        settings.scope = scope.parse().unwrap();
        settings.access_token_ttl = DAY;
        settings.own_upstream_document = true;
    })
    .await
}

fn path(id: &ClientId) -> String {
    format!("/oauth/upstream/clients/{id}.json")
}

fn document_of(id: &ClientId) -> String {
    format!("{BASE}{}", path(id))
}

async fn sign_in(app: &App<'_>, scope: &str) -> Tokens {
    let world = app.world;
    app.sign_in_for(&world.browser(), world.alice(), scope)
        .await
}

/// The clients that asked the PDS for that, each once.
fn clients_at(world: &World, endpoint: Endpoint) -> BTreeSet<String> {
    let requests = world.pds().requests_to(endpoint);
    let ids = requests
        .iter()
        .map(|it| it.form().get("client_id").unwrap().to_owned());
    ids.collect()
}

/// Lets the tokens of the PDS expire, and uses the app's: the PDS, which has forgotten all documents, is
/// asked by that client.
async fn refreshes_as(app: &App<'_>, tokens: &Tokens, client_id: &str) {
    let world = app.world;
    world.pass(STALE);
    world.pds().forget_clients();
    world.pds().forget_requests();
    app.query(&tokens.access, GET_SESSION).await.ok();
    let expected = BTreeSet::from([client_id.to_owned()]);
    assert_eq!(clients_at(world, Endpoint::Token), expected);
}

async fn switch(world: &World, id: &ClientId, change: impl FnOnce(&mut ClientSettings)) {
    // So that the change has an instant of its own, and no client is known from before.
    world.pass(Duration::from_secs(2));
    let server = world.aip().app.server.clone();
    let mut settings = server.storage.client(id).await.unwrap().unwrap().settings;
    change(&mut settings);
    server.update_client(id, settings).await.unwrap();
}

async fn turn(world: &World, id: &ClientId, on: bool) {
    switch(world, id, |settings| settings.own_upstream_document = on).await;
}

async fn each_app_is_a_client_of_its_own_at_the_pds(world: &World) {
    let scopes = [
        "atproto openid repo:app.bsky.feed.post",
        "atproto openid email repo:app.bsky.feed.like",
    ];
    let photos = app(world, "Photos", scopes[0]).await;
    let letters = app(world, "Letters", scopes[1]).await;
    switch(world, &photos.id, |settings| {
        settings.display_uris = DisplayUris {
            logo: Some("https://photos.example.org/logo.png".parse().unwrap()),
            tos: Some("https://photos.example.org/terms".parse().unwrap()),
            policy: Some("https://photos.example.org/privacy".parse().unwrap()),
        };
    })
    .await;
    let others = world.app().await;

    let answer = world.get(&path(&photos.id)).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    let document = answer.ok();
    let shared = world.get("/oauth-client-metadata.json").await.ok();
    let mut expected = shared.clone();
    for (name, value) in [
        ("client_id", document_of(&photos.id).as_str()),
        ("client_name", "Photos"),
        ("logo_uri", "https://photos.example.org/logo.png"),
        ("tos_uri", "https://photos.example.org/terms"),
        ("policy_uri", "https://photos.example.org/privacy"),
        ("scope", "atproto repo:app.bsky.feed.post"),
    ] {
        expected[name] = json!(value);
    }
    assert_eq!(document, expected);
    let scope = world.get(&path(&letters.id)).await.ok()["scope"].clone();
    let scope: BTreeSet<_> = scope
        .as_str()
        .unwrap()
        .split(' ')
        .map(str::to_owned)
        .collect();
    let named = ["account:email", "atproto", "repo:app.bsky.feed.like"];
    assert_eq!(scope, named.map(str::to_owned).into());

    // The PDS reads the documents, and keeps one session for each client.
    world.pds().forget_requests();
    let at_photos = sign_in(&photos, scopes[0]).await;
    let at_letters = sign_in(&letters, scopes[1]).await;
    let at_others = sign_in(&others, "atproto openid").await;
    let clients = BTreeSet::from([
        document_of(&photos.id),
        document_of(&letters.id),
        SHARED.to_owned(),
    ]);
    assert_eq!(clients_at(world, Endpoint::Par), clients);
    let bound = world
        .texts("SELECT upstream_client_id FROM upstream_sessions")
        .await;
    assert_eq!(bound.into_iter().collect::<BTreeSet<_>>(), clients);
    for request in world.pds().requests_to(Endpoint::Par) {
        let claims = request.assertion_claims().unwrap();
        let client = request.form().get("client_id").unwrap().to_owned();
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!(client), &json!(client))
        );
    }

    // What their owner ends there for one of them ends nothing of the others.
    let alice = &world.alice().did;
    world
        .pds()
        .end_sessions_of_client(alice, &document_of(&photos.id));
    assert_eq!(world.pds().live_sessions(alice), 2);
    world.pass(STALE);
    let ended = photos.query(&at_photos.access, GET_SESSION).await;
    ended.expect(401, "invalid_token");
    letters.query(&at_letters.access, GET_SESSION).await.ok();
    // And what is taken back here is revoked there as that client.
    world.pds().forget_requests();
    letters.revoke(&at_letters.refresh).await;
    world.keeper_round().await;
    let revoked = BTreeSet::from([document_of(&letters.id)]);
    assert_eq!(clients_at(world, Endpoint::Revoke), revoked);
    assert_eq!(world.pds().live_sessions(alice), 1);
    let renewed = Tokens::of(&others.refresh(&at_others.refresh).await);
    others.query(&renewed.access, GET_SESSION).await.ok();
}

async fn sessions_stay_with_the_document_that_they_began_with(world: &World) {
    let scope = "atproto openid";
    let app = app(world, "App", scope).await;
    turn(world, &app.id, false).await;
    let before = sign_in(&app, scope).await;
    turn(world, &app.id, true).await;
    let own = sign_in(&app, scope).await;
    turn(world, &app.id, false).await;
    let after = sign_in(&app, scope).await;

    let of_its_own = document_of(&app.id);
    for _ in 0..2 {
        refreshes_as(&app, &before, SHARED).await;
        refreshes_as(&app, &own, &of_its_own).await;
        refreshes_as(&app, &after, SHARED).await;
        // After a restart, and a rotation of the key, too.
        world.rotate_upstream_key().await;
    }
    // The document follows the app while it is served.
    switch(world, &app.id, |settings| {
        "Renamed".clone_into(&mut settings.name);
    })
    .await;
    let document = world.get(&path(&app.id)).await.ok();
    assert_eq!(document["client_name"], "Renamed");

    // It is forgotten with the last session that is bound to it, and not before.
    let storage = world.aip().app.server.storage.clone();
    let purge = async || storage.purge_expired(world.clock.now(), 100).await.unwrap();
    world.pass(2 * DAY);
    purge().await;
    world.get(&path(&app.id)).await.ok();
    app.revoke(&own.refresh).await;
    world.keeper_round().await;
    world.pass(31 * DAY);
    // The session goes, and with the next round its document.
    purge().await;
    purge().await;
    world.get(&path(&app.id)).await.expect(404, "not_found");
}

async fn a_sign_in_under_way_ends_with_the_document_that_it_began_with(world: &World) {
    let scope = "atproto openid";
    let app = app(world, "App", scope).await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[("scope", scope)]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser
        .sign_in_as(&login, world.alice().handle.as_str())
        .await;
    turn(world, &app.id, false).await;
    world.pds().forget_clients();
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let consent = browser.open(callback.as_str()).await;
    let code = pending.code(&browser.allow(&consent).await);
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    assert_eq!(
        clients_at(world, Endpoint::Token),
        BTreeSet::from([document_of(&app.id)])
    );
    refreshes_as(&app, &tokens, &document_of(&app.id)).await;
}

async fn a_document_is_there_until_the_last_session_of_a_deleted_app_is_over(world: &World) {
    let scope = "atproto openid";
    let app = app(world, "App", scope).await;
    sign_in(&app, scope).await;
    let storage = world.aip().app.server.storage.clone();
    let now = world.clock.now();
    assert!(storage.delete_client(&app.id, now).await.unwrap());

    // What is left says nothing of the app but its id: it is for the revocation.
    let document = world.get(&path(&app.id)).await.ok();
    assert_eq!(document["client_id"], document_of(&app.id));
    assert_eq!(document["scope"], "atproto");
    assert_eq!(document.get("client_name"), None);
    world.pds().forget_clients();
    world.pds().forget_requests();
    world.keeper_round().await;
    let revoked = BTreeSet::from([document_of(&app.id)]);
    assert_eq!(clients_at(world, Endpoint::Revoke), revoked);
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);

    world.pass(31 * DAY);
    for _ in 0..2 {
        storage.purge_expired(world.clock.now(), 100).await.unwrap();
    }
    world.get(&path(&app.id)).await.expect(404, "not_found");
}

async fn who_has_no_document_of_its_own_has_none_at_all(world: &World) {
    let other = world.app().await;
    let own = app(world, "App", "atproto").await;
    let missing = async |path: &str| {
        let answer = world.get(path).await;
        answer.expect(404, "not_found");
        assert_eq!(answer.header("cache-control"), "no-store");
    };
    missing(&path(&other.id)).await;
    missing("/oauth/upstream/clients/nobody.json").await;
    missing(&format!("/oauth/upstream/clients/{}", own.id)).await;
    missing(&path(&ClientId::of_delegations())).await;

    // Odd ids, each under one address; those with a slash would be lost at a gateway.
    let server = world.aip().app.server.clone();
    let register = async |id: &str| {
        let settings = ClientSettings {
            own_upstream_document: true,
            ..App::settings()
        };
        server
            .register_client(Some(id.parse().unwrap()), settings)
            .await
    };
    for (id, file) in [
        ("..", "...json"),
        ("photos?app#1", "photos%3Fapp%231.json"),
        ("100%25&more=+;", "100%2525%26more%3D%2B%3B.json"),
    ] {
        register(id).await.unwrap();
        let path = format!("/oauth/upstream/clients/{file}");
        let document = world.get(&path).await.ok();
        assert_eq!(document["client_id"], format!("{BASE}{path}"));
    }
    missing("/oauth/upstream/clients/%2E%2E.json").await;
    let refused = register("https://app.example.org/id").await.unwrap_err();
    assert!(
        matches!(refused, RegistrationError::OwnUpstreamDocumentId(_)),
        "{refused}"
    );
}

/// A change of its registration by the client that has it.
async fn replace(world: &World, told: &Value, metadata: &Value) -> Answer {
    let url = text(told, "registration_client_uri");
    let token = text(told, "registration_access_token");
    let mut metadata = metadata.clone();
    metadata["client_id"] = told["client_id"].clone();
    send(world, http::Method::PUT, url, Some(token), Some(&metadata)).await
}

async fn an_app_that_calls_itself_something_else_loses_its_document(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let mut wanted = metadata();
    wanted["own_upstream_document"] = json!(true);
    wanted["logo_uri"] = json!("https://app.example.org/logo.png");
    let first = told(&register(world, Some(&token), &wanted).await);
    let id: ClientId = text(&first, "client_id").parse().unwrap();
    // It is not the app's to take.
    assert_eq!(first.get("own_upstream_document"), None);
    world.get(&path(&id)).await.expect(404, "not_found");

    switch(world, &id, |settings| {
        settings.own_upstream_document = true;
        settings.client_assertions = true;
        settings.display_uris.logo = Some("https://app.example.org/seen.png".parse().unwrap());
    })
    .await;
    let second = replace(world, &first, &wanted).await.ok();
    assert_eq!(second["own_upstream_document"], true);
    let document = world.get(&path(&id)).await.ok();
    assert_eq!(document["logo_uri"], "https://app.example.org/seen.png");

    let server = world.aip().app.server.clone();
    let settings = async || server.storage.client(&id).await.unwrap().unwrap().settings;
    assert!(settings().await.client_assertions);

    // Anybody could ask for assertions of one that no longer proves itself; its document is still its own.
    world.pass(Duration::from_secs(2));
    let mut public = wanted.clone();
    public["token_endpoint_auth_method"] = json!("none");
    let third = replace(world, &second, &public).await.ok();
    assert_eq!(third["own_upstream_document"], true);
    assert!(!settings().await.client_assertions);

    world.pass(Duration::from_secs(2));
    let mut another = public.clone();
    another["client_name"] = json!("Your Bank");
    let fourth = replace(world, &third, &another).await.ok();
    assert_eq!(fourth.get("own_upstream_document"), None);
    let settings = settings().await;
    assert!(!settings.own_upstream_document);
    assert_eq!(settings.display_uris, DisplayUris::default());
}
