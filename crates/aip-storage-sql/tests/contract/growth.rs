//! Steady traffic for months: the tables grow until what is forgotten each day equals what is
//! stored, and no further.

use std::collections::BTreeMap;
use std::time::Duration;

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::account::Account;
use aip_storage::assertion_key::AssertingDevice;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::browser::{BrowserAccount, BrowserSession, BrowserSignIn};
use aip_storage::client::{Client, ClientId};
use aip_storage::client_registration::{
    Admission, InitialAccessToken, NewRegistration, RegisterClient,
};
use aip_storage::client_token::ClientToken;
use aip_storage::delegation::GiveDelegation;
use aip_storage::developer_token::MakeDeveloperToken;
use aip_storage::grant::{
    Approval, Approve, Grant, NewCode, NewTokens, RedeemCode, Redemption, RevokeReason, Rotate,
};
use aip_storage::logout::LogoutNotification;
use aip_storage::nonces::{ReceivedNonce, ServerRole};
use aip_storage::operations::KeyCheck;
use aip_storage::rates::Quota;
use aip_storage::refresh::{JournalEntry, TakeLease};
use aip_storage::request::UpstreamFlow;
use aip_storage::requested_claims::RequestedClaims;
use aip_storage::resource_uri::ResourceList;

use crate::delegations::new_delegation;
use crate::developer_tokens::{new_order, new_token};
use crate::world::{
    DAY, HOUR, MINUTE, NOW, World, alice, issuer, new_client_token, new_device, new_event,
    new_hash, new_held_session, new_id, new_request, new_session, new_tokens, origin,
    public_client, redemption_of, redirect, rotation_of, scope, sealed,
};

super::on_both_engines!(after_two_months_the_tables_do_not_grow);

/// People who sign in each day.
const VISITORS: u32 = 3;
/// An app that is not used any more is not refreshed after so many days; then its tokens expire.
const USED_FOR: u32 = 3;
const TOKEN_LIFE: Duration = Duration::from_hours(5 * 24);
/// The longest life and the longest retention, audit aside: from here on nothing may grow.
const FULL: u32 = 45;
const END: u32 = FULL + 30;

/// A person's app.
struct Visitor {
    client: ClientId,
    grant: Grant,
    tokens: NewTokens,
    since: u32,
}

async fn after_two_months_the_tables_do_not_grow(world: World) {
    let client = client_that_is_notified_of_logouts(&world).await;
    let check = KeyCheck {
        sealed: sealed("check"),
        pepper: new_hash(),
    };
    world.storage.begin_key_check(&check).await.unwrap();
    let mut visitors: Vec<Visitor> = Vec::new();
    let mut full = BTreeMap::new();
    for day in 0..=END {
        let now = NOW + day * DAY;
        rotate_keys(&world, day).await;
        hear_events(&world, day, now).await;
        be_a_client_of_its_own(&world, &client, now).await;
        for n in 0..VISITORS {
            visitors.push(sign_in(&world, &client, day, n, now).await);
        }
        for visitor in &mut visitors {
            refresh(&world, visitor, now + HOUR).await;
        }
        // One takes the permission back, one leaves at the app, the others just stay away.
        let leaving = visitors.extract_if(.., |it| day - it.since == USED_FOR);
        for (n, visitor) in leaving.enumerate() {
            let reason = [RevokeReason::ByPerson, RevokeReason::ByClient].get(n);
            if let Some(reason) = reason {
                let revoke = world.storage.revoke_grant(visitor.grant.id, *reason, now);
                revoke.await.unwrap();
            }
        }
        for hours in [6, 12, 18, 23] {
            clean_up(&world, now + hours * HOUR).await;
        }
        refused_after_the_last_clean_up(&world, &client, now + 23 * HOUR).await;
        if day == FULL {
            full = rows(&world).await;
        }
    }

    let mut end = rows(&world).await;
    assert_eq!(
        end.remove("audit_events"),
        Some(i64::from(2 * (END + 1) * VISITORS)),
        "a sign-in and a yes each, and a year is not over"
    );
    full.remove("audit_events");
    assert_eq!(end, full);
    let untouched: Vec<_> = full.iter().filter(|(_, rows)| **rows == 0).collect();
    assert!(untouched.is_empty(), "no traffic reaches {untouched:?}");
}

/// Somebody takes the permission back each day; it does not answer when it is told.
async fn client_that_is_notified_of_logouts(world: &World) -> ClientId {
    let mut client = public_client("app");
    client.settings.backchannel_logout = Some(LogoutNotification {
        uri: "https://app.example/logout".parse().unwrap(),
        session_required: false,
    });
    world.storage.create_client(&client).await.unwrap();
    client.id
}

/// An account is switched off each day.
async fn hear_events(world: &World, day: u32, now: Timestamp) {
    let did = Did::parse(&format!("did:web:day{day}.example")).unwrap();
    let paused = world.storage.pause_account(&did, "deactivated", now);
    paused.await.unwrap();
    let source = "wss://events.example/subscribe";
    let kept = world.storage.keep_event_cursor(source, day.into(), now);
    kept.await.unwrap();
}

/// The app gets an upstream document of its own and loses it each day, and a device of it asks for a
/// client assertion.
async fn be_a_client_of_its_own(world: &World, client: &ClientId, now: Timestamp) {
    let device = AssertingDevice {
        client_id: client.clone(),
        jkt: "device".to_owned(),
        client_key_id: "k1".to_owned(),
        now,
    };
    world.storage.use_assertion_key(&device, 10).await.unwrap();
    let mut client = world.storage.client(client).await.unwrap().unwrap();
    client.updated_at = now;
    for has_one in [true, false] {
        client.settings.own_upstream_document = has_one;
        assert!(world.storage.update_client(&client).await.unwrap());
    }
}

/// Each change of the key set takes the place of the one before.
async fn rotate_keys(world: &World, day: u32) {
    let keys = sealed("signing keys");
    let stored = match day {
        0 => world.storage.begin_signing_key_set(&keys).await,
        _ => {
            world
                .storage
                .replace_signing_key_set(day.into(), &keys)
                .await
        }
    };
    assert!(stored.unwrap(), "day {day}");
}

/// How a request was answered is kept for a minute, so only the latest of the day is still there.
async fn refused_after_the_last_clean_up(world: &World, client: &ClientId, now: Timestamp) {
    let browser = world.browser().await;
    let mut request = new_request(client, browser);
    request.expires_at = now + HOUR;
    world.storage.put_request(&request).await.unwrap();
    let refused = world
        .storage
        .refuse_request(&request.token, browser, "access_denied", now);
    assert!(refused.await.unwrap().is_some());
}

/// `owner` lets `to` act for a day.
async fn delegate(world: &World, owner: &Did, to: &Did, now: Timestamp) {
    let (mut delegation, mut session) = new_delegation(owner, to);
    (session.created_at, session.next_refresh_at) = (now, now + DAY);
    (delegation.created_at, delegation.ends_at) = (now, now + DAY);
    let given = world
        .storage
        .give_delegation(&delegation, &session, &[])
        .await;
    assert_eq!(given.unwrap(), GiveDelegation::Given);
}

/// A person makes a developer token for a day, and nobody opens the link by which another was ordered.
async fn make_token(world: &World, account: &Did, now: Timestamp) {
    let (token, session) = new_token(account, now);
    let made = world.storage.make_developer_token(&token, &session, &[]);
    assert_eq!(made.await.unwrap(), MakeDeveloperToken::Made);
    let order = new_order(account, now + DAY);
    let ordered = world.storage.put_developer_token_order(&order);
    ordered.await.unwrap();
}

/// Everything that a sign-in leaves behind, and some of what was not finished.
async fn sign_in(world: &World, client: &ClientId, day: u32, n: u32, now: Timestamp) -> Visitor {
    let storage = &world.storage;
    let did = visitor_of(n);
    let account = Account {
        did: did.clone(),
        handle: None,
        pds: origin("https://pds.example"),
        proven_at: now,
    };
    storage.put_account(&account).await.unwrap();
    let browser = browser(world, &did, now).await;
    storage.put_flow(&flow(browser, now)).await.unwrap();
    let mut given_up = new_request(client, browser);
    given_up.expires_at = now + DAY;
    storage.put_request(&given_up).await.unwrap();

    let mut device = new_device(client);
    device.expires_at = now + HOUR;
    assert!(storage.put_device_code(&device).await.unwrap());

    let own_token = ClientToken {
        issued_at: now,
        expires_at: now + DAY,
        ..new_client_token(client)
    };
    let own_hash = new_hash();
    let stored = storage.put_client_token(&own_hash, &own_token);
    stored.await.unwrap();

    let mut session = new_session(client, &did);
    (session.created_at, session.refreshed_at) = (now, now);
    session.next_refresh_at = now + DAY;
    storage.create_upstream_session(&session).await.unwrap();
    // A sign-in that was not finished, and one that a killed process was refreshing.
    let mut abandoned = new_session(client, &did);
    abandoned.created_at = now;
    storage.create_upstream_session(&abandoned).await.unwrap();
    killed_while_refreshing(world, session.id, now).await;

    let mut request = new_request(client, browser);
    request.expires_at = now + HOUR;
    storage.put_request(&request).await.unwrap();
    let approval = Approval {
        request: request.token,
        browser,
        grant: Grant {
            id: new_id(),
            client_id: client.clone(),
            subject: did.clone(),
            sector: None,
            actor: did,
            scope: scope("atproto openid"),
            asked: scope("atproto"),
            upstream_session: session.id,
            dpop_jkt: None,
            auth_time: Some(now),
            claims: RequestedClaims::default(),
            resources: ResourceList::default(),
            created_at: now,
            revoked: None,
        },
        client_registered_itself: false,
        client_from_document: None,
        client_resources: None,
        ends_session: false,
        redemption: Redemption::Code(NewCode {
            hash: new_hash(),
            redirect: redirect("state"),
            code_challenge: None,
            dpop_jkt: None,
            nonce: None,
            expires_at: now + MINUTE,
        }),
        event: AuditEvent {
            at: now,
            ..new_event(AuditKind::GrantGiven, &alice())
        },
    };
    assert_eq!(storage.approve(&approval).await.unwrap(), Approve::Approved);
    let mut redemption = redemption_of(&approval);
    (redemption.tokens, redemption.now) = (tokens(now), now);
    let redeemed = storage.redeem_code(&redemption).await.unwrap();
    assert!(matches!(redeemed, RedeemCode::Redeemed(_)), "{redeemed:?}");

    let event = AuditEvent {
        at: now,
        ..new_event(AuditKind::SignedIn, &approval.grant.subject)
    };
    storage.record(&event).await.unwrap();
    delegate(world, &approval.grant.subject, &visitor_of(n + 1), now).await;
    make_token(world, &approval.grant.subject, now).await;
    let held = new_held_session(client, &approval.grant.subject, now);
    storage.hold_sessions(&[held], now).await.unwrap();
    storage.begin_release(now).await.unwrap();
    shared_state(world, day, n, now).await;
    register(world, day, n, now).await;
    Visitor {
        client: client.clone(),
        grant: approval.grant,
        tokens: redemption.tokens,
        since: day,
    }
}

fn visitor_of(n: u32) -> Did {
    format!("did:web:person-{n}.example").parse().unwrap()
}

async fn browser(world: &World, did: &Did, now: Timestamp) -> RowId {
    let session = BrowserSession {
        id: new_id(),
        token: new_hash(),
        created_at: now,
        expires_at: now + DAY,
        accounts: Vec::new(),
    };
    world
        .storage
        .create_browser_session(&session)
        .await
        .unwrap();
    let account = BrowserAccount {
        did: did.clone(),
        signed_in_at: now,
        auth_time: None,
    };
    let (cookie, next, end) = (&session.token, new_hash(), now + 7 * DAY);
    let outcome = world
        .storage
        .sign_in_browser(session.id, cookie, &next, &account, end, now);
    assert_eq!(outcome.await.unwrap(), BrowserSignIn::Added);
    session.id
}

fn flow(browser: RowId, now: Timestamp) -> UpstreamFlow {
    UpstreamFlow {
        state: new_hash(),
        id: new_id(),
        browser,
        request: None,
        issuer: issuer("https://issuer.example"),
        expected: None,
        sealed: sealed("what the callback needs"),
        expires_at: now + DAY,
    }
}

async fn killed_while_refreshing(world: &World, id: RowId, now: Timestamp) {
    let storage = &world.storage;
    let lease = storage.lease(id, 1, "killed", MINUTE, now).await.unwrap();
    let TakeLease::Leased(claim) = lease else {
        panic!("{lease:?}");
    };
    let entry = JournalEntry {
        id,
        fence: claim.lease.fence,
        refresh: new_hash(),
        sent_at: now,
    };
    storage.journal_sent(&entry).await.unwrap();
}

/// An app that registers itself, and that nobody uses.
async fn register(world: &World, day: u32, n: u32, now: Timestamp) {
    let token = InitialAccessToken {
        id: new_id(),
        token: new_hash(),
        uses_left: 1,
        created_at: now,
        expires_at: now + DAY,
    };
    world.storage.put_initial_token(&token).await.unwrap();
    let registration = NewRegistration {
        client: Client {
            registered_itself: true,
            ..public_client(&format!("app-{day}-{n}"))
        },
        token: new_hash(),
        admission: Admission::Token(token.token),
        max_clients: 1000,
        unused_until: now + 10 * DAY,
        now,
    };
    let outcome = world.storage.register_client(&registration).await.unwrap();
    assert_eq!(outcome, RegisterClient::Registered);
}

/// Each day other servers and callers than the day before.
async fn shared_state(world: &World, day: u32, n: u32, now: Timestamp) {
    let given = ReceivedNonce {
        nonce: "nonce".to_owned(),
        at: now + 20 * HOUR,
    };
    let server = origin(&format!("https://pds-{day}-{n}.example"));
    let nonces = world.database.shared_nonces();
    let offer = nonces.offer_nonce(ServerRole::Resource, &server, &given);
    offer.await.unwrap();
    let quota = Quota {
        burst: 10,
        every: DAY,
    };
    let rates = world.database.rate_limits();
    rates.take(&format!("{day} {n}"), quota, now).await.unwrap();
}

async fn refresh(world: &World, visitor: &mut Visitor, now: Timestamp) {
    let storage = &world.storage;
    storage.claim_once(&new_hash(), now + DAY).await.unwrap();
    let mut rotation = rotation_of(&visitor.client, &visitor.tokens);
    (rotation.tokens, rotation.now) = (tokens(now), now);
    let outcome = storage.rotate_refresh_token(&rotation).await.unwrap();
    assert!(matches!(outcome, Rotate::Rotated(_)), "{outcome:?}");
    visitor.tokens = rotation.tokens;
}

fn tokens(now: Timestamp) -> NewTokens {
    NewTokens {
        access_expires_at: now + DAY,
        refresh_expires_at: now + TOKEN_LIFE,
        ..new_tokens()
    }
}

/// What a process does every minute, and its keeper with what is due at PDSs.
async fn clean_up(world: &World, now: Timestamp) {
    let storage = &world.storage;
    if !storage
        .acquire_leadership("clean-up", "one", HOUR, now)
        .await
        .unwrap()
    {
        return;
    }
    let hour_ago = now - HOUR;
    storage.end_abandoned_sessions(hour_ago, now).await.unwrap();
    let end = storage.end_expired_grants(hour_ago, now, 500);
    end.await.unwrap();
    let ended = storage.end_expired_delegations(now, 500);
    ended.await.unwrap();
    let unused = storage.delete_unused_clients(now, 50);
    unused.await.unwrap();
    let unused = storage.delete_unused_document_clients(now - 30 * DAY, now, 50);
    unused.await.unwrap();
    while storage.purge_expired(now, 500).await.unwrap().more {}
    for due in storage
        .claim_revocations(now, now + HOUR, 500)
        .await
        .unwrap()
    {
        storage.revocation_done(due.session.id).await.unwrap();
    }
}

/// The number of rows of each table.
async fn rows(world: &World) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for table in world.tables().await {
        let count = format!("SELECT CAST(count(*) AS TEXT) FROM {table}");
        let count = world.strings(count).await;
        counts.insert(table, count[0].parse().unwrap());
    }
    counts
}
