//! Apps that only authenticate people (`--authentication-only`): AIP keeps no session at a PDS for them.

use std::time::Duration;

use aip_oauth::registration::RegistrationError;
use aip_sandbox::Endpoint;
use aip_sessions::AppPasswords;
use bytes::Bytes;
use http::Method;

use crate::app::{App, Tokens};
use crate::app_passwords::make_password;
use crate::html::Form;
use crate::keeping::GET_SESSION;
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    who_signed_in_is_reported_and_no_session_is_kept,
    the_app_signs_the_person_in_again_and_again,
    a_no_leaves_no_session_either,
    an_app_password_gives_it_no_session_either,
    an_app_password_from_before_serves_no_sign_in_after_the_change,
    an_app_that_wants_more_is_not_registered_so,
);

const IDENTITY: &str = "openid profile email atproto";

async fn app(world: &World) -> App<'_> {
    let app = App::register(world, |settings| {
        settings.scope = IDENTITY.parse().unwrap();
        settings.authentication_only = true;
    });
    app.await
}

async fn sign_in(app: &App<'_>) -> Tokens {
    let world = app.world;
    app.sign_in_for(&world.browser(), world.alice(), IDENTITY)
        .await
}

fn live(world: &World) -> usize {
    world.pds().live_sessions(&world.alice().did)
}

async fn who_signed_in_is_reported_and_no_session_is_kept(world: &World) {
    let app = app(world).await;
    let tokens = sign_in(&app).await;
    let states = "SELECT state || ' ' || reason FROM upstream_sessions";
    assert_eq!(world.texts(states).await, ["ended authentication_only"]);
    world.keeper_round().await;
    assert_eq!(live(world), 0, "the PDS knows");
    let secrets = "SELECT access_token || COALESCE(refresh_token, '') || dpop_key
                   FROM upstream_sessions";
    assert_eq!(world.texts(secrets).await, [""], "and the tokens are gone");

    let did = world.alice().did.as_str();
    assert_eq!(verified_claims(world, tokens.id_token()).await["sub"], did);
    let told = app.userinfo(&tokens.access).await.ok();
    assert_eq!(told["sub"], did);
    assert_eq!(told["preferred_username"], world.alice().handle.as_str());
    assert_eq!(told["email"], "alice-test@mail.test");
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(401, "invalid_token");
    let introspected = app.introspect(&tokens.access).await.ok();
    assert_eq!(introspected["active"], true);

    // It goes on for as long as its tokens do, without any work for the keeper.
    world.pds().forget_requests();
    let mut refresh = tokens.refresh;
    for _ in 0..3 {
        world.pass(Duration::from_hours(24 * 20));
        world.keeper_round().await;
        let renewed = Tokens::of(&app.refresh(&refresh).await);
        let told = app.userinfo(&renewed.access).await.ok();
        assert_eq!(told["sub"], did);
        assert_eq!(told.get("email"), None, "nobody can be asked any more");
        refresh = renewed.refresh;
    }
    let asked = world.pds().requests();
    let asked: Vec<_> = asked.iter().map(|it| it.path.as_str()).collect();
    let public = "/xrpc/com.atproto.repo.getRecord";
    assert!(asked.iter().all(|path| *path == public), "{asked:?}");
    app.revoke(&refresh).await;
    app.refresh(&refresh).await.expect(400, "invalid_grant");
}

async fn the_app_signs_the_person_in_again_and_again(world: &World) {
    let app = app(world).await;
    let browser = world.browser();
    app.sign_in_for(&browser, world.alice(), IDENTITY).await;
    let silent = app.begin_authorization(&[("scope", IDENTITY), ("prompt", "none")]);
    let away = browser.open(&silent.url).await.away();
    silent.refused(&away, "login_required");
    // They have allowed it, and are asked who they are all the same: nothing is left that says so.
    let pending = app.begin_authorization(&[("scope", IDENTITY), ("prompt", "select_account")]);
    let login = browser.open(&pending.url).await;
    let back = browser.sign_in(&login, world.alice()).await.away();
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    app.userinfo(&tokens.access).await.ok();
    world.keeper_round().await;
    assert_eq!(live(world), 0);

    // Sessions of other apps are none of its business.
    let other = world.app().await;
    let others = other.sign_in(&browser, world.alice()).await;
    sign_in(&app).await;
    world.keeper_round().await;
    assert_eq!(live(world), 1);
    other.query(&others.access, GET_SESSION).await.ok();
}

async fn a_no_leaves_no_session_either(world: &World) {
    let app = app(world).await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[("scope", IDENTITY)]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    pending.refused(&browser.deny(&consent).await, "access_denied");
    world.keeper_round().await;
    assert_eq!(live(world), 0);
}

async fn an_app_password_gives_it_no_session_either(world: &World) {
    let (app, other) = (app(world).await, world.app().await);
    let browser = world.browser();
    let tokens = app.sign_in_for(&browser, world.alice(), IDENTITY).await;
    other.sign_in(&browser, world.alice()).await;
    let password = make_password(world).await;
    world.secrets.learn("an app password", &password);

    let form = format!("app-password={password}");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let path = "/api/atprotocol/app-password";
    let given = app.call(&Method::POST, path, &tokens.access, &headers, form.into());
    given.await.expect(400, "invalid_request");

    // The page has no form for it, and takes none that was made for another app.
    let page = browser.open(&format!("{BASE}/account")).await;
    let form_of = |app: &App<'_>| {
        let forms = Form::all_with(page.answer.text(), "client_id", app.id.as_str());
        let mut forms = forms.into_iter();
        forms.find(|form| form.has_button("give-app-password"))
    };
    assert!(form_of(&app).is_none());
    let form = form_of(&other).unwrap().set("app-password", &password);
    let form = form.set("client_id", app.id.as_str());
    let refused = browser.submit(form, "give-app-password").await;
    refused.answer.expect_page(400, "takes no app password");

    let create = Endpoint::Method("com.atproto.server.createSession");
    assert_eq!(world.pds().requests_to(create).len(), 0, "nothing is sent");
    let kept = "SELECT id FROM upstream_sessions WHERE kind = 'app_password'";
    assert!(world.texts(kept).await.is_empty());
}

async fn an_app_password_from_before_serves_no_sign_in_after_the_change(world: &World) {
    let app = world.app().await;
    app.sign_in(&world.browser(), world.alice()).await;
    let password = make_password(world).await;
    world.secrets.learn("an app password", &password);
    let set = AppPasswords::new(world.aip().app.keeper.clone());
    let set = set.set(&app.id, &world.alice().did, &password).await;
    set.unwrap();
    let server = world.aip().app.server.clone();
    let client = server.storage.client(&app.id).await.unwrap().unwrap();
    let mut settings = client.settings;
    settings.scope = IDENTITY.parse().unwrap();
    settings.authentication_only = true;
    server.update_client(&app.id, settings).await.unwrap();

    let tokens = sign_in(&app).await;
    world.pds().forget_requests();
    app.query(&tokens.access, GET_SESSION)
        .await
        .expect(401, "invalid_token");
    for kind in ["app_password_session", "best"] {
        let path = format!("/api/atprotocol/session?access_token_type={kind}");
        let empty = Bytes::new();
        let answer = app.call(&Method::GET, &path, &tokens.access, &[], empty);
        let answer = answer.await;
        assert!(answer.status.is_client_error(), "{kind}: {}", answer.text());
    }
    let asked = world.pds().requests();
    assert!(asked.iter().all(|it| it.header("authorization").is_none()));
}

async fn an_app_that_wants_more_is_not_registered_so(world: &World) {
    let server = world.aip().app.server.clone();
    for scope in [
        "atproto repo:app.bsky.feed.post",
        "atproto transition:generic",
        "atproto account:email",
        "atproto aip:credentials",
        "openid rpc:app.bsky.feed.getTimeline?aud=*",
    ] {
        let mut settings = App::settings();
        settings.scope = scope.parse().unwrap();
        settings.authentication_only = true;
        let refused = server.register_client(None, settings).await;
        let Err(RegistrationError::AuthenticationOnly(more)) = refused else {
            panic!("{scope} is registered");
        };
        assert!(scope.contains(&more), "{more}");
    }
    let clients = server.storage.list_clients().await.unwrap();
    assert!(clients.is_empty(), "nothing is stored");
}
