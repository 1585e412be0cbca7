//! Housekeeping: what is past its time goes, and nothing else.

use std::sync::Arc;

use aip_base::Timestamp;
use aip_storage::assertion_key::AssertingDevice;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client_registration::InitialAccessToken;
use aip_storage::delegation::{DelegationEnd, GiveDelegation};
use aip_storage::grant::{RevokeReason, Rotate};
use aip_storage::housekeeping::{PurgeReport, RetentionClass};
use aip_storage::nonces::{ReceivedNonce, ServerRole};
use aip_storage::rates::Quota;
use aip_storage::request::UpstreamFlow;
use aip_storage::upstream::{EndReason, UpstreamState};

use crate::world::{
    DAY, HOUR, MINUTE, NOW, SECOND, World, alice, at_once, bob, issuer, new_client_token, new_hash,
    new_id, origin, rotation_of, sealed,
};

super::on_both_engines!(
    each_kind_is_kept_for_its_time_and_no_longer,
    a_round_forgets_a_batch_and_says_whether_there_is_more,
    a_session_stays_until_its_pds_knows,
    a_grant_ends_when_its_last_token_has_expired,
    a_grant_of_which_no_app_ever_got_a_token_ends_too,
    what_leads_to_a_grant_stays_until_the_grant_has_ended,
    of_several_replicas_one_leads_until_it_stops_asking,
    a_database_answers,
);

/// A row of each kind, and what ends them.
async fn fill_every_table(world: &World) {
    let client = world.client("app").await;
    let (grant, _) = world.redeemed(&client, &alice()).await;
    let waiting = world.pending(&client, &bob(), grant.upstream_session).await;
    let storage = &world.storage;
    storage.put_flow(&new_flow(waiting.browser)).await.unwrap();
    storage.claim_once(&new_hash(), NOW + MINUTE).await.unwrap();
    let token = new_client_token(&client);
    storage.put_client_token(&new_hash(), &token).await.unwrap();
    storage.record(&new_event()).await.unwrap();
    let initial_token = InitialAccessToken {
        id: new_id(),
        token: new_hash(),
        uses_left: 1,
        created_at: NOW,
        expires_at: NOW + DAY,
    };
    storage.put_initial_token(&initial_token).await.unwrap();
    fill_what_replicas_share(world).await;
    storage
        .revoke_grant(grant.id, RevokeReason::ByPerson, NOW)
        .await
        .unwrap();
    storage
        .revocation_done(grant.upstream_session)
        .await
        .unwrap();
    let (delegation, session) = crate::delegations::new_delegation(&alice(), &bob());
    let given = storage.give_delegation(&delegation, &session, &[]).await;
    assert_eq!(given.unwrap(), GiveDelegation::Given);
    let reason = DelegationEnd::TakenBack;
    let ended = storage.end_delegation(&delegation.owner, delegation.id, reason, NOW, new_event());
    assert!(ended.await.unwrap());
    storage.revocation_done(session.id).await.unwrap();
    let order = crate::developer_tokens::new_order(&alice(), NOW + MINUTE);
    storage.put_developer_token_order(&order).await.unwrap();
    crate::logouts::waiting(world, "app", 1, NOW).await;
    let device = AssertingDevice {
        client_id: client.clone(),
        jkt: "device".to_owned(),
        client_key_id: "k1".to_owned(),
        now: NOW,
    };
    storage.use_assertion_key(&device, 10).await.unwrap();
    let mut own = storage.client(&client).await.unwrap().unwrap();
    for has_one in [true, false] {
        own.settings.own_upstream_document = has_one;
        assert!(storage.update_client(&own).await.unwrap());
    }
}

/// Fills every table, then walks through the years.
async fn each_kind_is_kept_for_its_time_and_no_longer(world: World) {
    fill_every_table(&world).await;
    let micro = std::time::Duration::from_micros(1);

    // The browsers go last but two; what hangs from them was due before.
    for (end, expected) in [
        (NOW + SECOND, vec![(RetentionClass::RateLimits, 1)]),
        (
            NOW + MINUTE,
            vec![
                (RetentionClass::AnsweredRequests, 1),
                (RetentionClass::Replays, 1),
                (RetentionClass::DeveloperTokenOrders, 1),
            ],
        ),
        (
            NOW + HOUR,
            vec![
                (RetentionClass::AuthorizationRequests, 1),
                (RetentionClass::UpstreamFlows, 1),
                (RetentionClass::AccessTokens, 1),
                (RetentionClass::ClientTokens, 1),
            ],
        ),
        (
            NOW + DAY,
            vec![
                (RetentionClass::BrowserSessions, 2),
                (RetentionClass::InitialAccessTokens, 1),
                (RetentionClass::UpstreamDocuments, 1),
                (RetentionClass::LogoutDeliveries, 1),
                (RetentionClass::Nonces, 1),
            ],
        ),
        (NOW + MINUTE + DAY, vec![(RetentionClass::Codes, 1)]),
        (
            NOW + 30 * DAY,
            vec![
                (RetentionClass::RefreshTokens, 1),
                (RetentionClass::Grants, 1),
                (RetentionClass::UpstreamSessions, 2),
                (RetentionClass::Delegations, 1),
                (RetentionClass::PausedAccounts, 1),
                (RetentionClass::EventCursors, 1),
            ],
        ),
        (NOW + 180 * DAY, vec![(RetentionClass::AssertionKeys, 1)]),
        (NOW + 365 * DAY, vec![(RetentionClass::AuditEvents, 3)]),
    ] {
        assert_eq!(
            purged(&world, end - micro).await,
            [],
            "nothing goes before {end}"
        );
        assert_eq!(purged(&world, end).await, expected);
    }
}

/// A nonce, a rate limit, a paused account and the place in a stream of events.
async fn fill_what_replicas_share(world: &World) {
    let given = ReceivedNonce {
        nonce: "nonce".to_owned(),
        at: NOW,
    };
    let nonces = world.database.shared_nonces();
    nonces
        .offer_nonce(ServerRole::Resource, &origin("https://pds.example"), &given)
        .await
        .unwrap();
    let quota = Quota {
        burst: 3,
        every: SECOND,
    };
    let rates = world.database.rate_limits();
    rates.take("key", quota, NOW).await.unwrap();
    let (storage, account) = (&world.storage, alice());
    let paused = storage.pause_account(&account, "deactivated", NOW);
    paused.await.unwrap();
    let kept = storage.keep_event_cursor("wss://events.example/subscribe", 1, NOW);
    kept.await.unwrap();
}

async fn a_round_forgets_a_batch_and_says_whether_there_is_more(world: World) {
    for _ in 0..5 {
        world.storage.claim_once(&new_hash(), NOW).await.unwrap();
    }
    for (count, more) in [(2, true), (2, true), (1, false)] {
        let round = world.storage.purge_expired(NOW, 2).await.unwrap();
        assert_eq!(nonzero(&round), [(RetentionClass::Replays, count)]);
        assert_eq!(round.more, more);
    }
}

async fn a_session_stays_until_its_pds_knows(world: World) {
    let session = world.session(&"app".parse().unwrap(), &alice()).await.id;
    world
        .storage
        .end_unused_session(session, EndReason::Abandoned, NOW)
        .await
        .unwrap();
    let later = NOW + 300 * DAY;

    assert_eq!(purged(&world, later).await, []);
    world.storage.revocation_done(session).await.unwrap();
    assert_eq!(
        purged(&world, later).await,
        [(RetentionClass::UpstreamSessions, 1)]
    );
}

async fn a_grant_ends_when_its_last_token_has_expired(world: World) {
    let client = world.client("app").await;
    let (idle, tokens) = world.redeemed(&client, &alice()).await;
    let (used, first) = world.redeemed(&client, &alice()).await;
    let mut rotation = rotation_of(&client, &first);
    rotation.tokens.refresh_expires_at = tokens.refresh_expires_at + DAY;
    let outcome = world.storage.rotate_refresh_token(&rotation).await.unwrap();
    assert!(matches!(outcome, Rotate::Rotated(_)));
    let now = tokens.refresh_expires_at;
    let end = async |now| {
        world
            .storage
            .end_expired_grants(now - DAY, now, 10)
            .await
            .unwrap()
    };

    assert_eq!(end(now - MINUTE).await, 0);
    assert_eq!(end(now).await, 1);

    let live = world.storage.grants_of(&alice()).await.unwrap();
    assert_eq!(live.iter().map(|it| it.id).collect::<Vec<_>>(), [used.id]);
    let session = world
        .storage
        .upstream_session(idle.upstream_session)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(session.state, UpstreamState::Ended(EndReason::GrantRevoked));
}

async fn a_grant_of_which_no_app_ever_got_a_token_ends_too(world: World) {
    let client = world.client("app").await;
    world.approved(&client, &alice()).await;
    let now = NOW + 2 * HOUR;

    let ended = world.storage.end_expired_grants(now - HOUR, now, 10);
    assert_eq!(ended.await.unwrap(), 1);
}

/// However long the clean-up of grants was held up.
async fn what_leads_to_a_grant_stays_until_the_grant_has_ended(world: World) {
    let client = world.client("app").await;
    world.approved(&client, &alice()).await;
    world.redeemed(&client, &alice()).await;
    let now = NOW + 100 * DAY;

    let gone = purged(&world, now).await;
    assert!(
        !gone.iter().any(|it| it.0 == RetentionClass::RefreshTokens),
        "{gone:?}"
    );
    let ended = world.storage.end_expired_grants(now - HOUR, now, 10);
    assert_eq!(ended.await.unwrap(), 2);
    assert_eq!(
        purged(&world, now).await,
        [
            (RetentionClass::Codes, 1),
            (RetentionClass::RefreshTokens, 1)
        ]
    );
}

async fn of_several_replicas_one_leads_until_it_stops_asking(world: World) {
    let leads = at_once(6, |n| {
        let storage = Arc::clone(&world.storage);
        async move {
            let owner = format!("replica-{n}");
            let leads = storage
                .acquire_leadership("clean-up", &owner, HOUR, NOW)
                .await
                .unwrap();
            leads.then_some(owner)
        }
    })
    .await;
    let leaders: Vec<String> = leads.into_iter().flatten().collect();
    assert_eq!(leaders.len(), 1, "{leaders:?}");
    let storage = &world.storage;
    let leader = leaders[0].as_str();

    assert!(
        storage
            .acquire_leadership("clean-up", leader, HOUR, NOW)
            .await
            .unwrap()
    );
    assert!(
        !storage
            .acquire_leadership("clean-up", "late", HOUR, NOW)
            .await
            .unwrap()
    );
    assert!(
        storage
            .acquire_leadership("else", "late", HOUR, NOW)
            .await
            .unwrap()
    );

    world.raw("UPDATE leaders SET lead_until = 0").await;
    assert!(
        storage
            .acquire_leadership("clean-up", "late", HOUR, NOW)
            .await
            .unwrap()
    );
    assert!(
        !storage
            .acquire_leadership("clean-up", leader, HOUR, NOW)
            .await
            .unwrap()
    );
}

async fn a_database_answers(world: World) {
    world.storage.ping().await.unwrap();
    world.database.close().await;
    world.storage.ping().await.unwrap_err();
}

async fn purged(world: &World, now: Timestamp) -> Vec<(RetentionClass, u64)> {
    nonzero(&world.storage.purge_expired(now, 1000).await.unwrap())
}

fn nonzero(round: &PurgeReport) -> Vec<(RetentionClass, u64)> {
    round
        .counts
        .iter()
        .copied()
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn new_flow(browser: aip_base::RowId) -> UpstreamFlow {
    UpstreamFlow {
        state: new_hash(),
        id: new_id(),
        browser,
        request: None,
        issuer: issuer("https://issuer.example"),
        expected: None,
        sealed: sealed("what the callback needs"),
        expires_at: NOW + HOUR,
    }
}

fn new_event() -> AuditEvent {
    AuditEvent {
        id: new_id(),
        at: NOW,
        kind: AuditKind::GrantGiven,
        did: None,
        actor: None,
        client_id: None,
        detail: String::new(),
    }
}
