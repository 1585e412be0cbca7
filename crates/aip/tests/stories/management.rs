//! Giving tokens back, and asking what they are: each app about its own only.

use aip_storage::audit::AuditKind;
use serde_json::json;

use crate::app::Tokens;
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    an_app_gives_back_its_own_tokens_only,
    an_app_learns_about_its_own_tokens_only_and_at_once,
    a_used_refresh_token_still_ends_the_grant,
);

async fn an_app_gives_back_its_own_tokens_only(world: &World) {
    let (app, stranger) = (world.app().await, world.app().await);
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await;

    for token in ["unknown", &tokens.access[..20], tokens.id_token()] {
        let answer = app.revoke(token).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, ""));
    }
    for token in [&tokens.access, &tokens.refresh] {
        assert_eq!(
            stranger.revoke(token).await.status,
            200,
            "nobody learns whose it is"
        );
        let answer = app
            .post_as("/oauth/revoke", None, &[("token", token)])
            .await;
        answer.expect(401, "invalid_client").logged("does not name");
    }
    app.post("/oauth/revoke", &[])
        .await
        .expect(400, "invalid_request");
    assert_eq!(world.state().await, before, "nothing was revoked");
    app.userinfo(&tokens.access).await.ok();

    assert_eq!(app.revoke(&tokens.access).await.status, 200);
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    assert_eq!(app.revoke(&renewed.refresh).await.status, 200);
    app.userinfo(&renewed.access)
        .await
        .expect(401, "invalid_token");
    app.refresh(&renewed.refresh)
        .await
        .expect(400, "invalid_grant")
        .logged("by_client");
    let revoked = world.audit(AuditKind::GrantRevoked).await;
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].client_id.as_ref(), Some(&app.id));
    assert_eq!(world.pds().live_sessions(&world.alice().did), 1);
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
}

async fn an_app_learns_about_its_own_tokens_only_and_at_once(world: &World) {
    let (app, stranger) = (world.app().await, world.app().await);
    let public = world.public_app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await;
    let dead = json!({ "active": false });

    let form = [("token", &*tokens.access)];
    let answer = app.post_as("/oauth/introspect", None, &form).await;
    answer.expect(401, "invalid_client").logged("does not name");
    public
        .introspect(&tokens.access)
        .await
        .expect(401, "invalid_client")
        .logged("public");
    for token in [&tokens.access, &tokens.refresh] {
        assert_eq!(stranger.introspect(token).await.ok(), dead);
    }
    for token in ["unknown", tokens.id_token()] {
        assert_eq!(app.introspect(token).await.ok(), dead);
    }
    let live = app.introspect(&tokens.access).await.ok();
    assert_eq!(live["active"], true);
    assert_eq!(live["sub"], world.alice().did.as_str());
    assert_eq!(live["client_id"], app.id.as_str());
    assert_eq!(live["token_type"], "Bearer");
    assert_eq!(app.introspect(&tokens.refresh).await.ok()["active"], true);
    assert_eq!(world.state().await, before);

    let one = world.replica().await;
    assert_eq!(app.introspect(&tokens.access).await.ok()["active"], true);
    app.revoke(&tokens.refresh).await;
    world.lead_to(&one);
    for token in [&tokens.access, &tokens.refresh] {
        assert_eq!(
            app.introspect(token).await.ok(),
            dead,
            "at the other replica"
        );
    }
}

async fn a_used_refresh_token_still_ends_the_grant(world: &World) {
    let app = world.app().await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    // As if this answer never reached the app.
    let lost = Tokens::of(&app.refresh(&tokens.refresh).await);
    assert_eq!(app.revoke(&tokens.refresh).await.status, 200);
    app.userinfo(&lost.access)
        .await
        .expect(401, "invalid_token");
}
