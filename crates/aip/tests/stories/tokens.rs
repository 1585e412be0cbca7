//! Codes and refresh tokens: good once, for whom they are meant, and for nobody else.

use std::time::Duration;

use aip_oauth::registration::ClientSettings;
use aip_sandbox::Decision;
use aip_storage::audit::AuditKind;
use futures_util::future::join_all;

use crate::app::{App, PendingAuthorization, REDIRECT, SCOPE, Tokens};
use crate::on_both_engines;
use crate::world::World;

on_both_engines!(
    a_code_used_twice_takes_back_all_that_came_of_it,
    of_eight_exchanges_at_once_one_wins_and_is_taken_back,
    a_code_survives_wrong_exchanges_and_serves_the_right_one,
    a_verifier_that_no_challenge_asked_for_is_refused,
    after_a_minute_a_code_is_nothing,
    a_public_app_cannot_use_the_code_of_another_by_saying_nothing,
    an_app_refreshes_long_after_its_access_token_expired,
    a_refresh_is_for_its_app_and_key_and_never_widens,
    an_app_with_a_secret_may_refresh_with_another_key,
    a_refresh_that_repeats_what_was_asked_gets_what_was_granted,
);

/// What the app is told, whatever the reason is; the log has it.
const UNUSABLE: &str = "the code or token is unknown, expired, or not for this client, redirect URI, \
                        verifier or key";
const OTHER_REDIRECT: &str = "https://app.example.org/other";

/// A code that alice's browser brought back to the app.
async fn code_for(app: &App<'_>, pending: &PendingAuthorization) -> String {
    let browser = app.world.browser();
    let login = browser.open(&pending.url).await;
    let consent = browser.sign_in(&login, app.world.alice()).await;
    pending.code(&browser.allow(&consent).await)
}

async fn a_code_used_twice_takes_back_all_that_came_of_it(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[]);
    let code = code_for(&app, &pending).await;
    let tokens = Tokens::of(&app.redeem(&pending, &code).await);
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);

    app.redeem(&pending, &code)
        .await
        .expect(400, "invalid_grant")
        .logged("used before");
    for access in [&tokens.access, &renewed.access] {
        app.userinfo(access).await.expect(401, "invalid_token");
    }
    app.refresh(&renewed.refresh)
        .await
        .expect(400, "invalid_grant");
    let replayed = world.audit(AuditKind::CodeReplayed).await;
    assert_eq!(replayed.len(), 1);
    assert_eq!(replayed[0].client_id.as_ref(), Some(&app.id));
    world.keeper_round().await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
}

async fn of_eight_exchanges_at_once_one_wins_and_is_taken_back(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[]);
    let code = code_for(&app, &pending).await;
    let answers = join_all((0..8).map(|_| app.redeem(&pending, &code))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status.is_success());
    assert_eq!(won.len(), 1);
    for answer in lost {
        answer.expect(400, "invalid_grant");
    }
    let tokens = Tokens::of(won[0]);
    app.userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    assert_eq!(world.dump().await.count("access_tokens"), 1);
}

async fn a_code_survives_wrong_exchanges_and_serves_the_right_one(world: &World) {
    let two_redirects = |settings: &mut ClientSettings| {
        settings.redirect_uris.push(OTHER_REDIRECT.parse().unwrap());
    };
    let app = App::register(world, two_redirects).await;
    let stranger = App::register(world, two_redirects).await;
    let pending = app.begin_authorization(&[]);
    let code = code_for(&app, &pending).await;
    let before = world.state().await;

    let wrong_verifier = "w".repeat(43);
    let for_redirect = format!("given out for the redirect URI `{REDIRECT}`");
    for (changes, reason) in [
        (("redirect_uri", OTHER_REDIRECT), &*for_redirect),
        (("code_verifier", &wrong_verifier), "does not fit"),
        (("code_verifier", "short"), "is not 43 to 128"),
        (("code_verifier", ""), "`code_verifier` is missing"),
    ] {
        let answer = app.redeem_with(&pending, &code, &[changes]).await;
        answer.expect(400, "invalid_grant").logged(reason);
        assert_eq!(answer.json()["error_description"], UNUSABLE);
    }
    let given = format!("given to the client `{}`", app.id);
    stranger
        .redeem(&pending, &code)
        .await
        .expect(400, "invalid_grant")
        .logged(&given);
    app.redeem(&pending, "aip_ac_cut_off")
        .await
        .expect(400, "invalid_grant")
        .logged("not the form of one of ours");
    let mut forger = App::register(world, two_redirects).await;
    forger.id = app.id.clone();
    forger
        .redeem(&pending, &code)
        .await
        .expect(401, "invalid_client")
        .logged("secret is wrong");

    assert_eq!(
        world.state().await.without(&["clients"]),
        before.without(&["clients"])
    );
    assert!(world.audit(AuditKind::CodeReplayed).await.is_empty());
    // OAuth 2.1 §10.2: it may be left out where PKCE is used, and is compared when it is sent.
    let answer = app
        .redeem_with(&pending, &code, &[("redirect_uri", "")])
        .await;
    let tokens = Tokens::of(&answer);

    // Whoever found the spent code in a log, and even has the app's secret, ends nothing.
    for changes in [
        ("code_verifier", &*wrong_verifier),
        ("code_verifier", ""),
        ("redirect_uri", OTHER_REDIRECT),
    ] {
        let answer = app.redeem_with(&pending, &code, &[changes]).await;
        answer.expect(400, "invalid_grant");
    }
    assert!(world.audit(AuditKind::CodeReplayed).await.is_empty());
    app.userinfo(&tokens.access).await.ok();
}

async fn a_verifier_that_no_challenge_asked_for_is_refused(world: &World) {
    let app = App::register(world, |settings| settings.require_pkce = false).await;
    let pending = app.begin_authorization(&[("code_challenge", ""), ("code_challenge_method", "")]);
    let code = code_for(&app, &pending).await;
    let before = world.state().await;
    app.redeem(&pending, &code)
        .await
        .expect(400, "invalid_grant")
        .logged("had no `code_challenge`");
    // OAuth 2.1 §10.2: without PKCE the redirect URI must be repeated.
    let neither = [("code_verifier", ""), ("redirect_uri", "")];
    app.redeem_with(&pending, &code, &neither)
        .await
        .expect(400, "invalid_grant");
    assert_eq!(world.state().await, before);
    let answer = app
        .redeem_with(&pending, &code, &[("code_verifier", "")])
        .await;
    Tokens::of(&answer);
}

async fn after_a_minute_a_code_is_nothing(world: &World) {
    let app = world.app().await;
    let pending = app.begin_authorization(&[]);
    let code = code_for(&app, &pending).await;
    world.pass(Duration::from_secs(61));
    let before = world.state().await;
    app.redeem(&pending, &code)
        .await
        .expect(400, "invalid_grant")
        .logged("it expired at");
    assert_eq!(world.state().await, before);
}

async fn a_public_app_cannot_use_the_code_of_another_by_saying_nothing(world: &World) {
    let (app, thief) = (world.public_app().await, world.public_app().await);
    let pending = app.begin_authorization(&[]);
    let code = code_for(&app, &pending).await;
    let before = world.state().await;
    thief
        .redeem(&pending, &code)
        .await
        .expect(400, "invalid_grant");
    let nameless_form = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", &*pending.verifier),
    ];
    let answer = thief.post_as("/oauth/token", None, &nameless_form).await;
    answer
        .expect(401, "invalid_client")
        .logged("does not name a client");
    assert_eq!(
        world.state().await.without(&["clients"]),
        before.without(&["clients"])
    );
    Tokens::of(&app.redeem(&pending, &code).await);
}

async fn an_app_refreshes_long_after_its_access_token_expired(world: &World) {
    let app = world.app().await;
    let mut tokens = app.sign_in(&world.browser(), world.alice()).await;
    for days in [1, 29] {
        world.pass(Duration::from_hours(24 * days));
        app.userinfo(&tokens.access)
            .await
            .expect(401, "invalid_token");
        tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
        app.userinfo(&tokens.access).await.ok();
    }
    world.pass(Duration::from_hours(24 * 31));
    app.refresh(&tokens.refresh)
        .await
        .expect(400, "invalid_grant")
        .logged("the code or token is refused: ");
}

async fn a_refresh_is_for_its_app_and_key_and_never_widens(world: &World) {
    let (app, stranger) = (world.public_app().await.with_dpop(), world.app().await);
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let before = world.state().await.without(&["replays"]);
    let refused = [
        (
            stranger.refresh(&tokens.refresh).await,
            "invalid_grant",
            "given to the client",
        ),
        (
            app.with_another_key().refresh(&tokens.refresh).await,
            "invalid_grant",
            "the DPoP key is not the one",
        ),
        (
            app.without_key().refresh(&tokens.refresh).await,
            "invalid_grant",
            "the DPoP key is not the one",
        ),
        (
            app.narrow(&tokens.refresh, "atproto transition:generic")
                .await,
            "invalid_scope",
            "did not ask for all of `scope`: `transition:generic`",
        ),
        (
            app.narrow(&tokens.refresh, "openid email").await,
            "invalid_scope",
            "did not ask for all of `scope`: `email`",
        ),
    ];
    for (answer, error, reason) in refused {
        answer.expect(400, error).logged(reason);
    }
    assert_eq!(world.state().await.without(&["replays"]), before);

    // Narrower is fine, and does not stick.
    let narrow = Tokens::of(&app.narrow(&tokens.refresh, "atproto").await);
    assert_eq!(narrow.answer["scope"], "atproto");
    assert!(narrow.answer.get("id_token").is_none());
    app.userinfo(&narrow.access)
        .await
        .expect(403, "insufficient_scope");
    let full = Tokens::of(&app.refresh(&narrow.refresh).await);
    assert_eq!(full.answer["scope"], SCOPE);
}

async fn an_app_with_a_secret_may_refresh_with_another_key(world: &World) {
    // RFC 9449 §5: its refresh tokens are bound to the app's secret, access tokens to their key.
    let app = world.app().await.with_dpop();
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    let worker = app.with_another_key();
    let renewed = Tokens::of(&worker.refresh(&tokens.refresh).await);
    assert_eq!(renewed.answer["token_type"], "DPoP");
    worker.userinfo(&renewed.access).await.ok();
    app.userinfo(&tokens.access).await.ok();
    app.userinfo(&renewed.access)
        .await
        .expect(401, "invalid_token");
    worker
        .userinfo(&tokens.access)
        .await
        .expect(401, "invalid_token");
    // Never back to tokens that anybody can use.
    app.without_key()
        .refresh(&renewed.refresh)
        .await
        .expect(400, "invalid_grant");
    let again = Tokens::of(&app.refresh(&renewed.refresh).await);
    app.userinfo(&again.access).await.ok();
}

async fn a_refresh_that_repeats_what_was_asked_gets_what_was_granted(world: &World) {
    let app = world.app().await;
    let asked = format!("{SCOPE} email repo:app.bsky.feed.like com.example.unknown");
    let pending = app.begin_authorization(&[("scope", &asked)]);
    let browser = world.browser();
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let kept = Decision::AuthorizeOnly(&["repo:app.bsky.feed.post"]);
    let callback = browser.decide_at_pds(&at_pds, world.alice(), kept).await;
    let consent = browser.open(callback.as_str()).await;
    assert!(!consent.answer.text().contains("com.example.unknown"));
    let back = browser.allow(&consent).await;
    let mut tokens = Tokens::of(&app.redeem(&pending, &pending.code(&back)).await);
    assert_eq!(tokens.answer["scope"], SCOPE);

    // Authlib and requests-oauthlib repeat the whole scope at every refresh.
    for _ in 0..2 {
        tokens = Tokens::of(&app.narrow(&tokens.refresh, &asked).await);
        assert_eq!(tokens.answer["scope"], SCOPE);
    }
    let narrow = Tokens::of(&app.narrow(&tokens.refresh, "openid email").await);
    assert_eq!(narrow.answer["scope"], "openid");
    for never_asked in ["atproto blob:*/*", "openid com.example.other"] {
        app.narrow(&narrow.refresh, never_asked)
            .await
            .expect(400, "invalid_scope");
    }
    let full = Tokens::of(&app.refresh(&narrow.refresh).await);
    assert_eq!(full.answer["scope"], SCOPE);
}
