//! The events of the network as hints: what has changed is noticed at once, the sessions of accounts that
//! are not in use are left alone, and a server that lies changes nothing.

use std::time::Duration;

use aip_atproto::{Did, Handle};
use aip_base::{Clock as _, RowId, SystemRng};
use aip_jose::{Alg, SigningKey};
use aip_keys::Aad;
use aip_sandbox::{AccountState, Endpoint, Jetstream, Mint, Person};
use aip_storage::upstream::{Credential, SealedTokens, UpstreamSession};
use bytes::Bytes;
use http::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::app::{App, Tokens};
use crate::keeping::{GET_SESSION, STALE, app_with_session, refreshes, session};
use crate::on_both_engines;
use crate::world::{Engine, World, until};

on_both_engines!(
    a_handle_that_changed_is_read_anew_and_not_taken_from_the_event,
    the_sessions_of_an_account_that_is_not_in_use_are_left_alone_until_it_is,
    a_server_that_lies_about_accounts_costs_a_request_and_changes_nothing,
    without_the_event_server_everything_works,
);

const REPO_STATUS: Endpoint = Endpoint::Method("com.atproto.sync.getRepoStatus");
const DAY: Duration = Duration::from_hours(24);
/// Longer than hints about the same account are apart that are followed.
const NEXT_HINT: Duration = Duration::from_secs(31);

/// AIP follows that stream from now on, and is connected.
async fn follow(world: &World, server: &Jetstream, url: String) {
    let before = server.requests().len();
    world
        .restart_configured(move |config| config.events = Some(url.parse().unwrap()))
        .await;
    until("AIP follows the events", async || {
        server.requests().len() > before
    })
    .await;
    // The request is noted before it is answered: this is told once the stream has begun.
    let probe = Did::parse("did:web:probe.example").unwrap();
    until("the stream has begun", async || {
        server.identity(&probe, "probe.example");
        let cursor = world.texts("SELECT source FROM event_cursors").await;
        !cursor.is_empty()
    })
    .await;
}

/// Both protocols in turn: the engines take one each.
fn stream(world: &World, server: &Jetstream) -> String {
    match world.engine() {
        Engine::Sqlite => server.v1(),
        Engine::Postgres => server.v2(),
    }
}

async fn paused(world: &World) -> Vec<String> {
    world
        .texts("SELECT status FROM paused_accounts ORDER BY did")
        .await
}

async fn until_paused(world: &World, status: &[&str]) {
    until("the account is paused as its PDS says", async || {
        paused(world).await == status
    })
    .await;
}

/// How often the PDS was asked whether an account is in use.
fn status_requests(world: &World) -> usize {
    world.pds().requests_to(REPO_STATUS).len()
}

async fn handle_of(app: &App<'_>, tokens: &Tokens, person: &Person) -> Value {
    let path = format!("/api/atprotocol/resolve?subject={}", person.did);
    let answer = app
        .call(&Method::GET, &path, &tokens.access, &[], Bytes::new())
        .await;
    answer.ok()["identities"][0]["handle"].clone()
}

/// The app comes back after days and calls the PDS.
async fn use_session(app: &App<'_>, tokens: &Tokens) {
    let renewed = Tokens::of(&app.refresh(&tokens.refresh).await);
    app.query(&renewed.access, GET_SESSION).await.ok();
}

async fn a_handle_that_changed_is_read_anew_and_not_taken_from_the_event(world: &World) {
    let server = Jetstream::start().await.unwrap();
    follow(world, &server, stream(world, &server)).await;
    let (app, tokens) = app_with_session(world).await;
    let alice = world.alice();
    assert_eq!(handle_of(&app, &tokens, alice).await, "alice.test");
    for name in ["alice-one.test", "alice-two.test"] {
        let before = handle_of(&app, &tokens, alice).await;
        world
            .pds()
            .rename(&alice.did, &Handle::parse(name).unwrap());
        assert_eq!(
            handle_of(&app, &tokens, alice).await,
            before,
            "it is remembered"
        );
        world.pass(NEXT_HINT);
        server.identity(&alice.did, "evil.test");
        until("the new handle is told", async || {
            let told = handle_of(&app, &tokens, alice).await;
            assert!(told == before || told == name, "{told}");
            told == name
        })
        .await;
    }
    // Nobody who has no session here is asked about, whatever is told of them.
    let reads = world.sandbox.plc.requests().len();
    for number in 0..50 {
        let stranger = Did::parse(&format!("did:web:stranger{number}.example")).unwrap();
        server.identity(&stranger, "stranger.example");
        server.account(&stranger, Some("deleted"));
        server.account(&world.bob().did, Some("deleted"));
    }
    world.pass(NEXT_HINT);
    server.account(&alice.did, Some("deleted"));
    until("everything before was read", async || {
        status_requests(world) == 1
    })
    .await;
    assert_eq!(world.sandbox.plc.requests().len(), reads + 1);
}

async fn the_sessions_of_an_account_that_is_not_in_use_are_left_alone_until_it_is(world: &World) {
    let server = Jetstream::start().await.unwrap();
    follow(world, &server, stream(world, &server)).await;
    let (app, tokens) = app_with_session(world).await;
    let alice = &world.alice().did;
    world
        .pds()
        .set_account_state(alice, AccountState::Deactivated);
    server.account(alice, Some("takendown"));
    until_paused(world, &["deactivated"]).await;

    world.pds().forget_requests();
    world.pass(8 * DAY);
    world.keeper_round().await;
    assert_eq!(world.pds().requests().len(), 0, "nobody is asked");
    // Who uses it still tries, and the PDS decides.
    let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!(refreshes(world), 1);
    // One that fails is tried as ever: a use would wait as long as the keeper.
    world.pass(STALE);
    world.pds().next(Endpoint::Token).is_unavailable();
    let answer = app.query(&tokens.access, GET_SESSION).await;
    answer.expect(503, "UpstreamFailure").logged("upstream");
    assert_eq!(session(world).await.failures, 1);
    world.pass(Duration::from_mins(5));
    world.keeper_round().await;
    app.query(&tokens.access, GET_SESSION).await.ok();
    assert_eq!((refreshes(world), session(world).await.failures), (2, 0));
    world.pass(8 * DAY);
    world.keeper_round().await;
    assert_eq!(refreshes(world), 2);
    // Its refresh token may live for two weeks: it is not lost.
    world.pass(5 * DAY);
    world.keeper_round().await;
    assert_eq!(refreshes(world), 3);
    world.pass(8 * DAY);
    world.keeper_round().await;
    assert_eq!(refreshes(world), 3);

    world.pds().set_account_state(alice, AccountState::Active);
    server.account(alice, None);
    until_paused(world, &[]).await;
    world.keeper_round().await;
    assert_eq!(refreshes(world), 4, "at once");
    world.pass(8 * DAY);
    world.keeper_round().await;
    assert_eq!(refreshes(world), 5, "as ever");
    assert_eq!(session(world).await.failures, 0);

    // A server that does not follow events does not know when it is over.
    world
        .pds()
        .set_account_state(alice, AccountState::Deactivated);
    world.pass(NEXT_HINT);
    server.account(alice, Some("deactivated"));
    until_paused(world, &["deactivated"]).await;
    world.restart_configured(|_| ()).await;
    world.pass(8 * DAY);
    world.keeper_round().await;
    assert_eq!(refreshes(world), 6);
}

async fn a_server_that_lies_about_accounts_costs_a_request_and_changes_nothing(world: &World) {
    let server = Jetstream::start().await.unwrap();
    follow(world, &server, stream(world, &server)).await;
    let (app, tokens) = app_with_session(world).await;
    let alice = &world.alice().did;
    for (number, status) in ["deactivated", "deleted", "takendown"].iter().enumerate() {
        world.pass(NEXT_HINT);
        for _ in 0..100 {
            server.account(alice, Some(status));
            server.identity(alice, "evil.test");
        }
        until("the PDS is asked", async || status_requests(world) > number).await;
        assert_eq!(status_requests(world), number + 1);
    }
    // Frames that mean nothing, and one that is too large, end nothing either.
    server.raw("garbage");
    server.raw("x".repeat(100_000));
    until("it was left and asked again", async || {
        server.requests().len() > 3
    })
    .await;
    assert_eq!(paused(world).await, [""; 0]);
    world.pass(8 * DAY);
    world.keeper_round().await;
    assert_eq!(refreshes(world), 1);
    use_session(&app, &tokens).await;

    // That it is in use is taken on trust: what follows is a refresh as ever.
    world
        .pds()
        .set_account_state(alice, AccountState::Deactivated);
    until("the account is paused", async || {
        world.pass(NEXT_HINT);
        server.account(alice, Some("deactivated"));
        !paused(world).await.is_empty()
    })
    .await;
    // The loop may have sent more than one event, and each that is still under way pauses once more.
    until("the pause has ended", async || {
        world.pass(NEXT_HINT);
        server.account(alice, None);
        paused(world).await.is_empty()
    })
    .await;
    assert_eq!(session(world).await.failures, 0);
}

async fn without_the_event_server_everything_works(world: &World) {
    world
        .restart_configured(|config| {
            config.events = Some("ws://127.0.0.1:1/subscribe".parse().unwrap());
        })
        .await;
    world.aip().app.health.ready().await.unwrap();
    let (app, tokens) = app_with_session(world).await;
    world.pass(8 * DAY);
    world.keeper_round().await;
    assert_eq!(refreshes(world), 1);
    use_session(&app, &tokens).await;
    world.aip().app.health.ready().await.unwrap();
    until("the operator is told", async || {
        let log = world.log();
        log.contains("event stream disconnected, retrying") && log.contains("127.0.0.1:1/subscribe")
    })
    .await;
}

/// What pauses save: 20 sessions that nobody uses, a fifth of them of accounts that are deactivated, over
/// four weeks without events, and over four weeks with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pauses_save_every_second_refresh_of_an_account_that_is_not_in_use() {
    const SESSIONS: usize = 20;
    const DEACTIVATED: usize = SESSIONS / 5;
    let world = World::begin(Engine::Sqlite).await;
    app_with_session(&world).await;
    let pattern = session(&world).await;
    let handles: Vec<_> = (0..SESSIONS - 1)
        .map(|number| Handle::parse(&format!("person{number}.test")).unwrap())
        .collect();
    let people = world
        .pds()
        .add_accounts(&handles, "a password of many")
        .unwrap();
    for person in &people {
        add_session(&world, &pattern, person).await;
    }
    let deactivated = people.iter().take(DEACTIVATED);
    for person in deactivated.clone() {
        world
            .pds()
            .set_account_state(&person.did, AccountState::Deactivated);
    }
    let four_weeks = async |before: usize| {
        for _ in 0..28 {
            world.pass(DAY);
            world.keeper_round().await;
        }
        let directory = world.sandbox.plc.requests().len() - before;
        // How many refreshes at once meet an old nonce, and are sent again, is up to the scheduler.
        let mut at_pds = world.pds().requests();
        at_pds.retain(|it| it.answered() == Some(StatusCode::OK));
        (refreshes(&world), at_pds.len(), directory)
    };
    world.pds().forget_requests();
    let without = four_weeks(world.sandbox.plc.requests().len()).await;
    assert_eq!(without.0, 4 * SESSIONS);

    let server = Jetstream::start().await.unwrap();
    follow(&world, &server, server.v2()).await;
    world.pds().forget_requests();
    let before = world.sandbox.plc.requests().len();
    for person in deactivated {
        server.account(&person.did, Some("deactivated"));
    }
    let all = vec!["deactivated"; DEACTIVATED];
    until_paused(&world, &all).await;
    // What the events themselves cost is counted.
    let with = four_weeks(before).await;
    println!(
        "refreshes, requests to the PDS, to the directory: {without:?} without, {with:?} with"
    );
    assert_eq!(with.0, 4 * (SESSIONS - DEACTIVATED) + 2 * DEACTIVATED);
    assert!(
        with.1 < without.1 && with.2 < without.2,
        "{without:?} {with:?}"
    );
    world.end().await;
}

/// A session of another person, like `pattern`, with a grant.
async fn add_session(world: &World, pattern: &UpstreamSession, person: &Person) {
    let Credential::OAuth(oauth) = &pattern.credential else {
        panic!("no session of OAuth");
    };
    let keeper = &world.aip().app.keeper;
    let id = RowId::new(&*world.clock, &SystemRng);
    let row = id.to_string();
    let sealer = world.sealer();
    let seal = |text: &str, column| {
        let place = Aad {
            table: "upstream_sessions",
            column,
            row: &row,
        };
        sealer.seal(&SystemRng, text.as_bytes(), place).unwrap()
    };
    let key = SigningKey::generate(Alg::Es256, None).unwrap();
    let keys = world.aip().app.server.keys.current();
    let minted = world.pds().mint_session(&Mint {
        did: &person.did,
        client_id: &oauth.upstream_client_id,
        client_key: Some(keys.upstream_active().public()),
        scope: &pattern.scope.to_string(),
        dpop_key: &key.public().thumbprint(),
    });
    let now = world.clock.now();
    let mut oauth = oauth.clone();
    let private = key.to_private_jwk_json().unwrap();
    oauth.dpop_key = seal(private.expose_secret(), "dpop_key");
    let session = UpstreamSession {
        id,
        did: person.did.clone(),
        credential: Credential::OAuth(oauth),
        tokens: SealedTokens {
            access: seal(&minted.access_token, "access_token"),
            refresh: Some(seal(&minted.refresh_token, "refresh_token")),
            access_expires_at: now + minted.expires_in,
        },
        ..pattern.clone()
    };
    let storage = &keeper.upstream.storage;
    storage.create_upstream_session(&session).await.unwrap();
    let grant = RowId::new(&*world.clock, &SystemRng);
    let statement = format!(
        "INSERT INTO grants (id, client_id, did, scope, upstream_session, auth_time, created_at)
         VALUES ('{grant}', '{}', '{}', 'atproto', '{id}', {now}, {now}) RETURNING id",
        pattern.client_id,
        person.did,
        now = now.as_micros(),
    );
    world.texts(&statement).await;
}
