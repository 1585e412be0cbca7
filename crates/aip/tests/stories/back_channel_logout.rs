//! Apps are told that a person has signed out (OpenID Connect Back-Channel Logout 1.0).

use std::time::Duration;

use aip_base::Clock as _;
use aip_jose::UnverifiedJws;
use aip_sandbox::Person;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::logout::{CLAIMED_FOR, LogoutFormat, LogoutNotification};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::app::{App, SCOPE, Tokens};
use crate::browser::Browser;
use crate::html::Form;
use crate::keeping::{GET_SESSION, STALE, session};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{BASE, World, until};

on_both_engines!(
    an_app_is_notified_before_the_browser_goes_on,
    whatever_ends_a_sign_in_is_told_but_what_the_app_did_itself,
    what_does_not_arrive_is_tried_again_until_it_does_or_is_given_up,
    an_answer_that_nothing_will_change_is_the_last_one,
    an_app_that_takes_security_events_gets_a_session_revoked,
    an_app_that_does_not_answer_holds_nobody_up,
    of_two_replicas_one_tells_the_app,
    a_kill_between_claim_and_answer_is_made_good_by_another_process,
    of_fifty_sign_outs_each_sign_in_is_notified_once,
    an_app_that_is_deleted_or_does_not_want_to_know_is_not_told,
);

const TOLD_AT: &str = "https://app.example.org/back-channel";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What an app is registered with that is told of logouts there.
#[allow(clippy::unnecessary_wraps, reason = "the setting is optional")]
pub(crate) fn told_at(uri: &str) -> Option<LogoutNotification> {
    Some(LogoutNotification {
        uri: uri.parse().unwrap(),
        session_required: true,
    })
}

/// An app that is told of logouts, and answers with that status.
async fn app_that_answers(world: &World, status: u16) -> App<'_> {
    world.hosted.put(TOLD_AT, status, String::new());
    App::register(world, |settings| {
        settings.backchannel_logout = told_at(TOLD_AT);
    })
    .await
}

/// Signs in where the person may have allowed the app before.
pub(crate) async fn sign_in(app: &App<'_>, browser: &Browser<'_>, person: &Person) -> Tokens {
    sign_in_for(app, browser, person, SCOPE).await
}

pub(crate) async fn sign_in_for(
    app: &App<'_>,
    browser: &Browser<'_>,
    person: &Person,
    scope: &str,
) -> Tokens {
    let pending = app.begin_authorization(&[("scope", scope), ("prompt", "select_account")]);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, person).await;
    let back = if page.has_form("consent") {
        browser.allow(&page).await
    } else {
        page.away()
    };
    Tokens::of(&app.redeem(&pending, &pending.code(&back)).await)
}

/// The claims of the logout tokens that arrived, checked as every app must (§2.6).
async fn told(world: &World, app: &App<'_>) -> Vec<Value> {
    let mut tokens = Vec::new();
    for body in world.hosted.received(TOLD_AT) {
        let token = body.strip_prefix("logout_token=").unwrap();
        assert!(
            UnverifiedJws::parse(token)
                .unwrap()
                .header()
                .is_typ("logout+jwt")
        );
        let claims = verified_claims(world, token).await;
        assert_eq!(claims["iss"], BASE);
        assert_eq!(claims["aud"], app.id.as_str());
        assert_eq!(claims["events"], json!({ EVENT: {} }));
        assert!(claims.get("nonce").is_none(), "{claims}");
        let (at, end) = (
            claims["iat"].as_i64().unwrap(),
            claims["exp"].as_i64().unwrap(),
        );
        assert_eq!(end - at, 120, "{claims}");
        assert!(at <= world.clock.now().as_secs(), "{claims}");
        assert!(claims["jti"].as_str().unwrap().len() >= 20, "{claims}");
        tokens.push(claims);
    }
    tokens
}

/// The sign-in that an `id_token` names.
async fn sid(world: &World, tokens: &Tokens) -> Value {
    let claims = verified_claims(world, tokens.id_token()).await;
    assert!(claims["sid"].as_str().is_some_and(|it| !it.is_empty()));
    claims["sid"].clone()
}

async fn deliver(world: &World) -> bool {
    let server = world.aip().app.server.clone();
    server.deliver_due_logouts().await.unwrap()
}

fn logout(tokens: &Tokens) -> String {
    let query = serde_urlencoded::to_string([("id_token_hint", tokens.id_token())]).unwrap();
    format!("{BASE}/oauth/logout?{query}")
}

async fn account_form(browser: &Browser<'_>, name: &str, value: &str) -> Form {
    let page = browser.open(&format!("{BASE}/account")).await;
    Form::with_field(page.answer.text(), name, value).unwrap_or_else(|| panic!("{page:?}"))
}

/// How many deliveries wait.
async fn waiting(world: &World) -> usize {
    world.dump().await.count("logout_deliveries")
}

async fn an_app_is_notified_before_the_browser_goes_on(world: &World) {
    let metadata = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(metadata["backchannel_logout_supported"], true);
    assert_eq!(metadata["backchannel_logout_session_supported"], true);
    let claims = metadata["claims_supported"].as_array().unwrap();
    assert!(claims.contains(&json!("sid")));

    let app = app_that_answers(world, 200).await;
    let silent = world.app().await;
    let (browser, elsewhere) = (world.browser(), world.browser());
    let here = app.sign_in(&browser, world.alice()).await;
    let bobs = app.sign_in(&browser, world.bob()).await;
    let others = app.sign_in(&elsewhere, world.alice()).await;
    silent.sign_in(&browser, world.alice()).await;
    assert_ne!(sid(world, &here).await, sid(world, &others).await);
    let renewed = Tokens::of(&app.refresh(&here.refresh).await);
    assert_eq!(sid(world, &renewed).await, sid(world, &here).await);

    browser.open(&logout(&here)).await;
    let first = told(world, &app).await;
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0]["sub"], world.alice().did.as_str());
    assert_eq!(first[0]["sid"], sid(world, &here).await);
    assert_eq!(waiting(world).await, 0);
    // Signed out, and the access that alice gave the app is still hers to take back.
    app.userinfo(&renewed.access).await.ok();
    app.userinfo(&others.access).await.ok();
    // Whoever is not signed in here is not signed out once more.
    browser.open(&logout(&here)).await;
    assert_eq!(told(world, &app).await.len(), 1);

    let form = account_form(&browser, "action", "sign-out").await;
    browser.submit(form, "sign-out-button").await;
    let both = told(world, &app).await;
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(both[1]["sub"], world.bob().did.as_str());
    assert_eq!(both[1]["sid"], sid(world, &bobs).await);
    assert_ne!(both[0]["jti"], both[1]["jti"]);
    let noted = world.audit(AuditKind::LogoutDelivered).await;
    assert_eq!(noted.len(), 2);
    // No time passed between the two, so either may be the first.
    let alices = noted
        .iter()
        .find(|it| it.did.as_ref() == Some(&world.alice().did));
    let alices = alices.unwrap();
    assert_eq!(alices.client_id.as_ref(), Some(&app.id));
    let sid = sid(world, &here).await;
    assert!(alices.detail.contains(sid.as_str().unwrap()));
    assert!(!deliver(world).await, "there is nothing else to tell");
}

async fn whatever_ends_a_sign_in_is_told_but_what_the_app_did_itself(world: &World) {
    let app = app_that_answers(world, 204).await;
    let browser = world.browser();
    let told_of = async |tokens: &Tokens, count: usize| {
        deliver(world).await;
        until("the app is told", async || {
            world.hosted.received(TOLD_AT).len() >= count && waiting(world).await == 0
        })
        .await;
        let told = told(world, &app).await;
        assert_eq!(told.len(), count, "{told:?}");
        assert_eq!(told[count - 1]["sid"], sid(world, tokens).await);
    };
    // The person takes the access back.
    let tokens = sign_in(&app, &browser, world.alice()).await;
    let form = account_form(&browser, "client_id", app.id.as_str()).await;
    browser.submit(form, "revoke").await;
    told_of(&tokens, 1).await;
    // An operator ends the session.
    let tokens = sign_in(&app, &browser, world.alice()).await;
    let live = "SELECT id FROM upstream_sessions WHERE state <> 'ended'";
    let id = world.texts(live).await[0].parse().unwrap();
    assert!(world.aip().app.keeper.revoke(id).await.unwrap());
    told_of(&tokens, 2).await;
    // The PDS ends it, which AIP learns when it refreshes.
    let tokens = sign_in(&app, &browser, world.alice()).await;
    world.pds().end_sessions(&world.alice().did);
    world.pass(STALE);
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    let answer = app.query(&renewed.access, GET_SESSION).await;
    answer.expect(401, "invalid_token");
    told_of(&tokens, 3).await;
    // What the app did itself it knows.
    let tokens = sign_in(&app, &browser, world.alice()).await;
    assert_eq!(app.revoke(&tokens.refresh).await.status, 200);
    assert!(!deliver(world).await);
    // An app that asks for no ID token knows of no sign-in.
    sign_in_for(&app, &browser, world.alice(), "atproto").await;
    let form = account_form(&browser, "client_id", app.id.as_str()).await;
    browser.submit(form, "revoke").await;
    assert!(!deliver(world).await);
    assert_eq!(told(world, &app).await.len(), 3);
}

async fn what_does_not_arrive_is_tried_again_until_it_does_or_is_given_up(world: &World) {
    let app = app_that_answers(world, 500).await;
    let tries = || world.hosted.received(TOLD_AT).len();
    let browser = world.browser();
    let tokens = sign_in(&app, &browser, world.alice()).await;
    browser.open(&logout(&tokens)).await;
    assert_eq!((tries(), waiting(world).await), (1, 1));
    // A redirect is not followed.
    let elsewhere = "https://elsewhere.example.org/";
    world.hosted.put(elsewhere, 200, String::new());
    for (pause, status) in [(30, 302), (120, 503), (600, 200)] {
        world.hosted.put(TOLD_AT, status, elsewhere.to_owned());
        let before = tries();
        world.pass(Duration::from_secs(pause - 1));
        assert!(!deliver(world).await, "not before its time: {pause}");
        world.pass(Duration::from_secs(1));
        assert!(deliver(world).await);
        assert_eq!(tries(), before + 1);
    }
    assert_eq!(waiting(world).await, 0);
    assert_eq!(world.hosted.reads(elsewhere), 0);
    // Each time a token of its own, of the same sign-in.
    let told = told(world, &app).await;
    let tokens: std::collections::BTreeSet<_> =
        told.iter().map(|it| it["jti"].to_string()).collect();
    assert_eq!((told.len(), tokens.len()), (4, 4));
    assert!(told.iter().all(|it| it["sid"] == told[0]["sid"]));
    assert_eq!(world.audit(AuditKind::LogoutDelivered).await.len(), 1);

    // Six times, and no more.
    world.hosted.put(TOLD_AT, 404, String::new());
    let tokens = sign_in(&app, &browser, world.alice()).await;
    browser.open(&logout(&tokens)).await;
    for hours in [1, 1, 1, 1, 6] {
        world.pass(Duration::from_hours(hours));
        assert!(deliver(world).await);
    }
    assert_eq!((tries(), waiting(world).await), (10, 0));
    world.pass(Duration::from_hours(6));
    assert!(!deliver(world).await);
    let given_up = world.audit(AuditKind::LogoutNotDelivered).await;
    assert_eq!(given_up.len(), 1);
    assert!(given_up[0].detail.ends_with("the answer has status 404"));
    assert!(
        world
            .log()
            .contains("logout notification failed, giving up")
    );
}

async fn an_answer_that_nothing_will_change_is_the_last_one(world: &World) {
    let app = app_that_answers(world, 400).await;
    let browser = world.browser();
    let tokens = sign_in(&app, &browser, world.alice()).await;
    browser.open(&logout(&tokens)).await;
    assert_eq!(
        (told(world, &app).await.len(), waiting(world).await),
        (1, 0)
    );
    // The guard may change its mind: a name may lead inside for a minute alone.
    for address in [
        "https://app.internal/logout",
        "https://app.example.org:8443/logout",
    ] {
        let app = App::register(world, |settings| {
            settings.backchannel_logout = told_at(address);
        })
        .await;
        let tokens = sign_in(&app, &browser, world.alice()).await;
        browser.open(&logout(&tokens)).await;
        for pause in [30, 120] {
            assert_eq!(waiting(world).await, 1, "{address}");
            world.pass(Duration::from_secs(pause));
            assert!(deliver(world).await);
        }
        assert_eq!(waiting(world).await, 0, "{address}");
        let given_up = world.audit(AuditKind::LogoutNotDelivered).await;
        let of_app = given_up
            .iter()
            .find(|it| it.client_id.as_ref() == Some(&app.id))
            .unwrap();
        let why = &of_app.detail;
        assert!(why.contains("refused by the outbound guard"), "{why}");
    }
}

async fn an_app_that_takes_security_events_gets_a_session_revoked(world: &World) {
    world.hosted.put(TOLD_AT, 500, String::new());
    let app = App::register(world, |settings| {
        settings.backchannel_logout = told_at(TOLD_AT);
        settings.backchannel_logout_format = LogoutFormat::Caep10;
    });
    let app = app.await;
    let browser = world.browser();
    let tokens = sign_in(&app, &browser, world.alice()).await;
    let ended_at = world.clock.now().as_secs();
    browser.open(&logout(&tokens)).await;
    // It is tried again as a logout token is, and 202 is success here (RFC 8935).
    world.hosted.put(TOLD_AT, 202, String::new());
    world.pass(Duration::from_mins(1));
    deliver(world).await;
    assert_eq!(waiting(world).await, 0);
    assert_eq!(world.audit(AuditKind::LogoutDelivered).await.len(), 1);

    let received = world.hosted.received(TOLD_AT);
    assert_eq!(received.len(), 2);
    let mut ids = Vec::new();
    for token in &received {
        assert!(
            UnverifiedJws::parse(token)
                .unwrap()
                .header()
                .is_typ("secevent+jwt")
        );
        let claims = verified_claims(world, token).await;
        assert_eq!(claims["iss"], BASE);
        assert_eq!(claims["aud"], app.id.as_str());
        assert_eq!(
            claims["events"],
            json!({
                "https://schemas.openid.net/secevent/caep/event-type/session-revoked":
                    { "event_timestamp": ended_at },
            })
        );
        assert_eq!(
            claims["sub_id"],
            json!({
                "format": "complex",
                "session": { "format": "opaque", "id": sid(world, &tokens).await },
                "user": { "format": "iss_sub", "iss": BASE, "sub": world.alice().did.as_str() },
            })
        );
        for absent in ["sub", "exp", "nonce", "sid"] {
            assert!(claims.get(absent).is_none(), "{claims}");
        }
        ids.push(claims["jti"].clone());
    }
    assert_ne!(ids[0], ids[1]);

    // For who expects a logout token, 202 is no answer.
    let other = app_that_answers(world, 202).await;
    let tokens = sign_in(&other, &browser, world.alice()).await;
    browser.open(&logout(&tokens)).await;
    assert_eq!(waiting(world).await, 1);
}

async fn an_app_that_does_not_answer_holds_nobody_up(world: &World) {
    let app = app_that_answers(world, 200).await;
    world.hosted.hang(TOLD_AT);
    let browser = world.browser();
    let tokens = sign_in(&app, &browser, world.alice()).await;
    let began = Instant::now();
    browser.open(&logout(&tokens)).await;
    assert!(browser.session_cookie().is_some(), "bob may still be there");
    // Less than a delivery may take: the rest of it happens behind the browser's back.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert_eq!(world.hosted.received(TOLD_AT).len(), 1);
    assert!(!deliver(world).await, "it is under way");
    let deferred = "SELECT grant_id FROM logout_deliveries WHERE due_at >= ";
    let at = world.clock.now() + Duration::from_secs(30);
    let put_off = format!(
        "{deferred}{} AND attempts = 1 AND due_at < ",
        at.as_micros()
    );
    let put_off = format!("{put_off}{}", (at + Duration::from_secs(1)).as_micros());
    until("it is put off", async || {
        !world.texts(&put_off).await.is_empty()
    })
    .await;
    world.hosted.put(TOLD_AT, 200, String::new());
    world.pass(Duration::from_secs(30));
    assert!(deliver(world).await);
    assert_eq!(
        (told(world, &app).await.len(), waiting(world).await),
        (2, 0)
    );
}

async fn of_two_replicas_one_tells_the_app(world: &World) {
    let app = app_that_answers(world, 200).await;
    for _ in 0..3 {
        app.sign_in(&world.browser(), world.alice()).await;
    }
    let first = world.replica().await;
    let second = world.aip();
    let server = &second.app.server;
    let reason = aip_storage::grant::RevokeReason::ByOperator;
    let now = world.clock.now();
    let alice = &world.alice().did;
    let event = AuditEvent::new(&*server.clock, &*server.rng, AuditKind::GrantRevoked, "");
    let storage = &server.storage;
    let ended = storage.revoke_client_grants(&app.id, alice, reason, now, event);
    assert_eq!(ended.await.unwrap(), 3);
    let deliveries = (0..20).map(async |n| {
        let replica = if n % 2 == 0 { &first } else { &second };
        replica.app.server.deliver_due_logouts().await.unwrap();
    });
    join_all(deliveries).await;
    let told = told(world, &app).await;
    let sids: std::collections::BTreeSet<_> = told.iter().map(|it| it["sid"].to_string()).collect();
    assert_eq!((told.len(), sids.len()), (3, 3));
    assert_eq!(world.audit(AuditKind::LogoutDelivered).await.len(), 3);
}

async fn a_kill_between_claim_and_answer_is_made_good_by_another_process(world: &World) {
    let app = app_that_answers(world, 200).await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let id = session(world).await.id;
    assert!(world.aip().app.keeper.revoke(id).await.unwrap());
    world.hosted.hang(TOLD_AT);
    let doomed = world.aip();
    let server = doomed.app.server.clone();
    let delivery = doomed.run(async move { server.deliver_due_logouts().await });
    until("it was sent", async || {
        world.hosted.received(TOLD_AT).len() == 1
    })
    .await;
    doomed.kill();
    assert!(delivery.await.is_err(), "it was killed");
    world.restart().await;
    world.hosted.put(TOLD_AT, 200, String::new());
    assert!(!deliver(world).await, "it may still be under way");
    world.pass(CLAIMED_FOR);
    assert!(deliver(world).await);
    let told = told(world, &app).await;
    assert_eq!((told.len(), waiting(world).await), (2, 0));
    assert!(told.iter().all(|it| it["sid"] == told[0]["sid"]));
    assert_eq!(told[0]["sid"], sid(world, &tokens).await);
}

async fn of_fifty_sign_outs_each_sign_in_is_notified_once(world: &World) {
    let app = app_that_answers(world, 200).await;
    let browser = world.browser();
    let mut sids = Vec::new();
    let mut last = None;
    for _ in 0..3 {
        let tokens = sign_in(&app, &browser, world.alice()).await;
        sids.push(sid(world, &tokens).await.to_string());
        last = Some(tokens);
    }
    let url = logout(&last.unwrap());
    let tabs: Vec<_> = (0..50).map(|_| browser.tab()).collect();
    let answers = tabs.iter().map(async |tab| {
        let request = Request::get(&url).header("sec-fetch-site", "cross-site");
        tab.send(request.body(Bytes::new()).unwrap()).await.status
    });
    for status in join_all(answers).await {
        assert_eq!(status, 303);
    }
    until("all is told", async || waiting(world).await == 0).await;
    let told = told(world, &app).await;
    let mut told: Vec<_> = told.iter().map(|it| it["sid"].to_string()).collect();
    told.sort();
    sids.sort();
    assert_eq!(told, sids);
}

async fn an_app_that_is_deleted_or_does_not_want_to_know_is_not_told(world: &World) {
    let server = world.aip().app.server.clone();
    for deleted in [true, false] {
        let app = app_that_answers(world, 500).await;
        let browser = world.browser();
        let tokens = app.sign_in_for(&browser, world.alice(), SCOPE).await;
        browser.open(&logout(&tokens)).await;
        assert_eq!(waiting(world).await, 1);
        if deleted {
            let now = server.clock.now();
            assert!(server.storage.delete_client(&app.id, now).await.unwrap());
        } else {
            let client = server.storage.client(&app.id).await.unwrap().unwrap();
            let mut settings = client.settings;
            settings.backchannel_logout = None;
            server.update_client(&app.id, settings).await.unwrap();
        }
        let tries = world.hosted.received(TOLD_AT).len();
        world.pass(Duration::from_secs(30));
        assert!(deliver(world).await);
        assert_eq!(waiting(world).await, 0);
        assert_eq!(world.hosted.received(TOLD_AT).len(), tries);
    }
    assert!(world.audit(AuditKind::LogoutNotDelivered).await.is_empty());
}
