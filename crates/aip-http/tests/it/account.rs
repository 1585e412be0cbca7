//! The person's own page.

use crate::support::app::userinfo;
use crate::support::browser::hidden;
use crate::support::{ALICE, ALICE_HANDLE, BOB, BOB_HANDLE, World};

#[tokio::test]
async fn signing_in_without_an_app_leads_to_the_account_page() {
    let world = World::new().await;
    let mut browser = world.browser();
    let page = browser.get("/account").await;
    let account = browser.sign_in(&page, ALICE_HANDLE).await;
    assert!(
        account.body.contains("<h1>Your account</h1>"),
        "{}",
        account.body
    );
    assert!(account.body.contains(ALICE_HANDLE));
    let second = browser.get("/login").await;
    let both = browser.sign_in(&second, BOB).await;
    assert!(both.body.contains(ALICE) && both.body.contains(BOB_HANDLE));
}

#[tokio::test]
async fn apps_are_listed_and_taken_back() {
    let world = World::new().await;
    let (first, second) = (world.app().await, world.app().await);
    let mut browser = world.browser();
    let code = first.code(&mut browser, &[]).await;
    let token = first.redeem(&code, &[]).await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    second.allowed(&mut browser, &[]).await;

    let page = browser.get("/account").await;
    let line = |id: &str| format!("<li class=\"grant\" data-client-id=\"{id}\">");
    assert!(page.body.contains(&line(&first.id)), "{}", page.body);
    assert!(page.body.contains(&line(&second.id)), "{}", page.body);
    assert_eq!(
        userinfo(&world, &format!("Bearer {token}")).await.status,
        200
    );

    let csrf = hidden(&page, "csrf");
    let form = [
        ("csrf", csrf.as_str()),
        ("did", ALICE),
        ("client_id", &first.id),
        ("action", "revoke"),
    ];
    let answer = browser.post("/account", &form).await;
    let page = browser.follow(answer).await;
    assert!(!page.body.contains(&line(&first.id)), "{}", page.body);
    assert!(page.body.contains(&line(&second.id)), "{}", page.body);
    assert_eq!(
        userinfo(&world, &format!("Bearer {token}")).await.status,
        401
    );
}

#[tokio::test]
async fn nobody_takes_back_what_another_account_gave() {
    let world = World::new().await;
    let app = world.app().await;
    app.allowed(&mut world.browser(), &[]).await;
    let mut browser = world.browser();
    let login = browser.get("/account").await;
    let page = browser.sign_in(&login, BOB).await;
    let csrf = hidden(&page, "csrf");
    let form = [
        ("csrf", csrf.as_str()),
        ("did", ALICE),
        ("client_id", &app.id),
        ("action", "revoke"),
    ];
    browser
        .post("/account", &form)
        .await
        .expect_page(400, "not signed in as");
    let grants = world
        .server
        .storage
        .grants_of(&ALICE.parse().unwrap())
        .await;
    assert_eq!(grants.unwrap().len(), 1);
}

#[tokio::test]
async fn signing_out_forgets_the_browser() {
    let world = World::new().await;
    let mut browser = world.browser();
    let login = browser.get("/account").await;
    let page = browser.sign_in(&login, ALICE_HANDLE).await;
    let cookie = browser.cookie().unwrap().clone();
    let csrf = hidden(&page, "csrf");
    let refused = browser.post("/account", &[("action", "sign-out")]).await;
    refused.expect_page(403, "reload");

    let form = [("csrf", csrf.as_str()), ("action", "sign-out")];
    let answer = browser.post("/account", &form).await;
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    let home = browser.follow(answer).await;
    assert!(home.body.contains("role=\"status\""), "{}", home.body);
    browser.set_cookie(&cookie);
    let page = browser.get("/account").await;
    assert!(page.body.contains("<form id=\"login\""), "{}", page.body);
}
