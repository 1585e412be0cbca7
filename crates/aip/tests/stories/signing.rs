//! Signing in when something is wrong with the handle or its server.

use std::time::Duration;

use aip_atproto::Did;
use aip_sandbox::{Document, Endpoint, Lie};
use http::StatusCode;
use serde_json::json;

use crate::browser::{Browser, Page};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_handle_that_leads_nowhere_is_the_page_again_with_what_was_tried,
    a_server_that_is_away_is_the_page_again_and_works_later,
    resource_metadata_that_is_not_right_leads_nowhere,
    server_metadata_that_is_not_right_leads_nowhere,
    an_account_that_apps_could_not_know_by_its_did_cannot_sign_in,
);

/// Types that and claims that the page comes again with these words, and that nothing began.
async fn expect_page_again(world: &World, browser: &Browser<'_>, typed: &str, words: &str) -> Page {
    let app = world.app().await;
    let login = browser.open(&app.begin_authorization(&[]).url).await;
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
    for tried in [
        "Sign in to <bdi class=\"name\">Example App</bdi>",
        "role=\"alert\"",
        "DNS",
        "<bdi>_atproto.nobody.test</bdi>",
        "no such record",
        "well-known",
    ] {
        assert!(
            page.answer.text().contains(tried),
            "{tried}: {}",
            page.answer.text()
        );
    }
    assert_eq!(page.form("login").field("subject"), Some("nobody.test"));
    let mistyped = page;
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
    let consent = browser.sign_in(&mistyped, world.alice()).await;
    assert!(consent.has_form("consent"), "the request lives on");
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

/// OpenID Connect Core §2: a `sub` has 255 characters at most.
async fn an_account_that_apps_could_not_know_by_its_did_cannot_sign_in(world: &World) {
    let browser = world.browser();
    let pds = world.pds().origin();
    for length in [256, 261] {
        let did = did_of_length(world, length, pds);
        let page = expect_page_again(world, &browser, did.as_str(), "cannot sign in here").await;
        page.answer.logged("caller");
        assert!(page.answer.text().contains(&format!("{length} characters")));
    }
    let did = did_of_length(world, 255, pds);
    let login = browser
        .open(&world.app().await.begin_authorization(&[]).url)
        .await;
    let at_pds = browser.sign_in_as(&login, did.as_str()).await;
    assert!(!at_pds.has_form("login"), "it goes on at the PDS");
    assert_eq!(world.dump().await.count("upstream_flows"), 1);
}

/// A `did:web` of so many characters, whose document leads to that PDS.
pub(crate) fn did_of_length(world: &World, length: usize, pds: &str) -> Did {
    let label = "a".repeat(60);
    let host = format!(
        "{label}.{label}.{label}.{label}.{}",
        "b".repeat(length - 252)
    );
    let did = format!("did:web:{host}");
    let service = json!({
        "id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds,
    });
    let document = json!({ "id": did, "service": [service] });
    let place = format!("https://{host}/.well-known/did.json");
    world.hosted.put(&place, 200, document.to_string());
    did.parse().unwrap()
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
