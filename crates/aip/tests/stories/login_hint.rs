//! A `login_hint` that names an account: whose server is asked at once, and whose only after a click.

use bytes::Bytes;
use http::Request;

use crate::browser::{Browser, Page};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_login_hint_leads_straight_to_the_pds_unless_an_account_is_to_be_chosen,
    a_login_hint_that_leads_nowhere_shows_the_sign_in_page_with_the_reason,
    a_hint_of_another_site_is_shown_before_its_server_is_asked,
);

/// Goes to an address of AIP by a link of `site`, a value of `Sec-Fetch-Site`.
async fn open_from(browser: &Browser<'_>, site: &str, url: &str) -> Page {
    let request = Request::get(url).header("sec-fetch-site", site);
    browser
        .follow(url, request.body(Bytes::new()).unwrap())
        .await
}

async fn a_login_hint_leads_straight_to_the_pds_unless_an_account_is_to_be_chosen(world: &World) {
    let app = world.app().await;
    let hint = ("login_hint", "alice.test");
    let hinted = app.begin_authorization(&[hint]);
    let page = open_from(&world.browser(), "none", &hinted.url).await;
    assert!(page.away().as_str().starts_with(world.pds().issuer()));
    let choosing = app.begin_authorization(&[hint, ("prompt", "select_account")]);
    let page = open_from(&world.browser(), "none", &choosing.url).await;
    assert_eq!(page.form("login").field("subject"), Some("alice.test"));
}

async fn a_login_hint_that_leads_nowhere_shows_the_sign_in_page_with_the_reason(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[("login_hint", "nobody.test")]);
    let page = open_from(&world.browser(), "none", &pending.url).await;
    page.answer.expect_page(400, "role=\"alert\"");
    assert!(page.answer.text().contains("_atproto.nobody.test"));
    assert!(page.has_form("login"), "{page:?}");
}

async fn a_hint_of_another_site_is_shown_before_its_server_is_asked(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[("login_hint", "alice.test")]);
    for site in ["cross-site", "same-site"] {
        let page = open_from(&world.browser(), site, &pending.url).await;
        let shown = page.form("login");
        assert_eq!(shown.field("subject"), Some("alice.test"), "{site}");
    }
    assert!(
        world.pds().requests().is_empty(),
        "nobody's server was asked"
    );
    for site in ["none", "same-origin"] {
        let page = open_from(&world.browser(), site, &pending.url).await;
        let away = page.away();
        assert!(away.as_str().starts_with(world.pds().issuer()), "{site}");
    }
    // An account that is known here is no news.
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let again = app.begin_authorization(&[("login_hint", "alice.test")]);
    let page = open_from(&browser, "cross-site", &again.url).await;
    again.code(&page.away());
}
