//! The accounts of a browser, and taking back what was allowed.

use aip_sandbox::Endpoint;
use aip_storage::audit::AuditKind;

use crate::app::Tokens;
use crate::html::Form;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_second_account_in_the_same_browser_is_signed_in_beside_the_first,
    a_no_to_the_app_ends_the_session_at_the_pds_too,
    what_is_taken_back_on_the_account_page_is_dead_everywhere,
    signing_in_without_an_app_leads_to_the_account_page,
    nobody_takes_back_what_another_account_gave,
    signing_out_forgets_the_browser,
);

fn account_page() -> String {
    format!("{BASE}/account")
}

async fn a_second_account_in_the_same_browser_is_signed_in_beside_the_first(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let alices = app.sign_in(&browser, world.alice()).await;
    let choosing = [("prompt", "select_account")];
    let login = browser.open(&app.begin_authorization(&choosing).url).await;
    assert!(
        login.answer.text().contains("alice.test"),
        "offered, not taken"
    );

    let bobs = app.sign_in(&browser, world.bob()).await;
    for (tokens, person) in [(alices, world.alice()), (bobs, world.bob())] {
        assert_eq!(
            app.userinfo(&tokens.access).await.ok()["sub"],
            person.did.as_str()
        );
    }
    // Either can be chosen by one click, and its PDS is not asked again.
    let visits = world.pds().requests_to(Endpoint::Par).len();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let back = browser
        .submit(login.form("login"), world.alice().did.as_str())
        .await
        .away();
    let tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    assert_eq!(
        app.userinfo(&tokens.access).await.ok()["sub"],
        world.alice().did.as_str()
    );
    assert_eq!(world.pds().requests_to(Endpoint::Par).len(), visits);
    let page = browser.open(&account_page()).await;
    for handle in ["alice.test", "bob.test"] {
        assert!(page.answer.text().contains(handle));
    }

    // Who is not signed in here goes to their PDS, whatever the form says.
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let login = browser.open(&app.begin_authorization(&choosing).url).await;
    let form = login.form("login").set("account", world.bob().did.as_str());
    let page = browser.submit(form, "continue").await;
    assert!(page.away().as_str().starts_with(world.pds().issuer()));
}

async fn a_no_to_the_app_ends_the_session_at_the_pds_too(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);

    pending.refused(&browser.deny(&page).await, "access_denied");
    let dump = world.dump().await;
    for table in ["authorization_requests", "codes", "consents", "grants"] {
        assert_eq!(dump.count(table), 0, "{table}");
    }
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
}

async fn what_is_taken_back_on_the_account_page_is_dead_everywhere(world: &World) {
    let (app, other) = (world.app().await, world.app().await);
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    let others = other.sign_in(&browser, world.alice()).await;

    let page = browser.open(&account_page()).await;
    let form = Form::with_field(page.answer.text(), "client_id", app.id.as_str()).unwrap();
    let forged = browser
        .submit(form.clone().set("csrf", "made-up"), "revoke")
        .await;
    forged.answer.expect_page(403, "another site");
    app.userinfo(&tokens.access).await.ok();
    let page = browser.submit(form, "revoke").await;
    assert!(
        !page.answer.text().contains(app.id.as_str()),
        "the line is gone"
    );
    assert!(page.answer.text().contains(other.id.as_str()), "{page:?}");

    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    app.refresh(&tokens.refresh)
        .await
        .expect(400, "invalid_grant");
    let revoked = world.audit(AuditKind::GrantRevoked).await;
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].client_id.as_ref(), Some(&app.id));
    assert!(revoked[0].detail.contains("by_person"));
    assert_eq!(world.pds().live_sessions(&world.alice().did), 2);
    world.keeper_round().await;
    assert_eq!(
        world.pds().live_sessions(&world.alice().did),
        1,
        "the other app's"
    );
    other.userinfo(&others.access).await.ok();
    let again = browser
        .open(&app.begin_authorization(&[("login_hint", "alice.test")]).url)
        .await;
    let callback = browser.at_pds(&again, world.alice()).await;
    assert!(
        browser.open(callback.as_str()).await.has_form("consent"),
        "asked anew"
    );
}

async fn signing_in_without_an_app_leads_to_the_account_page(world: &World) {
    let browser = world.browser();
    let login = browser.open(&account_page()).await;
    let page = browser.sign_in(&login, world.alice()).await;
    let text = page.answer.text();
    assert!(text.contains("<h1>Your account</h1>"), "{page:?}");
    assert!(text.contains("alice.test"), "{page:?}");
    let login = browser.open(&format!("{BASE}/login")).await;
    let both = browser.sign_in(&login, world.bob()).await;
    for words in [world.alice().did.as_str(), "bob.test"] {
        assert!(both.answer.text().contains(words), "{words}: {both:?}");
    }
}

async fn nobody_takes_back_what_another_account_gave(world: &World) {
    let app = world.app().await;
    let alices = app.sign_in(&world.browser(), world.alice()).await;
    let browser = world.browser();
    let login = browser.open(&account_page()).await;
    let page = browser.sign_in(&login, world.bob()).await;
    let forged = page
        .form("sign-out")
        .set("did", world.alice().did.as_str())
        .set("client_id", app.id.as_str())
        .set("action", "revoke");
    let refused = browser.submit(forged, "sign-out-button").await;
    refused.answer.expect_page(400, "not signed in as");
    app.userinfo(&alices.access).await.ok();
    assert_eq!(world.audit(AuditKind::GrantRevoked).await.len(), 0);
}

async fn signing_out_forgets_the_browser(world: &World) {
    let browser = world.browser();
    let login = browser.open(&account_page()).await;
    let page = browser.sign_in(&login, world.alice()).await;
    let with_the_cookie = browser.tab();
    let form = page.form("sign-out");
    let forged = browser.submit(form.clone().set("csrf", ""), "sign-out-button");
    forged.await.answer.expect_page(403, "reload");

    let home = browser.submit(form, "sign-out-button").await;
    assert!(home.answer.text().contains("role=\"status\""), "{home:?}");
    assert_eq!(browser.session_cookie(), None);
    let page = with_the_cookie.open(&account_page()).await;
    assert!(page.has_form("login"), "{page:?}");
}
