//! Access tokens for other resource servers (RFC 8707): for whom an app asked, of those that it is
//! registered for; nothing at AIP; and told to those resource servers alone.

use aip_oauth::registration::RegistrationError;
use aip_storage::client::{ClientAuthMethod, GrantType};
use aip_storage::resource_uri::ResourceList;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, PendingAuthorization, SCOPE, Tokens};
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::{BASE, Engine, World};

on_both_engines!(
    a_token_is_for_the_resources_that_were_asked_for_and_opens_nothing_here,
    a_resource_that_is_none_or_not_registered_is_an_invalid_target,
    a_token_request_asks_for_some_of_what_was_authorized_and_for_no_more,
    a_device_and_an_app_itself_ask_for_resources,
    a_resource_server_learns_about_tokens_for_it_and_no_others,
    of_fifty_exchanges_for_a_resource_one_wins,
    a_refresh_for_the_resources_of_its_grant_costs_one_statement,
    what_the_operator_takes_from_an_app_gets_no_more_tokens,
    a_resource_server_is_confidential_and_not_this_server,
);

const API: &str = "https://api.example.org/v1";
const PHOTOS: &str = "urn:example:photos";

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn both() -> ResourceList {
    format!("{API} {PHOTOS}").parse().unwrap()
}

/// An app that may ask for both.
async fn app_for_both(world: &World) -> App<'_> {
    App::register(world, |settings| {
        settings.resources = both();
        settings.grant_types = vec![
            GrantType::AuthorizationCode,
            GrantType::RefreshToken,
            GrantType::ClientCredentials,
            GrantType::DeviceCode,
        ]
        .try_into()
        .unwrap();
    })
    .await
}

/// A resource server of that identifier.
async fn resource_server<'w>(world: &'w World, identifier: &str) -> App<'w> {
    App::register(world, |settings| {
        settings.grant_types = vec![GrantType::ClientCredentials].try_into().unwrap();
        settings.redirect_uris.clear();
        settings.resource_server = Some(identifier.parse().unwrap());
    })
    .await
}

async fn code(app: &App<'_>, pending: &PendingAuthorization) -> String {
    let browser = app.world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, app.world.alice()).await;
    pending.code(&browser.allow(&consent).await)
}

/// The tokens of a sign-in for these resources.
async fn tokens_for(app: &App<'_>, resources: &[&str]) -> Tokens {
    let named: Vec<_> = resources.iter().map(|it| ("resource", *it)).collect();
    let pending = app.begin_authorization(&named);
    let code = code(app, &pending).await;
    Tokens::of(&app.redeem(&pending, &code).await)
}

async fn refresh_for(app: &App<'_>, refresh: &str, resources: &[&str]) -> Answer {
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh)];
    form.extend(resources.iter().map(|it| ("resource", *it)));
    app.token(&form).await
}

async fn audience(app: &App<'_>, token: &str) -> Value {
    app.introspect(token).await.ok()["aud"].clone()
}

async fn expect_nothing_here(app: &App<'_>, token: &str) {
    let call = app.query(token, "com.atproto.server.getSession");
    let session = app.call(
        &http::Method::GET,
        "/api/atprotocol/session",
        token,
        &[],
        bytes::Bytes::new(),
    );
    for answer in [app.userinfo(token).await, call.await, session.await] {
        answer
            .expect(401, "invalid_token")
            .logged("for other resource servers");
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
}

async fn a_token_is_for_the_resources_that_were_asked_for_and_opens_nothing_here(world: &World) {
    let app = app_for_both(world).await;
    let usual = tokens_for(&app, &[]).await;
    assert_eq!(audience(&app, &usual.access).await, BASE);
    app.userinfo(&usual.access).await.ok();
    assert_eq!(
        app.introspect(&usual.refresh).await.ok()["aud"],
        Value::Null
    );

    let tokens = tokens_for(&app, &[API, PHOTOS, API]).await;
    assert_eq!(audience(&app, &tokens.access).await, json!([API, PHOTOS]));
    expect_nothing_here(&app, &tokens.access).await;
    assert!(
        !tokens.id_token().is_empty(),
        "who signed in is told all the same"
    );
    // RFC 8707 §2.2: each resource server its own token, from the same grant.
    let one = Tokens::of(&refresh_for(&app, &tokens.refresh, &[API]).await);
    assert_eq!(audience(&app, &one.access).await, API);
    expect_nothing_here(&app, &one.access).await;
    let other = Tokens::of(&refresh_for(&app, &one.refresh, &[PHOTOS]).await);
    assert_eq!(audience(&app, &other.access).await, PHOTOS);
    let all = Tokens::of(&app.refresh(&other.refresh).await);
    assert_eq!(audience(&app, &all.access).await, json!([API, PHOTOS]));
    // A repeat within the grace, for another resource.
    let again = Tokens::of(&refresh_for(&app, &other.refresh, &[API]).await);
    assert_eq!(audience(&app, &again.access).await, API);

    // AIP is one of them if it is named, in either spelling.
    let with_slash = format!("{BASE}/");
    for own in [BASE, &with_slash] {
        let tokens = tokens_for(&app, &[own, API]).await;
        assert_eq!(audience(&app, &tokens.access).await, json!([BASE, API]));
        app.userinfo(&tokens.access).await.ok();
        let query = "com.atproto.server.getSession";
        app.query(&tokens.access, query).await.ok();
        let elsewhere = Tokens::of(&refresh_for(&app, &tokens.refresh, &[API]).await);
        expect_nothing_here(&app, &elsewhere.access).await;
    }
}

async fn a_resource_that_is_none_or_not_registered_is_an_invalid_target(world: &World) {
    let app = app_for_both(world).await;
    let unregistered = world.app().await;
    let many: Vec<String> = (0..9).map(|n| format!("urn:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = format!("https://api.example.org/{}", "x".repeat(300));
    let before = world.state().await;
    for (app, resources, words) in [
        (&app, &["https://other.example.org"][..], "not registered"),
        (&app, &[API, "https://other.example.org"], "not registered"),
        (&app, &["https://api.example.org/v1/"], "not registered"),
        (&unregistered, &[API], "not registered"),
        (&app, &["https://api.example.org/v1#x"], "absolute URI"),
        (&app, &["/v1"], "absolute URI"),
        (&app, &["api"], "absolute URI"),
        (&app, &["https://me:x@api.example.org/v1"], "absolute URI"),
        (&app, &["https://api.example.org/v1 urn:x"], "absolute URI"),
        (&app, &["javascript\u{0}:alert(1)"], "absolute URI"),
        (&app, &[&long], "absolute URI"),
        (&app, &many, "more than 8"),
    ] {
        let named: Vec<_> = resources.iter().map(|it| ("resource", *it)).collect();
        let pending = app.begin_authorization(&named);
        let page = world.browser().open(&pending.url).await;
        let told = pending.refused(&page.away(), "invalid_target");
        assert!(told.contains(words), "{told}");

        let url = url::Url::parse(&pending.url).unwrap();
        let form: Vec<_> = url.query_pairs().into_owned().collect();
        let form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let pushed = app.post("/oauth/par", &form).await;
        pushed.expect(400, "invalid_target");
        if app.id == unregistered.id {
            continue;
        }
        let mut form = named.clone();
        form.push(("scope", SCOPE));
        let device = app.post("/oauth/device_authorization", &form).await;
        device.expect(400, "invalid_target");
        let mut form = named;
        form.push(("grant_type", "client_credentials"));
        app.token(&form).await.expect(400, "invalid_target");
    }
    assert_eq!(world.state().await, before);
    // Other parameters are still sent once.
    let twice = app.begin_authorization(&[("audience", API), ("audience", PHOTOS)]);
    let page = world.browser().open(&twice.url).await;
    twice.refused(&page.away(), "invalid_request");
}

async fn a_token_request_asks_for_some_of_what_was_authorized_and_for_no_more(world: &World) {
    let app = app_for_both(world).await;
    let pending = app.begin_authorization(&[("resource", API)]);
    let code = code(&app, &pending).await;
    let before = world.state().await;
    for resource in [PHOTOS, BASE, "https://other.example.org"] {
        let refused = app
            .redeem_with(&pending, &code, &[("resource", resource)])
            .await;
        refused.expect(400, "invalid_target").logged("did not ask");
    }
    let refused = app.redeem_with(&pending, &code, &[("resource", "x")]).await;
    refused.expect(400, "invalid_target");
    assert_eq!(world.state().await, before, "the code is not spent");
    // A stranger's code, or none, is no good, whatever is asked for.
    let stranger = app_for_both(world).await;
    for (app, code) in [(&stranger, &*code), (&app, "aip_ac_nothing")] {
        let refused = app.redeem_with(&pending, code, &[("resource", API)]).await;
        refused.expect(400, "invalid_grant");
    }
    let redeemed = app.redeem_with(&pending, &code, &[("resource", API)]).await;
    let tokens = Tokens::of(&redeemed);
    assert_eq!(audience(&app, &tokens.access).await, API);

    let before = world.state().await;
    let refused = refresh_for(&app, &tokens.refresh, &[API, PHOTOS]).await;
    refused.expect(400, "invalid_target").logged("did not ask");
    assert_eq!(
        world.state().await,
        before,
        "the refresh token is not spent"
    );
    // Without a word about resources the grant was for AIP.
    let usual = tokens_for(&app, &[]).await;
    let refused = refresh_for(&app, &usual.refresh, &[API]).await;
    refused.expect(400, "invalid_target");
    let own = Tokens::of(&refresh_for(&app, &usual.refresh, &[BASE]).await);
    app.userinfo(&own.access).await.ok();
}

async fn a_device_and_an_app_itself_ask_for_resources(world: &World) {
    let app = app_for_both(world).await;
    let form = [("scope", SCOPE), ("resource", API), ("resource", PHOTOS)];
    let codes = app.post("/oauth/device_authorization", &form).await.ok();
    let device = codes["device_code"].as_str().unwrap();
    world.secrets.learn("a device code", device);
    let browser = world.browser();
    let page = browser.open(&format!("{BASE}/device")).await;
    let user_code = codes["user_code"].as_str().unwrap();
    let typed = page.form("device").set("user_code", user_code);
    let login = browser.submit(typed, "continue").await;
    let consent = browser.sign_in(&login, world.alice()).await;
    browser.submit(consent.form("consent"), "allow").await;
    let poll = [("grant_type", DEVICE), ("device_code", device)];
    let other = [&poll[..], &[("resource", BASE)]].concat();
    app.token(&other).await.expect(400, "invalid_target");
    let one = [&poll[..], &[("resource", PHOTOS)]].concat();
    let tokens = Tokens::of(&app.token(&one).await);
    assert_eq!(audience(&app, &tokens.access).await, PHOTOS);
    expect_nothing_here(&app, &tokens.access).await;
    let all = Tokens::of(&app.refresh(&tokens.refresh).await);
    assert_eq!(audience(&app, &all.access).await, json!([API, PHOTOS]));

    let grant = ("grant_type", "client_credentials");
    for (form, expected) in [
        (&[grant][..], json!(BASE)),
        (&[grant, ("resource", API)], json!(API)),
        (
            &[grant, ("resource", API), ("resource", PHOTOS)],
            json!([API, PHOTOS]),
        ),
    ] {
        let answer = app.token(form).await.ok();
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(audience(&app, token).await, expected);
    }
}

async fn a_resource_server_learns_about_tokens_for_it_and_no_others(world: &World) {
    let app = app_for_both(world).await;
    let [api, photos] = [
        resource_server(world, API).await,
        resource_server(world, PHOTOS).await,
    ];
    let stranger = world.app().await;
    let dead = json!({ "active": false });
    let for_api = tokens_for(&app, &[API]).await;
    let usual = tokens_for(&app, &[]).await;
    let for_both = tokens_for(&app, &[API, PHOTOS]).await;
    let of_app = [("grant_type", "client_credentials"), ("resource", API)];
    let of_app = app.token(&of_app).await.ok();
    let of_app = of_app["access_token"].as_str().unwrap();
    let own = api
        .token(&[("grant_type", "client_credentials")])
        .await
        .ok();
    let own = own["access_token"].as_str().unwrap();
    for (token, api_knows, photos_knows, app_knows) in [
        (&*for_api.access, true, false, true),
        (&*for_both.access, true, true, true),
        (&*usual.access, false, false, true),
        (of_app, true, false, true),
        (own, false, false, false),
        (&*for_api.refresh, false, false, true),
        (for_api.id_token(), false, false, false),
    ] {
        for (server, knows) in [
            (&api, api_knows),
            (&photos, photos_knows),
            (&app, app_knows),
            (&stranger, false),
        ] {
            let told = server.introspect(token).await.ok();
            assert_eq!(told["active"], knows, "{told}");
            if !knows {
                assert_eq!(told, dead);
            }
        }
    }
    let told = api.introspect(&for_api.access).await.ok();
    assert_eq!(told["client_id"], app.id.as_str());
    assert_eq!(told["sub"], world.alice().did.as_str());
    assert_eq!(told["aud"], API);
    // It learns at once that one has ended, and cannot end one itself.
    assert_eq!(api.revoke(&for_api.access).await.status, 200);
    assert_eq!(api.introspect(&for_api.access).await.ok()["active"], true);
    assert_eq!(app.revoke(&for_api.refresh).await.status, 200);
    assert_eq!(api.introspect(&for_api.access).await.ok(), dead);
}

async fn of_fifty_exchanges_for_a_resource_one_wins(world: &World) {
    let app = app_for_both(world).await;
    let pending = app.begin_authorization(&[("resource", API), ("resource", PHOTOS)]);
    let code = code(&app, &pending).await;
    let change = [("resource", API)];
    let exchanges = (0..50).map(|_| app.redeem_with(&pending, &code, &change));
    let answers = join_all(exchanges).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status.is_success());
    assert_eq!((won.len(), lost.len()), (1, 49));
    for answer in lost {
        answer.expect(400, "invalid_grant");
    }
    let tokens = Tokens::of(won[0]);
    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], false);
}

async fn a_refresh_for_the_resources_of_its_grant_costs_one_statement(world: &World) {
    let app = app_for_both(world).await;
    let mut costs = Vec::new();
    for resources in [&[][..], &[API]] {
        let mut tokens = tokens_for(&app, resources).await;
        let mut of_refreshes = Vec::new();
        // At first the client is read, and again when a second has passed.
        for _ in 0..5 {
            let answer = app.refresh(&tokens.refresh).await;
            tokens = Tokens::of(&answer);
            of_refreshes.push(statements(world, &answer));
        }
        costs.push(of_refreshes.into_iter().min().unwrap());
    }
    assert_eq!(costs[0], costs[1]);
    if world.engine() == Engine::Postgres {
        assert_eq!(costs, [1, 1]);
    }
}

async fn what_the_operator_takes_from_an_app_gets_no_more_tokens(world: &World) {
    let app = app_for_both(world).await;
    let server = world.aip().app.server.clone();
    let of_both = tokens_for(&app, &[API, PHOTOS]).await;
    let with_aip = tokens_for(&app, &[BASE, API]).await;
    let of_one = tokens_for(&app, &[API]).await;
    let usual = tokens_for(&app, &[]).await;
    let asked = app.begin_authorization(&[("resource", API)]);
    let browser = world.browser();
    let login = browser.open(&asked.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;

    let stored = server.storage.client(&app.id).await.unwrap().unwrap();
    let mut settings = stored.settings;
    settings.resources = PHOTOS.parse().unwrap();
    server.update_client(&app.id, settings).await.unwrap();

    let narrower = Tokens::of(&app.refresh(&of_both.refresh).await);
    assert_eq!(audience(&app, &narrower.access).await, PHOTOS);
    assert_eq!(audience(&app, &of_both.access).await, PHOTOS);
    let refused = refresh_for(&app, &narrower.refresh, &[API]).await;
    refused.expect(400, "invalid_target");
    let own = Tokens::of(&app.refresh(&with_aip.refresh).await);
    assert_eq!(audience(&app, &own.access).await, BASE);
    // It was for nothing else, and must not become one for AIP.
    let refused = app.refresh(&of_one.refresh).await;
    refused.expect(400, "invalid_grant").logged("by_operator");
    assert_eq!(audience(&app, &of_one.access).await, Value::Null);
    Tokens::of(&app.refresh(&usual.refresh).await);
    // A request from before, to which a person says yes now, is over.
    let over = browser.submit(consent.form("consent"), "allow").await;
    assert!(over.stayed(), "{over:?}");
    over.answer
        .logged("its resource was removed from the client");
}

async fn a_resource_server_is_confidential_and_not_this_server(world: &World) {
    let server = world.aip().app.server.clone();
    for identifier in [BASE.to_owned(), format!("{BASE}/")] {
        let mut settings = App::settings();
        settings.resource_server = Some(identifier.parse().unwrap());
        let refused = server.register_client(None, settings).await.err().unwrap();
        assert!(matches!(refused, RegistrationError::OwnResource(_)));
    }
    let mut settings = App::settings();
    settings.auth_method = ClientAuthMethod::None;
    settings.resource_server = Some(API.parse().unwrap());
    let refused = server.register_client(None, settings).await.err().unwrap();
    assert!(matches!(refused, RegistrationError::PublicResourceServer));
    assert_eq!(world.dump().await.count("clients"), 0);
}
