//! Apps that know people by pairwise subjects (OpenID Connect Core §8.1): the same in one sector, others
//! in another, and nothing that leads to the account.

use std::time::Duration;

use aip_oauth::client_registration::RegistrationMode;
use aip_oauth::registration::ClientSettings;
use aip_sandbox::{Document, Lie};
use aip_storage::client::{AccessTokenFormat, GrantType, GrantTypes};
use aip_storage::sector::Sector;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use url::Url;

use crate::app::{App, PendingAuthorization, REDIRECT, Tokens};
use crate::back_channel_logout::{sign_in_for, told_at};
use crate::browser::Browser;
use crate::client_documents::{ID, document, open, put, take_documents};
use crate::client_registration::{
    app, initial_token, may_register, metadata, register, send, told,
};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    apps_of_one_sector_know_a_person_by_one_identifier_and_others_by_another,
    nothing_that_an_app_with_pairwise_subjects_is_told_leads_to_the_account,
    whom_an_app_means_is_found_by_its_identifiers_and_not_by_accounts,
    a_device_learns_the_identifier_of_its_sector,
    an_app_registers_itself_with_its_sector_and_stays_in_it,
    the_sector_of_an_app_with_a_document_is_its_host,
);

const SCOPE: &str = "openid email offline_access";
const LIST: &str = "https://sector.example.net/redirects.json";
const HOST: &str = "app.example.org";
const TOLD_AT: &str = "https://app.example.org/back-channel";
const BYE: &str = "https://app.example.org/bye";
const REFUSED: &str = "insufficient_scope";

/// An app of that sector.
async fn app_of<'w>(
    world: &'w World,
    sector: &str,
    change: impl FnOnce(&mut ClientSettings),
) -> App<'w> {
    App::register(world, |settings| {
        settings.scope = SCOPE.parse().unwrap();
        settings.pairwise = Some(sector.parse().unwrap());
        change(settings);
    })
    .await
}

/// An app of a sector that is named by a document.
async fn app_of_list(world: &World) -> App<'_> {
    let list = json!(["https://other.example/cb", REDIRECT]);
    world.hosted.put(LIST, 200, list.to_string());
    app_of(world, LIST, |_| {}).await
}

async fn sub(world: &World, tokens: &Tokens) -> String {
    let claims = verified_claims(world, tokens.id_token()).await;
    claims["sub"].as_str().unwrap().to_owned()
}

fn is_pairwise(sub: &str) -> bool {
    sub.len() == 43 && URL_SAFE_NO_PAD.decode(sub).is_ok()
}

async fn apps_of_one_sector_know_a_person_by_one_identifier_and_others_by_another(world: &World) {
    let one = app_of(world, HOST, |settings| {
        settings.access_token_format = AccessTokenFormat::Jwt;
    })
    .await;
    let two = app_of(world, HOST, |_| {}).await;
    let other = app_of_list(world).await;
    assert_eq!(world.hosted.reads(LIST), 1);
    let browser = world.browser();
    let alices = one.sign_in_for(&browser, world.alice(), SCOPE).await;
    let alice = sub(world, &alices).await;
    assert!(is_pairwise(&alice), "{alice}");

    // Wherever it is told, and after a restart.
    world.restart().await;
    let renewed = Tokens::of(&one.refresh(&alices.refresh).await);
    assert_eq!(sub(world, &renewed).await, alice);
    assert_eq!(verified_claims(world, &renewed.access).await["sub"], alice);
    for token in [&renewed.access, &renewed.refresh] {
        assert_eq!(one.introspect(token).await.ok()["sub"], alice);
    }
    assert_eq!(one.userinfo(&renewed.access).await.ok()["sub"], alice);

    let again = two.sign_in_for(&browser, world.alice(), SCOPE).await;
    assert_eq!(sub(world, &again).await, alice);
    let elsewhere = other.sign_in_for(&browser, world.alice(), SCOPE).await;
    let elsewhere = sub(world, &elsewhere).await;
    let bob = two.sign_in_for(&world.browser(), world.bob(), SCOPE).await;
    let bob = sub(world, &bob).await;
    for different in [&elsewhere, &bob] {
        assert!(is_pairwise(different), "{different}");
        assert_ne!(*different, alice);
    }
    let public = world.app().await.sign_in(&browser, world.alice()).await;
    assert_eq!(sub(world, &public).await, world.alice().did.as_str());
    let document = world.get("/.well-known/openid-configuration").await.ok();
    let types = &document["subject_types_supported"];
    assert_eq!(*types, json!(["public", "pairwise"]));
}

/// A text with what is in its JWTs, or whatever else is base64url.
fn unpacked(text: &str) -> String {
    let mut all = text.to_owned();
    let is_base64url = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for part in text.split(|c: char| !is_base64url(c)) {
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(part) {
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    all
}

async fn nothing_that_an_app_with_pairwise_subjects_is_told_leads_to_the_account(world: &World) {
    world.hosted.put(TOLD_AT, 200, String::new());
    let alice = world.alice();
    let mut texts: Vec<(String, String)> = Vec::new();
    for format in [AccessTokenFormat::Opaque, AccessTokenFormat::Jwt] {
        let app = app_of(world, HOST, |settings| {
            settings.access_token_format = format;
            settings.claims_in_id_token = true;
            settings.backchannel_logout = told_at(TOLD_AT);
        })
        .await;
        let claims = json!({ "name": null, "preferred_username": null, "email": null });
        let claims = json!({ "id_token": claims, "userinfo": claims }).to_string();
        let browser = world.browser();
        let pending = app.begin_authorization(&[("scope", SCOPE), ("claims", &claims)]);
        let login = browser.open(&pending.url).await;
        let consent = browser.sign_in(&login, alice).await;
        let page = consent.answer.text();
        for words in [
            "Recognise you when you come back",
            "made for app.example.org alone",
            "neither your handle nor",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!page.contains("Know who you are"), "{page}");
        let back = browser.allow(&consent).await;
        let mut add = |what: &str, text: &str| texts.push((what.to_owned(), unpacked(text)));
        add("the redirect", back.as_str());
        let redeemed = app.redeem(&pending, &pending.code(&back)).await;
        add("the tokens", redeemed.text());
        let tokens = Tokens::of(&redeemed);
        let claims = verified_claims(world, tokens.id_token()).await;
        assert_eq!(claims["email"], "alice-test@mail.test");

        let who = app.userinfo(&tokens.access).await;
        add("userinfo", who.text());
        let expected = json!({ "sub": claims["sub"], "email": "alice-test@mail.test",
            "email_verified": false });
        assert_eq!(who.ok(), expected);
        for token in [&tokens.access, &tokens.refresh] {
            add("introspection", app.introspect(token).await.text());
        }
        for path in [
            "/api/atprotocol/session",
            "/api/atprotocol/session?access_token_type=best",
            "/api/atprotocol/app-password",
            "/api/atprotocol/resolve?subject=bob.test",
            "/xrpc/com.atproto.server.getSession",
            "/xrpc/com.atproto.identity.resolveHandle?handle=bob.test",
            "/xrpc/app.bsky.actor.getPreferences",
        ] {
            let call = app.call(&Method::GET, path, &tokens.access, &[], Bytes::new());
            let answer = call.await;
            answer.expect(403, REFUSED).logged("pairwise");
            add(path, answer.text());
        }
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let body = Bytes::from_static(b"app-password=abcd-efgh-ijkl-mnop");
        let path = "/api/atprotocol/app-password";
        let call = app.call(&Method::POST, path, &tokens.access, &form, body);
        call.await.expect(403, REFUSED);

        let renewed = app.refresh(&tokens.refresh).await;
        add("the renewed tokens", renewed.text());
        let hint = logout(&[("id_token_hint", tokens.id_token())]);
        browser.open(&hint).await;
        for body in world.hosted.received(TOLD_AT) {
            add("the logout token", &body);
        }
    }
    assert_eq!(world.hosted.received(TOLD_AT).len(), 2, "both were told");
    for (what, text) in &texts {
        for secret in [
            alice.did.as_str(),
            alice.handle.as_str(),
            world.pds().origin(),
        ] {
            assert!(!text.contains(secret), "{secret} in {what}: {text}");
        }
    }
    let told = |what: &str| texts.iter().filter(|(it, _)| it == what).count();
    assert_eq!(told("the tokens"), 2);

    // Nor does a sign-in that fails name the host.
    let app = app_of(world, HOST, |_| {}).await;
    let browser = world.browser();
    let lie = Lie::set(Document::TokenResponse, "scope", "transition:generic");
    world.pds().lie(lie);
    let pending = app.begin_authorization(&[("scope", SCOPE)]);
    let login = browser.open(&pending.url).await;
    let back = browser.sign_in(&login, alice).await.away();
    let words = pending.refused(&back, "server_error");
    assert_eq!(words, "The sign-in at the host of the account failed.");
    world.pds().tell_truth();

    // Nobody is offered to give such an app an app password either.
    let browser = world.browser();
    let app = app_of(world, HOST, |_| {}).await;
    app.sign_in_for(&browser, alice, SCOPE).await;
    let page = browser.open(&format!("{BASE}/account")).await;
    assert!(!page.answer.text().contains("app-password"), "{page:?}");
}

fn logout(params: &[(&str, &str)]) -> String {
    let query = serde_urlencoded::to_string(params).unwrap();
    format!("{BASE}/oauth/logout?{query}")
}

/// A request that allows no page, and what the app is told.
async fn silently(
    app: &App<'_>,
    browser: &Browser<'_>,
    changes: &[(&str, &str)],
) -> (PendingAuthorization, Url) {
    let usual = [("prompt", "none"), ("scope", SCOPE)];
    let pending = app.begin_authorization(&[&usual, changes].concat());
    let back = browser.open(&pending.url).await.away();
    (pending, back)
}

async fn whom_an_app_means_is_found_by_its_identifiers_and_not_by_accounts(world: &World) {
    let app = app_of(world, HOST, |settings| {
        settings.post_logout_redirect_uris = vec![BYE.parse().unwrap()];
    })
    .await;
    let other = app_of_list(world).await;
    let browser = world.browser();
    let alice = app.sign_in_for(&browser, world.alice(), SCOPE).await;
    let bob = app.sign_in_for(&browser, world.bob(), SCOPE).await;
    let others = other.sign_in_for(&browser, world.bob(), SCOPE).await;
    let (alices, bobs) = (sub(world, &alice).await, sub(world, &bob).await);
    let wish = |subs: &[&str]| json!({ "id_token": { "sub": { "values": subs } } }).to_string();
    let (pending, back) = silently(&app, &browser, &[]).await;
    pending.refused(&back, "account_selection_required");

    // By a hint, and by value.
    for (tokens, expected) in [(&alice, &alices), (&bob, &bobs)] {
        let by_value = wish(&[expected]);
        for named in [
            ("id_token_hint", tokens.id_token()),
            ("claims", by_value.as_str()),
        ] {
            let (pending, back) = silently(&app, &browser, &[named]).await;
            let redeemed = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
            assert_eq!(sub(world, &redeemed).await, *expected);
        }
    }
    let (pending, back) = silently(&app, &browser, &[("claims", &wish(&[&alices, &bobs]))]).await;
    pending.refused(&back, "account_selection_required");

    // Of somebody who is not signed in here nobody is let in, with a page or without.
    let elsewhere = world.browser();
    app.sign_in_for(&elsewhere, world.alice(), SCOPE).await;
    let hint = ("id_token_hint", bob.id_token());
    let (pending, back) = silently(&app, &elsewhere, &[hint]).await;
    pending.refused(&back, "login_required");
    let pending = app.begin_authorization(&[hint, ("scope", SCOPE)]);
    let login = elsewhere.open(&pending.url).await;
    let nobody = login
        .form("login")
        .field("subject")
        .unwrap_or_default()
        .to_owned();
    assert_eq!(nobody, "", "an identifier leads nobody to their account");
    let back = elsewhere.sign_in(&login, world.alice()).await.away();
    pending.refused(&back, "login_required");

    // Accounts, and identifiers of others, are nobody whom the app knows.
    let other_sub = sub(world, &others).await;
    for (named, error) in [
        (wish(&[world.alice().did.as_str()]), "invalid_request"),
        (
            wish(&[&alices, world.alice().did.as_str()]),
            "invalid_request",
        ),
        (wish(&["alice.test"]), "invalid_request"),
        (wish(&[&other_sub]), "login_required"),
    ] {
        let (pending, back) = silently(&app, &browser, &[("claims", &named)]).await;
        pending.refused(&back, error);
    }
    let (pending, back) = silently(&app, &browser, &[("id_token_hint", others.id_token())]).await;
    pending.refused(&back, "invalid_request");
    let public = world.app().await;
    public.sign_in(&elsewhere, world.alice()).await;
    let pending = public.begin_authorization(&[("prompt", "none"), ("claims", &wish(&[&alices]))]);
    let back = elsewhere.open(&pending.url).await.away();
    pending.refused(&back, "invalid_request");

    // Whoever is let in, a hint at an account makes no difference, so that it tells nothing.
    for hint in [
        "alice.test",
        "bob.test",
        "nobody.test",
        world.bob().did.as_str(),
    ] {
        let (pending, back) = silently(&app, &elsewhere, &[("login_hint", hint)]).await;
        pending.code(&back);
        let pending =
            app.begin_authorization(&[("scope", SCOPE), ("login_hint", hint), ("prompt", "login")]);
        let page = world.browser().open(&pending.url).await;
        assert_eq!(page.form("login").field("subject"), Some(hint));
    }

    // Who is to be signed out.
    let url = logout(&[
        ("id_token_hint", bob.id_token()),
        ("post_logout_redirect_uri", BYE),
    ]);
    assert!(!browser.open(&url).await.stayed());
    let (pending, back) = silently(&app, &browser, &[]).await;
    let left = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    assert_eq!(sub(world, &left).await, alices);
    assert!(
        browser.open(&url).await.has_form("logout"),
        "it is asked about"
    );
}

async fn a_device_learns_the_identifier_of_its_sector(world: &World) {
    let grant = GrantType::DeviceCode;
    let app = app_of(world, HOST, |settings| {
        let grants = vec![GrantType::AuthorizationCode, GrantType::RefreshToken, grant];
        settings.grant_types = GrantTypes::try_from(grants).unwrap();
    })
    .await;
    let asked = app.post("/oauth/device_authorization", &[("scope", SCOPE)]);
    let asked = asked.await.ok();
    let code = asked["device_code"].as_str().unwrap();
    world.secrets.learn("a device code", code);
    let browser = world.browser();
    let page = browser.open(&format!("{BASE}/device")).await;
    let form = page.form("device");
    let typed = form.set("user_code", asked["user_code"].as_str().unwrap());
    let login = browser.submit(typed, "continue").await;
    let consent = browser.sign_in(&login, world.alice()).await;
    browser.submit(consent.form("consent"), "allow").await;
    world.pass(Duration::from_secs(5));
    let form = [("grant_type", grant.as_str()), ("device_code", code)];
    let redeemed = app.token(&form).await.ok();
    let claims = verified_claims(world, redeemed["id_token"].as_str().unwrap()).await;
    let in_browser = sign_in_for(&app, &browser, world.alice(), SCOPE).await;
    assert_eq!(claims["sub"], sub(world, &in_browser).await);
    assert!(is_pairwise(claims["sub"].as_str().unwrap()));
}

fn merged(mut metadata: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        metadata[name] = value.clone();
    }
    metadata
}

#[allow(
    clippy::too_many_lines,
    reason = "most of it is a table, and a table is read in one piece"
)]
async fn an_app_registers_itself_with_its_sector_and_stays_in_it(world: &World) {
    may_register(world, RegistrationMode::Token).await;
    let token = initial_token(world, 3).await;
    let usual = merged(
        metadata(),
        &json!({ "scope": SCOPE, "subject_type": "pairwise" }),
    );
    let broken = "https://broken.example.net/list.json";
    let html = "https://html.example.net/list.json";
    let moved = "https://moved.example.net/list.json";
    let unlisted = "https://unlisted.example.net/list.json";
    let huge = "https://huge.example.net/list.json";
    world.hosted.put(broken, 500, json!([REDIRECT]).to_string());
    world.hosted.put(html, 200, "<html>".to_owned());
    let location = [("location", LIST)];
    world.hosted.put_with(moved, 302, &location, String::new());
    let others = json!([
        "https://app.example.org/callback/",
        "https://app.example.org"
    ]);
    world.hosted.put(unlisted, 200, others.to_string());
    let many = json!([REDIRECT, "x".repeat(100 * 1024)]);
    world.hosted.put(huge, 200, many.to_string());
    let hosts = json!([REDIRECT, "https://elsewhere.example/cb"]);
    let before = world.state().await;
    for (changes, why) in [
        (
            json!({ "scope": "openid atproto" }),
            "`atproto` tells it the account",
        ),
        (
            json!({ "scope": "openid profile" }),
            "`profile` tells it the account",
        ),
        (
            json!({ "scope": format!("{SCOPE} repo:*") }),
            "tells it the account",
        ),
        (json!({ "redirect_uris": hosts }), "of one host"),
        (
            json!({ "redirect_uris": ["http://127.0.0.1/cb"], "application_type": "native" }),
            "of one host",
        ),
        (
            json!({ "redirect_uris": [], "grant_types": ["urn:ietf:params:oauth:grant-type:device_code"] }),
            "has a redirect URI",
        ),
        (
            json!({ "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"] }),
            "no device codes",
        ),
        (
            json!({ "subject_type": "public", "sector_identifier_uri": LIST }),
            "for the `subject_type`",
        ),
        (
            json!({ "subject_type": "ephemeral" }),
            "`ephemeral` is not supported",
        ),
        (
            json!({ "sector_identifier_uri": "http://sector.example.net/list.json" }),
            "an https URL",
        ),
        (
            json!({ "sector_identifier_uri": "https://127.0.0.1/list.json" }),
            "an https URL",
        ),
        (json!({ "sector_identifier_uri": 7 }), "expected a string"),
        (json!({ "sector_identifier_uri": broken }), "status 500"),
        (json!({ "sector_identifier_uri": html }), "no JSON array"),
        (json!({ "sector_identifier_uri": moved }), "status 302"),
        (
            json!({ "sector_identifier_uri": unlisted }),
            "is not in the list",
        ),
        (json!({ "sector_identifier_uri": huge }), "larger than"),
    ] {
        let refused = register(world, Some(&token), &merged(usual.clone(), &changes)).await;
        let words = refused.expect(400, "invalid_client_metadata").text();
        assert!(words.contains(why), "{changes}: {words}");
    }
    assert_eq!(world.state().await, before, "nothing was stored or spent");

    // By the host of its redirect URIs. Without a scope it has those that lead nowhere.
    let mut plain = usual.clone();
    plain.as_object_mut().unwrap().remove("scope");
    let by_host = told(&register(world, Some(&token), &plain).await);
    assert_eq!(by_host["subject_type"], "pairwise");
    assert_eq!(by_host["scope"], SCOPE);
    assert!(by_host.get("sector_identifier_uri").is_none(), "{by_host}");
    // Whoever names a sector means that.
    world.hosted.put(LIST, 200, hosts.to_string());
    let listed = json!({ "redirect_uris": hosts, "sector_identifier_uri": LIST });
    let mut listed = merged(usual.clone(), &listed);
    listed.as_object_mut().unwrap().remove("subject_type");
    let by_list = told(&register(world, Some(&token), &listed).await);
    assert_eq!(by_list["subject_type"], "pairwise");
    assert_eq!(by_list["sector_identifier_uri"], LIST);
    let browser = world.browser();
    let tokens = app(world, &by_list);
    let tokens = tokens.sign_in_for(&browser, world.alice(), SCOPE).await;
    let in_list = app_of_list(world).await;
    let same = in_list.sign_in_for(&browser, world.alice(), SCOPE).await;
    assert_eq!(sub(world, &tokens).await, sub(world, &same).await);

    // What people are known by stays, whatever the app says.
    let reads = world.hosted.reads(LIST);
    let change = async |told: &Value, changes: Value| {
        let id = json!({ "client_id": told["client_id"], "client_secret": told["client_secret"] });
        let body = merged(merged(usual.clone(), &id), &changes);
        let url = told["registration_client_uri"].as_str().unwrap();
        let token = told["registration_access_token"].as_str();
        send(world, Method::PUT, url, token, Some(&body)).await
    };
    let fixed = "stay as they were";
    let elsewhere = json!(["https://elsewhere.example/cb"]);
    let added = json!([REDIRECT, "https://app.example.org/more"]);
    for (told, changes, why) in [
        (&by_host, json!({ "subject_type": "public" }), fixed),
        (&by_host, json!({ "sector_identifier_uri": LIST }), fixed),
        (&by_host, json!({ "redirect_uris": elsewhere }), fixed),
        (&by_list, json!({ "subject_type": "pairwise" }), fixed),
        (
            &by_list,
            json!({ "sector_identifier_uri": LIST, "redirect_uris": added }),
            "is not in the list",
        ),
    ] {
        let refused = change(told, changes.clone()).await;
        let words = refused.expect(400, "invalid_client_metadata").text();
        assert!(words.contains(why), "{changes}: {words}");
    }
    assert_eq!(world.hosted.reads(LIST), reads + 1);
    let more = change(&by_host, json!({ "redirect_uris": added }))
        .await
        .ok();
    assert_eq!(more["redirect_uris"], added);
    assert_eq!(more["subject_type"], "pairwise");
    let fewer = json!({ "sector_identifier_uri": LIST });
    assert_eq!(
        change(&by_list, fewer).await.ok()["sector_identifier_uri"],
        LIST
    );
    assert_eq!(world.hosted.reads(LIST), reads + 1, "of those it is known");

    // Nor can the operator change it.
    let server = world.aip().app.server.clone();
    let client = server.storage.client(&in_list.id).await.unwrap().unwrap();
    let others: [Option<Sector>; 2] = [None, Some(HOST.parse().unwrap())];
    for pairwise in others {
        let settings = ClientSettings {
            pairwise,
            ..client.settings.clone()
        };
        let refused = server
            .update_client(&client.id, settings)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(fixed), "{refused}");
    }
}

async fn the_sector_of_an_app_with_a_document_is_its_host(world: &World) {
    take_documents(world, |_| {}).await;
    let pairwise = json!({ "scope": SCOPE, "subject_type": "pairwise" });
    let pairwise = merged(document(ID), &pairwise);
    let at_list = merged(pairwise.clone(), &json!({ "sector_identifier_uri": LIST }));
    let all = merged(pairwise.clone(), &json!({ "scope": "openid atproto" }));
    let app = App::known(world, ID, None);
    for (refused, why) in [
        (&at_list, "has no place in a document"),
        (&all, "tells it the account"),
    ] {
        put(world, refused);
        open(world, &app).await.expect_page(400, why);
        world.pass(Duration::from_secs(11));
    }
    put(world, &pairwise);
    let browser = world.browser();
    let tokens = app.sign_in_for(&browser, world.alice(), SCOPE).await;
    let same = app_of(world, HOST, |_| {}).await;
    let same = same.sign_in_for(&browser, world.alice(), SCOPE).await;
    let expected = sub(world, &same).await;
    assert_eq!(sub(world, &tokens).await, expected);
    app.userinfo(&tokens.access).await.ok();

    // Another word in the document makes nobody known by something else.
    world.pass(Duration::from_hours(25));
    put(world, &document(ID));
    open(world, &app)
        .await
        .expect_page(400, "stay as they were");
    world.pass(Duration::from_secs(11));
    put(world, &pairwise);
    let tokens = sign_in_for(&app, &browser, world.alice(), SCOPE).await;
    assert_eq!(sub(world, &tokens).await, expected);
}
