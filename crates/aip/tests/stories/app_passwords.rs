//! Sessions of app passwords: begun at the account's own PDS, kept like those of OAuth, begun anew
//! when nothing else helps, and given back.

use std::time::Duration;

use aip_base::{Http as _, Limits};
use aip_pds::{CallAuth, PdsCall};
use aip_sandbox::{Endpoint, PdsOptions, Person};
use aip_sessions::{AppPasswordError, AppPasswords, KeeperError};
use aip_storage::audit::AuditKind;
use aip_storage::client::ClientId;
use aip_storage::upstream::{ReauthReason, SessionKind, UpstreamSession};
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::app::App;
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    an_app_password_is_kept_refreshed_and_begun_again,
    what_the_pds_refuses_is_not_kept,
    an_account_that_moved_is_served_at_its_new_pds,
    an_outage_keeps_the_session_of_an_app_password,
    an_app_password_that_was_revoked_ends_its_session_alone,
    an_app_password_that_is_taken_back_is_forgotten,
);

const CREATE: Endpoint = Endpoint::Method("com.atproto.server.createSession");
const REFRESH: Endpoint = Endpoint::Method("com.atproto.server.refreshSession");

/// Longer than an access token of an app password lives.
const STALE: Duration = Duration::from_hours(3);

/// A call of the story itself to the PDS.
pub(crate) async fn call(
    world: &World,
    method: &str,
    bearer: Option<&str>,
    input: &Value,
) -> Value {
    let request = Request::post(format!("{}/xrpc/{method}", world.pds().origin()))
        .header(CONTENT_TYPE, "application/json");
    let request = match bearer {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    let request = request.body(Bytes::from(input.to_string())).unwrap();
    let http = &world.sandbox.http;
    let answer = http.fetch(request, Limits::DOCUMENT).await.unwrap();
    assert!(answer.status.is_success(), "{method}: {}", answer.status);
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// Alice's own session at her PDS, for making app passwords.
pub(crate) async fn own_session(world: &World) -> String {
    own_session_of(world, world.alice()).await
}

async fn own_session_of(world: &World, person: &Person) -> String {
    let input = json!({ "identifier": person.did.as_str(), "password": person.password });
    let session = call(world, "com.atproto.server.createSession", None, &input).await;
    session["accessJwt"].as_str().unwrap().to_owned()
}

pub(crate) async fn make_password(world: &World) -> String {
    make_password_of(world, world.alice(), &json!({ "name": "app" })).await
}

/// An app password of somebody: `name`, and whether it is `privileged`.
pub(crate) async fn make_password_of(world: &World, person: &Person, what: &Value) -> String {
    let token = own_session_of(world, person).await;
    let method = "com.atproto.server.createAppPassword";
    let made = call(world, method, Some(&token), what).await;
    world.pds().forget_requests();
    made["password"].as_str().unwrap().to_owned()
}

/// Alice takes the app password of that name back at her PDS.
pub(crate) async fn revoke_at_pds(world: &World, name: &str) {
    let token = own_session(world).await;
    let method = "com.atproto.server.revokeAppPassword";
    call(world, method, Some(&token), &json!({ "name": name })).await;
}

/// An app that alice uses, and to which she gave an app password.
pub(crate) async fn app_with_password(world: &World) -> (App<'_>, String) {
    let app = App::register(world, |settings| {
        settings.access_token_ttl = Duration::from_hours(24);
    });
    let app = app.await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let password = make_password(world).await;
    let set = AppPasswords::new(world.aip().app.keeper.clone());
    set.set(&app.id, &world.alice().did, &password)
        .await
        .unwrap();
    (app, tokens.access)
}

pub(crate) async fn found(world: &World, client: &ClientId) -> Option<UpstreamSession> {
    let keeper = world.aip().app.keeper.clone();
    let found = keeper.session_for(client, &world.alice().did, SessionKind::AppPassword);
    found.await.unwrap()
}

/// Which generation of tokens can be used; they are tried.
pub(crate) async fn use_it(world: &World, client: &ClientId) -> Result<i64, KeeperError> {
    let id = found(world, client).await.ok_or(KeeperError::Unknown)?.id;
    let keeper = world.aip().app.keeper.clone();
    let usable = keeper.active_session(id).await?;
    assert!(matches!(usable.auth, CallAuth::Bearer));
    let url = usable.pds.join(&format!("/xrpc/{GET_SESSION}"));
    let pds = &keeper.upstream.pds;
    let call = PdsCall {
        method: &http::Method::GET,
        pds: &usable.pds,
        url: &url,
        nonce: None,
    };
    let headers = pds.call_headers(&usable.auth, &usable.access, call);
    let mut request = Request::get(&url).body(Bytes::new()).unwrap();
    headers.await.unwrap().apply(request.headers_mut());
    let answer = world.sandbox.http.fetch(request, Limits::DOCUMENT).await;
    assert_eq!(answer.unwrap().status, 200);
    Ok(usable.generation)
}

async fn an_app_password_is_kept_refreshed_and_begun_again(world: &World) {
    let (app, _) = app_with_password(world).await;
    assert_eq!(use_it(world, &app.id).await.unwrap(), 0);
    world.pass(STALE);
    assert_eq!(use_it(world, &app.id).await.unwrap(), 1);
    let asked = |endpoint| world.pds().requests_to(endpoint).len();
    assert_eq!((asked(CREATE), asked(REFRESH)), (1, 1));

    // Nobody uses it: the keeper refreshes it in time.
    world.pass(Duration::from_hours(24 * 8));
    world.keeper_round().await;
    assert_eq!(found(world, &app.id).await.unwrap().generation, 2);

    // AIP was away for longer than a refresh token lives.
    world.pass(Duration::from_hours(24 * 100));
    assert_eq!(use_it(world, &app.id).await.unwrap(), 3);
    assert_eq!(asked(CREATE), 2);
    assert_eq!(world.audit(AuditKind::AppPasswordGiven).await.len(), 1);
}

async fn what_the_pds_refuses_is_not_kept(world: &World) {
    let app = world.app().await;
    app.sign_in(&world.browser(), world.alice()).await;
    let set = AppPasswords::new(world.aip().app.keeper.clone());
    let alice = world.alice();
    let asked = world.pds().requests().len();
    let main = set.set(&app.id, &alice.did, &alice.password).await;
    assert!(matches!(main, Err(AppPasswordError::Form(_))));
    assert_eq!(world.pds().requests().len(), asked, "it went nowhere");
    let wrong = set.set(&app.id, &alice.did, "abcd-efgh-ijkl-mnop").await;
    assert!(matches!(wrong, Err(AppPasswordError::Refused(_))));
    let of_alice = make_password(world).await;
    let of_bob = set.set(&app.id, &world.bob().did, &of_alice).await;
    assert!(matches!(of_bob, Err(AppPasswordError::Refused(_))));
    assert!(found(world, &app.id).await.is_none());
    let audited = async || world.audit(AuditKind::AppPasswordRefused).await.len();
    assert_eq!(audited().await, 0, "that is for whoever counts them");
    let refused = of_bob.unwrap_err();
    let note = set.audit_refusal(&app.id, &world.bob().did, &refused);
    note.await;
    assert_eq!(audited().await, 1);
    world.secrets.learn("an app password", &of_alice);
}

async fn an_account_that_moved_is_served_at_its_new_pds(world: &World) {
    let (app, _) = app_with_password(world).await;
    let new_home = world.sandbox.another_pds(PdsOptions::default());
    let new_home = new_home.await.unwrap();
    new_home.adopt(world.pds(), &world.alice().did).unwrap();
    world.pass(STALE);
    let asked = world.pds().requests().len();
    assert_eq!(use_it(world, &app.id).await.unwrap(), 1);
    assert_eq!(
        world.pds().requests().len(),
        asked,
        "the old PDS is asked nothing"
    );
    let moved = found(world, &app.id).await.unwrap();
    assert_eq!(moved.pds.as_str(), new_home.origin());
}

async fn an_outage_keeps_the_session_of_an_app_password(world: &World) {
    let (app, _) = app_with_password(world).await;
    for outage in ["unavailable", "limited", "no answer"] {
        world.pass(STALE);
        let next = world.pds().next(REFRESH);
        match outage {
            "unavailable" => next.is_unavailable(),
            "limited" => next.rate_limits(9),
            _ => next.drops_response(),
        }
        let later = use_it(world, &app.id).await;
        assert!(
            matches!(later, Err(KeeperError::Later(_))),
            "{outage}: {later:?}"
        );
        world.pass(Duration::from_mins(5));
        use_it(world, &app.id).await.unwrap();
    }
}

async fn an_app_password_that_was_revoked_ends_its_session_alone(world: &World) {
    let (app, access) = app_with_password(world).await;
    revoke_at_pds(world, "app").await;
    world.pass(STALE);
    let refused = use_it(world, &app.id).await;
    let reason = ReauthReason::Refused;
    assert!(
        matches!(&refused, Err(KeeperError::NeedsReauth(it)) if *it == reason),
        "{refused:?}"
    );
    assert!(found(world, &app.id).await.is_none());
    assert_eq!(world.audit(AuditKind::UpstreamEnded).await.len(), 1);
    app.query(&access, GET_SESSION).await.ok();
}

async fn an_app_password_that_is_taken_back_is_forgotten(world: &World) {
    let (app, access) = app_with_password(world).await;
    let passwords = AppPasswords::new(world.aip().app.keeper.clone());
    let alice = &world.alice().did;
    let delete = Endpoint::Method("com.atproto.server.deleteSession");
    assert!(passwords.remove(&app.id, alice).await.unwrap());
    assert!(!passwords.remove(&app.id, alice).await.unwrap());
    world.keeper_round().await;
    assert_eq!(world.pds().requests_to(delete).len(), 1);
    let left = "SELECT COALESCE(password, '') FROM upstream_sessions WHERE kind = 'app_password'";
    assert_eq!(world.texts(left).await, [""]);
    assert_eq!(world.audit(AuditKind::AppPasswordRemoved).await.len(), 1);
    app.query(&access, GET_SESSION).await.ok();
}
