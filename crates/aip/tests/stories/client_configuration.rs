//! How an app that registered itself looks after that (RFC 7592), and what becomes of it.

use std::time::Duration;

use aip_base::Clock as _;
use aip_jose::{Alg, JwkSet, SigningKey};
use aip_oauth::client_registration::RegistrationMode;
use aip_oauth::registration::ClientSettings;
use aip_storage::audit::AuditKind;
use aip_storage::client::{AccessTokenFormat, SecurityProfile};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{REDIRECT, Tokens, basic_credential};
use crate::browser::parameter;
use crate::client_registration::{
    app, initial_token, may_register, metadata, register, send, text, told,
};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    an_app_reads_and_changes_its_registration,
    an_app_cannot_take_back_what_the_operator_demands,
    an_app_keeps_what_the_operator_gave_it,
    an_app_stays_held_to_the_security_profile,
    people_are_asked_again_about_an_app_that_goes_elsewhere,
    an_app_that_deletes_itself_leaves_no_token_alive,
    a_change_whose_answer_was_lost_is_sent_again_and_gives_the_same_token,
    nobody_learns_of_registrations_of_others,
    an_app_that_nobody_uses_is_forgotten,
);

async fn an_app_reads_and_changes_its_registration(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let first = told(&register(world, Some(&token), &metadata()).await);
    let url = text(&first, "registration_client_uri");
    let own = text(&first, "registration_access_token");
    let id = text(&first, "client_id");
    // Also where no further app may register. Nor may one change then.
    may_register(world, RegistrationMode::Off).await;

    let read = send(world, Method::GET, url, Some(own), None).await.ok();
    let mut expected = first.clone();
    for secret in ["client_secret", "client_secret_expires_at"] {
        expected.as_object_mut().unwrap().remove(secret);
    }
    assert_eq!(read, expected, "AIP knows no secret, and all else is there");
    let refused = replace(world, &first, &metadata()).await;
    refused.expect(404, "not_found");
    may_register(world, RegistrationMode::Token).await;

    let mut change = metadata();
    change["client_id"] = json!(id);
    change["client_name"] = json!("Another name");
    let before = world.state().await;
    for (name, value) in [
        ("client_id", json!("another")),
        ("client_id", Value::Null),
        ("registration_access_token", json!(own)),
        ("registration_client_uri", json!(url)),
        ("client_secret_expires_at", json!(0)),
        ("client_id_issued_at", json!(0)),
        ("client_secret", json!("of my own choice")),
        ("scope", json!("atproto repo:com.example.more")),
        ("grant_types", json!(["client_credentials"])),
    ] {
        let mut change = change.clone();
        change[name] = value;
        let answer = send(world, Method::PUT, url, Some(own), Some(&change)).await;
        assert_eq!(answer.status, 400, "{name}");
        answer.expect(400, "invalid_client_metadata");
    }
    assert_eq!(world.state().await, before);

    // The secret stays if the app names it, and its registration token changes.
    change["client_secret"] = first["client_secret"].clone();
    let kept = send(world, Method::PUT, url, Some(own), Some(&change)).await;
    let kept = kept.ok();
    assert_eq!(kept["client_name"], "Another name");
    assert_eq!(kept["client_secret"], Value::Null);
    let next = text(&kept, "registration_access_token");
    for method in [Method::GET, Method::DELETE] {
        let spent = send(world, method, url, Some(own), None).await;
        spent.expect(401, "invalid_token");
    }
    assert_eq!(app(world, &first).revoke("unknown").await.status, 200);

    // And is replaced if it does not.
    change.as_object_mut().unwrap().remove("client_secret");
    let replaced = send(world, Method::PUT, url, Some(next), Some(&change)).await;
    let replaced = replaced.ok();
    assert_ne!(replaced["client_secret"], first["client_secret"]);
    let proven = app(world, &replaced).revoke("unknown").await;
    assert_eq!(proven.status, 200);
    let old = app(world, &first).revoke("unknown").await;
    old.expect(401, "invalid_client");
    let changed = world.audit(AuditKind::ClientRegistrationChanged).await;
    assert_eq!(changed.len(), 2);
}

/// Has the operator change an app that registered itself.
async fn operator_sets(world: &World, told: &Value, change: impl FnOnce(&mut ClientSettings)) {
    let id = text(told, "client_id").parse().unwrap();
    let mut settings = settings_of(world, told).await;
    change(&mut settings);
    let server = world.aip().app.server.clone();
    server.update_client(&id, settings).await.unwrap();
}

/// What is registered of an app that registered itself.
async fn settings_of(world: &World, told: &Value) -> ClientSettings {
    let id = text(told, "client_id").parse().unwrap();
    let storage = world.aip().app.server.storage.clone();
    storage.client(&id).await.unwrap().unwrap().settings
}

/// Sends all of `metadata` in place of what `told` told.
async fn replace(world: &World, told: &Value, metadata: &Value) -> Answer {
    let url = text(told, "registration_client_uri");
    let own = text(told, "registration_access_token");
    let mut metadata = metadata.clone();
    metadata["client_id"] = told["client_id"].clone();
    send(world, Method::PUT, url, Some(own), Some(&metadata)).await
}

async fn an_app_cannot_take_back_what_the_operator_demands(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let first = told(&register(world, Some(&token), &metadata()).await);
    operator_sets(world, &first, |it| {
        it.require_pkce = true;
        it.require_par = true;
        it.dpop_bound_access_tokens = true;
        it.auth_method_pinned = true;
    })
    .await;
    let mut weaker = metadata();
    weaker["require_pushed_authorization_requests"] = json!(false);
    weaker["dpop_bound_access_tokens"] = json!(false);
    let mut other_method = metadata();
    other_method["token_endpoint_auth_method"] = json!("client_secret_post");
    let refused = replace(world, &first, &other_method).await;
    refused.expect(400, "invalid_client_metadata");
    let second = replace(world, &first, &metadata()).await.ok();
    let third = replace(world, &second, &weaker).await.ok();
    for told in [&second, &third] {
        assert_eq!(told["require_pushed_authorization_requests"], true);
        assert_eq!(told["dpop_bound_access_tokens"], true);
    }
    let settings = settings_of(world, &third).await;
    assert!(settings.require_par && settings.require_pkce);
    assert!(settings.dpop_bound_access_tokens && settings.auth_method_pinned);
}

async fn an_app_keeps_what_the_operator_gave_it(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let first = told(&register(world, Some(&token), &metadata()).await);
    operator_sets(world, &first, |it| {
        it.resources = "https://api.example.org".parse().unwrap();
        it.resource_server = Some("https://own.example.org".parse().unwrap());
        it.access_token_format = AccessTokenFormat::Jwt;
        it.claims_in_id_token = true;
        it.access_token_ttl = Duration::from_mins(5);
        it.refresh_token_ttl = Duration::from_hours(5);
        it.refresh_grace = Duration::from_secs(5);
        it.first_party = true;
    })
    .await;
    let given = settings_of(world, &first).await;
    let second = replace(world, &first, &metadata()).await.ok();
    let kept = settings_of(world, &second).await;
    // The operator vouched for the app as it was.
    assert!(given.first_party && !kept.first_party);
    let expected = ClientSettings {
        first_party: false,
        ..given
    };
    assert_eq!(format!("{kept:?}"), format!("{expected:?}"));
}

async fn an_app_stays_held_to_the_security_profile(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let key = SigningKey::generate(Alg::Es256, None).unwrap();
    let mut strong = metadata();
    strong["token_endpoint_auth_method"] = json!("private_key_jwt");
    strong["jwks"] = json!(JwkSet::new(vec![key.public().clone()]));
    strong["id_token_signed_response_alg"] = json!("ES256");
    strong["userinfo_signed_response_alg"] = json!("ES256");
    strong["token_endpoint_auth_signing_alg"] = json!("ES256");
    let first = told(&register(world, Some(&token), &strong).await);
    let fapi2 = SecurityProfile::Fapi2;
    operator_sets(world, &first, |it| it.security_profile = fapi2).await;
    for (name, weaker) in [
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("id_token_signed_response_alg", json!("RS256")),
        ("userinfo_signed_response_alg", json!("RS256")),
    ] {
        let mut metadata = strong.clone();
        metadata[name] = weaker;
        let refused = replace(world, &first, &metadata).await;
        refused.expect(400, "invalid_client_metadata");
    }
    let second = replace(world, &first, &strong).await.ok();
    assert_eq!(second["require_pushed_authorization_requests"], true);
    assert_eq!(second["dpop_bound_access_tokens"], true);
    let settings = settings_of(world, &second).await;
    assert_eq!(settings.security_profile, SecurityProfile::Fapi2);
    assert!(settings.require_pkce);
}

async fn people_are_asked_again_about_an_app_that_goes_elsewhere(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let first = told(&register(world, Some(&token), &metadata()).await);
    let browser = world.browser();
    app(world, &first).sign_in(&browser, world.alice()).await;
    let silent = async |told: &Value, redirect: &str| {
        let changes = [("prompt", "none"), ("redirect_uri", redirect)];
        let pending = app(world, told).begin_authorization(&changes);
        let back = browser.open(&pending.url).await.away();
        parameter(&back, "error")
    };
    let asked = Some("consent_required".to_owned());
    assert_eq!(silent(&first, REDIRECT).await, None);
    // What else it says of itself was no reason to trust it.
    let mut change = metadata();
    change["post_logout_redirect_uris"] = json!(["https://app.example.org/bye"]);
    let mut now = replace(world, &first, &change).await.ok();
    assert_eq!(silent(&now, REDIRECT).await, None);

    let elsewhere = "https://elsewhere.example.org/callback";
    change["redirect_uris"] = json!([REDIRECT, elsewhere]);
    now = replace(world, &now, &change).await.ok();
    for redirect in [REDIRECT, elsewhere] {
        assert_eq!(silent(&now, redirect).await, asked, "{redirect}");
    }
    let again = app(world, &now).begin_authorization(&[("login_hint", "alice.test")]);
    let page = browser.open(&again.url).await;
    browser.allow(&page).await;
    assert_eq!(silent(&now, REDIRECT).await, None);
    // In another order they are the same.
    change["redirect_uris"] = json!([elsewhere, REDIRECT]);
    now = replace(world, &now, &change).await.ok();
    for redirect in [REDIRECT, elsewhere] {
        assert_eq!(silent(&now, redirect).await, None, "{redirect}");
    }
    change["client_name"] = json!("Somebody Else");
    now = replace(world, &now, &change).await.ok();
    assert_eq!(silent(&now, REDIRECT).await, asked);
}

async fn an_app_that_deletes_itself_leaves_no_token_alive(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 1).await;
    let told = told(&register(world, Some(&token), &metadata()).await);
    let app = app(world, &told);
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    app.userinfo(&tokens.access).await.ok();
    let url = text(&told, "registration_client_uri");
    let own = text(&told, "registration_access_token");
    let deleted = send(world, Method::DELETE, url, Some(own), None).await;
    assert_eq!((deleted.status.as_u16(), deleted.text()), (204, ""));
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    app.refresh(&tokens.refresh)
        .await
        .expect(401, "invalid_client");
    for method in [Method::GET, Method::DELETE] {
        let again = send(world, method, url, Some(own), None).await;
        again.expect(401, "invalid_token");
    }
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
    let events = world.audit(AuditKind::ClientRegistrationDeleted).await;
    assert_eq!(events.len(), 1);
}

async fn a_change_whose_answer_was_lost_is_sent_again_and_gives_the_same_token(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 2).await;
    for keeps_secret in [true, false] {
        let first = told(&register(world, Some(&token), &metadata()).await);
        let url = text(&first, "registration_client_uri");
        let own = text(&first, "registration_access_token");
        let mut change = metadata();
        change["client_id"] = first["client_id"].clone();
        if keeps_secret {
            change["client_secret"] = first["client_secret"].clone();
        }
        let put = async |token: &str, change: &Value| {
            send(world, Method::PUT, url, Some(token), Some(change)).await
        };
        let lost = put(own, &change).await.ok();
        world.pass(Duration::from_secs(50));
        // Whoever else has the token that is spent does not know what was sent with it.
        let mut other = change.clone();
        other["client_name"] = json!("Somebody Else");
        put(own, &other).await.expect(401, "invalid_token");
        let again = put(own, &change).await.ok();
        let next = text(&again, "registration_access_token");
        assert_eq!(next, text(&lost, "registration_access_token"));
        assert_eq!(keeps_secret, again["client_secret"].is_null());
        let known = if keeps_secret { &first } else { &again };
        let proven = app(world, known).revoke("unknown").await;
        assert_eq!(proven.status, 200, "{keeps_secret}");
        // Once it is used, the first token is two changes ago.
        let later = text(&put(next, &change).await.ok(), "registration_access_token").to_owned();
        put(own, &change).await.expect(401, "invalid_token");
        let repeated = put(next, &change).await.ok();
        assert_eq!(text(&repeated, "registration_access_token"), later);
        // A minute later nobody waits for that answer.
        world.pass(Duration::from_secs(61));
        put(next, &change).await.expect(401, "invalid_token");
        // What the operator changes is no change of the app's.
        world.pass(Duration::from_mins(2));
        operator_sets(world, &first, |it| it.claims_in_id_token = true).await;
        put(next, &change).await.expect(401, "invalid_token");
        let read = send(world, Method::GET, url, Some(&later), None).await;
        assert_eq!(read.status, 200);
    }
}

async fn nobody_learns_of_registrations_of_others(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 3).await;
    let one = told(&register(world, Some(&token), &metadata()).await);
    let other = told(&register(world, Some(&token), &metadata()).await);
    let operators = world.app().await;
    let own = text(&one, "registration_access_token");
    let before = world.state().await;
    let mut change = metadata();
    change["client_id"] = other["client_id"].clone();
    let mut answers = Vec::new();
    for (id, token) in [
        (text(&other, "client_id"), Some(own)),
        (operators.id.as_str(), Some(own)),
        ("unknown", Some(own)),
        ("%2e%2e", Some(own)),
        (text(&one, "client_id"), Some(token.as_str())),
        (text(&one, "client_id"), Some("nonsense")),
        (text(&one, "client_id"), operators.secret.as_deref()),
    ] {
        let url = format!("{BASE}/oauth/clients/{id}");
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let body = (method == Method::PUT).then_some(&change);
            let answer = send(world, method, &url, token, body).await;
            answer.expect(401, "invalid_token");
            answers.push(answer.text().to_owned());
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "all are alike: {answers:?}");
    let url = format!("{BASE}/oauth/clients/{}", text(&one, "client_id"));
    let nothing = send(world, Method::GET, &url, None, None).await;
    nothing.expect(401, "invalid_token");
    let secret = text(&one, "client_secret");
    let basic = basic_credential(text(&one, "client_id"), secret);
    let request = Request::get(&url).header(AUTHORIZATION, basic);
    let answer = world.send(request.body(Bytes::new()).unwrap()).await;
    answer.expect(401, "invalid_token");
    assert_eq!(world.state().await, before);
}

async fn an_app_that_nobody_uses_is_forgotten(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 2).await;
    let used = told(&register(world, Some(&token), &metadata()).await);
    let unused = told(&register(world, Some(&token), &metadata()).await);
    let tokens = app(world, &used)
        .sign_in(&world.browser(), world.alice())
        .await;
    let storage = world.aip().app.server.storage.clone();
    let days = |days: u64| Duration::from_hours(days * 24);
    let forget = async || {
        let now = world.clock.now();
        storage.delete_unused_clients(now, 10).await.unwrap()
    };
    world.pass(days(29));
    assert_eq!(forget().await, 0);
    world.pass(days(2));
    assert_eq!(forget().await, 1);
    let url = text(&unused, "registration_client_uri");
    let own = text(&unused, "registration_access_token");
    let gone = send(world, Method::GET, url, Some(own), None).await;
    gone.expect(401, "invalid_token");
    let url = text(&used, "registration_client_uri");
    let own = text(&used, "registration_access_token");
    send(world, Method::GET, url, Some(own), None).await.ok();
    Tokens::of(&app(world, &used).refresh(&tokens.refresh).await);
}
