//! Signing in when something is wrong with the handle or its server, and signing out at an app's
//! wish.

use std::time::Duration;

use aip_sandbox::{Document, Endpoint, Lie};
use http::StatusCode;
use serde_json::json;

use crate::app::{App, SCOPE, Tokens};
use crate::browser::{Browser, Page};
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_handle_that_leads_nowhere_is_the_page_again_with_what_was_tried,
    a_server_that_is_away_is_the_page_again_and_works_later,
    resource_metadata_that_is_not_right_leads_nowhere,
    server_metadata_that_is_not_right_leads_nowhere,
    an_app_signs_out_whom_it_can_name_and_nobody_else,
);

const BYE: &str = "https://app.example.org/bye";

/// Types that and claims that the page comes again with these words, and that nothing began.
async fn expect_page_again(world: &World, browser: &Browser<'_>, typed: &str, words: &str) -> Page {
    let app = world.app().await;
    let login = browser.open(&app.errand(&[]).url).await;
    let page = browser.sign_in_as(&login, typed).await;
    page.answer.expect_page(400, words);
    assert!(page.has_form("login"), "the person can try again");
    assert_eq!(world.dump().await.count("upstream_flows"), 0);
    assert!(world.pds().requests_to(Endpoint::Par).is_empty());
    page
}

async fn a_handle_that_leads_nowhere_is_the_page_again_with_what_was_tried(world: &World) {
    let browser = world.browser();
    let page = expect_page_again(world, &browser, "nobody.test", "nobody.test").await;
    page.answer.logged("upstream");
    for tried in ["DNS", "_atproto.nobody.test", "well-known"] {
        assert!(
            page.answer.text().contains(tried),
            "{tried}: {}",
            page.answer.text()
        );
    }
    for typed in [
        "",
        "alice",
        "<script>alert(1)</script>",
        "https://x.test/path",
    ] {
        let page = expect_page_again(world, &browser, typed, "role=\"alert\"").await;
        page.answer.logged("caller");
        assert!(!page.answer.text().contains("<script"));
    }
}

async fn a_server_that_is_away_is_the_page_again_and_works_later(world: &World) {
    let browser = world.browser();
    world.pds().go_down().await;
    let page = expect_page_again(world, &browser, "alice.test", "This is what we tried").await;
    page.answer.logged("upstream");
    world.pds().come_up().await.unwrap();
    let page = browser.sign_in_as(&page, "alice.test").await;
    let callback = browser.at_pds(&page, world.alice()).await;
    assert!(browser.open(callback.as_str()).await.has_form("consent"));
}

async fn resource_metadata_that_is_not_right_leads_nowhere(world: &World) {
    let issuer = world.pds().issuer();
    let two = json!([issuer, "https://other.example.com"]);
    let with_path = json!([format!("{issuer}/path")]);
    let lie = Lie::set(
        Document::ResourceMetadata,
        "authorization_servers",
        with_path,
    );
    world.pds().lie(lie);
    expect_page_again(world, &world.browser(), "alice.test", "bare https origin").await;
    world.pds().tell_truth();
    for (member, value) in [
        ("authorization_servers", Some(two)),
        ("authorization_servers", Some(json!([]))),
        ("authorization_servers", None),
        ("resource", Some(json!("https://other.example.com"))),
        ("resource", None),
    ] {
        world.pds().lie(match value {
            Some(value) => Lie::set(Document::ResourceMetadata, member, value),
            None => Lie::omit(Document::ResourceMetadata, member),
        });
        let page = expect_page_again(world, &world.browser(), "alice.test", member).await;
        page.answer.logged("upstream");
        world.pds().tell_truth();
    }
    for order in 0..3 {
        let next = world.pds().next(Endpoint::ResourceMetadata);
        match order {
            0 => next.redirects_to("https://other.example.com/"),
            1 => next.changes_status(StatusCode::NON_AUTHORITATIVE_INFORMATION),
            _ => next.answers_html(),
        }
        expect_page_again(
            world,
            &world.browser(),
            "alice.test",
            "This is what we tried",
        )
        .await;
    }
}

async fn server_metadata_that_is_not_right_leads_nowhere(world: &World) {
    let pushed = "pushed_authorization_request_endpoint";
    for (member, value) in [
        ("issuer", json!("https://other.example.com")),
        ("token_endpoint", json!("https://10.0.0.1/token")),
        (pushed, json!("file:///etc/passwd")),
        ("authorization_endpoint", json!(null)),
        ("require_pushed_authorization_requests", json!(false)),
    ] {
        let lie = Lie::set(Document::ServerMetadata, member, value);
        world.pds().lie(lie);
        let page = expect_page_again(world, &world.browser(), "alice.test", member).await;
        page.answer.logged("upstream");
        world.pds().tell_truth();
        // An answer that is no good is remembered for a while.
        world.pass(Duration::from_mins(10));
    }
}

async fn an_app_signs_out_whom_it_can_name_and_nobody_else(world: &World) {
    let app = App::register(world, |settings| {
        settings.post_logout_redirect_uris.push(BYE.to_owned());
    });
    let (app, other) = (app.await, world.app().await);
    let browser = world.browser();
    let alices = app.sign_in(&browser, world.alice()).await;
    let bobs = app.sign_in(&browser, world.bob()).await;
    let logout = |params: &[(&str, &str)]| {
        let query = serde_urlencoded::to_string(params).unwrap();
        format!("{BASE}/oauth/logout?{query}")
    };

    let before = world.dump().await;
    for wrong in [
        [
            ("id_token_hint", alices.id_token()),
            ("post_logout_redirect_uri", "https://evil.example/"),
        ],
        [
            ("id_token_hint", alices.id_token()),
            ("client_id", other.id.as_str()),
        ],
        [
            ("id_token_hint", &*alices.access),
            ("post_logout_redirect_uri", BYE),
        ],
        [
            ("client_id", other.id.as_str()),
            ("post_logout_redirect_uri", BYE),
        ],
    ] {
        let page = browser.open(&logout(&wrong)).await;
        page.answer.expect_page(400, "The app").logged("caller");
    }
    let named = logout(&[
        ("post_logout_redirect_uri", BYE),
        ("client_id", app.id.as_str()),
    ]);
    let asked = browser.open(&named).await;
    assert!(
        asked.has_form("logout"),
        "without a hint the person is asked"
    );
    assert_eq!(world.dump().await, before, "nobody was signed out");

    let hint = [
        ("id_token_hint", alices.id_token()),
        ("post_logout_redirect_uri", BYE),
        ("state", "goodbye"),
    ];
    let back = browser.open(&logout(&hint)).await.away();
    assert_eq!(back.as_str(), format!("{BYE}?state=goodbye"));
    let account = browser.open(&format!("{BASE}/account")).await;
    assert!(account.answer.text().contains("bob.test"));
    assert!(!account.answer.text().contains("alice.test"));
    app.userinfo(&bobs.access).await.ok();

    // Signed out is not allowed to return without a word: the PDS and AIP ask again.
    let errand = app.errand(&[("login_hint", "alice.test")]);
    let login = browser.open(&errand.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let consent = browser.open(callback.as_str()).await;
    let code = errand.code(&browser.allow(&consent).await);
    assert_eq!(
        Tokens::of(&app.redeem(&errand, &code).await).answer["scope"],
        SCOPE
    );
}
