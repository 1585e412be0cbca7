//! Device authorization (RFC 8628): a device shows a code, a person enters it in a browser elsewhere, and
//! the device gets its tokens.

use std::time::Duration;

use aip_base::Clock as _;
use aip_storage::client::GrantType;
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http::header::CONTENT_TYPE;

use crate::answer::Answer;
use crate::app::{App, SCOPE, Tokens};
use crate::browser::{Browser, Page};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::request_line::statements;
use crate::world::{BASE, World};

on_both_engines!(
    a_person_connects_a_device_with_the_code_that_it_shows,
    a_person_who_is_signed_in_is_asked_all_the_same,
    the_code_is_read_in_any_case_and_comes_filled_in_with_its_link,
    a_no_is_told_to_the_device_and_is_final,
    a_device_that_asks_too_often_is_told_to_slow_down,
    a_poll_costs_one_statement,
    a_code_expires_for_the_device_and_for_the_person,
    of_fifty_requests_one_gets_the_tokens_of_a_device,
    a_device_code_is_for_the_client_that_asked_for_it,
    whoever_guesses_user_codes_is_stopped,
    a_link_past_the_code_is_worth_nothing_in_another_browser,
    a_form_cannot_say_who_the_person_is,
    a_client_that_may_not_use_devices_is_refused,
    devices_of_public_clients_are_limited_by_network,
    the_tokens_of_a_device_with_a_key_are_bound_to_it,
    the_person_is_told_when_and_from_where_the_device_asked,
);

const PATH: &str = "/oauth/device_authorization";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The codes of a device.
struct Codes {
    device: String,
    user: String,
    link: String,
}

/// An app that runs on devices.
async fn device_app(world: &World, is_public: bool) -> App<'_> {
    App::register(world, |settings| {
        if is_public {
            settings.auth_method = aip_storage::client::ClientAuthMethod::None;
        }
        let grants = vec![GrantType::DeviceCode, GrantType::RefreshToken];
        settings.grant_types = grants.try_into().unwrap();
    })
    .await
}

async fn ask(app: &App<'_>) -> Codes {
    codes(app, &app.post(PATH, &[("scope", SCOPE)]).await)
}

/// A device of a public app asks, and the proxy says where it is.
async fn ask_from(app: &App<'_>, network: &str) -> Answer {
    let form = [("client_id", app.id.as_str()), ("scope", SCOPE)];
    let request = Request::post(format!("{BASE}{PATH}"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("x-forwarded-for", network);
    let body = serde_urlencoded::to_string(form).unwrap();
    let request = request.body(Bytes::from(body)).unwrap();
    app.world.send(request).await
}

#[track_caller]
fn codes(app: &App<'_>, answer: &Answer) -> Codes {
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.ok();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    assert_eq!(text("verification_uri"), format!("{BASE}/device"));
    assert_eq!(
        (&answer["expires_in"], &answer["interval"]),
        (&1800.into(), &5.into())
    );
    let codes = Codes {
        device: text("device_code"),
        user: text("user_code"),
        link: text("verification_uri_complete"),
    };
    app.world.secrets.learn("a device code", &codes.device);
    codes
}

async fn poll(app: &App<'_>, codes: &Codes) -> Answer {
    app.token(&[("grant_type", GRANT), ("device_code", &codes.device)])
        .await
}

/// Enters a code on the page for it.
async fn enter(browser: &Browser<'_>, user_code: &str) -> Page {
    let page = browser.open(&format!("{BASE}/device")).await;
    assert_eq!(page.answer.status, 200, "{}", page.answer.text());
    browser
        .submit(page.form("device").set("user_code", user_code), "continue")
        .await
}

/// The consent page, after the code was entered and Alice has signed in.
async fn consent(browser: &Browser<'_>, world: &World, codes: &Codes) -> Page {
    let login = enter(browser, &codes.user).await;
    assert!(login.answer.text().contains("Example App"), "{login:?}");
    browser.sign_in(&login, world.alice()).await
}

async fn decide(browser: &Browser<'_>, consent: &Page, button: &str, words: &str) {
    let done = browser.submit(consent.form("consent"), button).await;
    assert!(done.stayed());
    assert_eq!(done.answer.status, 200);
    assert!(done.answer.text().contains(words), "{}", done.answer.text());
}

async fn a_person_connects_a_device_with_the_code_that_it_shows(world: &World) {
    for is_public in [false, true] {
        let app = device_app(world, is_public).await;
        let codes = ask(&app).await;
        poll(&app, &codes)
            .await
            .expect(400, "authorization_pending");
        let browser = world.browser();
        let page = consent(&browser, world, &codes).await;
        for words in ["Example App", "another device", "app.bsky.feed.post"] {
            let text = page.answer.text();
            assert!(text.contains(words), "{words}: {text}");
        }
        world.pass(Duration::from_secs(5));
        poll(&app, &codes)
            .await
            .expect(400, "authorization_pending");
        decide(&browser, &page, "allow", "Your device is connected").await;
        // A second click says the same.
        decide(&browser, &page, "allow", "Your device is connected").await;
        world.pass(Duration::from_secs(5));
        let tokens = Tokens::of(&poll(&app, &codes).await);
        assert_eq!(tokens.answer["scope"], SCOPE);
        let claims = verified_claims(world, tokens.id_token()).await;
        assert_eq!(claims["sub"], world.alice().did.as_str());
        assert!(claims.get("nonce").is_none(), "{claims}");
        let call = "com.atproto.server.getSession";
        app.query(&tokens.access, call).await.ok();
        let again = poll(&app, &codes).await;
        again
            .expect(400, "invalid_grant")
            .logged("it was used before");
        // It goes on as any other sign-in does.
        world.pass(Duration::from_hours(2));
        let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
        app.query(&renewed.access, call).await.ok();
    }
    let document = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(
        document["device_authorization_endpoint"],
        format!("{BASE}{PATH}")
    );
    let grants = document["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&GRANT.into()));
}

async fn a_person_who_is_signed_in_is_asked_all_the_same(world: &World) {
    // Nor does it help to be the operator's own, or to be allowed before.
    let app = App::register(world, |settings| {
        settings.first_party = true;
        settings.grant_types = vec![
            GrantType::AuthorizationCode,
            GrantType::RefreshToken,
            GrantType::DeviceCode,
        ]
        .try_into()
        .unwrap();
    })
    .await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    pending.code(&browser.sign_in(&login, world.alice()).await.away());
    for _ in 0..2 {
        let codes = ask(&app).await;
        let login = enter(&browser, &codes.user).await;
        let did = world.alice().did.as_str();
        let page = browser.submit(login.form("login"), did).await;
        poll(&app, &codes)
            .await
            .expect(400, "authorization_pending");
        decide(&browser, &page, "allow", "Your device is connected").await;
        Tokens::of(&poll(&app, &codes).await);
    }
}

async fn the_code_is_read_in_any_case_and_comes_filled_in_with_its_link(world: &World) {
    let app = device_app(world, true).await;
    let codes = ask(&app).await;
    assert_eq!(codes.user.len(), 9);
    assert!(
        codes
            .user
            .bytes()
            .all(|b| b"BCDFGHJKLMNPQRSTVWXZ-".contains(&b))
    );
    let lower = codes.user.to_lowercase().replace('-', " ");
    assert!(enter(&world.browser(), &lower).await.has_form("login"));
    let browser = world.browser();
    let page = browser.open(&codes.link).await;
    let form = page.form("device");
    assert_eq!(form.field("user_code"), Some(codes.user.as_str()));
    let page = browser.submit(form, "continue").await;
    assert!(page.has_form("login"));
    let attack = "%3Cscript%3Ealert(1)%3C/script%3E";
    let page = browser
        .open(&format!("{BASE}/device?user_code={attack}"))
        .await;
    assert!(!page.answer.text().contains("<script"), "{page:?}");
}

async fn a_no_is_told_to_the_device_and_is_final(world: &World) {
    let app = device_app(world, true).await;
    let codes = ask(&app).await;
    let browser = world.browser();
    let page = consent(&browser, world, &codes).await;
    decide(&browser, &page, "deny", "not connected").await;
    decide(&browser, &page, "deny", "not connected").await;
    for _ in 0..2 {
        poll(&app, &codes).await.expect(400, "access_denied");
    }
    let again = enter(&browser, &codes.user).await;
    again.answer.expect_page(400, "There is no such code");
    assert_eq!(world.state().await.count("grants"), 0);
}

async fn a_device_that_asks_too_often_is_told_to_slow_down(world: &World) {
    let app = device_app(world, true).await;
    let codes = ask(&app).await;
    poll(&app, &codes)
        .await
        .expect(400, "authorization_pending");
    poll(&app, &codes).await.expect(400, "slow_down");
    world.pass(Duration::from_secs(5));
    poll(&app, &codes).await.expect(400, "slow_down");
    world.pass(Duration::from_secs(15));
    poll(&app, &codes)
        .await
        .expect(400, "authorization_pending");
    // Over all replicas, and over a restart.
    world.restart().await;
    poll(&app, &codes).await.expect(400, "slow_down");
}

async fn a_poll_costs_one_statement(world: &World) {
    for is_public in [true, false] {
        let app = device_app(world, is_public).await;
        let codes = ask(&app).await;
        let mut costs = Vec::new();
        for _ in 0..3 {
            costs.push(statements(world, &poll(&app, &codes).await));
        }
        assert_eq!(costs, [1, 1, 1], "{is_public}");
    }
}

async fn a_code_expires_for_the_device_and_for_the_person(world: &World) {
    let app = device_app(world, true).await;
    let (codes, late) = (ask(&app).await, ask(&app).await);
    let browser = world.browser();
    let page = consent(&browser, world, &codes).await;
    world.pass(Duration::from_mins(31));
    poll(&app, &codes).await.expect(400, "expired_token");
    let done = browser.submit(page.form("consent"), "allow").await;
    done.answer.expect_page(400, "This sign-in has ended");
    let page = enter(&browser, &late.user).await;
    page.answer.expect_page(400, "There is no such code");
    assert_eq!(world.state().await.count("grants"), 0);
    // It is forgotten a day later.
    world.pass(Duration::from_hours(25));
    let storage = &world.aip().app.server.storage;
    let now = world.clock.now();
    storage.purge_expired(now, 1000).await.unwrap();
    assert_eq!(world.state().await.count("device_codes"), 0);
    poll(&app, &codes).await.expect(400, "invalid_grant");
}

async fn of_fifty_requests_one_gets_the_tokens_of_a_device(world: &World) {
    let app = device_app(world, false).await;
    let codes = ask(&app).await;
    let browser = world.browser();
    let page = consent(&browser, world, &codes).await;
    decide(&browser, &page, "allow", "Your device is connected").await;
    let answers = join_all((0..50).map(|_| poll(&app, &codes))).await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status.is_success());
    assert_eq!(good.len(), 1);
    for answer in bad {
        answer.expect(400, "invalid_grant");
    }
    let tokens = Tokens::of(good[0]);
    app.userinfo(&tokens.access).await.ok();
}

async fn a_device_code_is_for_the_client_that_asked_for_it(world: &World) {
    let (app, other) = (device_app(world, true).await, device_app(world, true).await);
    let codes = ask(&app).await;
    let browser = world.browser();
    let page = consent(&browser, world, &codes).await;
    decide(&browser, &page, "allow", "Your device is connected").await;
    let before = world.state().await;
    let foreign = poll(&other, &codes).await;
    foreign
        .expect(400, "invalid_grant")
        .logged("was given to the client");
    for code in [
        "",
        "nonsense",
        &codes.user,
        &codes.device.replace("aip_dc_", "aip_ac_"),
    ] {
        let form = [("grant_type", GRANT), ("device_code", code)];
        let answer = app.token(&form).await;
        let error = if code.is_empty() {
            "invalid_request"
        } else {
            "invalid_grant"
        };
        answer.expect(400, error);
    }
    assert_eq!(world.state().await, before, "nothing was spent");
    Tokens::of(&poll(&app, &codes).await);
}

async fn whoever_guesses_user_codes_is_stopped(world: &World) {
    let app = device_app(world, true).await;
    let codes = ask(&app).await;
    let guess = async |network: &str, user_code: &str| {
        let browser = world.browser();
        let page = browser.open(&format!("{BASE}/device")).await;
        let form = page.form("device").set("user_code", user_code);
        let body = serde_urlencoded::to_string(form.press("continue")).unwrap();
        let url = format!("{BASE}/device");
        let request = Request::post(&url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .header("x-forwarded-for", network);
        browser
            .follow(&url, request.body(Bytes::from(body)).unwrap())
            .await
    };
    let before = world.state().await;
    for _ in 0..10 {
        let page = guess("203.0.113.9", "BCDF-GHJK").await;
        page.answer
            .expect_page(400, "There is no such code")
            .logged("user code");
    }
    // The right one, too: whoever guesses must not learn it.
    let page = guess("203.0.113.9", &codes.user).await;
    page.answer
        .expect_page(429, "Too many codes")
        .logged("over the limit `user_codes`");
    assert_eq!(world.state().await, before);
    assert!(guess("203.0.113.10", &codes.user).await.has_form("login"));
    world.pass(Duration::from_secs(30));
    assert!(guess("203.0.113.9", &codes.user).await.has_form("login"));
}

async fn a_link_past_the_code_is_worth_nothing_in_another_browser(world: &World) {
    let app = device_app(world, true).await;
    let codes = ask(&app).await;
    let mallory = world.browser();
    let login = enter(&mallory, &codes.user).await;
    let request = login.form("login").field("request").unwrap().to_owned();
    assert!(request.starts_with("device."), "{request}");
    let link = format!("{BASE}/login?request={request}");
    let victim = world.browser();
    victim
        .open(&link)
        .await
        .answer
        .expect_page(400, "This sign-in has ended");
    // Nor with a sign-in of the victim's own under way.
    victim.open(&app_page(world).await).await;
    victim
        .open(&link)
        .await
        .answer
        .expect_page(400, "This sign-in has ended");
    assert!(mallory.open(&link).await.has_form("login"));
    // The page of the code takes no form of another site.
    let page = victim.open(&codes.link).await;
    let form = page.form("device").set("csrf", "guessed");
    let page = victim.submit(form, "continue").await;
    page.answer.expect_page(403, "out of date");
}

async fn app_page(world: &World) -> String {
    world.app().await.begin_authorization(&[]).url
}

async fn a_form_cannot_say_who_the_person_is(world: &World) {
    let app = device_app(world, true).await;
    let codes = ask(&app).await;
    let browser = world.browser();
    let page = browser.open(&format!("{BASE}/device")).await;
    let bob = world.bob().did.as_str();
    let form = page.form("device").set("user_code", &codes.user);
    let login = browser.submit(form.set("user_id", bob), "continue").await;
    // Without a session, the person signs in first.
    poll(&app, &codes)
        .await
        .expect(400, "authorization_pending");
    let consent = browser.sign_in(&login, world.alice()).await;
    let form = consent.form("consent").set("user_id", bob).set("did", bob);
    let done = browser.submit(form, "allow").await;
    assert!(done.answer.text().contains("Your device is connected"));
    let tokens = Tokens::of(&poll(&app, &codes).await);
    let claims = app.userinfo(&tokens.access).await.ok();
    assert_eq!(claims["sub"], world.alice().did.as_str());
}

async fn a_client_that_may_not_use_devices_is_refused(world: &World) {
    let app = world.app().await;
    let before = world.state().await;
    let answer = app.post(PATH, &[("scope", SCOPE)]).await;
    answer.expect(400, "unauthorized_client").logged("caller");
    let form = [("grant_type", GRANT), ("device_code", "x")];
    app.token(&form).await.expect(400, "unauthorized_client");

    let app = device_app(world, false).await;
    let widest = [("scope", "atproto identity:handle")];
    app.post(PATH, &widest).await.expect(400, "invalid_scope");
    let twice = [("scope", "atproto"), ("scope", "atproto")];
    app.post(PATH, &twice).await.expect(400, "invalid_request");
    let unnamed = [("client_id", app.id.as_str())];
    let unnamed = app.post_as(PATH, None, &unnamed).await;
    unnamed.expect(401, "invalid_client");
    let get = world.get(PATH).await;
    get.expect(405, "invalid_request");
    assert_eq!(
        world.state().await.without(&["clients"]),
        before.without(&["clients"])
    );
    // The path of version 2 leads to the same.
    let old = app.post("/oauth/device", &[("scope", SCOPE)]).await;
    let codes = codes(&app, &old);
    poll(&app, &codes)
        .await
        .expect(400, "authorization_pending");
}

async fn devices_of_public_clients_are_limited_by_network(world: &World) {
    let app = device_app(world, true).await;
    for _ in 0..20 {
        codes(&app, &ask_from(&app, "203.0.113.9").await);
    }
    let refused = ask_from(&app, "203.0.113.9").await;
    refused
        .expect(429, "temporarily_unavailable")
        .logged("over the limit `device_codes`");
    codes(&app, &ask_from(&app, "203.0.113.10").await);
    assert_eq!(world.state().await.count("device_codes"), 21);
}

async fn the_tokens_of_a_device_with_a_key_are_bound_to_it(world: &World) {
    let app = device_app(world, true).await.with_dpop();
    let codes = ask(&app).await;
    let browser = world.browser();
    let page = consent(&browser, world, &codes).await;
    decide(&browser, &page, "allow", "Your device is connected").await;
    let tokens = Tokens::of(&poll(&app, &codes).await);
    assert_eq!(tokens.answer["token_type"], "DPoP");
    app.userinfo(&tokens.access).await.ok();
    let without = app.without_key();
    without
        .userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    without
        .refresh(&tokens.refresh)
        .await
        .expect(400, "invalid_grant");
}

async fn the_person_is_told_when_and_from_where_the_device_asked(world: &World) {
    const HERE: &str = "The network that you use now.";
    const THERE: &str = "The network with this address.";
    const ONLY_IF: &str = "Allow it only if it is your device, and if that is where it is.";
    let app = device_app(world, true).await;
    let forget = async |network: &str| {
        let write = format!("UPDATE device_codes SET asked_from = {network}");
        world.texts(&write).await;
    };
    for (device, shown, people) in [
        (
            "203.0.113.9",
            "<code>203.0.113.9</code>",
            vec![
                ("203.0.113.9", HERE),
                ("203.0.113.10", THERE),
                ("2001:db8:1:2::1", THERE),
            ],
        ),
        (
            "2001:db8:1:2:3:4:5:6",
            "<code>2001:db8:1:2::/64</code>",
            vec![
                ("2001:db8:1:2::1", HERE),
                ("2001:db8:1:3::1", THERE),
                ("203.0.113.9", THERE),
            ],
        ),
        // What it says of itself is left of what the proxy saw.
        (
            "203.0.113.9, 198.51.100.7",
            "<code>198.51.100.7</code>",
            vec![("203.0.113.9", THERE), ("198.51.100.7", HERE)],
        ),
        // Behind a gateway everybody has its address.
        (
            "10.0.0.1",
            "<code>10.0.0.1</code>",
            vec![("10.0.0.1", THERE), ("203.0.113.9", THERE)],
        ),
    ] {
        let codes = codes(&app, &ask_from(&app, device).await);
        let browser = world.browser();
        let page = consent(&browser, world, &codes).await;
        let name = page.form("consent").field("request").unwrap().to_owned();
        let url = format!("{BASE}/consent?request={name}");
        let seen_from = async |network: &str| {
            let request = Request::get(&url).header("x-forwarded-for", network);
            let page = browser.follow(&url, request.body(Bytes::new()).unwrap());
            page.await.answer.text().to_owned()
        };
        world.pass(Duration::from_mins(3));
        for (person, words) in people {
            let text = seen_from(person).await;
            for words in ["3 minutes ago: ", " UTC</dd>", words, ONLY_IF, shown] {
                assert!(text.contains(words), "{device} {person} {words}: {text}");
            }
        }
        forget("'<script>'").await;
        let text = seen_from("203.0.113.9").await;
        assert!(!text.contains("<script"), "{text}");
        // As the release before stored it.
        forget("NULL").await;
        let text = seen_from("203.0.113.9").await;
        assert!(text.contains("3 minutes ago: "), "{text}");
        for words in [HERE, THERE, ONLY_IF] {
            assert!(!text.contains(words), "{words}: {text}");
        }
        decide(&browser, &page, "allow", "Your device is connected").await;
        Tokens::of(&poll(&app, &codes).await);
    }
    assert!(!world.log().contains("2001:db8:1:2"), "{}", world.log());
}
