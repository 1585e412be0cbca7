//! What a sign-out at a browser has clients told of, and what it leaves to none of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use aip_atproto::Did;
use aip_base::RowId;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientId;
use aip_storage::grant::{RedeemCode, RevokeReason};
use aip_storage::logout::{
    CLAIMED_FOR, LATEST_SIGN_INS, LogoutNotification, MAX_FRONT_CHANNEL_LOGOUTS,
    MAX_FRONT_CHANNEL_LOGOUTS_PER_ACCOUNT, MAX_WAITING_PER_CLIENT, SignedOut,
};
use aip_storage::upstream::EndReason;
use strum::IntoEnumIterator as _;

use crate::logouts::{
    allowed, browser_of, due, given, given_on, grants, notification, one_due, told, told_client,
    waiting,
};
use crate::world::{DAY, NOW, World, alice, at_once, bob, new_id, redemption_of};

super::on_both_engines_and_behind_a_pooler!(
    a_browser_opens_one_address_of_each_client_before_others_and_not_too_many,
    a_browser_tells_however_a_grant_ended_unless_its_client_ended_it,
    of_many_sign_ins_at_one_client_the_latest_are_notified,
    ends_that_were_told_use_up_no_place_of_others,
    of_what_ends_at_once_no_more_waits_than_may,
    a_sign_out_ends_what_nobody_has_redeemed,
    of_a_redemption_and_a_sign_out_at_once_the_later_knows_of_the_other,
    a_delivery_ends_with_its_event_or_not_at_all,
    sign_outs_and_ends_of_sessions_do_not_wait_for_each_other,
);

/// A client that browsers alone tell of logouts.
async fn told_by_browsers(world: &World, id: &str, session_required: bool) -> ClientId {
    let mut client = told_client(id);
    client.settings.backchannel_logout = None;
    client.settings.frontchannel_logout = Some(LogoutNotification {
        session_required,
        ..notification(id)
    });
    world.storage.create_client(&client).await.unwrap();
    client.id
}

/// So many grants to a client, the latest first.
async fn several(
    world: &World,
    client: &ClientId,
    browser: RowId,
    did: &Did,
    count: u32,
) -> Vec<RowId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let approval = given(world, client, browser, did, "openid").await;
        ids.push(approval.grant.id);
    }
    ids.sort();
    ids.reverse();
    ids
}

async fn a_browser_opens_one_address_of_each_client_before_others_and_not_too_many(world: World) {
    let storage = &world.storage;
    let browser = browser_of(&world, &[alice(), bob()]).await;
    let once = told_by_browsers(&world, "once", true).await;
    let first = several(&world, &once, browser, &bob(), 1).await[0];
    // These sign in at each visit, and would take all places.
    let count = MAX_FRONT_CHANNEL_LOGOUTS + 5;
    let plain = told_by_browsers(&world, "plain", false).await;
    let plain_ids = several(&world, &plain, browser, &alice(), count).await;
    let each = told_by_browsers(&world, "each", true).await;
    let each_ids = several(&world, &each, browser, &alice(), count).await;
    let bobs = several(&world, &each, browser, &bob(), 1).await[0];

    let ended = storage.delete_browser_session(browser, NOW).await.unwrap();
    assert_eq!(ended.deliveries, []);
    let opened: Vec<_> = ended.front_channel.iter().map(|it| it.grant).collect();
    let latest = BTreeSet::from([first, plain_ids[0], each_ids[0], bobs]);
    assert_eq!(opened[..4].iter().copied().collect::<BTreeSet<_>>(), latest);
    let of_one = usize::try_from(MAX_FRONT_CHANNEL_LOGOUTS_PER_ACCOUNT).unwrap();
    assert_eq!(opened[4..], each_ids[1..of_one]);

    let browser = browser_of(&world, &[alice()]).await;
    for n in 0..MAX_FRONT_CHANNEL_LOGOUTS + 2 {
        let client = told_by_browsers(&world, &format!("app-{n}"), true).await;
        several(&world, &client, browser, &alice(), 2).await;
    }
    let ended = storage.sign_out_account(browser, &alice(), NOW).await;
    let opened = ended.unwrap().front_channel;
    let addresses: BTreeSet<_> = opened
        .iter()
        .map(|it| it.notification.uri.as_str())
        .collect();
    assert_eq!((opened.len(), addresses.len()), (20, 20));
}

async fn a_browser_tells_however_a_grant_ended_unless_its_client_ended_it(world: World) {
    let storage = &world.storage;
    let app = told(&world, "app").await;
    for reason in RevokeReason::iter() {
        let browser = browser_of(&world, &[alice()]).await;
        let grant = several(&world, &app, browser, &alice(), 1).await[0];
        storage.revoke_grant(grant, reason, NOW).await.unwrap();
        let ended = storage.sign_out_account(browser, &alice(), NOW).await;
        let ended = ended.unwrap();
        let is_told = reason != RevokeReason::ByClient;
        let expected: Vec<_> = is_told.then_some(grant).into_iter().collect();
        let opened: Vec<_> = ended.front_channel.iter().map(|it| it.grant).collect();
        assert_eq!(opened, expected, "{reason:?}");
        // AIP itself does it once: when the grant ends, or else now.
        let mut told: Vec<_> = grants(&ended.deliveries).into_iter().collect();
        assert_eq!(told.is_empty(), !is_told || reason.ends_the_sign_in());
        told.extend(grants(&due(&world, NOW).await));
        assert_eq!(told, expected, "{reason:?}");
    }
}

async fn of_many_sign_ins_at_one_client_the_latest_are_notified(world: World) {
    let storage = &world.storage;
    let (app, other) = (told(&world, "app").await, told(&world, "other").await);
    let browser = browser_of(&world, &[alice(), bob()]).await;
    let alices = several(&world, &app, browser, &alice(), LATEST_SIGN_INS + 4).await;
    let bobs = several(&world, &app, browser, &bob(), 2).await;
    let others = several(&world, &other, browser, &alice(), 1).await;
    // Without an ID token they have no name, and take no place of those that have one.
    for _ in 0..=LATEST_SIGN_INS {
        given(&world, &app, browser, &alice(), "atproto").await;
    }
    let ended = storage.delete_browser_session(browser, NOW).await.unwrap();
    let kept = usize::try_from(LATEST_SIGN_INS).unwrap();
    let mut expected: BTreeSet<_> = alices[..kept].iter().copied().collect();
    expected.extend(bobs);
    expected.extend(others);
    assert_eq!(grants(&ended.deliveries), expected);
    assert_eq!(grants(&due(&world, NOW + CLAIMED_FOR).await), expected);
    // The older ones are not told later, either.
    let with_browser = "SELECT id FROM grants WHERE browser_id IS NOT NULL";
    assert!(world.strings(with_browser).await.is_empty());
}

async fn ends_that_were_told_use_up_no_place_of_others(world: World) {
    let storage = &world.storage;
    let app = told(&world, "app").await;
    for reason in [RevokeReason::ByPerson, RevokeReason::UpstreamEnded] {
        let browser = browser_of(&world, &[alice()]).await;
        let all = several(&world, &app, browser, &alice(), 2 * LATEST_SIGN_INS).await;
        let (newer, older) = all.split_at(usize::try_from(LATEST_SIGN_INS).unwrap());
        for grant in newer {
            storage.revoke_grant(*grant, reason, NOW).await.unwrap();
        }
        assert_eq!(grants(&due(&world, NOW).await).len(), newer.len());
        let ended = storage.sign_out_account(browser, &alice(), NOW).await;
        let told: BTreeSet<_> = older.iter().copied().collect();
        assert_eq!(grants(&ended.unwrap().deliveries), told, "{reason:?}");
        world.raw("DELETE FROM logout_deliveries").await;
    }
}

async fn of_what_ends_at_once_no_more_waits_than_may(world: World) {
    let storage = &world.storage;
    let (app, other) = (told(&world, "app").await, told(&world, "other").await);
    waiting(&world, "app", MAX_WAITING_PER_CLIENT - 1, NOW + DAY).await;
    waiting(&world, "other", MAX_WAITING_PER_CLIENT - 2, NOW + DAY).await;
    let browser = browser_of(&world, &[alice()]).await;
    let session = world.session(&app, &alice()).await.id;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let approval = given_on(&world, &app, browser, &alice(), "openid", session).await;
        ids.push(approval.grant.id);
    }
    let end = storage.end_upstream_session(session, EndReason::ByOperator, NOW);
    assert!(end.await.unwrap());
    let latest = *ids.iter().max().unwrap();
    let noted = due(&world, NOW).await;
    assert_eq!(grants(&noted), BTreeSet::from([latest]));

    let others = several(&world, &other, browser, &alice(), 3).await;
    let ended = storage.sign_out_account(browser, &alice(), NOW).await;
    let ended = ended.unwrap();
    let expected: BTreeSet<_> = others[..2].iter().copied().collect();
    assert_eq!(grants(&ended.deliveries), expected);
    let told = storage.end_logout(&ended.deliveries[0], None).await;
    assert!(told.unwrap());
    // There is room again for one.
    let browser = browser_of(&world, &[alice()]).await;
    let again = several(&world, &other, browser, &alice(), 2).await;
    let ended = storage.sign_out_account(browser, &alice(), NOW).await;
    let told = grants(&ended.unwrap().deliveries);
    assert_eq!(told, BTreeSet::from([again[0]]));
}

async fn a_sign_out_ends_what_nobody_has_redeemed(world: World) {
    let storage = &world.storage;
    let app = told(&world, "app").await;
    let browser = browser_of(&world, &[alice(), bob()]).await;
    let elsewhere = browser_of(&world, &[alice()]).await;
    let open = async |browser: RowId, did: Did| {
        let session = world.session(&app, &did).await.id;
        allowed(&world, &app, browser, &did, "openid", session).await
    };
    let here = open(browser, alice()).await;
    let bobs = open(browser, bob()).await;
    let there = open(elsewhere, alice()).await;
    let ended = storage.sign_out_account(browser, &alice(), NOW).await;
    // The client knows of no sign-in that it could be told of.
    assert_eq!(ended.unwrap(), SignedOut::default());
    assert_eq!(due(&world, NOW + DAY).await, []);
    for (approval, lives) in [(here, false), (bobs, true), (there, true)] {
        let redeemed = storage.redeem_code(&redemption_of(&approval)).await;
        let redeemed = redeemed.unwrap();
        let is_redeemed = matches!(redeemed, RedeemCode::Redeemed(_));
        assert_eq!(is_redeemed, lives, "{redeemed:?}");
    }
}

async fn of_a_redemption_and_a_sign_out_at_once_the_later_knows_of_the_other(world: World) {
    let app = told(&world, "app").await;
    for _ in 0..20 {
        let browser = browser_of(&world, &[alice()]).await;
        let session = world.session(&app, &alice()).await.id;
        let approval = allowed(&world, &app, browser, &alice(), "openid", session).await;
        let outcomes = at_once(2, |n| {
            let storage = Arc::clone(&world.storage);
            let redemption = redemption_of(&approval);
            async move {
                if n == 0 {
                    let redeemed = storage.redeem_code(&redemption).await.unwrap();
                    return usize::from(matches!(redeemed, RedeemCode::Redeemed(_)));
                }
                let ended = storage.sign_out_account(browser, &alice(), NOW).await;
                ended.unwrap().deliveries.len()
            }
        });
        let outcomes = outcomes.await;
        assert_eq!(outcomes[0], outcomes[1], "signed in and told, or neither");
    }
}

async fn a_delivery_ends_with_its_event_or_not_at_all(world: World) {
    let storage = &world.storage;
    let grant = one_due(&world).await;
    let first = due(&world, NOW).await.remove(0);
    let event = |kind| AuditEvent {
        id: new_id(),
        at: NOW,
        kind,
        did: Some(alice()),
        actor: None,
        client_id: None,
        detail: String::new(),
    };
    let delivered = event(AuditKind::LogoutDelivered);
    world.fill_disk_of("audit_events").await;
    let failed = storage.end_logout(&first, Some(&delivered)).await;
    assert!(failed.is_err());
    world.make_room_for("audit_events").await;
    let second = due(&world, NOW + CLAIMED_FOR).await.remove(0);
    assert_eq!(second.grant, grant);
    assert!(storage.end_logout(&second, Some(&delivered)).await.unwrap());
    let late = event(AuditKind::LogoutNotDelivered);
    assert!(!storage.end_logout(&first, Some(&late)).await.unwrap());
    let events = storage.audit_events(100).await.unwrap();
    let of_delivery = [AuditKind::LogoutDelivered, AuditKind::LogoutNotDelivered];
    let mut kinds: Vec<_> = events.iter().map(|it| it.kind).collect();
    kinds.retain(|kind| of_delivery.contains(kind));
    assert_eq!(kinds, [AuditKind::LogoutDelivered]);
}

async fn sign_outs_and_ends_of_sessions_do_not_wait_for_each_other(world: World) {
    let app = told(&world, "app").await;
    for _ in 0..5 {
        let browser = browser_of(&world, &[alice()]).await;
        let session = world.session(&app, &alice()).await.id;
        for _ in 0..6 {
            given_on(&world, &app, browser, &alice(), "openid", session).await;
        }
        let done = at_once(8, |n| {
            let storage = Arc::clone(&world.storage);
            async move {
                if n % 2 == 0 {
                    let out = storage.sign_out_account(browser, &alice(), NOW).await;
                    return out.map(drop);
                }
                let end = storage.end_upstream_session(session, EndReason::ByOperator, NOW);
                end.await.map(drop)
            }
        });
        for outcome in done.await {
            outcome.unwrap();
        }
        let noted = "SELECT CAST(count(*) AS TEXT) FROM logout_deliveries";
        assert_eq!(world.strings(noted).await, ["6"]);
        world.raw("DELETE FROM logout_deliveries").await;
    }
}
