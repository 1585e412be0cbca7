//! Browsers tell apps that a person has signed out (OpenID Connect Front-Channel Logout 1.0).

use aip_storage::logout::LogoutNotification;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::{App, REDIRECT, Tokens};
use crate::back_channel_logout::{sign_in, told_at};
use crate::html::Form;
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    the_browser_opens_the_addresses_of_the_apps_that_were_signed_in_to_here,
    the_page_frames_these_apps_and_nothing_else,
    an_app_is_notified_at_the_host_of_its_redirect_uris,
);

const TOLD_AT: &str = "https://app.example.org/front-channel";
const BYE: &str = "https://app.example.org/bye?lang=en";

/// An app that browsers tell of logouts.
async fn told_app<'w>(world: &'w World, uri: &str, session_required: bool) -> App<'w> {
    let host = url::Url::parse(uri).unwrap().origin().ascii_serialization();
    App::register(world, |settings| {
        settings
            .redirect_uris
            .push(format!("{host}/also").parse().unwrap());
        settings.post_logout_redirect_uris = vec![BYE.parse().unwrap()];
        settings.frontchannel_logout = Some(LogoutNotification {
            uri: uri.parse().unwrap(),
            session_required,
        });
    })
    .await
}

fn logout(tokens: &Tokens, state: &str) -> String {
    let query = [
        ("id_token_hint", tokens.id_token()),
        ("post_logout_redirect_uri", BYE),
        ("state", state),
    ];
    let query = serde_urlencoded::to_string(query).unwrap();
    format!("{BASE}/oauth/logout?{query}")
}

/// The addresses of the frames of a page.
fn frames(page: &Answer) -> Vec<String> {
    let frames = page.text().split("<iframe ").skip(1);
    let frames = frames.map(|it| {
        let tag = it.split('>').next().unwrap();
        assert!(tag.contains("sandbox=\"allow-scripts allow-same-origin\""));
        let src = tag.split("src=\"").nth(1).unwrap();
        let src = src.split('"').next().unwrap();
        src.replace("&#38;", "&").replace("&amp;", "&")
    });
    frames.collect()
}

async fn sid(world: &World, tokens: &Tokens) -> Value {
    verified_claims(world, tokens.id_token()).await["sid"].clone()
}

async fn the_browser_opens_the_addresses_of_the_apps_that_were_signed_in_to_here(world: &World) {
    let metadata = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(metadata["frontchannel_logout_supported"], true);
    assert_eq!(metadata["frontchannel_logout_session_supported"], true);

    let app = told_app(world, &format!("{TOLD_AT}?tenant=1"), true).await;
    let plain = told_app(world, "https://plain.example.org:8443/out", false).await;
    let silent = world.app().await;
    let (browser, elsewhere) = (world.browser(), world.browser());
    let first = app.sign_in(&browser, world.alice()).await;
    let second = sign_in(&app, &browser, world.alice()).await;
    let bobs = app.sign_in(&browser, world.bob()).await;
    for _ in 0..2 {
        sign_in(&plain, &browser, world.alice()).await;
    }
    silent.sign_in(&browser, world.alice()).await;
    app.sign_in(&elsewhere, world.alice()).await;

    let page = browser.open(&logout(&first, "a&b=\"<c>")).await;
    assert!(page.stayed());
    let page = page.answer;
    assert_eq!(page.status, 200);
    let mut expected = vec!["https://plain.example.org:8443/out".to_owned()];
    for tokens in [&first, &second] {
        let sid = sid(world, tokens).await;
        let query = [("iss", BASE), ("sid", sid.as_str().unwrap())];
        let query = serde_urlencoded::to_string(query).unwrap();
        expected.push(format!("{TOLD_AT}?tenant=1&{query}"));
    }
    let mut opened = frames(&page);
    opened.sort();
    expected.sort();
    assert_eq!(opened, expected);
    // On to the app, by itself and by a link, and without a script.
    let on = format!("{BYE}&state=a%26b%3D%22%3Cc%3E").replace('&', "&#38;");
    let refresh = format!("<meta http-equiv=\"refresh\" content=\"3;url={on}\">");
    assert!(page.text().contains(&refresh), "{}", page.text());
    assert!(page.text().contains(&format!("href=\"{on}\"")));
    assert!(!page.text().contains("<script"));

    // What was told once is not told again.
    let again = browser.open(&logout(&first, "s")).await;
    assert!(again.has_form("logout"), "bob is asked");
    let form = again.form("logout");
    let page = browser.submit(form, "sign-out").await;
    assert_eq!(browser.session_cookie(), None);
    let opened = frames(&page.answer);
    let sid = sid(world, &bobs).await;
    assert_eq!(opened.len(), 1);
    assert!(opened[0].ends_with(&format!("sid={}", sid.as_str().unwrap())));
    let page = browser.open(&logout(&first, "s")).await;
    assert_eq!(page.away().as_str(), format!("{BYE}&state=s"));
}

async fn the_page_frames_these_apps_and_nothing_else(world: &World) {
    let app = told_app(world, TOLD_AT, true).await;
    let other = told_app(world, "https://plain.example.org:8443/out?a=1&b='\"", false).await;
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    other.sign_in(&browser, world.alice()).await;
    let account = browser.open(&format!("{BASE}/account")).await;
    let form = Form::with_field(account.answer.text(), "action", "sign-out").unwrap();
    let page = browser.submit(form, "sign-out-button").await.answer;
    assert_eq!(
        page.header("content-security-policy"),
        "default-src 'none'; style-src 'self'; img-src 'self' data:; \
         frame-src https://app.example.org https://plain.example.org:8443; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(frames(&page).len(), 2);
    assert!(page.text().contains("content=\"3;url=/?signed-out\""));
    assert!(!page.text().contains("b='\""), "{}", page.text());
}

async fn an_app_is_notified_at_the_host_of_its_redirect_uris(world: &World) {
    let server = world.aip().app.server.clone();
    let before = world.dump().await;
    for uri in [
        "https://other.example.org/out",
        "https://app.example.org:8443/out",
        "https://app.example.org.evil.example/out",
        "http://localhost/out",
    ] {
        let mut settings = App::settings();
        settings.frontchannel_logout = told_at(uri);
        let refused = server.register_client(None, settings).await.unwrap_err();
        assert!(refused.to_string().contains(uri), "{refused}");
    }
    let mut settings = App::settings();
    settings.backchannel_logout = told_at("http://localhost:3000/out");
    let refused = server.register_client(None, settings).await.unwrap_err();
    assert!(refused.to_string().contains("needs https"), "{refused}");
    assert_eq!(world.dump().await, before);

    // An app that registers itself is held to the same.
    world
        .restart_configured(|config| {
            config.registration.mode = aip_oauth::client_registration::RegistrationMode::Open;
        })
        .await;
    let register = async |members: Value| {
        let mut body = json!({ "redirect_uris": [REDIRECT], "scope": "atproto" });
        let members = members.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(members);
        let request = http::Request::post(format!("{BASE}/oauth/clients/register"))
            .header("content-type", "application/json");
        let body = bytes::Bytes::from(body.to_string());
        world.send(request.body(body).unwrap()).await
    };
    for (member, uri) in [
        ("frontchannel_logout_uri", "https://other.example.org/out"),
        ("frontchannel_logout_uri", "javascript:alert(1)"),
        ("frontchannel_logout_uri", "https://app.example.org/#x"),
        ("backchannel_logout_uri", "https://10.0.0.1/out"),
        ("backchannel_logout_uri", "https://169.254.169.254/out"),
        ("backchannel_logout_uri", "https://metadata.internal/out"),
        ("backchannel_logout_uri", "https://localhost/out"),
        ("backchannel_logout_uri", "http://app.example.org/out"),
        ("backchannel_logout_uri", "file:///etc/passwd"),
        ("backchannel_logout_uri", ""),
    ] {
        let refused = register(json!({ member: uri })).await;
        refused.expect(400, "invalid_client_metadata");
        let words = refused.json()["error_description"].to_string();
        assert!(words.contains("logout"), "{member} {uri}: {words}");
    }
    let wrong = register(json!({ "backchannel_logout_session_required": "yes" })).await;
    wrong.expect(400, "invalid_client_metadata");
    let registered = register(json!({
        "backchannel_logout_uri": "https://anywhere.example.org/out",
        "backchannel_logout_session_required": true,
        "frontchannel_logout_uri": TOLD_AT,
    }))
    .await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    let registered = registered.json();
    for (member, value) in [
        (
            "backchannel_logout_uri",
            json!("https://anywhere.example.org/out"),
        ),
        ("backchannel_logout_session_required", json!(true)),
        ("frontchannel_logout_uri", json!(TOLD_AT)),
        ("frontchannel_logout_session_required", json!(false)),
    ] {
        assert_eq!(registered[member], value, "{member}");
    }
    for secret in ["client_secret", "registration_access_token"] {
        let secret = registered[secret].as_str().unwrap();
        world.secrets.learn("of a registration", secret);
    }
    let plain = register(json!({})).await.json();
    for secret in ["client_secret", "registration_access_token"] {
        let secret = plain[secret].as_str().unwrap();
        world.secrets.learn("of a registration", secret);
    }
    assert!(plain.get("frontchannel_logout_uri").is_none());
    assert!(plain.get("backchannel_logout_session_required").is_none());
}
