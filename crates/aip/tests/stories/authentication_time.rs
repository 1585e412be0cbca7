//! `auth_time` and `max_age` (OpenID Connect Core §2 and §3.1.2.1): a time is claimed only of an
//! authentication that the PDS was told to ask for.

use std::time::Duration;

use aip_base::Clock as _;
use aip_sandbox::Endpoint;
use serde_json::Value;

use crate::app::{App, PendingAuthorization, Tokens};
use crate::browser::Browser;
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_pds_that_remembered_the_person_proves_no_time,
    prompt_login_and_max_age_make_the_person_authenticate,
    an_account_that_is_chosen_authenticates_anew_at_its_pds,
);

async fn claims(app: &App<'_>, pending: &PendingAuthorization, back: &url::Url) -> Value {
    let tokens = Tokens::of(&app.redeem(pending, &pending.code(back)).await);
    verified_claims(app.world, tokens.id_token()).await
}

/// The whole way with these parameters, whichever pages are shown.
async fn sign_in(app: &App<'_>, browser: &Browser<'_>, changes: &[(&str, &str)]) -> Value {
    let pending = app.begin_authorization(changes);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, app.world.alice()).await;
    let back = if page.stayed() {
        browser.allow(&page).await
    } else {
        page.away()
    };
    claims(app, &pending, &back).await
}

async fn a_pds_that_remembered_the_person_proves_no_time(world: &World) {
    let app = world.app().await;
    let mut browser = world.browser();
    browser.remembered = true;
    let first = sign_in(&app, &browser, &[]).await;
    assert!(first.get("auth_time").is_none(), "{first}");

    for max_age in ["0", "4", "100000"] {
        let silent = app.begin_authorization(&[("prompt", "none"), ("max_age", max_age)]);
        let back = browser.open(&silent.url).await.away();
        silent.refused(&back, "login_required");
    }
    let silent = app.begin_authorization(&[("prompt", "none")]);
    let back = browser.open(&silent.url).await.away();
    let claims = claims(&app, &silent, &back).await;
    assert!(claims.get("auth_time").is_none(), "{claims}");
}

async fn prompt_login_and_max_age_make_the_person_authenticate(world: &World) {
    let app = world.app().await;
    for asking in [("prompt", "login"), ("max_age", "3600")] {
        let mut browser = world.browser();
        browser.remembered = true;
        sign_in(&app, &browser, &[]).await;
        world.pass(Duration::from_mins(5));
        let renewed = sign_in(&app, &browser, &[asking]).await;
        let then = world.clock.now().as_secs();
        assert_eq!(renewed["auth_time"], then, "{asking:?}");

        // It is known from now on, and grows older.
        world.pass(Duration::from_secs(100));
        let silent = app.begin_authorization(&[("prompt", "none"), ("max_age", "101")]);
        let back = browser.open(&silent.url).await.away();
        assert_eq!(claims(&app, &silent, &back).await["auth_time"], then);
        let silent = app.begin_authorization(&[("prompt", "none"), ("max_age", "100")]);
        let back = browser.open(&silent.url).await.away();
        silent.refused(&back, "login_required");

        // A sign-in without a password, in another browser, says nothing about it.
        let mut other = world.browser();
        other.remembered = true;
        let elsewhere = sign_in(&app, &other, &[]).await;
        assert!(elsewhere.get("auth_time").is_none(), "{elsewhere}");
    }
}

async fn an_account_that_is_chosen_authenticates_anew_at_its_pds(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    sign_in(&app, &browser, &[]).await;
    for asking in [("max_age", "0"), ("prompt", "login")] {
        world.pass(Duration::from_mins(5));
        let pending = app.begin_authorization(&[asking]);
        let form = browser.open(&pending.url).await.form("login");
        let at_pds = browser.submit(form, world.alice().did.as_str()).await;
        let pushed = world.pds().requests_to(Endpoint::Par);
        let pushed = pushed.last().unwrap().form();
        assert_eq!(pushed.get("prompt"), Some("login"), "{asking:?}");
        let callback = browser.at_pds(&at_pds, world.alice()).await;
        let back = browser.open(callback.as_str()).await.away();
        let claims = claims(&app, &pending, &back).await;
        assert_eq!(claims["auth_time"], world.clock.now().as_secs());
    }
}
