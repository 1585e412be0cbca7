//! PDSs that lie, and callbacks that do not belong here: nobody is signed in, nothing is kept, and
//! what was received is given back.

use std::time::Duration;

use aip_sandbox::{Decision, Document, Endpoint, Lie, Pds, PdsOptions, Person};
use aip_storage::audit::AuditKind;
use url::Url;

use crate::on_both_engines;
use crate::signing::did_of_length;
use crate::world::{BASE, World};

on_both_engines!(
    an_evil_pds_cannot_sign_in_the_person_of_another_one,
    another_account_of_the_same_pds_is_not_who_was_asked_for,
    a_callback_of_another_issuer_never_gets_its_code_sent,
    a_callback_of_no_open_sign_in_is_a_page_and_nothing_is_sent,
    another_browser_cannot_finish_what_one_began,
    what_the_pds_refuses_is_told_to_the_app_with_its_state_and_our_iss,
    a_pds_that_is_away_at_the_callback_is_told_to_the_app_as_unavailable,
    a_token_response_that_lacks_or_twists_something_is_refused_and_revoked,
    the_proof_after_the_tokens_reads_the_document_anew,
);

/// Goes to the PDS by what is typed, signs in there as `person`, and claims that the sign-in is
/// refused: the app learns no more than that, nothing is kept, the PDS keeps no session.
async fn expect_refused(world: &World, pds: &Pds, typed: &str, person: &Person, check: &str) {
    let app = world.app().await;
    let browser = world.browser();
    let refused_before = world.audit(AuditKind::SignInRefused).await.len();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, typed).await;
    let callback = browser.at_pds(&at_pds, person).await;
    let page = browser.open(callback.as_str()).await;

    let words = pending.refused(&page.away(), "server_error");
    assert!(!words.contains("did:"), "{words}");
    page.answer.logged(check);
    let audit = world.audit(AuditKind::SignInRefused).await;
    assert_eq!(audit.len(), refused_before + 1);
    expect_nothing_kept(world).await;
    assert_eq!(
        pds.live_sessions(&person.did),
        0,
        "the tokens were given back"
    );
}

async fn expect_nothing_kept(world: &World) {
    let dump = world.dump().await;
    for table in [
        "accounts",
        "authorization_requests",
        "browser_accounts",
        "codes",
        "grants",
        "upstream_flows",
        "upstream_sessions",
    ] {
        assert_eq!(dump.count(table), 0, "{table}");
    }
}

async fn an_evil_pds_cannot_sign_in_the_person_of_another_one(world: &World) {
    let evil = world
        .sandbox
        .another_pds(PdsOptions::default())
        .await
        .unwrap();
    let mallory = evil.add_account(&"mallory.test".parse().unwrap(), "mallory-pass");
    let mallory = mallory.unwrap();
    evil.lie(Lie::sub_of(&world.alice().did));
    let check = "belongs to";
    expect_refused(world, &evil, evil.origin(), &mallory, check).await;
    assert!(world.pds().requests_to(Endpoint::Token).is_empty());
}

async fn another_account_of_the_same_pds_is_not_who_was_asked_for(world: &World) {
    // Who was typed is a hint: the person is told, and goes on with the other account by a click.
    world.pds().lie(Lie::sub_of(&world.bob().did));
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let page = browser.open(callback.as_str()).await;
    for did in [&world.alice().did, &world.bob().did] {
        assert!(page.answer.text().contains(did.as_str()), "{page:?}");
    }
    assert!(page.answer.text().contains("You were asked to sign in as"));
    assert_eq!(
        world.dump().await.count("grants"),
        0,
        "nothing without a click"
    );
    pending.refused(&browser.deny(&page).await, "access_denied");

    // The app allowed the account before, in this browser: it is asked about all the same.
    world.pds().tell_truth();
    app.sign_in(&browser, world.bob()).await;
    world.pds().lie(Lie::sub_of(&world.bob().did));
    let pending = app.begin_authorization(&[("login_hint", "alice.test")]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let page = browser.open(callback.as_str()).await;
    assert!(page.answer.text().contains("You were asked to sign in as"));
    pending.code(&browser.allow(&page).await);

    // Who was chosen from the accounts of the browser is no hint: the other one gets nothing.
    world.pds().tell_truth();
    app.sign_in(&browser, world.alice()).await;
    world.pds().lie(Lie::sub_of(&world.bob().did));
    let other = world.app().await;
    let pending = other.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let form = login.form("login");
    let at_pds = browser.submit(form, world.alice().did.as_str()).await;
    let (live, before) = (
        world.pds().live_sessions(&world.bob().did),
        world.dump().await,
    );
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    let page = browser.open(callback.as_str()).await;
    assert_eq!(page.answer.status, 400);
    assert!(
        page.answer
            .text()
            .contains("You signed in as another account")
    );
    page.answer.logged("instead of");
    let refused = world.audit(AuditKind::SignInRefused).await;
    assert_eq!(refused[0].did.as_ref(), Some(&world.alice().did));
    let kept = world.dump().await;
    for table in ["upstream_sessions", "grants", "browser_accounts"] {
        assert_eq!(kept.count(table), before.count(table), "{table}");
    }
    assert_eq!(
        world.pds().live_sessions(&world.bob().did),
        live,
        "given back"
    );
    let back = browser.submit(page.form("other-account"), "back").await;
    pending.refused(&back.away(), "access_denied");
}

async fn a_callback_of_another_issuer_never_gets_its_code_sent(world: &World) {
    let app = world.app().await;
    let slash = format!("{}/", world.pds().issuer());
    let lies = [
        Lie::omit(Document::Callback, "iss"),
        Lie::set(Document::Callback, "iss", "https://other.example"),
        Lie::set(Document::Callback, "iss", slash),
    ];
    for (lies_before, lie) in lies.into_iter().enumerate() {
        world.pds().lie(lie);
        let browser = world.browser();
        let pending = app.begin_authorization(&[]);
        let login = browser.open(&pending.url).await;
        let page = browser.sign_in(&login, world.alice()).await;

        pending.refused(&page.away(), "server_error");
        page.answer.logged("refused");
        assert_eq!(
            world.audit(AuditKind::SignInRefused).await.len(),
            lies_before + 1
        );
        assert!(world.pds().requests_to(Endpoint::Token).is_empty());
        expect_nothing_kept(world).await;
        world.pds().tell_truth();
    }
}

async fn a_callback_of_no_open_sign_in_is_a_page_and_nothing_is_sent(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let login = browser.open(&app.begin_authorization(&[]).url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    assert!(browser.open(callback.as_str()).await.has_form("consent"));

    let late = browser.open(&app.begin_authorization(&[]).url).await;
    let late = browser.sign_in_as(&late, "alice.test").await;
    let late = browser.at_pds(&late, world.alice()).await;
    world.pass(Duration::from_mins(31));

    let mut unknown = callback.clone();
    let query = format!(
        "state=never-heard-of-it&code=cod-1&iss={}",
        world.pds().issuer()
    );
    unknown.set_query(Some(&query));
    let nothing = Url::parse(&format!("{BASE}/oauth/atp/callback")).unwrap();
    let before = world.state().await.without(&["upstream_flows"]);
    let sent = world.pds().requests().len();
    for stray in [callback, late, unknown, nothing] {
        let page = browser.open(stray.as_str()).await;
        page.answer.expect_page(400, "This sign-in has ended");
        page.answer.logged("caller");
    }
    assert_eq!(world.pds().requests().len(), sent, "nothing was sent");
    assert_eq!(world.state().await.without(&["upstream_flows"]), before);
}

async fn another_browser_cannot_finish_what_one_began(world: &World) {
    let app = world.app().await;
    let (browser, other, fresh) = (world.browser(), world.browser(), world.browser());
    let login = browser.open(&app.begin_authorization(&[]).url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    other.open(&format!("{BASE}/login")).await;

    let before = world.state().await;
    let sent = world.pds().requests().len();
    for browser in [&other, &fresh] {
        let page = browser.open(callback.as_str()).await;
        page.answer.expect_page(400, "another browser");
        page.answer.logged("caller");
    }
    assert_eq!(world.pds().requests().len(), sent, "nothing was sent");
    assert_eq!(world.state().await, before, "nothing was spent");
    assert!(browser.open(callback.as_str()).await.has_form("consent"));
}

async fn what_the_pds_refuses_is_told_to_the_app_with_its_state_and_our_iss(world: &World) {
    let app = world.app().await;
    for (theirs, ours) in [
        ("access_denied", "access_denied"),
        ("login_required", "login_required"),
        ("made_up_by_this_server", "access_denied"),
    ] {
        let lie = Lie::set(Document::Callback, "error", theirs);
        world.pds().lie(lie);
        let browser = world.browser();
        let pending = app.begin_authorization(&[]);
        let login = browser.open(&pending.url).await;
        let at_pds = browser.sign_in_as(&login, "alice.test").await;
        let callback = browser.decide_at_pds(&at_pds, world.alice(), Decision::Deny);
        let page = browser.open(callback.await.as_str()).await;

        pending.refused(&page.away(), ours);
        page.answer.logged(theirs);
        assert!(world.pds().requests_to(Endpoint::Token).is_empty());
        expect_nothing_kept(world).await;
        world.pds().tell_truth();
    }
}

async fn a_pds_that_is_away_at_the_callback_is_told_to_the_app_as_unavailable(world: &World) {
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    world.pds().always(Endpoint::Token).is_unavailable();
    let page = browser.open(callback.as_str()).await;
    pending.refused(&page.away(), "temporarily_unavailable");
    page.answer.logged("upstream");
    expect_nothing_kept(world).await;
    world.pds().heal(Endpoint::Token);
}

async fn a_token_response_that_lacks_or_twists_something_is_refused_and_revoked(world: &World) {
    let token = Document::TokenResponse;
    let too_long = did_of_length(world, 256, world.pds().origin());
    for (lie, check) in [
        (Lie::omit(token, "scope"), "scope"),
        (Lie::set(token, "scope", "transition:generic"), "atproto"),
        (Lie::set(token, "token_type", "Bearer"), "token_type"),
        (Lie::set(token, "sub", "not a DID"), "sub"),
        (Lie::omit(token, "sub"), "sub"),
        (Lie::sub_of(&too_long), "256 characters"),
    ] {
        world.pds().lie(lie);
        expect_refused(world, world.pds(), "alice.test", world.alice(), check).await;
        world.pds().tell_truth();
    }
}

async fn the_proof_after_the_tokens_reads_the_document_anew(world: &World) {
    let elsewhere = world
        .sandbox
        .another_pds(PdsOptions::default())
        .await
        .unwrap();
    let app = world.app().await;
    let browser = world.browser();
    let pending = app.begin_authorization(&[]);
    let login = browser.open(&pending.url).await;
    // Resolving her handle has put the document into the cache.
    let at_pds = browser.sign_in_as(&login, "alice.test").await;
    let callback = browser.at_pds(&at_pds, world.alice()).await;
    world
        .sandbox
        .plc
        .move_to(&world.alice().did, elsewhere.origin());

    let page = browser.open(callback.as_str()).await;
    pending.refused(&page.away(), "server_error");
    page.answer.logged("refused");
    assert_eq!(world.audit(AuditKind::SignInRefused).await.len(), 1);
    expect_nothing_kept(world).await;
    assert_eq!(world.pds().live_sessions(&world.alice().did), 0);
}
