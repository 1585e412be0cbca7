//! The parameters of OpenID Connect at the authorization endpoint: whom the app means, what it wants
//! to be told, and how far that is possible.

use std::time::Duration;

use aip_base::Clock as _;
use aip_sandbox::{Document, Lie};
use aip_storage::account::Account;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use crate::app::{App, PendingAuthorization, SCOPE, Tokens};
use crate::browser::Browser;
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    an_id_token_says_whom_the_app_means_even_after_its_end,
    an_id_token_of_somebody_else_lets_nobody_in,
    an_id_token_hint_that_is_not_this_apps_own_is_refused,
    claims_are_told_where_they_were_asked_for,
    an_acr_is_reported_as_it_is_and_refused_where_it_must_be_another,
    an_essential_auth_time_makes_the_person_authenticate,
    a_sub_that_was_asked_for_by_value_is_the_only_one_accepted,
    claims_that_cannot_be_read_are_refused,
    the_parameters_work_in_a_pushed_request_too,
    an_account_without_a_handle_is_named_by_its_did,
    languages_and_displays_are_accepted,
    prompt_create_goes_to_servers_that_know_it,
);

const NONE: (&str, &str) = ("prompt", "none");

async fn redeem(app: &App<'_>, pending: &PendingAuthorization, back: &Url) -> (Tokens, Value) {
    let tokens = Tokens::of(&app.redeem(pending, &pending.code(back)).await);
    let claims = verified_claims(app.world, tokens.id_token()).await;
    (tokens, claims)
}

/// A request that allows no page, and what the app is told.
async fn silently(
    app: &App<'_>,
    browser: &Browser<'_>,
    changes: &[(&str, &str)],
) -> (PendingAuthorization, Url) {
    let pending = app.begin_authorization(&[&[NONE], changes].concat());
    let back = browser.open(&pending.url).await.away();
    (pending, back)
}

async fn an_id_token_says_whom_the_app_means_even_after_its_end(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let alice = app.sign_in(&browser, world.alice()).await;
    let bob = app.sign_in(&browser, world.bob()).await;
    let (pending, back) = silently(&app, &browser, &[]).await;
    pending.refused(&back, "account_selection_required");
    for after in [Duration::ZERO, Duration::from_mins(30)] {
        world.pass(after);
        for (tokens, person) in [(&alice, world.alice()), (&bob, world.bob())] {
            let hint = [("id_token_hint", tokens.id_token())];
            let (pending, back) = silently(&app, &browser, &hint).await;
            let (_, claims) = redeem(&app, &pending, &back).await;
            assert_eq!(claims["sub"], person.did.as_str());
        }
    }
}

async fn an_id_token_of_somebody_else_lets_nobody_in(world: &World) {
    let app = world.app().await;
    let alice = app.sign_in(&world.browser(), world.alice()).await;
    let browser = world.browser();
    app.sign_in(&browser, world.bob()).await;
    let hint = ("id_token_hint", alice.id_token());
    let (pending, back) = silently(&app, &browser, &[hint]).await;
    pending.refused(&back, "login_required");

    // With a page, the account is filled in; who signs in as another one is not let in.
    let pending = app.begin_authorization(&[hint]);
    let login = browser.open(&pending.url).await;
    let alices = world.alice().did.as_str();
    assert_eq!(login.form("login").field("subject"), Some(alices));
    let before = world.texts("SELECT id FROM grants").await.len();
    let back = browser.sign_in(&login, world.bob()).await.away();
    pending.refused(&back, "login_required");
    assert_eq!(world.texts("SELECT id FROM grants").await.len(), before);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    let back = browser.allow(&page).await;
    let (_, claims) = redeem(&app, &pending, &back).await;
    assert_eq!(claims["sub"], alices);
}

async fn an_id_token_hint_that_is_not_this_apps_own_is_refused(world: &World) {
    let (app, other) = (world.app().await, world.app().await);
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    let others = other.sign_in(&browser, world.alice()).await;
    let parts: Vec<&str> = tokens.id_token().split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        panic!("{parts:?}");
    };
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["sub"] = json!(world.bob().did.as_str());
    let forged = URL_SAFE_NO_PAD.encode(claims.to_string());
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let before = world.dump().await;
    for hint in [
        others.id_token(),
        &format!("{header}.{forged}.{signature}"),
        &format!("{unsigned}.{payload}."),
        &tokens.access,
        "garbage",
        &"x".repeat(10_000),
    ] {
        for prompt in [NONE, ("prompt", "login")] {
            let pending = app.begin_authorization(&[prompt, ("id_token_hint", hint)]);
            let back = browser.open(&pending.url).await.away();
            let told = pending.refused(&back, "invalid_request");
            assert!(told.contains("id_token_hint"), "{told}");
        }
    }
    assert_eq!(world.dump().await, before, "nothing was stored");
}

async fn claims_are_told_where_they_were_asked_for(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let wish = json!({
        "userinfo": { "name": { "essential": true }, "email": null, "picture": null },
        "id_token": { "preferred_username": null, "birthdate": { "essential": true } },
        "unknown": 1,
    });
    let wish = wish.to_string();
    let pending = app.begin_authorization(&[("scope", "openid atproto"), ("claims", &wish)]);
    let login = browser.open(&pending.url).await;
    let back = browser
        .allow(&browser.sign_in(&login, world.alice()).await)
        .await;
    let (tokens, claims) = redeem(&app, &pending, &back).await;
    let (did, handle) = (world.alice().did.as_str(), world.alice().handle.as_str());
    assert_eq!(claims["preferred_username"], handle);
    for absent in ["name", "acr", "birthdate", "email"] {
        assert!(claims.get(absent).is_none(), "{absent}: {claims}");
    }
    // The address needs its scope, which the PDS is asked for.
    let expected = json!({ "sub": did, "did": did, "name": handle });
    assert_eq!(app.userinfo(&tokens.access).await.ok(), expected);

    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    let claims = verified_claims(world, renewed.id_token()).await;
    assert_eq!(claims["preferred_username"], handle);
    assert_eq!(app.userinfo(&renewed.access).await.ok(), expected);

    let wish = json!({ "id_token": { "email": null } }).to_string();
    let scope = format!("{SCOPE} email");
    let pending = app.begin_authorization(&[("scope", &scope), ("claims", &wish)]);
    let login = browser.open(&pending.url).await;
    let back = browser
        .allow(&browser.sign_in(&login, world.alice()).await)
        .await;
    let (_, claims) = redeem(&app, &pending, &back).await;
    assert_eq!(claims["email"], "alice-test@mail.test");
    assert!(claims.get("email_verified").is_none(), "{claims}");

    let document = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(document["claims_parameter_supported"], true);
    let supported = document["claims_supported"].as_array().unwrap();
    for claim in ["acr", "name", "preferred_username", "email"] {
        assert!(supported.contains(&json!(claim)), "{claim}");
    }
}

async fn an_acr_is_reported_as_it_is_and_refused_where_it_must_be_another(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let acr = |wish: &str| format!(r#"{{"id_token":{{"acr":{wish}}}}}"#);
    for asking in [
        ("acr_values", "2 1"),
        ("claims", acr("null").as_str()),
        ("claims", &acr(r#"{"values":["1","2"]}"#)),
        ("claims", &acr(r#"{"essential":true,"values":["1","0"]}"#)),
    ] {
        let (pending, back) = silently(&app, &browser, &[asking]).await;
        let (_, claims) = redeem(&app, &pending, &back).await;
        assert_eq!(claims["acr"], "0", "{asking:?}");
        assert!(claims.get("amr").is_none(), "{claims}");
    }
    let (pending, back) = silently(&app, &browser, &[]).await;
    let (_, claims) = redeem(&app, &pending, &back).await;
    assert!(claims.get("acr").is_none(), "{claims}");

    let before = world.dump().await;
    let must = acr(r#"{"essential":true,"value":"urn:mace:incommon:iap:silver"}"#);
    let pending = app.begin_authorization(&[("claims", &must)]);
    let back = browser.open(&pending.url).await.away();
    pending.refused(&back, "unmet_authentication_requirements");
    assert_eq!(world.dump().await, before);
    let document = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(document["acr_values_supported"], json!(["0"]));
}

async fn an_essential_auth_time_makes_the_person_authenticate(world: &World) {
    let app = world.app().await;
    let mut browser = world.browser();
    browser.remembered = true;
    app.sign_in(&browser, world.alice()).await;
    let wish = ("claims", r#"{"id_token":{"auth_time":{"essential":true}}}"#);
    let (pending, back) = silently(&app, &browser, &[wish]).await;
    pending.refused(&back, "login_required");

    world.pass(Duration::from_mins(5));
    let pending = app.begin_authorization(&[wish]);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    let back = if page.stayed() {
        browser.allow(&page).await
    } else {
        page.away()
    };
    let then = world.clock.now().as_secs();
    let (_, claims) = redeem(&app, &pending, &back).await;
    assert_eq!(claims["auth_time"], then);
    world.pass(Duration::from_hours(1));
    let (pending, back) = silently(&app, &browser, &[wish]).await;
    let (_, claims) = redeem(&app, &pending, &back).await;
    assert_eq!(claims["auth_time"], then, "however long ago");
}

async fn a_sub_that_was_asked_for_by_value_is_the_only_one_accepted(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    let (alice, bob) = (world.alice().did.as_str(), world.bob().did.as_str());
    let sub = |wish: Value| json!({ "id_token": { "sub": wish } }).to_string();
    for (wish, is_let_in) in [
        (json!({ "value": alice }), true),
        (json!({ "values": [bob, alice] }), true),
        (json!({ "value": bob }), false),
        (json!({ "values": [] }), false),
    ] {
        let claims = sub(wish.clone());
        let (pending, back) = silently(&app, &browser, &[("claims", &claims)]).await;
        if is_let_in {
            redeem(&app, &pending, &back).await;
        } else {
            let error = if wish.get("values").is_some() {
                "invalid_request"
            } else {
                "login_required"
            };
            pending.refused(&back, error);
        }
    }
    let bobs = sub(json!({ "value": bob }));
    let both = [
        ("claims", bobs.as_str()),
        ("id_token_hint", tokens.id_token()),
    ];
    let (pending, back) = silently(&app, &browser, &both).await;
    let told = pending.refused(&back, "invalid_request");
    assert!(told.contains("no account fits"), "{told}");
}

async fn claims_that_cannot_be_read_are_refused(world: &World) {
    let app = world.app().await;
    let before = world.dump().await;
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(8 * 1024));
    let deep = "[".repeat(2000);
    for (name, value) in [
        ("claims", "name"),
        ("claims", r#"{"userinfo":{"name":7}}"#),
        ("claims", r#"{"id_token":{"sub":{"value":"alice"}}}"#),
        ("claims", &long),
        ("claims", &deep),
        ("acr_values", &"1 ".repeat(5000)),
    ] {
        let pending = app.begin_authorization(&[(name, value)]);
        let back = world.browser().open(&pending.url).await.away();
        let told = pending.refused(&back, "invalid_request");
        assert!(told.contains(name), "{told}");
    }
    assert_eq!(world.dump().await, before, "nothing was stored");
}

async fn the_parameters_work_in_a_pushed_request_too(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    let claims = r#"{"id_token":{"acr":null,"name":null}}"#;
    let changes = [
        NONE,
        ("id_token_hint", tokens.id_token()),
        ("claims", claims),
    ];
    let pending = app.begin_authorization(&changes);
    let form: Vec<_> = Url::parse(&pending.url)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect();
    let form: Vec<_> = form
        .iter()
        .filter(|(name, _)| name != "client_id")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let pushed = app.post("/oauth/par", &form).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let request_uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
    world.secrets.learn("a request_uri", &request_uri);
    let query = [
        ("client_id", app.id.as_str()),
        ("request_uri", &request_uri),
    ];
    let query = serde_urlencoded::to_string(query).unwrap();
    let url = format!("{}/oauth/authorize?{query}", crate::world::BASE);
    let back = browser.open(&url).await.away();
    let (_, claims) = redeem(&app, &pending, &back).await;
    assert_eq!(claims["acr"], "0");
    assert_eq!(claims["name"], world.alice().handle.as_str());

    let mut form = form;
    form.retain(|(name, _)| *name != "claims");
    form.push(("claims", "{"));
    app.post("/oauth/par", &form)
        .await
        .expect(400, "invalid_request");
}

async fn an_account_without_a_handle_is_named_by_its_did(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let storage = world.aip().app.server.storage.clone();
    let known = storage.account(&world.alice().did).await.unwrap().unwrap();
    let without = Account {
        handle: None,
        ..known
    };
    storage.put_account(&without).await.unwrap();
    let claims = app.userinfo(&tokens.access).await.ok();
    let did = world.alice().did.as_str();
    let expected = json!({
        "sub": did, "did": did, "name": did, "preferred_username": "handle.invalid",
        "pds_endpoint": world.pds().origin(),
    });
    assert_eq!(claims, expected);
}

async fn languages_and_displays_are_accepted(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    for accepted in [
        ("ui_locales", "fr-CA fr en"),
        ("claims_locales", "de"),
        ("display", "popup"),
        ("display", "hologram"),
    ] {
        let (pending, back) = silently(&app, &browser, &[accepted]).await;
        pending.code(&back);
    }
    let document = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(document["display_values_supported"], json!(["page"]));
    assert_eq!(document["ui_locales_supported"], json!(["en"]));
}

async fn prompt_create_goes_to_servers_that_know_it(world: &World) {
    let app = world.app().await;
    let document = world.get("/.well-known/openid-configuration").await.ok();
    let prompts = document["prompt_values_supported"].as_array().unwrap();
    assert!(prompts.contains(&json!("create")));
    let pushed = async || {
        let browser = world.browser();
        let login = browser
            .open(&app.begin_authorization(&[("prompt", "create")]).url)
            .await;
        let handle = world.alice().handle.as_str();
        browser.sign_in_as(&login, handle).await.away();
        let requests = world.pds().requests_to(aip_sandbox::Endpoint::Par);
        let form = requests.last().unwrap().form();
        form.get("prompt").map(str::to_owned)
    };
    assert_eq!(pushed().await.as_deref(), Some("create"));
    let known = json!(["none", "login"]);
    let lie = Lie::set(Document::ServerMetadata, "prompt_values_supported", known);
    world.pds().lie(lie);
    world.restart().await;
    assert_eq!(pushed().await, None);
}
