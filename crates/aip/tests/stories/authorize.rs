//! What apps may ask for, and how they are told that they may not.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;

use crate::app::{App, PendingAuthorization, REDIRECT, SCOPE};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    an_unknown_app_or_redirect_is_a_page_and_never_a_redirect,
    a_repeated_parameter_is_refused,
    other_response_types_are_refused_by_redirect_with_state_and_iss,
    without_a_good_challenge_nothing_begins,
    a_refusal_names_the_value_that_was_sent_and_what_would_be_right,
    an_unregistered_redirect_is_told_to_the_developer_on_the_page_and_to_the_log,
);

/// The app is told by redirect, and nothing was stored, not even a browser.
async fn expect_refused(app: &App<'_>, pending: &PendingAuthorization, error: &str) {
    let before = app.world.dump().await;
    let page = app.world.browser().open(&pending.url).await;
    pending.refused(&page.away(), error);
    page.answer.logged(error);
    assert_eq!(app.world.dump().await, before, "{}", pending.url);
}

async fn an_unknown_app_or_redirect_is_a_page_and_never_a_redirect(world: &World) {
    let app = world.app().await;
    let before = world.dump().await;
    for changes in [
        [("client_id", "nobody"), ("state", "s")],
        [("client_id", ""), ("state", "s")],
        [("client_id", "<script>"), ("state", "s")],
        [("redirect_uri", ""), ("state", "s")],
        [
            ("redirect_uri", "https://evil.example/callback"),
            ("state", "s"),
        ],
        [
            ("redirect_uri", "https://app.example.org/callback/"),
            ("state", "s"),
        ],
        [
            ("redirect_uri", "https://app.example.org/callback?a=b"),
            ("state", "s"),
        ],
        [("redirect_uri", "javascript:alert(1)"), ("state", "s")],
    ] {
        let url = app.begin_authorization(&changes).url;
        let (endpoint, query) = url.split_once('?').unwrap();
        let form =
            Request::post(endpoint).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let form = form.body(Bytes::from(query.to_owned())).unwrap();
        for page in [
            world.browser().open(&url).await,
            world.browser().follow(endpoint, form).await,
        ] {
            page.answer.expect_page(400, "The app").logged("caller");
            assert!(!page.answer.text().contains("href=\"https://evil.example"));
        }
    }
    assert_eq!(world.dump().await, before);
}

async fn a_repeated_parameter_is_refused(world: &World) {
    let app = world.app().await;
    for name in [
        "scope",
        "nonce",
        "code_challenge",
        "response_type",
        "prompt",
        "unknown",
    ] {
        let mut pending = app.begin_authorization(&[]);
        write!(pending.url, "&{name}=a&{name}=b").unwrap();
        expect_refused(&app, &pending, "invalid_request").await;
    }
    // Of two apps or addresses neither is beyond doubt: nobody can be told.
    for pair in [("client_id", app.id.as_str()), ("redirect_uri", REDIRECT)] {
        let url = app.begin_authorization(&[]).url;
        let twice = serde_urlencoded::to_string([pair]).unwrap();
        let page = world.browser().open(&format!("{url}&{twice}")).await;
        page.answer
            .expect_page(400, "missing or repeated")
            .logged("caller");
    }
    let form = [
        ("grant_type", "refresh_token"),
        ("grant_type", "refresh_token"),
    ];
    app.token(&form)
        .await
        .expect(400, "invalid_request")
        .logged("repeated");
}

async fn other_response_types_are_refused_by_redirect_with_state_and_iss(world: &World) {
    let app = world.app().await;
    for response_type in ["token", "id_token", "code id_token", "code token", "none"] {
        let pending = app.begin_authorization(&[("response_type", response_type)]);
        expect_refused(&app, &pending, "unsupported_response_type").await;
    }
    let pending = app.begin_authorization(&[("response_mode", "fragment")]);
    expect_refused(&app, &pending, "invalid_request").await;
}

async fn without_a_good_challenge_nothing_begins(world: &World) {
    let (confidential, public) = (world.app().await, world.public_app().await);
    for app in [&confidential, &public] {
        for changes in [
            [("code_challenge", ""), ("code_challenge_method", "")],
            [("code_challenge", ""), ("code_challenge_method", "S256")],
            [("code_challenge_method", "plain"), ("scope", SCOPE)],
            [("code_challenge_method", ""), ("scope", SCOPE)],
            [("code_challenge", "too-short"), ("scope", SCOPE)],
            [("code_challenge", &*"x".repeat(44)), ("scope", SCOPE)],
        ] {
            expect_refused(app, &app.begin_authorization(&changes), "invalid_request").await;
        }
    }
    let discovery = world.get("/.well-known/openid-configuration").await.ok();
    assert_eq!(
        discovery["code_challenge_methods_supported"],
        serde_json::json!(["S256"])
    );
    assert_eq!(discovery["issuer"], BASE);
}

async fn a_refusal_names_the_value_that_was_sent_and_what_would_be_right(world: &World) {
    let app = world.app().await;
    let long = "x".repeat(1_000);
    for (name, value, error, words) in [
        (
            "scope",
            "openid identity:handle",
            "invalid_scope",
            "beyond what the client registered: `identity:handle`",
        ),
        (
            "response_type",
            "tokne",
            "unsupported_response_type",
            "`response_type` is `tokne`; it must be `code`",
        ),
        (
            "response_mode",
            "form_pots",
            "invalid_request",
            "`response_mode` is `form_pots`; it must be `query` or `form_post`",
        ),
        (
            "code_challenge_method",
            "plain",
            "invalid_request",
            "`code_challenge_method` is `plain`; it must be `S256`",
        ),
        (
            "prompt",
            "lgoin",
            "invalid_request",
            "`prompt` is `lgoin`; its values are none, login,",
        ),
        (
            "max_age",
            "soon",
            "invalid_request",
            "`max_age` is `soon`; it must be a number of seconds",
        ),
        (
            "response_mode",
            &long,
            "invalid_request",
            "xxx...`; it must be",
        ),
    ] {
        let pending = app.begin_authorization(&[(name, value)]);
        let page = world.browser().open(&pending.url).await;
        pending.refused(&page.away(), error);
        page.answer.logged(words);
        assert!(page.away().as_str().len() < 1_000, "{}", page.away());
    }
    app.token(&[("grant_type", "password")])
        .await
        .expect(400, "unsupported_grant_type")
        .logged(
            "the grant type `password` is not supported; it must be one of `authorization_code`",
        );
}

async fn an_unregistered_redirect_is_told_to_the_developer_on_the_page_and_to_the_log(
    world: &World,
) {
    let app = App::register(world, |settings| {
        settings.post_logout_redirect_uris = vec!["https://app.example.org/bye".parse().unwrap()];
    })
    .await;
    for (sent, difference) in [
        ("https://app.example.org/callback/", "one slash more"),
        (
            "https://www.app.example.org/callback",
            "www.app.example.org",
        ),
        ("http://app.example.org/callback", "scheme"),
    ] {
        let page = world
            .browser()
            .open(&app.begin_authorization(&[("redirect_uri", sent)]).url)
            .await;
        page.answer.expect_page(400, "For the developer of the app");
        for words in [app.id.as_str(), sent, REDIRECT, difference] {
            assert!(page.answer.text().contains(words), "{words}: {page:?}");
            page.answer.logged(words);
        }
    }
    let query = serde_urlencoded::to_string([
        ("client_id", app.id.as_str()),
        ("post_logout_redirect_uri", "https://app.example.org/by"),
    ]);
    let url = format!("{BASE}/oauth/logout?{}", query.unwrap());
    let page = world.browser().open(&url).await;
    page.answer.expect_page(400, "For the developer of the app");
    for words in [
        "https://app.example.org/by",
        "https://app.example.org/bye",
        "path",
    ] {
        assert!(page.answer.text().contains(words), "{words}: {page:?}");
        page.answer.logged(words);
    }
}
