//! The ends of sign-ins, as clients are told of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::audit::AuditKind;
use aip_storage::browser::{BrowserAccount, BrowserSignIn};
use aip_storage::client::{Client, ClientId};
use aip_storage::grant::{Approval, Approve, RedeemCode, Redemption, RevokeReason};
use aip_storage::housekeeping::RetentionClass;
use aip_storage::logout::{
    CLAIMED_FOR, KEPT_FOR, LogoutDelivery, LogoutNotification, MAX_WAITING_PER_CLIENT, SignedOut,
};
use aip_storage::upstream::EndReason;
use strum::IntoEnumIterator as _;

use crate::world::{
    DAY, MINUTE, NOW, SECOND, World, alice, at_once, bob, new_device, new_event, new_hash,
    public_client, redemption_of, scope,
};

super::on_both_engines_and_behind_a_pooler!(
    a_sign_out_ends_what_was_given_in_that_browser,
    of_fifty_sign_outs_one_notes_the_ends,
    a_grant_that_others_end_is_reported_and_one_that_its_client_ends_is_not,
    of_fifty_claims_one_has_the_delivery,
    claims_at_the_same_moment_have_each_their_own,
    a_claim_that_has_lapsed_changes_nothing_any_more,
    no_client_holds_the_others_up,
    a_claim_takes_one_of_each_client_before_others,
    what_waits_for_a_client_is_bounded_and_forgotten,
    sign_outs_and_revocations_do_not_wait_for_each_other,
);

pub(crate) fn notification(path: &str) -> LogoutNotification {
    LogoutNotification {
        uri: format!("https://app.example/{path}").parse().unwrap(),
        session_required: true,
    }
}

/// A client that is told of logouts, by AIP and by browsers.
pub(crate) fn told_client(id: &str) -> Client {
    let mut client = public_client(id);
    client.settings.backchannel_logout = Some(notification("back"));
    client.settings.frontchannel_logout = Some(notification("front?x=1"));
    client
}

pub(crate) async fn told(world: &World, id: &str) -> ClientId {
    let client = told_client(id);
    world.storage.create_client(&client).await.unwrap();
    client.id
}

/// A grant to `client`, allowed in `browser` with that scope, whose code nobody has redeemed.
pub(crate) async fn allowed(
    world: &World,
    client: &ClientId,
    browser: RowId,
    did: &Did,
    granted: &str,
    session: RowId,
) -> Approval {
    let mut approval = world.pending(client, did, session).await;
    approval.browser = browser;
    approval.request = world.request(client, browser).await.token;
    approval.grant.scope = scope(granted);
    let approved = world.storage.approve(&approval).await.unwrap();
    assert_eq!(approved, Approve::Approved);
    approval
}

/// Likewise, and it is redeemed.
pub(crate) async fn given_on(
    world: &World,
    client: &ClientId,
    browser: RowId,
    did: &Did,
    granted: &str,
    session: RowId,
) -> Approval {
    let approval = allowed(world, client, browser, did, granted, session).await;
    let redeemed = world.storage.redeem_code(&redemption_of(&approval)).await;
    let redeemed = redeemed.unwrap();
    assert!(matches!(redeemed, RedeemCode::Redeemed(_)), "{redeemed:?}");
    approval
}

/// Likewise, on a session of its own.
pub(crate) async fn given(
    world: &World,
    client: &ClientId,
    browser: RowId,
    did: &Did,
    granted: &str,
) -> Approval {
    let session = world.session(client, did).await;
    given_on(world, client, browser, did, granted, session.id).await
}

/// A browser at which that account is signed in.
pub(crate) async fn browser_of(world: &World, accounts: &[Did]) -> RowId {
    let session = world.browser_session().await;
    let mut cookie = session.token;
    for did in accounts {
        let account = BrowserAccount {
            did: did.clone(),
            signed_in_at: NOW,
            auth_time: None,
        };
        let next = new_hash();
        let end = NOW + DAY;
        let outcome = world
            .storage
            .sign_in_browser(session.id, &cookie, &next, &account, end, NOW);
        assert_eq!(outcome.await.unwrap(), BrowserSignIn::Added);
        cookie = next;
    }
    session.id
}

pub(crate) fn grants(deliveries: &[LogoutDelivery]) -> BTreeSet<RowId> {
    deliveries.iter().map(|it| it.grant).collect()
}

pub(crate) async fn due(world: &World, now: Timestamp) -> Vec<LogoutDelivery> {
    world.storage.claim_logouts(now, 1000, 1000).await.unwrap()
}

async fn a_sign_out_ends_what_was_given_in_that_browser(world: World) {
    let storage = &world.storage;
    let (app, silent) = (told(&world, "app").await, world.client("silent").await);
    let both = [alice(), bob()];
    let here = browser_of(&world, &both).await;
    let elsewhere = browser_of(&world, &both).await;
    let full = "atproto openid profile";
    let alices = given(&world, &app, here, &alice(), full).await;
    let again = given(&world, &app, here, &alice(), "openid").await;
    let bobs = given(&world, &app, here, &bob(), full).await;
    let other = given(&world, &app, elsewhere, &alice(), full).await;
    // Without an ID token there is no sign-in that the client could know by its name.
    given(&world, &app, here, &alice(), "atproto").await;
    given(&world, &app, here, &alice(), "atproto openid2").await;
    given(&world, &silent, here, &alice(), full).await;
    let revoked = given(&world, &app, here, &alice(), full).await;
    let end = storage.revoke_grant(revoked.grant.id, RevokeReason::ByClient, NOW);
    end.await.unwrap();
    let expired = given(&world, &app, here, &alice(), full).await;
    let end = storage.revoke_grant(expired.grant.id, RevokeReason::Expired, NOW);
    end.await.unwrap();

    let ended = storage.sign_out_account(here, &alice(), NOW).await.unwrap();
    let expected = BTreeSet::from([alices.grant.id, again.grant.id, expired.grant.id]);
    assert_eq!(grants(&ended.deliveries), expected);
    for delivery in &ended.deliveries {
        let told = (&delivery.client_id, &delivery.subject, delivery.attempts);
        assert_eq!(told, (&app, &alice(), 1));
    }
    assert!(
        ended
            .front_channel
            .iter()
            .all(|it| it.notification == notification("front?x=1"))
    );
    // They are the caller's, until it is known to have gone.
    assert_eq!(due(&world, NOW + CLAIMED_FOR - SECOND).await, []);
    let lapsed = due(&world, NOW + CLAIMED_FOR).await;
    assert_eq!(grants(&lapsed), expected);
    assert!(lapsed.iter().all(|it| it.attempts == 2), "{lapsed:?}");
    // The grants live on.
    assert_eq!(storage.grants_of(&alice()).await.unwrap().len(), 6);

    let again = storage.sign_out_account(here, &alice(), NOW).await.unwrap();
    assert_eq!(again, SignedOut::default());
    let rest = storage.delete_browser_session(here, NOW).await.unwrap();
    assert_eq!(
        grants(&rest.deliveries),
        BTreeSet::from([bobs.grant.id]),
        "alice's are told"
    );
    let rest = storage.delete_browser_session(here, NOW).await.unwrap();
    assert_eq!(rest, SignedOut::default());
    let theirs = storage.delete_browser_session(elsewhere, NOW).await;
    let theirs = theirs.unwrap();
    assert_eq!(grants(&theirs.deliveries), BTreeSet::from([other.grant.id]));

    // A device is not signed out with the browser in which it was allowed.
    let helper = browser_of(&world, &both).await;
    let session = world.session(&app, &alice()).await;
    let mut approval = world.pending(&app, &alice(), session.id).await;
    approval.browser = helper;
    approval.request = world.request(&app, helper).await.token;
    approval.grant.scope = scope(full);
    let device = new_device(&app);
    assert!(storage.put_device_code(&device).await.unwrap());
    approval.redemption = Redemption::Device(device.code);
    let approved = storage.approve(&approval).await.unwrap();
    assert_eq!(approved, Approve::Approved);
    let ended = storage.delete_browser_session(helper, NOW).await.unwrap();
    assert_eq!(ended, SignedOut::default());
}

async fn of_fifty_sign_outs_one_notes_the_ends(world: World) {
    let app = told(&world, "app").await;
    for whole in [false, true] {
        let browser = browser_of(&world, &[alice()]).await;
        let first = given(&world, &app, browser, &alice(), "openid").await;
        let second = given(&world, &app, browser, &alice(), "openid").await;
        let storage = Arc::clone(&world.storage);
        let outcomes = at_once(50, |_| {
            let storage = Arc::clone(&storage);
            async move {
                if whole {
                    storage.delete_browser_session(browser, NOW).await.unwrap()
                } else {
                    let did = alice();
                    let out = storage.sign_out_account(browser, &did, NOW);
                    out.await.unwrap()
                }
            }
        });
        let outcomes = outcomes.await;
        let noted: Vec<_> = outcomes
            .iter()
            .filter(|it| **it != SignedOut::default())
            .collect();
        assert_eq!(noted.len(), 1);
        let expected = BTreeSet::from([first.grant.id, second.grant.id]);
        assert_eq!(grants(&noted[0].deliveries), expected);
        assert_eq!(noted[0].front_channel.len(), 2);
    }
}

async fn a_grant_that_others_end_is_reported_and_one_that_its_client_ends_is_not(world: World) {
    let storage = &world.storage;
    let (app, silent) = (told(&world, "app").await, world.client("silent").await);
    let browser = browser_of(&world, &[alice()]).await;
    for reason in RevokeReason::iter() {
        let approval = given(&world, &app, browser, &alice(), "openid").await;
        let unheard = given(&world, &silent, browser, &alice(), "openid").await;
        for grant in [approval.grant.id, unheard.grant.id, approval.grant.id] {
            storage.revoke_grant(grant, reason, NOW).await.unwrap();
        }
        let due = due(&world, NOW).await;
        let told = reason.ends_the_sign_in().then_some(approval.grant.id);
        assert_eq!(grants(&due), told.into_iter().collect::<BTreeSet<_>>());
        for delivery in due {
            assert_eq!(delivery.attempts, 1);
            assert!(storage.end_logout(&delivery, None).await.unwrap());
        }
    }
    // A session takes its live grants along, and nothing is said of those that ended before.
    let approval = given(&world, &app, browser, &alice(), "openid").await;
    let session = approval.grant.upstream_session;
    let ended = storage.end_upstream_session(session, EndReason::ByOperator, NOW);
    assert!(ended.await.unwrap());
    assert_eq!(
        grants(&due(&world, NOW).await),
        BTreeSet::from([approval.grant.id])
    );
    let removed = given(&world, &app, browser, &bob(), "openid").await;
    let (did, reason) = (bob(), RevokeReason::ByPerson);
    let count = storage.revoke_client_grants(
        &app,
        &did,
        reason,
        NOW,
        new_event(AuditKind::GrantRevoked, &alice()),
    );
    assert_eq!(count.await.unwrap(), 1);
    assert_eq!(
        grants(&due(&world, NOW).await),
        BTreeSet::from([removed.grant.id])
    );
    // Without the client nobody is told.
    let gone = given(&world, &app, browser, &alice(), "openid").await;
    assert!(storage.delete_client(&app, NOW).await.unwrap());
    let due = due(&world, NOW).await;
    assert!(!grants(&due).contains(&gone.grant.id));
}

pub(crate) async fn one_due(world: &World) -> RowId {
    let app = told(world, "app").await;
    let browser = browser_of(world, &[alice()]).await;
    let grant = given(world, &app, browser, &alice(), "openid").await.grant;
    let end = world
        .storage
        .revoke_grant(grant.id, RevokeReason::ByPerson, NOW);
    end.await.unwrap();
    grant.id
}

async fn of_fifty_claims_one_has_the_delivery(world: World) {
    let grant = one_due(&world).await;
    for (now, attempts) in [(NOW, 1), (NOW + CLAIMED_FOR, 2)] {
        let storage = Arc::clone(&world.storage);
        let claims = at_once(50, |_| {
            let storage = Arc::clone(&storage);
            async move { storage.claim_logouts(now, 10, 10).await.unwrap() }
        });
        let claimed: Vec<_> = claims.await.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 1);
        assert_eq!((claimed[0].grant, claimed[0].attempts), (grant, attempts));
    }
}

async fn claims_at_the_same_moment_have_each_their_own(world: World) {
    waiting(&world, "many", 60, NOW).await;
    waiting(&world, "few", 40, NOW).await;
    let storage = Arc::clone(&world.storage);
    let claims = at_once(4, |_| {
        let storage = Arc::clone(&storage);
        async move { storage.claim_logouts(NOW + DAY, 25, 100).await.unwrap() }
    });
    let claims = claims.await;
    let counts: Vec<_> = claims.iter().map(Vec::len).collect();
    assert_eq!(counts, [25; 4], "none is without, and none has too many");
    assert_eq!(grants(&claims.concat()).len(), 100, "none is in two");
}

async fn a_claim_that_has_lapsed_changes_nothing_any_more(world: World) {
    let storage = &world.storage;
    one_due(&world).await;
    let stalled = due(&world, NOW).await.remove(0);
    let later = NOW + CLAIMED_FOR;
    let current = due(&world, later).await.remove(0);
    storage.defer_logout(&stalled, NOW).await.unwrap();
    assert_eq!(due(&world, later).await, [], "it is somebody else's");
    storage.defer_logout(&current, later + DAY).await.unwrap();
    assert_eq!(due(&world, later + DAY - SECOND).await, []);
    let last = due(&world, later + DAY).await.remove(0);
    assert_eq!(last.attempts, 3);
    // The client knows, whoever told it.
    assert!(storage.end_logout(&stalled, None).await.unwrap());
    assert!(!storage.end_logout(&last, None).await.unwrap());
    assert_eq!(due(&world, later + 9 * DAY).await, []);
}

/// Deliveries that wait for a client, the oldest due at `due_at`.
pub(crate) async fn waiting(world: &World, client: &str, count: u32, due_at: Timestamp) {
    let rows: Vec<String> = (0..count)
        .map(|n| {
            let id = crate::world::new_id();
            let (ended_at, due_at) = (NOW.as_micros(), (due_at + n * SECOND).as_micros());
            format!("('{id}', '{client}', 'did:web:x.example', {ended_at}, {due_at}, 0)")
        })
        .collect();
    let rows = rows.join(", ");
    world
        .raw(format!(
            "INSERT INTO logout_deliveries
                 (grant_id, client_id, did, ended_at, due_at, attempts) VALUES {rows}"
        ))
        .await;
}

async fn no_client_holds_the_others_up(world: World) {
    waiting(&world, "many", 30, NOW).await;
    waiting(&world, "few", 3, NOW + MINUTE).await;
    let now = NOW + DAY;
    let claim = async |limit, share| {
        let claimed = world.storage.claim_logouts(now, limit, share).await;
        let claimed = claimed.unwrap();
        let of = |id: &str| {
            claimed
                .iter()
                .filter(|it| it.client_id.as_str() == id)
                .count()
        };
        (of("many"), of("few"))
    };
    assert_eq!(claim(50, 8).await, (8, 3));
    assert_eq!(claim(50, 8).await, (8, 0));
    assert_eq!(claim(5, 8).await, (5, 0));
    assert_eq!(claim(50, 100).await, (9, 0));
    assert_eq!(claim(50, 100).await, (0, 0));
}

async fn a_claim_takes_one_of_each_client_before_others(world: World) {
    for n in 0..3 {
        waiting(&world, &format!("many-{n}"), 30, NOW).await;
    }
    waiting(&world, "few", 2, NOW + MINUTE).await;
    for (limit, many, few) in [(4, 3, 1), (5, 4, 1), (50, 24, 0)] {
        let claimed = world.storage.claim_logouts(NOW + DAY, limit, 8).await;
        let claimed = claimed.unwrap();
        let of_few = claimed.iter().filter(|it| it.client_id.as_str() == "few");
        let of_few = of_few.count();
        assert_eq!((claimed.len() - of_few, of_few), (many, few), "{limit}");
    }
}

async fn what_waits_for_a_client_is_bounded_and_forgotten(world: World) {
    let storage = &world.storage;
    let app = told(&world, "app").await;
    let browser = browser_of(&world, &[alice(), bob()]).await;
    waiting(&world, "app", MAX_WAITING_PER_CLIENT - 1, NOW + DAY).await;
    waiting(&world, "other", MAX_WAITING_PER_CLIENT, NOW + DAY).await;
    let one = given(&world, &app, browser, &alice(), "openid").await;
    let ended = storage.sign_out_account(browser, &alice(), NOW).await;
    let ended = ended.unwrap();
    assert_eq!(grants(&ended.deliveries), BTreeSet::from([one.grant.id]));
    let too_many = given(&world, &app, browser, &bob(), "openid").await;
    let ended = storage.delete_browser_session(browser, NOW).await.unwrap();
    assert_eq!(ended.deliveries, []);
    assert_eq!(ended.front_channel.len(), 1, "the browser tells it");
    let reason = RevokeReason::ByPerson;
    let end = storage.revoke_grant(too_many.grant.id, reason, NOW);
    end.await.unwrap();
    assert_eq!(due(&world, NOW).await, []);

    let purge = async |now| {
        let mut gone = 0;
        loop {
            let report = storage.purge_expired(now, 500).await.unwrap();
            let of = |it: &&(RetentionClass, u64)| it.0 == RetentionClass::LogoutDeliveries;
            gone += report.counts.iter().find(of).unwrap().1;
            if !report.more {
                return gone;
            }
        }
    };
    assert_eq!(purge(NOW + KEPT_FOR - SECOND).await, 0);
    assert_eq!(
        purge(NOW + KEPT_FOR).await,
        u64::from(2 * MAX_WAITING_PER_CLIENT)
    );
}

async fn sign_outs_and_revocations_do_not_wait_for_each_other(world: World) {
    let app = told(&world, "app").await;
    for _ in 0..5 {
        let browser = browser_of(&world, &[alice()]).await;
        for _ in 0..4 {
            given(&world, &app, browser, &alice(), "openid").await;
        }
        let (storage, app) = (Arc::clone(&world.storage), app.clone());
        let done = at_once(8, |n| {
            let (storage, app) = (Arc::clone(&storage), app.clone());
            async move {
                let did = alice();
                if n % 2 == 0 {
                    let out = storage.sign_out_account(browser, &did, NOW);
                    return out.await.map(drop);
                }
                let reason = RevokeReason::ByPerson;
                let end = storage.revoke_client_grants(
                    &app,
                    &did,
                    reason,
                    NOW,
                    new_event(AuditKind::GrantRevoked, &alice()),
                );
                end.await.map(drop)
            }
        });
        for outcome in done.await {
            outcome.unwrap();
        }
        assert!(world.storage.grants_of(&alice()).await.unwrap().is_empty());
        let waiting = "SELECT CAST(count(*) AS TEXT) FROM logout_deliveries";
        assert_eq!(world.strings(waiting).await, ["4"]);
        world.raw("DELETE FROM logout_deliveries").await;
    }
}
