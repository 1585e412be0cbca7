//! Signing in at the addresses of AIP v1, and what is not there any more.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::{
    HOME, exchange, get, post, send_form, sign_in, signed_in, switch_on, v1_app, v1_app_with,
};
use crate::app::{App, REDIRECT, SCOPE, Tokens, s256};
use crate::browser::parameter;
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    without_the_switch_there_is_nothing_of_v1,
    a_form_of_v1_ends_with_a_code_at_its_destination,
    a_link_of_v1_leads_to_the_sign_in_page_and_to_the_configured_destination,
    a_destination_that_is_not_registered_gets_nobody,
    a_token_in_a_url_is_none_and_what_began_at_v1_is_over,
);

async fn without_the_switch_there_is_nothing_of_v1(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await;
    for path in [
        "/auth/atproto",
        "/auth/atproto/callback",
        "/auth/atproto/refresh",
        "/auth/atproto/debug",
        "/auth/atproto/client-metadata.json",
        "/internal/api/me",
        "/internal/api/resolve?subject=alice.test",
        "/internal/api/permissions",
        "/internal/api/app_password",
        "/internal/api/credentials",
    ] {
        get(&app, &tokens.access, path, &[])
            .await
            .expect(404, "not_found");
        post(&app, &tokens.access, path, "{}")
            .await
            .expect(404, "not_found");
    }
    // Its headers mean nothing.
    let headers = [
        ("x-subject", world.bob().did.as_str()),
        ("x-service", "evil.example"),
    ];
    let path = format!("/xrpc/{GET_SESSION}");
    let told = get(&app, &tokens.access, &path, &headers).await.ok();
    assert_eq!(told["did"], world.alice().did.as_str());
    assert_eq!(world.state().await, before);
    for document in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource",
    ] {
        let document = world.get(document).await;
        assert!(!document.text().contains("/auth/atproto"));
        assert!(!document.text().contains("/internal/"));
    }
}

async fn a_form_of_v1_ends_with_a_code_at_its_destination(world: &World) {
    let app = v1_app(world).await;
    let form = [
        ("subject", world.alice().handle.as_str()),
        ("destination", REDIRECT),
    ];
    let back = sign_in(world, &form).await;
    assert!(back.as_str().starts_with(REDIRECT), "{back}");
    let mut names: Vec<_> = back.query_pairs().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["code", "iss"], "no token is in a URL");
    assert_eq!(parameter(&back, "iss").as_deref(), Some(BASE));

    // The code is the client's, for that destination, and good once.
    let other = world.app().await;
    exchange(&other, &back, REDIRECT, &[])
        .await
        .expect(400, "invalid_grant");
    let back = sign_in(world, &form).await;
    exchange(&app, &back, HOME, &[])
        .await
        .expect(400, "invalid_grant");
    let back = sign_in(world, &form).await;
    let tokens = Tokens::of(&exchange(&app, &back, REDIRECT, &[]).await);
    let me = get(&app, &tokens.access, "/internal/api/me", &[])
        .await
        .ok();
    assert_eq!(me["did"], world.alice().did.as_str());
    // It ends, and is renewed as any token of an app is.
    world.pass(Duration::from_hours(25));
    get(&app, &tokens.access, "/internal/api/me", &[])
        .await
        .expect(401, "invalid_token");
    let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    get(&app, &tokens.access, "/internal/api/me", &[])
        .await
        .ok();
    // A second exchange is theft.
    let form = [
        ("subject", world.bob().handle.as_str()),
        ("destination", REDIRECT),
        ("state", "of-this-browser"),
        ("code_challenge", &*s256(&"v".repeat(43))),
        ("code_challenge_method", "S256"),
    ];
    let browser = world.browser();
    let at_pds = send_form(&browser, &form).await;
    let callback = browser.at_pds(&at_pds, world.bob()).await;
    let consent = browser.open(callback.as_str()).await;
    let back = browser.allow(&consent).await;
    // What an app of OAuth protects itself with is passed on.
    assert_eq!(
        parameter(&back, "state").as_deref(),
        Some("of-this-browser")
    );
    let verifier = "v".repeat(43);
    let verifier = [("code_verifier", &*verifier)];
    let bobs = Tokens::of(&exchange(&app, &back, REDIRECT, &verifier).await);
    exchange(&app, &back, REDIRECT, &verifier)
        .await
        .expect(400, "invalid_grant");
    get(&app, &bobs.access, "/internal/api/me", &[])
        .await
        .expect(401, "invalid_token");
}

async fn a_link_of_v1_leads_to_the_sign_in_page_and_to_the_configured_destination(world: &World) {
    let app = v1_app_with(world, SCOPE, |names| {
        names.destination = Some(HOME.to_owned());
        names.default_destination = Some(REDIRECT.to_owned());
    });
    let app = app.await;
    let browser = world.browser();
    let login = browser.open(&format!("{BASE}/auth/atproto")).await;
    assert!(login.has_form("login"), "{login:?}");
    let consent = browser.sign_in(&login, world.alice()).await;
    let back = browser.allow(&consent).await;
    assert!(back.as_str().starts_with(HOME), "{back}");
    exchange(&app, &back, HOME, &[]).await.ok();
    // A form has a destination of its own, and what it names comes first.
    let alice = ("subject", world.alice().handle.as_str());
    let back = sign_in(world, &[alice]).await;
    assert!(back.as_str().starts_with(REDIRECT), "{back}");
    let back = sign_in(world, &[alice, ("destination", HOME)]).await;
    assert!(back.as_str().starts_with(HOME), "{back}");
    // Nobody in particular, and somebody who does not exist: the sign-in page.
    for form in [
        &[("destination", HOME)][..],
        &[("subject", "no one"), ("destination", HOME)],
    ] {
        let page = send_form(&world.browser(), form).await;
        assert!(page.stayed() && page.has_form("login"), "{page:?}");
    }
    // What another site says is shown before anybody's server is asked: browsers say of a redirect where
    // it began (Fetch Metadata Request Headers §2.4).
    let subject = world.alice().handle.as_str();
    let query = serde_urlencoded::to_string([("subject", subject)]).unwrap();
    let first = world.get(&format!("/auth/atproto?{query}")).await;
    let next = first.location(&Url::parse(BASE).unwrap()).unwrap();
    let page = world.browser().open(next.as_str()).await;
    assert!(page.stayed());
    assert_eq!(page.form("login").field("subject"), Some(subject));
    // Whoever gives up is told to the destination as an error of OAuth.
    let browser = world.browser();
    let login = browser.open(&format!("{BASE}/auth/atproto")).await;
    let consent = browser.sign_in(&login, world.bob()).await;
    let back = browser.deny(&consent).await;
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
}

async fn a_destination_that_is_not_registered_gets_nobody(world: &World) {
    let app = v1_app_with(world, SCOPE, |names| {
        names.origins = vec!["https://app.example.org".parse().unwrap()];
    });
    let _app = app.await;
    let before = world.state().await;
    let asked = world.pds().requests().len();
    let browser = world.browser();
    for destination in [
        "https://evil.example/",
        "https://app.example.org/",
        "https://app.example.org/callback/",
        "https://app.example.org/callback?x=1",
        "https://app.example.org/callback#x",
        "https://app.example.org.evil.example/callback",
        "https://app.example.org@evil.example/callback",
        "https://APP.example.org/callback",
        "http://app.example.org/callback",
        "//app.example.org/callback",
        "javascript:alert(1)",
        "/account",
    ] {
        let form = [
            ("subject", world.alice().handle.as_str()),
            ("destination", destination),
        ];
        let page = send_form(&browser, &form).await;
        page.answer
            .expect_page(400, "not registered")
            .logged("no redirect URI of the client");
        let query = serde_urlencoded::to_string(form).unwrap();
        let page = browser.open(&format!("{BASE}/auth/atproto?{query}")).await;
        page.answer.expect_page(400, "not registered");
    }
    let page = send_form(&browser, &[("subject", "alice.test")]).await;
    page.answer.expect_page(400, "`destination` is missing");
    let long = "a".repeat(8000);
    let form = [("subject", &*long), ("destination", REDIRECT)];
    send_form(&browser, &form)
        .await
        .answer
        .expect_page(400, "too long");
    let twice = [("destination", REDIRECT), ("destination", HOME)];
    let page = send_form(&browser, &twice).await;
    assert_eq!(page.answer.status, 400);
    assert_eq!(world.state().await, before, "nothing is stored");
    assert_eq!(world.pds().requests().len(), asked, "nobody is asked");

    // An origin that the operator does not name closes a registered address, too.
    let other = App::register(world, |settings| {
        settings.redirect_uris = vec![REDIRECT.parse().unwrap()];
        settings.require_pkce = false;
    });
    let id = other.await.id;
    switch_on(world, id, |names| {
        names.origins = vec!["https://other.example".parse().unwrap()];
    })
    .await;
    let page = send_form(&browser, &[("destination", REDIRECT)]).await;
    page.answer
        .expect_page(400, "not registered")
        .logged("compat.v1_origins");
    // A client that the operator has not registered is their affair, and is said in the log.
    switch_on(world, "nobody".parse().unwrap(), |_| {}).await;
    let page = send_form(&browser, &[("destination", REDIRECT)]).await;
    assert_eq!(page.answer.status, 500);
    page.answer.logged("aip clients create --id nobody");
}

async fn a_token_in_a_url_is_none_and_what_began_at_v1_is_over(world: &World) {
    let app = v1_app_with(world, SCOPE, |names| names.development = true).await;
    let tokens = signed_in(&app).await;
    let before = world.state().await;
    for path in [
        "/internal/api/me",
        "/auth/atproto/refresh",
        "/auth/atproto/debug",
    ] {
        let path = format!("{path}?auth_token=not-a-token-of-anybody");
        world.get(&path).await.expect(401, "invalid_token");
    }
    let debug = get(&app, &tokens.access, "/auth/atproto/debug", &[]).await;
    let told = debug.ok();
    assert_eq!(told["auth_token"]["sub"], world.alice().did.as_str());
    assert_eq!(told["auth_token"]["client_id"], app.id.as_str());
    assert_eq!(told["oauth_session"]["state"], "active");
    assert_eq!(told["handle"]["handle"], world.alice().handle.as_str());

    let page = world
        .browser()
        .open(&format!(
            "{BASE}/auth/atproto/callback?state=x&iss=https://pds.example&code=y"
        ))
        .await;
    page.answer.expect_page(400, "start again");
    let document = world.get("/auth/atproto/client-metadata.json").await.ok();
    let url = format!("{BASE}/auth/atproto/client-metadata.json");
    assert_eq!(document["client_id"], url);
    let callback = format!("{BASE}/auth/atproto/callback");
    assert_eq!(document["redirect_uris"], json!([callback]));
    assert_eq!(document["token_endpoint_auth_method"], "private_key_jwt");
    // AIP itself is another client of PDSs.
    let own = world.get("/oauth-client-metadata.json").await.ok();
    let callback = format!("{BASE}/oauth/atp/callback");
    assert_eq!(own["redirect_uris"], json!([callback]));
    assert_eq!(world.state().await, before);

    switch_on(world, app.id.clone(), |_| {}).await;
    let refused = get(&app, &tokens.access, "/auth/atproto/debug", &[]).await;
    refused.expect(404, "not_found");
}
