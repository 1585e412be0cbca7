//! One parameter, one judgement: what apps send is read alike wherever it is read.

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;

use crate::app::Tokens;
use crate::browser::parameter;
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_long_state_comes_back_whatever_becomes_of_the_request,
    a_long_nonce_is_in_the_id_token,
    a_login_hint_is_read_alike_by_every_page,
    a_login_hint_of_no_use_is_shown_where_it_can_be_corrected,
    a_scope_that_nobody_knows_is_never_shown_to_a_person,
    a_long_form_of_another_site_is_repeated_by_our_page_and_replaces_no_cookie,
);

async fn a_long_state_comes_back_whatever_becomes_of_the_request(world: &World) {
    let app = world.app().await;
    let state = "s".repeat(8 * 1024);
    let pending = app.begin_authorization(&[("state", &state)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let back = browser.allow(&consent).await;
    assert_eq!(parameter(&back, "state").as_ref(), Some(&state));
    assert!(parameter(&back, "code").is_some());

    let longest = "t".repeat(18 * 1024);
    for (change, state, error) in [
        (
            ("response_type", "token"),
            &state,
            "unsupported_response_type",
        ),
        (
            ("scope", "atproto identity:handle"),
            &state,
            "invalid_scope",
        ),
        (("prompt", "none login"), &state, "invalid_request"),
        (("nonce", &*longest), &state, "invalid_request"),
        (("display", "page"), &longest, "invalid_request"),
    ] {
        let pending = app.begin_authorization(&[change, ("state", state)]);
        let back = browser.open(&pending.url).await.away();
        assert_eq!(parameter(&back, "error").as_deref(), Some(error));
        assert_eq!(parameter(&back, "state").as_ref(), Some(state), "{error}");
    }

    // Nobody is signed in here, and the person says no.
    let silent = app.begin_authorization(&[("state", &state), ("prompt", "none")]);
    let back = world.browser().open(&silent.url).await.away();
    assert_eq!(parameter(&back, "state").as_ref(), Some(&state));
    let pending = app.begin_authorization(&[("state", &state), ("prompt", "consent")]);
    let login = world.browser();
    let page = login.open(&pending.url).await;
    let consent = login.sign_in(&page, world.alice()).await;
    let back = login.deny(&consent).await;
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&back, "state").as_ref(), Some(&state));
}

async fn a_long_nonce_is_in_the_id_token(world: &World) {
    let app = world.app().await;
    let nonce = "n".repeat(8 * 1024);
    let pending = app.begin_authorization(&[("nonce", &nonce)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let back = browser.allow(&consent).await;
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    let claims = verified_claims(world, tokens.id_token()).await;
    assert_eq!(claims["nonce"], nonce);
}

async fn a_scope_that_nobody_knows_is_never_shown_to_a_person(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[(
        "scope",
        "atproto openid rpc:app.bsky.feed.getTimeline profiles",
    )]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    for unknown in ["Unknown permission", "profiles", "getTimeline"] {
        assert!(!consent.answer.text().contains(unknown), "{unknown}");
    }
    let back = browser.allow(&consent).await;
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    assert_eq!(tokens.answer["scope"], "atproto openid");

    // When nothing is left, the app is told.
    let pending = app.begin_authorization(&[("scope", "openid,profile,atproto")]);
    let back = browser.open(&pending.url).await.away();
    let told = pending.refused(&back, "invalid_scope");
    assert!(told.contains("openid,profile,atproto"), "{told}");
    let pending = app.begin_authorization(&[("scope", "atproto blob:*/* identity:handle")]);
    let back = browser.open(&pending.url).await.away();
    let told = pending.refused(&back, "invalid_scope");
    assert!(told.contains("identity:handle"), "{told}");
    assert!(!told.contains("blob:"), "{told}");
}

async fn a_login_hint_is_read_alike_by_every_page(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let did = world.alice().did.as_str();
    let shared = format!("at://{did}");
    for hint in [
        "alice.test",
        "@alice.test",
        " ALICE.test ",
        "at://alice.test",
        did,
        &shared,
    ] {
        for changes in [&[("prompt", "none")][..], &[]] {
            let changes = [changes, &[("login_hint", hint)]].concat();
            let pending = app.begin_authorization(&changes);
            pending.code(&browser.open(&pending.url).await.away());
        }
    }
    for somebody_else in ["bob.test", "alice.test.example", "not a handle"] {
        let pending = app.begin_authorization(&[("prompt", "none"), ("login_hint", somebody_else)]);
        let back = browser.open(&pending.url).await.away();
        pending.refused(&back, "login_required");
    }
}

async fn a_login_hint_of_no_use_is_shown_where_it_can_be_corrected(world: &World) {
    let app = world.app().await;
    for hint in ["alice", "alice@example.org", "not a handle"] {
        let browser = world.browser();
        let pending = app.begin_authorization(&[("login_hint", hint)]);
        let page = browser.open(&pending.url).await;
        assert_eq!(page.answer.status, 200, "{hint}: {}", page.answer.text());
        assert_eq!(page.form("login").field("subject"), Some(hint));
        // The person corrects it, and the sign-in goes on.
        let consent = browser.sign_in(&page, world.alice()).await;
        pending.code(&browser.allow(&consent).await);
    }
}

async fn a_long_form_of_another_site_is_repeated_by_our_page_and_replaces_no_cookie(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let pending = app.begin_authorization(&[("unknown", &"s".repeat(7 * 1024))]);
    let (endpoint, query) = pending.url.split_once('?').unwrap();
    let form = |body: &str| {
        let request = Request::post(endpoint);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(Bytes::from(body.to_owned())).unwrap()
    };
    let page = world.send(form(query)).await;
    assert_eq!(page.status, 200);
    assert!(!page.headers.contains_key("set-cookie"), "{page:?}");
    assert!(page.text().contains("<form id=\"repeat\""), "{page:?}");
    // Sent by our page, the form brings the cookies: the person is known.
    let repeated = format!("{query}&aip_repeated=1");
    let page = browser.follow(endpoint, form(&repeated)).await;
    pending.code(&page.away());
    // Without any cookie there is a sign-in page in the end, and no circle.
    let page = world.browser().follow(endpoint, form(&repeated)).await;
    assert!(page.has_form("login"), "{page:?}");
}
