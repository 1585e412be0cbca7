//! The cookie by which AIP knows a browser: when it is replaced, how long it lasts, and what one that
//! somebody planted is worth.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::COOKIE;

use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_sign_in_replaces_the_cookie_so_that_a_planted_one_is_worthless,
    a_planted_second_cookie_leaves_the_browser_unknown,
    a_browser_is_remembered_for_long_only_after_somebody_signed_in,
);

fn account_page() -> String {
    format!("{BASE}/account")
}

async fn a_sign_in_replaces_the_cookie_so_that_a_planted_one_is_worthless(world: &World) {
    let browser = world.browser();
    let login = browser.open(&account_page()).await;
    let attacker = browser.tab();
    let page = browser.sign_in(&login, world.alice()).await;
    assert!(page.answer.text().contains(world.alice().did.as_str()));

    let page = attacker.open(&account_page()).await;
    assert!(page.has_form("login"), "{page:?}");
    assert!(!page.answer.text().contains(world.alice().did.as_str()));
}

async fn a_planted_second_cookie_leaves_the_browser_unknown(world: &World) {
    let browser = world.browser();
    let login = browser.open(&account_page()).await;
    browser.sign_in(&login, world.alice()).await;
    let own = format!("__Host-aip={}", browser.session_cookie().unwrap());
    for (cookies, known) in [(own.clone(), true), (format!("{own}; {own}"), false)] {
        let request = Request::get(account_page()).header(COOKIE, cookies);
        let page = world.send(request.body(Bytes::new()).unwrap()).await;
        assert_eq!(page.text().contains("<form id=\"login\""), !known);
    }
}

async fn a_browser_is_remembered_for_long_only_after_somebody_signed_in(world: &World) {
    let browser = world.browser();
    let stranger = browser.open(&account_page()).await;
    let cookie = stranger.answer.header("set-cookie").to_owned();
    assert!(cookie.contains("; Max-Age=7200;"), "{cookie}");

    // Too late to begin a sign-in that this cookie would outlive: there is a new one.
    world.pass(Duration::from_mins(61));
    let login = browser.open(&account_page()).await;
    assert_ne!(login.answer.header("set-cookie"), cookie);

    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let request = Request::get(callback.as_str()).body(Bytes::new()).unwrap();
    let signed_in = browser.send(request).await;
    let cookie = signed_in.header("set-cookie");
    assert!(cookie.contains("; Max-Age=2592000;"), "{cookie}");
}
