//! The audit log cannot be written: what is done by then is done and answered, everything else is not done.

use std::time::Duration;

use aip_storage::audit::AuditKind;

use crate::app::{App, Tokens};
use crate::html::Form;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    what_is_over_is_answered_and_the_log_has_what_the_audit_log_lacks,
    what_is_stored_with_its_event_is_stored_later_or_not_at_all,
    somebody_signs_in_though_that_cannot_be_written_down,
);

fn account_page() -> String {
    format!("{BASE}/account")
}

/// Hides the audit log until [`show`].
async fn hide(world: &World) {
    let hide = "ALTER TABLE audit_events RENAME TO hidden_events";
    world.texts(hide).await;
}

async fn show(world: &World) {
    let show = "ALTER TABLE hidden_events RENAME TO audit_events";
    world.texts(show).await;
}

/// The kinds of the events about `app` that the log has in the place of the audit log.
fn logged(world: &World, app: &App<'_>) -> Vec<String> {
    let log = world.log();
    let failures = log
        .lines()
        .filter(|line| line.contains("writing the audit log failed"));
    let lines = failures.filter(|line| line.contains(app.id.as_str()));
    let kinds = lines.map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["fields"]["kind"].as_str().unwrap().to_owned()
    });
    kinds.collect()
}

async fn what_is_over_is_answered_and_the_log_has_what_the_audit_log_lacks(world: &World) {
    let app = world.app().await;
    let first = app.sign_in(&world.browser(), world.alice()).await;
    let second = Tokens::of(&app.refresh(&first.refresh).await);
    let other = app.sign_in(&world.browser(), world.bob()).await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let consent = browser
        .sign_in(&browser.open(&pending.url).await, world.bob())
        .await;
    let code = pending.code(&browser.allow(&consent).await);
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    world.pass(Duration::from_mins(1));
    hide(world).await;
    // A replay ends the family, and the app hears so the first time.
    for _ in 0..2 {
        app.refresh(&first.refresh)
            .await
            .expect(400, "invalid_grant");
    }
    app.refresh(&second.refresh)
        .await
        .expect(400, "invalid_grant");
    app.redeem(&pending, &code)
        .await
        .expect(400, "invalid_grant");
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    assert_eq!(app.revoke(&other.refresh).await.status, 200);
    app.userinfo(&other.access)
        .await
        .expect(401, "invalid_token");
    let kinds = [
        AuditKind::RefreshReplayed,
        AuditKind::CodeReplayed,
        AuditKind::GrantRevoked,
    ];
    assert_eq!(logged(world, &app), kinds.map(AuditKind::as_str));
    show(world).await;
    for kind in kinds {
        assert_eq!(world.audit(kind).await.len(), 0, "{kind:?}");
    }
}

async fn what_is_stored_with_its_event_is_stored_later_or_not_at_all(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    let page = browser.open(&account_page()).await;
    let form = Form::with_field(page.answer.text(), "client_id", app.id.as_str()).unwrap();
    hide(world).await;
    let refused = browser.submit(form.clone(), "revoke").await;
    let status = refused.answer.status;
    assert!(status.is_server_error(), "{status}");
    app.userinfo(&tokens.access).await.ok();
    show(world).await;
    browser.submit(form, "revoke").await;
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    assert_eq!(world.audit(AuditKind::GrantRevoked).await.len(), 1);
    assert!(logged(world, &app).is_empty());

    // A yes that could not be written down is given again on the same page.
    let given = world.audit(AuditKind::GrantGiven).await.len();
    let pending = app.begin_authorization(&[("prompt", "consent")]);
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, world.alice()).await;
    hide(world).await;
    let yes = consent.form("consent");
    let refused = browser.submit(yes, "allow").await;
    let status = refused.answer.status;
    assert!(status.is_server_error(), "{status}");
    show(world).await;
    let code = pending.code(&browser.allow(&consent).await);
    Tokens::of(&app.redeem(&pending, &code).await);
    assert_eq!(world.audit(AuditKind::GrantGiven).await.len(), given + 1);
}

async fn somebody_signs_in_though_that_cannot_be_written_down(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    hide(world).await;
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    // The session that the PDS gave is kept for the consent, which is given later.
    let consent = browser.sign_in(&login, world.alice()).await;
    assert_eq!(logged(world, &app), [AuditKind::SignedIn.as_str()]);
    show(world).await;
    let code = pending.code(&browser.allow(&consent).await);
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    app.userinfo(&tokens.access).await.ok();
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
}
