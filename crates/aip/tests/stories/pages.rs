//! Pages as people use them: clicks that come twice, several tabs, and what a browser is left with.

use std::time::Duration;

use aip_sandbox::{Endpoint, Person};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use url::Url;

use crate::app::{App, Tokens};
use crate::browser::{Browser, parameter};
use crate::html::Form;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_decision_that_is_sent_twice_reaches_the_app_once,
    the_sign_in_form_may_be_sent_twice,
    the_forms_of_the_account_page_may_be_sent_twice,
    two_tabs_of_a_new_browser_do_not_end_one_another,
    a_form_that_was_open_before_another_tab_signed_in_is_good,
    a_tab_that_may_show_no_page_leaves_an_open_consent_page_alone,
    a_sign_in_with_a_replaced_cookie_works_and_sees_no_account_that_was_added,
    two_sign_ins_that_end_at_the_same_time_never_share_a_session,
    nothing_is_stored_before_the_first_form_is_sent,
    a_head_spends_nothing_and_asks_nobody,
    a_pds_that_refuses_the_request_is_told_to_the_person_and_then_to_the_app,
    what_others_wrote_is_escaped_on_every_page,
);

async fn a_decision_that_is_sent_twice_reaches_the_app_once(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    // The browser does not wait for the answer to the first click.
    let first = browser.allow(&page).await;
    let second = browser.allow(&page).await;
    assert_eq!(first, second);
    assert_eq!(
        world.dump().await.count("grants"),
        1,
        "there is no second grant"
    );
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&second)).await);
    // Once the app has it, the code is not sent again: its replay would end the grant.
    let late = browser.submit(page.form("consent"), "allow").await;
    late.answer.expect_page(400, "This sign-in has ended");
    app.userinfo(&tokens.access).await.ok();
}

async fn the_sign_in_form_may_be_sent_twice(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    browser.sign_in_as(&login, "alice.test").await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    assert_eq!(world.dump().await.count("authorization_requests"), 1);
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let consent = browser.open(callback.as_str()).await;
    let code = pending.code(&browser.allow(&consent).await);
    Tokens::of(&app.redeem(&pending, &code).await);

    // An account that is chosen, with a click or two: one code.
    let pending = app.begin_authorization(&[("prompt", "select_account")]);
    let login = browser.open(&pending.url).await;
    let choose = async || {
        let form = login.form("login");
        browser
            .submit(form, world.alice().did.as_str())
            .await
            .away()
    };
    let (first, second) = (choose().await, choose().await);
    assert_eq!(first, second);
    assert_eq!(world.dump().await.count("grants"), 2);
    Tokens::of(&app.redeem(&pending, &pending.code(&second)).await);
}

async fn the_forms_of_the_account_page_may_be_sent_twice(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let page = browser.open(&format!("{BASE}/account")).await;
    let form = Form::with_field(page.answer.text(), "client_id", app.id.as_str()).unwrap();
    for _ in 0..2 {
        let after = browser.submit(form.clone(), "revoke").await;
        assert!(after.answer.text().contains("No app may use"), "{after:?}");
    }
    let first = browser.tab();
    for tab in [&first, &browser] {
        let after = tab.submit(page.form("sign-out"), "sign-out-button").await;
        assert!(
            after.answer.text().contains("You are signed out"),
            "{after:?}"
        );
    }
}

/// The sign-in page for a new request of the app.
async fn two_pages<'w>(
    app: &App<'w>,
    tabs: [&Browser<'w>; 2],
) -> [(crate::app::PendingAuthorization, crate::browser::Page); 2] {
    let [one, other] = [app.begin_authorization(&[]), app.begin_authorization(&[])];
    let pages = [tabs[0].open(&one.url).await, tabs[1].open(&other.url).await];
    let [first, second] = pages;
    [(one, first), (other, second)]
}

async fn two_tabs_of_a_new_browser_do_not_end_one_another(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    // Both are opened before either answer is there, as when a browser restores its tabs.
    let tab = browser.tab();
    let [(first, one), (second, other)] = two_pages(&app, [&browser, &tab]).await;
    browser.joined_by(&tab);
    let mut consents = Vec::new();
    let mut callbacks = Vec::new();
    for (page, person) in [(&one, world.alice()), (&other, world.bob())] {
        let at_pds = browser.sign_in_as(page, person.handle.as_str()).await;
        callbacks.push(browser.at_pds(&at_pds, person).await);
    }
    for callback in callbacks {
        consents.push(browser.open(callback.as_str()).await);
    }
    for (pending, consent) in [first, second].iter().zip(&consents) {
        let code = pending.code(&browser.allow(consent).await);
        Tokens::of(&app.redeem(pending, &code).await);
    }
    let account = browser.open(&format!("{BASE}/account")).await;
    for handle in ["alice.test", "bob.test"] {
        assert!(account.answer.text().contains(handle), "{account:?}");
    }
}

async fn a_form_that_was_open_before_another_tab_signed_in_is_good(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let waiting = app.begin_authorization(&[]);
    let login = browser.open(&waiting.url).await;
    app.sign_in(&browser, world.alice()).await;
    let consent = browser.sign_in(&login, world.bob()).await;
    // Another sign-in replaces the cookie once more, while account and consent page are open.
    let account = browser.open(&format!("{BASE}/account")).await;
    world.app().await.sign_in(&browser, world.alice()).await;
    let code = waiting.code(&browser.allow(&consent).await);
    Tokens::of(&app.redeem(&waiting, &code).await);
    let form = Form::with_field(account.answer.text(), "client_id", app.id.as_str()).unwrap();
    let after = browser.submit(form, "revoke").await;
    assert_eq!(after.answer.status, StatusCode::OK);
}

async fn a_tab_that_may_show_no_page_leaves_an_open_consent_page_alone(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    let before = world.dump().await;
    for hint in ["", "alice.test"] {
        let silent = app.begin_authorization(&[("prompt", "none"), ("login_hint", hint)]);
        let page = browser.open(&silent.url).await;
        silent.refused(&page.away(), "consent_required");
    }
    assert_eq!(world.dump().await, before, "nothing was stored or ended");
    // The same by a no on a second consent page, which the same session would have served.
    let second = app.begin_authorization(&[("login_hint", "alice.test")]);
    let page = browser.open(&second.url).await;
    second.refused(&browser.deny(&page).await, "access_denied");
    let code = pending.code(&browser.allow(&consent).await);
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    app.query(&tokens.access, "com.atproto.server.getSession")
        .await
        .ok();
}

/// A browser at which Alice is signed in, and where she and Bob come back to for another app: both
/// with the cookie of that moment.
async fn two_callbacks_with_one_cookie(world: &World) -> (Browser<'_>, [Url; 2]) {
    let browser = world.browser();
    world.app().await.sign_in(&browser, world.alice()).await;
    let other = world.app().await;
    let callback = async |person: &Person| {
        let page = browser.open(&other.begin_authorization(&[]).url).await;
        let at_pds = browser.sign_in_as(&page, person.handle.as_str()).await;
        browser.at_pds(&at_pds, person).await
    };
    let callbacks = [callback(world.alice()).await, callback(world.bob()).await];
    (browser, callbacks)
}

async fn a_sign_in_with_a_replaced_cookie_works_and_sees_no_account_that_was_added(world: &World) {
    let (browser, callbacks) = two_callbacks_with_one_cookie(world).await;
    // Both callbacks are under way with the same cookie. Whoever planted it could do the same.
    let tab = browser.tab();
    let consent = browser.open(callbacks[1].as_str()).await;
    assert!(consent.has_form("consent"));
    let consent = tab.open(callbacks[0].as_str()).await;
    assert!(consent.has_form("consent"), "{consent:?}");
    world.pass(Duration::from_mins(2));
    for (browser, shown, hidden) in [
        (&browser, vec!["alice.test", "bob.test"], None),
        (&tab, vec!["alice.test"], Some("bob.test")),
    ] {
        let account = browser.open(&format!("{BASE}/account")).await;
        for handle in shown {
            assert!(account.answer.text().contains(handle), "{account:?}");
        }
        let hidden = hidden.is_some_and(|handle| account.answer.text().contains(handle));
        assert!(!hidden, "{account:?}");
    }
}

async fn two_sign_ins_that_end_at_the_same_time_never_share_a_session(world: &World) {
    let (browser, callbacks) = two_callbacks_with_one_cookie(world).await;
    let tab = browser.tab();
    let (one, two) = tokio::join!(
        browser.open(callbacks[0].as_str()),
        tab.open(callbacks[1].as_str()),
    );
    assert!(one.has_form("consent") && two.has_form("consent"));
    assert_ne!(browser.session_cookie(), tab.session_cookie());
    // Whichever came first, the session of Alice's sign-in has no account of Bob.
    let account = browser.open(&format!("{BASE}/account")).await;
    assert!(account.answer.text().contains("alice.test"), "{account:?}");
    assert!(!account.answer.text().contains("bob.test"), "{account:?}");
}

async fn nothing_is_stored_before_the_first_form_is_sent(world: &World) {
    let app = world.app().await;
    let before = world.dump().await;
    for _ in 0..20 {
        let browser = world.browser();
        for url in [
            app.begin_authorization(&[]).url,
            app.begin_authorization(&[("login_hint", "alice.test")]).url,
            app.begin_authorization(&[("prompt", "none")]).url,
            format!("{BASE}/login"),
            format!("{BASE}/account"),
            format!("{BASE}/consent?request=nothing"),
            format!("{BASE}/oauth/atp/callback?state=x&code=y"),
            format!("{BASE}/nowhere"),
        ] {
            browser.open(&url).await;
        }
    }
    assert_eq!(world.dump().await, before);
}

async fn a_head_spends_nothing_and_asks_nobody(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let (before, asked) = (world.dump().await, world.pds().requests().len());
    let hinted = app.begin_authorization(&[("login_hint", "alice.test")]).url;
    for url in [callback.as_str(), &hinted, &format!("{BASE}/account")] {
        let request = Request::builder().method(Method::HEAD).uri(url);
        let page = browser
            .follow(url, request.body(Bytes::new()).unwrap())
            .await;
        assert_eq!(page.answer.status, StatusCode::OK, "{url}");
        assert_eq!(page.answer.length, 0, "{url}");
    }
    assert_eq!(world.dump().await, before);
    assert_eq!(world.pds().requests().len(), asked);
    let consent = browser.open(callback.as_str()).await;
    pending.code(&browser.allow(&consent).await);
}

async fn a_pds_that_refuses_the_request_is_told_to_the_person_and_then_to_the_app(world: &World) {
    let app = world.app().await;
    for (theirs, ours) in [
        ("invalid_scope", "invalid_scope"),
        ("invalid_request", "server_error"),
    ] {
        let browser = world.browser();
        let pending = app.begin_authorization(&[]);
        let login = browser.open(&pending.url).await;
        let refuses = world.pds().next(Endpoint::Par);
        refuses.answers_error(StatusCode::BAD_REQUEST, theirs);
        let page = browser.sign_in_as(&login, "alice.test").await;
        assert_eq!(page.answer.status, StatusCode::BAD_REQUEST);
        assert!(
            page.answer.text().contains("did not let us begin"),
            "{page:?}"
        );
        page.answer.logged(theirs);
        let back = browser.submit(page.form("login"), "back").await;
        pending.refused(&back.away(), ours);
    }
}

async fn what_others_wrote_is_escaped_on_every_page(world: &World) {
    let payload = "<script>alert(1)</script>\"'&";
    let app = App::register(world, |settings| payload.clone_into(&mut settings.name)).await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[
        ("login_hint", payload),
        ("state", payload),
        ("prompt", "select_account"),
    ]);
    let login = browser.open(&pending.url).await;
    let again = browser.sign_in_as(&login, payload).await;
    let consent = browser.sign_in(&again, world.alice()).await;
    let script = "%3Cscript%3Ealert(1)";
    let unknown = format!("{BASE}/oauth/authorize?client_id={script}");
    let unknown = browser.open(&unknown).await;
    let missing = format!("{BASE}/consent?request={script}");
    let missing = browser.open(&missing).await;
    for page in [&login, &again, &consent, &unknown, &missing] {
        assert!(!page.answer.text().contains("<script"), "{page:?}");
        assert!(!page.answer.text().contains("\"'&\""), "{page:?}");
    }
    assert!(consent.answer.text().contains("&#60;script&#62;"));
    let back = browser.allow(&consent).await;
    assert_eq!(parameter(&back, "state").as_deref(), Some(payload));
}
