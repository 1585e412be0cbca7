//! Browser sessions.

use aip_storage::browser::{BrowserAccount, BrowserSession, COOKIE_OVERLAP};

use crate::world::{DAY, HOUR, NOW, SECOND, World, alice, bob, new_hash, new_id};

super::on_both_engines!(
    a_browser_is_known_by_its_cookie_until_it_expires,
    a_sign_in_replaces_the_cookie_and_adds_the_account,
    a_browser_may_hold_several_accounts_the_latest_first,
    a_sign_in_at_a_browser_that_is_gone_does_nothing,
    signing_one_account_out_leaves_the_others,
    a_request_under_way_with_the_old_cookie_sees_all_but_the_account_that_was_added,
    two_sign_ins_with_the_same_cookie_end_with_the_same_next_one,
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
    let (id, end) = (world.browser().await, NOW + DAY);
    let [first, second] = [new_hash(), new_hash()];
    for (token, did) in [(first, alice()), (second, bob())] {
        let account = account_of(did);
        let signed_in = storage.sign_in_browser(id, &token, &account, end, NOW);
        assert!(signed_in.await.unwrap());
    }
    let seen = async |token, now| {
        let session = storage.browser_session(&token, now).await.unwrap();
        session.map(|it| it.accounts.into_iter().map(|it| it.did).collect::<Vec<_>>())
    };
    let soon = NOW + COOKIE_OVERLAP - SECOND;
    assert_eq!(seen(first, soon).await, Some(vec![alice()]));
    assert_eq!(seen(first, NOW + COOKIE_OVERLAP).await, None);
    assert_eq!(seen(second, soon).await, Some(vec![alice(), bob()]));
    // An account that was there before is seen with either.
    let third = new_hash();
    let again = account_of(alice());
    let signed_in = storage.sign_in_browser(id, &third, &again, end, NOW);
    assert!(signed_in.await.unwrap());
    assert_eq!(seen(first, NOW).await, None);
    assert_eq!(seen(second, NOW).await, Some(vec![alice(), bob()]));
}

async fn two_sign_ins_with_the_same_cookie_end_with_the_same_next_one(world: World) {
    let storage = &world.storage;
    let before = new_browser();
    storage.create_browser_session(&before).await.unwrap();
    let (id, end, next) = (before.id, NOW + DAY, new_hash());
    for did in [alice(), bob()] {
        let account = account_of(did);
        let signed_in = storage.sign_in_browser(id, &next, &account, end, NOW);
        assert!(signed_in.await.unwrap());
    }
    let found = storage.browser_session(&next, NOW).await.unwrap().unwrap();
    assert_eq!(found.accounts.len(), 2);
    let old = storage.browser_session(&before.token, NOW).await;
    assert!(old.unwrap().is_none(), "nobody is added to what it sees");
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
    assert!(
        world
            .storage
            .sign_in_browser(before.id, &after, &account, end, NOW)
            .await
            .unwrap()
    );

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
        let end = browser.expires_at;
        let signed_in =
            world
                .storage
                .sign_in_browser(browser.id, &browser.token, &account, end, NOW);
        assert!(signed_in.await.unwrap());
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
    let (id, cookie) = (new_id(), new_hash());
    assert!(
        !world
            .storage
            .sign_in_browser(id, &cookie, &account, NOW + DAY, NOW)
            .await
            .unwrap()
    );
}

async fn signing_one_account_out_leaves_the_others(world: World) {
    let client = world.client("app").await;
    let of_alice = world.approved(&client, &alice()).await;
    let browser = of_alice.browser;
    let mut of_bob = world
        .pending(&client, &bob(), world.session(&client, &bob()).await.id)
        .await;
    of_bob.browser = browser;
    of_bob.request = world.request(&client, browser).await.token;
    world.storage.approve(&of_bob).await.unwrap();
    let cookie = new_hash();
    for did in [alice(), bob()] {
        let account = BrowserAccount {
            did,
            signed_in_at: NOW,
            auth_time: Some(NOW),
        };
        world
            .storage
            .sign_in_browser(browser, &cookie, &account, NOW + DAY, NOW)
            .await
            .unwrap();
    }

    world
        .storage
        .sign_out_account(browser, &alice())
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
