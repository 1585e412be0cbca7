//! The accounts of a browser, and taking back what was allowed.

use aip_storage::audit::AuditKind;

use crate::app::Tokens;
use crate::html::Form;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    a_second_account_in_the_same_browser_is_signed_in_beside_the_first,
    a_no_to_the_app_ends_the_session_at_the_pds_too,
    what_is_taken_back_on_the_account_page_is_dead_everywhere,
);

fn account_page() -> String {
    format!("{BASE}/account")
}

async fn a_second_account_in_the_same_browser_is_signed_in_beside_the_first(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let alices = app.sign_in(&browser, world.alice()).await;
    let choosing = [("prompt", "select_account")];
    let login = browser.open(&app.errand(&choosing).url).await;
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
    // Either can be chosen by one click.
    let errand = app.errand(&[]);
    let login = browser.open(&errand.url).await;
    let back = browser
        .submit(login.form("login"), world.alice().did.as_str())
        .await
        .away();
    let tokens = Tokens::of(&app.redeem(&errand, &errand.code(&back)).await);
    assert_eq!(
        app.userinfo(&tokens.access).await.ok()["sub"],
        world.alice().did.as_str()
    );
    let page = browser.open(&account_page()).await;
    for handle in ["alice.test", "bob.test"] {
        assert!(page.answer.text().contains(handle));
    }
}

async fn a_no_to_the_app_ends_the_session_at_the_pds_too(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let errand = app.errand(&[]);
    let login = browser.open(&errand.url).await;
    let page = browser.sign_in(&login, world.alice()).await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);

    errand.refused(&browser.deny(&page).await, "access_denied");
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
        .open(&app.errand(&[("login_hint", "alice.test")]).url)
        .await;
    let callback = browser.at_pds(&again, world.alice()).await;
    assert!(
        browser.open(callback.as_str()).await.has_form("consent"),
        "asked anew"
    );
}
