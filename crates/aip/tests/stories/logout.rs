//! Signing out at an app's wish (OpenID Connect RP-Initiated Logout 1.0).

use std::time::Duration;

use aip_base::{Clock as _, SystemRng};
use aip_jose::Alg;
use aip_keys::{KeyState, Purpose};
use secrecy::ExposeSecret as _;

use crate::app::{App, SCOPE, Tokens};
use crate::main_story::verified_claims;
use crate::on_both_engines;
use crate::world::{BASE, KEYS, World};

on_both_engines!(
    an_app_signs_out_whom_it_can_name_and_nobody_else,
    without_a_hint_the_person_is_asked,
    an_app_signs_out_with_an_id_token_that_has_expired,
    a_hint_of_an_account_that_is_not_signed_in_here_is_asked_about,
);

const BYE: &str = "https://app.example.org/bye";

/// An app that people come back to after they have signed out.
async fn app_with_bye(world: &World) -> App<'_> {
    App::register(world, |settings| {
        settings
            .post_logout_redirect_uris
            .push(BYE.parse().unwrap());
    })
    .await
}

fn logout(params: &[(&str, &str)]) -> String {
    let query = serde_urlencoded::to_string(params).unwrap();
    format!("{BASE}/oauth/logout?{query}")
}

async fn an_app_signs_out_whom_it_can_name_and_nobody_else(world: &World) {
    let (app, other) = (app_with_bye(world).await, world.app().await);
    let browser = world.browser();
    let alices = app.sign_in(&browser, world.alice()).await;
    let bobs = app.sign_in(&browser, world.bob()).await;
    let forged = alices.id_token().replacen("ey", "eY", 1);

    let before = world.dump().await;
    for wrong in [
        [
            ("id_token_hint", alices.id_token()),
            ("post_logout_redirect_uri", "https://evil.example/"),
        ],
        [
            ("id_token_hint", alices.id_token()),
            ("client_id", other.id.as_str()),
        ],
        [
            ("id_token_hint", &*alices.access),
            ("post_logout_redirect_uri", BYE),
        ],
        [
            ("id_token_hint", &*forged),
            ("post_logout_redirect_uri", BYE),
        ],
        [
            ("client_id", app.id.as_str()),
            ("post_logout_redirect_uri", "https://evil.example/"),
        ],
        [
            ("client_id", other.id.as_str()),
            ("post_logout_redirect_uri", BYE),
        ],
        [("client_id", "nobody"), ("post_logout_redirect_uri", BYE)],
        [("post_logout_redirect_uri", BYE), ("state", "s")],
    ] {
        let page = browser.open(&logout(&wrong)).await;
        page.answer.expect_page(400, "The app").logged("caller");
    }
    let named = logout(&[
        ("post_logout_redirect_uri", BYE),
        ("client_id", app.id.as_str()),
    ]);
    let asked = browser.open(&named).await;
    assert!(
        asked.has_form("logout"),
        "without a hint the person is asked"
    );
    assert_eq!(world.dump().await, before, "nobody was signed out");

    let hint = [
        ("id_token_hint", alices.id_token()),
        ("post_logout_redirect_uri", BYE),
        ("state", "goodbye"),
    ];
    let back = browser.open(&logout(&hint)).await.away();
    assert_eq!(back.as_str(), format!("{BYE}?state=goodbye"));
    let account = browser.open(&format!("{BASE}/account")).await;
    assert!(account.answer.text().contains("bob.test"));
    assert!(!account.answer.text().contains("alice.test"));
    app.userinfo(&bobs.access).await.ok();

    // Signed out is not allowed to return without a word: the PDS and AIP ask again.
    let pending = app.begin_authorization(&[("login_hint", "alice.test")]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let consent = browser.open(callback.as_str()).await;
    let code = pending.code(&browser.allow(&consent).await);
    assert_eq!(
        Tokens::of(&app.redeem(&pending, &code).await).answer["scope"],
        SCOPE
    );
}

async fn without_a_hint_the_person_is_asked(world: &World) {
    let app = app_with_bye(world).await;
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let params = [
        ("client_id", app.id.as_str()),
        ("post_logout_redirect_uri", BYE),
        ("state", "s"),
    ];
    let form = browser.open(&logout(&params)).await.form("logout");
    let account = browser.open(&format!("{BASE}/account")).await;
    assert!(account.answer.text().contains("alice.test"));
    let forged = browser.submit(form.clone().set("csrf", "wrong"), "sign-out");
    forged.await.answer.expect_page(403, "reload");
    assert!(browser.session_cookie().is_some());

    let back = browser.submit(form, "sign-out").await.away();
    assert_eq!(back.as_str(), format!("{BYE}?state=s"));
    assert_eq!(browser.session_cookie(), None);
}

/// Retires the keys that sign `id_token`s, after others have taken over.
async fn retire_oidc_keys(world: &World) {
    let (mut keys, now) = (KEYS.clone(), world.clock.now());
    let old: Vec<_> = KEYS
        .list()
        .filter(|it| it.purpose == Purpose::Oidc && it.state == KeyState::Active)
        .map(|it| (it.kid.to_owned(), it.alg))
        .collect();
    assert!(old.iter().any(|(_, alg)| *alg == Alg::Es256));
    for (kid, alg) in old {
        let next = keys.add(Purpose::Oidc, alg, &*world.clock, &SystemRng);
        keys.activate(&next.unwrap(), now).unwrap();
        keys.retire(&kid, now).unwrap();
    }
    let json = keys.to_json().unwrap();
    let json = json.expose_secret();
    world.secrets.learn_keys("a signing key", json);
    world.restart_with(keys).await;
}

/// RP-Initiated Logout §4: the hint may be over, and its key be retired since.
async fn an_app_signs_out_with_an_id_token_that_has_expired(world: &World) {
    let app = app_with_bye(world).await;
    for (after, retires) in [
        (Duration::from_mins(30), false),
        (Duration::from_hours(30), true),
    ] {
        let browser = world.browser();
        let alices = app.sign_in(&browser, world.alice()).await;
        let exp = verified_claims(world, alices.id_token()).await["exp"].as_i64();
        world.pass(after);
        assert!(exp.unwrap() < world.clock.now().as_secs(), "it has expired");
        if retires {
            retire_oidc_keys(world).await;
        }
        let hint = [
            ("id_token_hint", alices.id_token()),
            ("post_logout_redirect_uri", BYE),
        ];
        let back = browser.open(&logout(&hint)).await.away();
        assert_eq!(back.as_str(), BYE);
        let account = browser.open(&format!("{BASE}/account")).await;
        assert!(!account.answer.text().contains("alice.test"));
        // One whose signature is another's is none, however old.
        let (unsigned, signature) = alices.id_token().rsplit_once('.').unwrap();
        let forged = format!("{unsigned}.{}", signature.chars().rev().collect::<String>());
        let forged = [
            ("id_token_hint", &*forged),
            ("post_logout_redirect_uri", BYE),
        ];
        let page = browser.open(&logout(&forged)).await;
        page.answer.expect_page(400, "The app").logged("caller");
    }
}

async fn a_hint_of_an_account_that_is_not_signed_in_here_is_asked_about(world: &World) {
    let app = app_with_bye(world).await;
    let alices = app.sign_in(&world.browser(), world.alice()).await;
    let hint = [
        ("id_token_hint", alices.id_token()),
        ("post_logout_redirect_uri", BYE),
    ];
    let browser = world.browser();
    app.sign_in(&browser, world.bob()).await;
    let form = browser.open(&logout(&hint)).await.form("logout");
    let account = browser.open(&format!("{BASE}/account")).await;
    assert!(account.answer.text().contains("bob.test"), "still there");

    // The first of two clicks on the same button signs out.
    for _ in 0..2 {
        let back = browser.submit(form.clone(), "sign-out").await.away();
        assert_eq!(back.as_str(), BYE);
    }
}
