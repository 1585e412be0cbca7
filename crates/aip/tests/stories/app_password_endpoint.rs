//! App passwords given by an app at `/api/atprotocol/app-password`, and by a person on `/account`
//! (D.2 row 70).

use std::time::Duration;

use aip_sandbox::{Endpoint, PdsOptions, When};
use aip_storage::audit::AuditKind;
use bytes::Bytes;
use http::Method;

use crate::answer::Answer;
use crate::app::App;
use crate::app_passwords::{found, make_password, use_it};
use crate::browser::{Browser, Page};
use crate::html::Form;
use crate::on_both_engines;
use crate::world::{BASE, World};

on_both_engines!(
    an_app_gives_a_password_replaces_it_and_takes_it_back,
    what_is_no_app_password_goes_nowhere,
    a_password_that_the_host_refuses_is_not_kept,
    an_app_password_is_for_one_app_and_one_account,
    a_password_goes_to_the_host_that_the_account_has_now,
    whoever_guesses_app_passwords_is_stopped,
    a_host_that_is_away_is_reported,
    a_person_gives_an_app_password_and_takes_it_back,
    a_password_that_is_tried_while_the_access_is_taken_back_is_forgotten,
    the_form_for_app_passwords_is_for_the_person_and_their_apps,
);

const PATH: &str = "/api/atprotocol/app-password";
const CREATE: Endpoint = Endpoint::Method("com.atproto.server.createSession");
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

async fn give(app: &App<'_>, access: &str, password: &str) -> Answer {
    app.world.secrets.learn("an app password", password);
    let form = serde_urlencoded::to_string([("app-password", password)]).unwrap();
    send(app, access, &Method::POST, form).await
}

async fn send(app: &App<'_>, access: &str, method: &Method, form: String) -> Answer {
    app.call(method, PATH, access, &FORM, form.into()).await
}

/// The status of a question without a body.
async fn status(app: &App<'_>, access: &str, method: Method) -> u16 {
    let answer = app.call(&method, PATH, access, &[], Bytes::new()).await;
    if answer.status == 404 {
        answer.expect(404, "not_found");
    }
    answer.status.as_u16()
}

/// How often the PDS was asked to begin a session with a password.
fn tries(world: &World) -> usize {
    world.pds().requests_to(CREATE).len()
}

/// An app in which alice is signed in, with her access token.
async fn app_of_alice(world: &World) -> (App<'_>, String) {
    let app = App::register(world, |settings| {
        settings.access_token_ttl = Duration::from_hours(24);
    });
    let app = app.await;
    let tokens = app.sign_in(&world.browser(), world.alice()).await;
    (app, tokens.access)
}

async fn an_app_gives_a_password_replaces_it_and_takes_it_back(world: &World) {
    let (app, access) = app_of_alice(world).await;
    assert_eq!(status(&app, &access, Method::GET).await, 404);
    assert_eq!(status(&app, &access, Method::DELETE).await, 404);

    let password = make_password(world).await;
    let told = give(&app, &access, &password).await.ok();
    let mut members: Vec<_> = told.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["client_id", "did", "message", "timestamp"]);
    assert_eq!(told["client_id"], app.id.as_str());
    assert_eq!(told["did"], world.alice().did.as_str());
    assert_eq!(told["message"], "App password created successfully");
    let timestamp = told["timestamp"].as_str().unwrap();
    assert!(
        timestamp.ends_with('Z') && timestamp.len() == 20,
        "{timestamp}"
    );
    assert_eq!(status(&app, &access, Method::GET).await, 204);
    assert_eq!(use_it(world, &app.id).await.unwrap(), 0);

    let told = give(&app, &access, &password).await.ok();
    assert_eq!(told["message"], "App password updated successfully");
    let live = "SELECT id FROM upstream_sessions
                WHERE kind = 'app_password' AND state <> 'ended'";
    assert_eq!(world.texts(live).await.len(), 1, "one for app and account");

    assert_eq!(status(&app, &access, Method::DELETE).await, 204);
    assert_eq!(status(&app, &access, Method::GET).await, 404);
    assert_eq!(world.audit(AuditKind::AppPasswordGiven).await.len(), 2);
    assert_eq!(world.audit(AuditKind::AppPasswordRemoved).await.len(), 1);
    app.userinfo(&access).await.ok();
}

async fn what_is_no_app_password_goes_nowhere(world: &World) {
    let (app, access) = app_of_alice(world).await;
    let (before, asked) = (world.state().await, world.pds().requests().len());
    let main = world.alice().password.clone();
    let long = format!("abcd-efgh-ijkl-{}", "m".repeat(40_000));
    for password in [
        &main,
        " ",
        "abcd",
        "abcd-efgh-ijkl",
        "abcd-efgh-ijkl-mno",
        "abcd-efgh-ijkl-mnopq",
        "abcd-efgh-ijkl-mnop-qrst",
        "abcd_efgh_ijkl_mnop",
        "abcd-efgh-ijkl-mn p",
        "äbcd-efgh-ijkl-mnop",
        "abcd-efgh\0-ijk-mnop",
    ] {
        let answer = give(&app, &access, password).await;
        answer.expect(400, "invalid_request");
        world.pass(Duration::from_mins(1));
    }
    for form in [
        String::new(),
        "app-password=".to_owned(),
        "password=abcd-efgh-ijkl-mnop".to_owned(),
        "app-password=abcd-efgh-ijkl-mnop&app-password=abcd-efgh-ijkl-mnop".to_owned(),
        format!("app-password={long}"),
    ] {
        let answer = send(&app, &access, &Method::POST, form).await;
        answer.expect(400, "invalid_request");
        world.pass(Duration::from_mins(1));
    }
    assert_eq!(world.state().await, before, "nothing is stored");
    assert_eq!(world.pds().requests().len(), asked, "and nothing is sent");
    let nobody = world.get(PATH).await;
    nobody.expect(401, "invalid_token");
}

async fn a_password_that_the_host_refuses_is_not_kept(world: &World) {
    let (app, access) = app_of_alice(world).await;
    let before = world.state().await;
    let wrong = give(&app, &access, "abcd-efgh-ijkl-mnop").await;
    wrong.expect(401, "authentication_failed");
    let challenge = wrong.header("www-authenticate");
    assert!(challenge.contains("authentication_failed"), "{challenge}");
    assert_eq!(world.state().await, before);
    assert_eq!(status(&app, &access, Method::GET).await, 404);
    assert_eq!(world.audit(AuditKind::AppPasswordRefused).await.len(), 1);
}

async fn an_app_password_is_for_one_app_and_one_account(world: &World) {
    let (app, access) = app_of_alice(world).await;
    let of_alice = make_password(world).await;
    let bobs = app.sign_in(&world.browser(), world.bob()).await;
    // It is hers: at his host nobody gets in with it as him.
    let answer = give(&app, &bobs.access, &of_alice).await;
    answer.expect(401, "authentication_failed");
    give(&app, &access, &of_alice).await.ok();
    assert_eq!(status(&app, &bobs.access, Method::GET).await, 404);

    let other = world.app().await;
    let others = other.sign_in(&world.browser(), world.alice()).await;
    assert_eq!(status(&other, &others.access, Method::GET).await, 404);
    assert_eq!(status(&other, &others.access, Method::DELETE).await, 404);
    assert_eq!(status(&app, &access, Method::GET).await, 204);
}

async fn a_password_goes_to_the_host_that_the_account_has_now(world: &World) {
    let (app, access) = app_of_alice(world).await;
    let password = make_password(world).await;
    let new_home = world.sandbox.another_pds(PdsOptions::default());
    let new_home = new_home.await.unwrap();
    new_home.adopt(world.pds(), &world.alice().did).unwrap();
    let asked = world.pds().requests().len();
    give(&app, &access, &password).await.ok();
    assert_eq!(world.pds().requests().len(), asked, "the old host");
    let session = found(world, &app.id).await.unwrap();
    assert_eq!(session.pds.as_str(), new_home.origin());
}

async fn whoever_guesses_app_passwords_is_stopped(world: &World) {
    let (app, access) = app_of_alice(world).await;
    let password = make_password(world).await;
    let before = tries(world);
    for number in 0..10 {
        let guess = format!("abcd-efgh-ijkl-mno{number}");
        let answer = give(&app, &access, &guess).await;
        answer.expect(401, "authentication_failed");
    }
    // The right one, too, and on the page: whoever guesses must not learn it.
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    let answer = give(&app, &access, &password).await;
    answer
        .expect(429, "temporarily_unavailable")
        .logged("over the limit `app_passwords_of_account`");
    let page = give_on_page(&browser, &app, &password).await;
    page.answer.expect_page(429, "gave too many app passwords");
    assert_eq!(tries(world) - before, 10, "the host saw no more");
    // However many were refused in a minute, the audit log has one of them.
    let refused = async || world.audit(AuditKind::AppPasswordRefused).await.len();
    assert_eq!(refused().await, 1);

    // No other app pays for that, nor does another account.
    let other = world.app().await;
    let others = other.sign_in(&world.browser(), world.alice()).await;
    for guess in ["abcd-efgh-ijkl-mnop", "abcd-efgh-ijkl-mnoq"] {
        let answer = give(&other, &others.access, guess).await;
        answer.expect(401, "authentication_failed");
    }
    assert_eq!(refused().await, 2);
    give(&other, &others.access, &password).await.ok();
    let bobs = app.sign_in(&world.browser(), world.bob()).await;
    let answer = give(&app, &bobs.access, "abcd-efgh-ijkl-mnop").await;
    answer.expect(401, "authentication_failed");
    world.pass(Duration::from_mins(1));
    give(&app, &access, &password).await.ok();
}

async fn a_host_that_is_away_is_reported(world: &World) {
    let (app, access) = app_of_alice(world).await;
    let password = make_password(world).await;
    world.pds().next(CREATE).is_unavailable();
    let answer = give(&app, &access, &password).await;
    answer.expect(503, "UpstreamFailure");
    assert_eq!(answer.header("retry-after"), "30");
    assert_eq!(status(&app, &access, Method::GET).await, 404);
    assert!(world.audit(AuditKind::AppPasswordRefused).await.is_empty());
}

/// The form on `/account` with that field, for that app.
fn form_of(page: &Page, app: &App<'_>, button: &str) -> Option<Form> {
    Form::all_with(page.answer.text(), "client_id", app.id.as_str())
        .into_iter()
        .find(|form| form.has_button(button))
}

async fn give_on_page(browser: &Browser<'_>, app: &App<'_>, password: &str) -> Page {
    app.world.secrets.learn("an app password", password);
    let page = browser.open(&format!("{BASE}/account")).await;
    let form = form_of(&page, app, "give-app-password").unwrap();
    let form = form.set("app-password", password);
    browser.submit(form, "give-app-password").await
}

async fn a_person_gives_an_app_password_and_takes_it_back(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let tokens = app.sign_in(&browser, world.alice()).await;
    let password = make_password(world).await;
    let main = world.alice().password.clone();
    let page = give_on_page(&browser, &app, &main).await;
    page.answer.expect_page(400, "own password is not accepted");
    let page = give_on_page(&browser, &app, "abcd-efgh-ijkl-mnop").await;
    page.answer.expect_page(400, "refused");
    assert!(
        !page.answer.text().contains("abcd-efgh"),
        "it is not shown again"
    );
    assert!(form_of(&page, &app, "remove-app-password").is_none());

    let page = give_on_page(&browser, &app, &password).await;
    assert!(!page.answer.text().contains(&password));
    let form = form_of(&page, &app, "remove-app-password").unwrap();
    assert_eq!(status(&app, &tokens.access, Method::GET).await, 204);
    let page = browser.submit(form, "remove-app-password").await;
    assert!(form_of(&page, &app, "remove-app-password").is_none());
    assert_eq!(status(&app, &tokens.access, Method::GET).await, 404);

    // It goes with the access of the app.
    give_on_page(&browser, &app, &password).await;
    let page = browser.open(&format!("{BASE}/account")).await;
    let form = form_of(&page, &app, "revoke").unwrap();
    browser.submit(form, "revoke").await;
    world.keeper_round().await;
    assert!(found(world, &app.id).await.is_none());
}

async fn a_password_that_is_tried_while_the_access_is_taken_back_is_forgotten(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let password = make_password(world).await;
    for on_page in [false, true] {
        let tokens = app.sign_in(&browser, world.alice()).await;
        let page = browser.open(&format!("{BASE}/account")).await;
        let revoke = form_of(&page, &app, "revoke").unwrap();
        let gate = world.pds().next(CREATE).holds(When::After);
        let given = async {
            if on_page {
                give_on_page(&browser, &app, &password).await.answer
            } else {
                give(&app, &tokens.access, &password).await
            }
        };
        let meanwhile = async {
            gate.reached_by(1).await;
            browser.submit(revoke, "revoke").await;
            gate.open();
        };
        let (answer, ()) = tokio::join!(given, meanwhile);
        assert_eq!(answer.status, 400, "{}", answer.text());
        let live = "SELECT id FROM upstream_sessions
                    WHERE kind = 'app_password' AND state <> 'ended'";
        assert!(world.texts(live).await.is_empty(), "on the page: {on_page}");
        world.keeper_round().await;
        let kept = "SELECT COALESCE(password, '') FROM upstream_sessions
                    WHERE kind = 'app_password'";
        let kept = world.texts(kept).await;
        assert!(kept.iter().all(String::is_empty), "the host knows");
    }
}

async fn the_form_for_app_passwords_is_for_the_person_and_their_apps(world: &World) {
    let (app, other) = (world.app().await, world.app().await);
    let browser = world.browser();
    app.sign_in(&browser, world.alice()).await;
    other.sign_in(&world.browser(), world.bob()).await;
    let page = browser.open(&format!("{BASE}/account")).await;
    let form = form_of(&page, &app, "give-app-password").unwrap();
    let form = form.set("app-password", "abcd-efgh-ijkl-mnop");
    let (before, asked) = (world.state().await, world.pds().requests().len());
    for (field, value, status) in [
        ("csrf", "made-up", 403),
        ("did", world.bob().did.as_str(), 400),
        ("did", "nobody", 400),
        ("client_id", other.id.as_str(), 400),
        ("client_id", "no such app", 400),
        ("app-password", "", 400),
    ] {
        let tampered = form.clone().set(field, value);
        let page = browser.submit(tampered, "give-app-password").await;
        assert_eq!(page.answer.status.as_u16(), status, "{field} {value}");
    }
    assert_eq!(world.state().await, before);
    assert_eq!(world.pds().requests().len(), asked);
}
