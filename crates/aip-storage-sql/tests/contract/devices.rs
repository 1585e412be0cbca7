//! Device codes: decided once, spent once, and polled no faster than agreed.

use std::sync::Arc;
use std::time::Duration;

use aip_base::Timestamp;
use aip_storage::client::ClientId;
use aip_storage::device::{
    DeviceAuthorization, DevicePoll, FETCH_TIME, POLL_TOLERANCE, PollDevice, SLOW_DOWN,
};
use aip_storage::grant::{Approval, Approve, Redemption, RevokeReason, TokenFault};
use aip_storage::request::{Delivery, RequestAnswer};

use crate::world::{
    DAY, HOUR, NOW, SECOND, World, alice, at_once, new_device, new_hash, new_tokens,
};

super::on_both_engines_and_behind_a_pooler!(
    what_a_device_asks_for_is_found_by_both_codes_until_it_is_decided,
    a_code_that_is_taken_is_not_stored_again,
    a_device_that_polls_too_fast_is_slowed_down,
    of_fifty_polls_after_a_yes_one_gets_the_tokens,
    a_no_is_reported_and_is_final,
    of_two_browsers_with_one_code_the_first_decides,
    a_code_is_for_its_client_and_for_its_time,
    a_device_has_time_to_fetch_what_was_allowed_at_the_last_moment,
    a_grant_that_no_device_fetched_ends,
    the_network_of_a_device_is_forgotten_when_somebody_decides,
);

const DENIED: &str = "access_denied";

fn poll_of(device: &DeviceAuthorization, now: Timestamp) -> DevicePoll {
    DevicePoll {
        code: device.code,
        client_id: device.client_id.clone(),
        dpop_jkt: None,
        tokens: new_tokens(),
        now,
    }
}

async fn waiting(world: &World, client: &ClientId) -> DeviceAuthorization {
    let device = new_device(client);
    assert!(world.storage.put_device_code(&device).await.unwrap());
    device
}

/// A yes in a browser that was not given yet.
async fn yes_to(world: &World, device: &DeviceAuthorization) -> Approval {
    let session = world.session(&device.client_id, &alice()).await;
    let mut approval = world.pending(&device.client_id, &alice(), session.id).await;
    approval.redemption = Redemption::Device(device.code);
    approval
}

async fn poll(world: &World, device: &DeviceAuthorization, now: Timestamp) -> PollDevice {
    let poll = poll_of(device, now);
    world.storage.poll_device(&poll).await.unwrap()
}

async fn what_a_device_asks_for_is_found_by_both_codes_until_it_is_decided(world: World) {
    let client = world.client("app").await;
    let device = waiting(&world, &client).await;
    let storage = &world.storage;
    let found = async |now| {
        let by_user_code = storage.device_of_user_code(&device.user_code, now).await;
        let by_code = storage.undecided_device(&device.code, now).await.unwrap();
        assert_eq!(by_user_code.unwrap(), by_code);
        by_code
    };
    assert_eq!(found(NOW).await.as_ref(), Some(&device));
    assert_eq!(found(device.expires_at).await, None);
    let unknown = storage.device_of_user_code(&device.code, NOW).await;
    assert_eq!(unknown.unwrap(), None);

    let yes = yes_to(&world, &device).await;
    assert_eq!(storage.approve(&yes).await.unwrap(), Approve::Approved);
    assert_eq!(found(NOW).await, None);
    let told = storage.answered_request(&yes.request, yes.browser, NOW);
    let told = told.await.unwrap().unwrap();
    assert_eq!(told.delivery, Delivery::Device(device.code));
    assert_eq!(told.answer, RequestAnswer::Granted(yes.grant.id));
}

async fn a_code_that_is_taken_is_not_stored_again(world: World) {
    let client = world.client("app").await;
    let first = waiting(&world, &client).await;
    let same_user_code = DeviceAuthorization {
        code: new_hash(),
        ..first.clone()
    };
    let same_code = DeviceAuthorization {
        user_code: new_hash(),
        ..first.clone()
    };
    for taken in [same_user_code, same_code] {
        assert!(!world.storage.put_device_code(&taken).await.unwrap());
    }
}

async fn a_device_that_polls_too_fast_is_slowed_down(world: World) {
    let client = world.client("app").await;
    let device = waiting(&world, &client).await;
    let mut now = NOW;
    let mut interval = device.interval;
    let outcome = poll(&world, &device, now).await;
    assert!(matches!(outcome, PollDevice::Pending), "{outcome:?}");
    for _ in 0..3 {
        now = now + interval - POLL_TOLERANCE - Duration::from_millis(1);
        let outcome = poll(&world, &device, now).await;
        assert!(matches!(outcome, PollDevice::TooFast), "{outcome:?}");
        interval += SLOW_DOWN;
    }
    for _ in 0..2 {
        now = now + interval - POLL_TOLERANCE;
        let outcome = poll(&world, &device, now).await;
        assert!(matches!(outcome, PollDevice::Pending), "{outcome:?}");
    }
    let stored = world.storage.undecided_device(&device.code, now).await;
    assert_eq!(stored.unwrap().unwrap().interval, interval);
}

async fn of_fifty_polls_after_a_yes_one_gets_the_tokens(world: World) {
    let client = world.client("app").await;
    let device = waiting(&world, &client).await;
    let yes = yes_to(&world, &device).await;
    let approved = world.storage.approve(&yes).await.unwrap();
    assert_eq!(approved, Approve::Approved);
    let outcomes = at_once(50, |_| {
        let storage = Arc::clone(&world.storage);
        let mut poll = poll_of(&device, NOW + SECOND);
        poll.dpop_jkt = Some("key".to_owned());
        async move {
            let outcome = storage.poll_device(&poll).await.unwrap();
            (outcome, poll.tokens)
        }
    })
    .await;
    let mut redeemed = 0;
    for (outcome, tokens) in outcomes {
        let access = world.storage.access_token(&tokens.access, NOW + SECOND);
        let access = access.await.unwrap();
        match outcome {
            PollDevice::Redeemed(grant) => {
                redeemed += 1;
                assert_eq!(grant.id, yes.grant.id);
                assert_eq!(grant.dpop_jkt.as_deref(), Some("key"));
                let refresh = world.storage.refresh_token(&tokens.refresh, NOW + SECOND);
                assert!(access.is_some() && refresh.await.unwrap().is_some());
            }
            PollDevice::Refused(TokenFault::Spent) => assert!(access.is_none()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(redeemed, 1);
}

async fn a_no_is_reported_and_is_final(world: World) {
    let client = world.client("app").await;
    let storage = &world.storage;
    let (in_a_browser, at_once) = (
        waiting(&world, &client).await,
        waiting(&world, &client).await,
    );
    let browser = world.browser().await;
    let mut request = crate::world::new_request(&client, browser);
    request.params.delivery = Delivery::Device(in_a_browser.code);
    assert!(storage.put_request(&request).await.unwrap());
    let refused = storage.refuse_request(&request.token, browser, DENIED, NOW);
    assert!(refused.await.unwrap().is_some());
    assert!(storage.refuse_device(&at_once.code, NOW).await.unwrap());
    for device in [&in_a_browser, &at_once] {
        let outcome = poll(&world, device, NOW).await;
        assert!(matches!(outcome, PollDevice::Denied), "{outcome:?}");
        let yes = yes_to(&world, device).await;
        let late = storage.approve(&yes).await.unwrap();
        assert_eq!(late, Approve::RequestGone);
        assert!(!storage.refuse_device(&device.code, NOW).await.unwrap());
    }
    assert!(storage.grants_of(&alice()).await.unwrap().is_empty());
}

async fn of_two_browsers_with_one_code_the_first_decides(world: World) {
    let client = world.client("app").await;
    let device = waiting(&world, &client).await;
    let (first, second) = (yes_to(&world, &device).await, yes_to(&world, &device).await);
    let outcomes = at_once(2, |n| {
        let storage = Arc::clone(&world.storage);
        let yes = if n == 0 {
            first.clone()
        } else {
            second.clone()
        };
        async move { storage.approve(&yes).await.unwrap() }
    })
    .await;
    let approved = outcomes.iter().filter(|it| **it == Approve::Approved);
    assert_eq!(approved.count(), 1, "{outcomes:?}");
    let grants = world.storage.grants_of(&alice()).await.unwrap();
    assert_eq!(grants.len(), 1);
}

async fn a_code_is_for_its_client_and_for_its_time(world: World) {
    let (client, other) = (world.client("app").await, world.client("other").await);
    let device = waiting(&world, &client).await;
    let unknown = new_device(&client);
    let outcome = poll(&world, &unknown, NOW).await;
    let is_unknown = matches!(outcome, PollDevice::Refused(TokenFault::Unknown));
    assert!(is_unknown, "{outcome:?}");
    let foreign = DeviceAuthorization {
        client_id: other,
        ..device.clone()
    };
    let yes = yes_to(&world, &device).await;
    for _ in 0..2 {
        let outcome = poll(&world, &foreign, NOW).await;
        let is_foreign = matches!(outcome, PollDevice::Refused(TokenFault::OtherClient(_)));
        assert!(is_foreign, "{outcome:?}");
        // What another client asks neither counts nor spends.
        world.storage.approve(&yes).await.unwrap();
    }
    let outcome = poll(&world, &device, device.expires_at).await;
    assert!(matches!(outcome, PollDevice::Expired), "{outcome:?}");
    let revoke = world
        .storage
        .revoke_grant(yes.grant.id, RevokeReason::ByPerson, NOW);
    revoke.await.unwrap();
    let outcome = poll(&world, &device, NOW).await;
    let has_ended = matches!(outcome, PollDevice::Refused(TokenFault::GrantEnded));
    assert!(has_ended, "{outcome:?}");
}

async fn a_device_has_time_to_fetch_what_was_allowed_at_the_last_moment(world: World) {
    let client = world.client("app").await;
    let mut device = new_device(&client);
    device.expires_at = NOW + SECOND;
    assert!(world.storage.put_device_code(&device).await.unwrap());
    let yes = yes_to(&world, &device).await;
    world.storage.approve(&yes).await.unwrap();
    let outcome = poll(&world, &device, NOW + FETCH_TIME).await;
    assert!(matches!(outcome, PollDevice::Expired), "{outcome:?}");
    let outcome = poll(&world, &device, NOW + FETCH_TIME - SECOND).await;
    assert!(matches!(outcome, PollDevice::Redeemed(_)), "{outcome:?}");
}

async fn a_grant_that_no_device_fetched_ends(world: World) {
    let client = world.client("app").await;
    let device = waiting(&world, &client).await;
    let yes = yes_to(&world, &device).await;
    let storage = &world.storage;
    storage.approve(&yes).await.unwrap();
    let ended = async |now| storage.end_expired_grants(now, now, 10).await.unwrap();
    let kept = async || {
        let count = "SELECT CAST(count(*) AS TEXT) FROM device_codes";
        world.strings(count).await[0].clone()
    };
    assert_eq!(ended(NOW + HOUR - SECOND).await, 0);
    storage.purge_expired(NOW + 2 * DAY, 10).await.unwrap();
    assert_eq!(kept().await, "1", "its grant lives");
    assert_eq!(ended(NOW + 2 * DAY).await, 1);
    storage.purge_expired(NOW + 2 * DAY, 10).await.unwrap();
    assert_eq!(kept().await, "0");
}

async fn the_network_of_a_device_is_forgotten_when_somebody_decides(world: World) {
    let client = world.client("app").await;
    let networks =
        "SELECT asked_from FROM device_codes WHERE asked_from IS NOT NULL ORDER BY asked_from";
    let mut unknown = new_device(&client);
    unknown.asked_from = None;
    let mut waiting_on = Vec::new();
    for network in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let mut device = new_device(&client);
        device.asked_from = Some(network.to_owned());
        waiting_on.push(device);
    }
    for device in waiting_on.iter().chain([&unknown]) {
        assert!(world.storage.put_device_code(device).await.unwrap());
        let found = world.storage.undecided_device(&device.code, NOW).await;
        assert_eq!(found.unwrap().as_ref(), Some(device));
    }
    let [allowed, refused, undecided] = waiting_on.as_slice() else {
        panic!("{waiting_on:?}");
    };
    let yes = yes_to(&world, allowed).await;
    let approved = world.storage.approve(&yes).await.unwrap();
    assert_eq!(approved, Approve::Approved);
    let kept = ["192.0.2.2", "192.0.2.3"];
    assert_eq!(world.strings(networks).await, kept);
    let no = world.storage.refuse_device(&refused.code, NOW).await;
    assert!(no.unwrap());
    assert_eq!(world.strings(networks).await, ["192.0.2.3"]);
    // Nobody decided: a day after its end.
    let purge = async |now| world.storage.purge_expired(now, 10).await.unwrap();
    purge(undecided.expires_at + DAY - SECOND).await;
    assert_eq!(world.strings(networks).await, ["192.0.2.3"]);
    purge(undecided.expires_at + DAY).await;
    assert!(world.strings(networks).await.is_empty());
}
