//! Browser sessions.

use aip_storage::browser::{BrowserAccount, BrowserSession, BrowserSignIn, COOKIE_OVERLAP};

use crate::world::{DAY, HOUR, NOW, SECOND, World, alice, bob, new_hash, new_id};

super::on_both_engines!(
    a_browser_is_known_by_its_cookie_until_it_expires,
    a_sign_in_replaces_the_cookie_and_adds_the_account,
    a_browser_may_hold_several_accounts_the_latest_first,
    a_sign_in_at_a_browser_that_is_gone_does_nothing,
    signing_one_account_out_leaves_the_others,
    a_request_under_way_with_the_old_cookie_sees_all_but_the_account_that_was_added,
    of_two_sign_ins_with_the_same_cookie_one_succeeds,
    of_two_sign_ins_at_the_same_time_one_succeeds,
    two_tabs_of_a_new_browser_make_one_session_of_their_cookie,
);

fn account_of(did: aip_atproto::Did) -> BrowserAccount {
    BrowserAccount {
        did,
        signed_in_at: NOW,
        auth_time: None,
    }
}

async fn a_request_under_way_with_the_old_cookie_sees_all_but_the_account_that_was_added(
    world: World,
) {
    let storage = &world.storage;
    let before = new_browser();
    storage.create_browser_session(&before).await.unwrap();
    let (id, end) = (before.id, NOW + DAY);
    let [first, second, third] = [new_hash(), new_hash(), new_hash()];
    let sign_in = async |presented, next, did| {
        let account = account_of(did);
        let outcome = storage.sign_in_browser(id, &presented, &next, &account, end, NOW);
        assert_eq!(outcome.await.unwrap(), BrowserSignIn::Added);
    };
    let seen = async |token, now| {
        let session = storage.browser_session(&token, now).await.unwrap();
        session.map(|it| it.accounts.into_iter().map(|it| it.did).collect::<Vec<_>>())
    };
    sign_in(before.token, first, alice()).await;
    sign_in(first, second, bob()).await;
    let soon = NOW + COOKIE_OVERLAP - SECOND;
    assert_eq!(seen(first, soon).await, Some(vec![alice()]));
    assert_eq!(seen(first, NOW + COOKIE_OVERLAP).await, None);
    assert_eq!(seen(second, soon).await, Some(vec![alice(), bob()]));
    // An account that was there before is seen with either.
    sign_in(second, third, alice()).await;
    assert_eq!(seen(first, NOW).await, None);
    assert_eq!(seen(second, NOW).await, Some(vec![alice(), bob()]));
}

async fn of_two_sign_ins_with_the_same_cookie_one_succeeds(world: World) {
    let storage = &world.storage;
    let before = new_browser();
    storage.create_browser_session(&before).await.unwrap();
    let (end, next) = (NOW + DAY, [new_hash(), new_hash()]);
    let mut outcomes = Vec::new();
    for (did, next) in [alice(), bob()].into_iter().zip(&next) {
        let (presented, account) = (&before.token, account_of(did));
        let outcome = storage.sign_in_browser(before.id, presented, next, &account, end, NOW);
        outcomes.push(outcome.await.unwrap());
    }
    assert_eq!(
        outcomes,
        [BrowserSignIn::Added, BrowserSignIn::CookieReplaced]
    );
    let found = storage.browser_session(&next[0], NOW).await.unwrap();
    assert_eq!(found.unwrap().accounts, [account_of(alice())]);
    let other = storage.browser_session(&next[1], NOW).await.unwrap();
    assert!(other.is_none(), "{other:?}");
}

async fn of_two_sign_ins_at_the_same_time_one_succeeds(world: World) {
    let storage = &world.storage;
    let before = new_browser();
    storage.create_browser_session(&before).await.unwrap();
    let (id, end, presented) = (before.id, NOW + DAY, before.token);
    let sign_in = async |did| {
        let (next, account) = (new_hash(), account_of(did));
        let outcome = storage.sign_in_browser(id, &presented, &next, &account, end, NOW);
        (outcome.await.unwrap(), next, account)
    };
    let both = tokio::join!(sign_in(alice()), sign_in(bob()));
    let [added, refused] = match both {
        (one, other) if one.0 == BrowserSignIn::Added => [one, other],
        (one, other) => [other, one],
    };
    assert_eq!(added.0, BrowserSignIn::Added);
    assert_eq!(refused.0, BrowserSignIn::CookieReplaced);
    let found = storage.browser_session(&added.1, NOW).await.unwrap();
    assert_eq!(found.unwrap().accounts, [added.2]);
}

async fn two_tabs_of_a_new_browser_make_one_session_of_their_cookie(world: World) {
    let (one, mut other) = (new_browser(), new_browser());
    other.token = one.token;
    assert!(world.storage.create_browser_session(&one).await.unwrap());
    assert!(!world.storage.create_browser_session(&other).await.unwrap());
    let found = world.storage.browser_session(&one.token, NOW).await;
    assert_eq!(found.unwrap().unwrap().id, one.id);
}

async fn a_browser_is_known_by_its_cookie_until_it_expires(world: World) {
    let session = new_browser();
    world
        .storage
        .create_browser_session(&session)
        .await
        .unwrap();

    let found = world
        .storage
        .browser_session(&session.token, NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(format!("{found:?}"), format!("{session:?}"));
    assert!(
        world
            .storage
            .browser_session(&session.token, NOW + DAY)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        world
            .storage
            .browser_session(&new_hash(), NOW)
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_sign_in_replaces_the_cookie_and_adds_the_account(world: World) {
    let before = new_browser();
    world.storage.create_browser_session(&before).await.unwrap();
    let after = new_hash();
    let account = BrowserAccount {
        did: alice(),
        signed_in_at: NOW,
        auth_time: Some(NOW),
    };

    let end = NOW + 2 * DAY;
    let outcome =
        world
            .storage
            .sign_in_browser(before.id, &before.token, &after, &account, end, NOW);
    assert_eq!(outcome.await.unwrap(), BrowserSignIn::Added);

    let over = NOW + COOKIE_OVERLAP;
    let old = world.storage.browser_session(&before.token, over).await;
    assert!(old.unwrap().is_none());
    let found = world
        .storage
        .browser_session(&after, NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.id, found.expires_at), (before.id, end));
    assert_eq!(found.accounts, [account]);
}

async fn a_browser_may_hold_several_accounts_the_latest_first(world: World) {
    let browser = new_browser();
    world
        .storage
        .create_browser_session(&browser)
        .await
        .unwrap();
    let (first, then) = (NOW, NOW + SECOND);
    let again = NOW + HOUR;
    for (did, auth_time) in [(alice(), first), (bob(), then), (alice(), again)] {
        let account = BrowserAccount {
            did,
            signed_in_at: auth_time,
            auth_time: Some(auth_time),
        };
        let (cookie, end) = (&browser.token, browser.expires_at);
        let outcome = world
            .storage
            .sign_in_browser(browser.id, cookie, cookie, &account, end, NOW);
        assert_eq!(outcome.await.unwrap(), BrowserSignIn::Added);
    }

    let found = world
        .storage
        .browser_session(&browser.token, NOW)
        .await
        .unwrap()
        .unwrap();

    let accounts: Vec<_> = found
        .accounts
        .into_iter()
        .map(|it| (it.did, it.signed_in_at))
        .collect();
    assert_eq!(accounts, [(alice(), again), (bob(), then)]);
}

async fn a_sign_in_at_a_browser_that_is_gone_does_nothing(world: World) {
    let account = BrowserAccount {
        did: alice(),
        signed_in_at: NOW,
        auth_time: Some(NOW),
    };
    let (id, cookie, next, end) = (new_id(), new_hash(), new_hash(), NOW + DAY);
    let outcome = world
        .storage
        .sign_in_browser(id, &cookie, &next, &account, end, NOW);
    assert_eq!(outcome.await.unwrap(), BrowserSignIn::SessionEnded);
}

async fn signing_one_account_out_leaves_the_others(world: World) {
    let client = world.client("app").await;
    let session = new_browser();
    world
        .storage
        .create_browser_session(&session)
        .await
        .unwrap();
    let (browser, cookie) = (session.id, session.token);
    for did in [alice(), bob()] {
        let upstream = world.session(&client, &did).await;
        let mut approval = world.pending(&client, &did, upstream.id).await;
        approval.browser = browser;
        approval.request = world.request(&client, browser).await.token;
        world.storage.approve(&approval).await.unwrap();
        let (account, end) = (account_of(did), NOW + DAY);
        let outcome = world
            .storage
            .sign_in_browser(browser, &cookie, &cookie, &account, end, NOW);
        assert_eq!(outcome.await.unwrap(), BrowserSignIn::Added);
    }

    world
        .storage
        .sign_out_account(browser, &alice(), NOW)
        .await
        .unwrap();

    let found = world
        .storage
        .browser_session(&cookie, NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        found
            .accounts
            .into_iter()
            .map(|it| it.did)
            .collect::<Vec<_>>(),
        [bob()]
    );
    assert!(
        world
            .storage
            .consent(browser, &client, &alice())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        world
            .storage
            .consent(browser, &client, &bob())
            .await
            .unwrap()
            .is_some()
    );
}

fn new_browser() -> BrowserSession {
    BrowserSession {
        id: new_id(),
        token: new_hash(),
        created_at: NOW,
        expires_at: NOW + DAY,
        accounts: Vec::new(),
    }
}
