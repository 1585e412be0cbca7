//! The server rotates its own keys: nobody meets a signature of a key that they do not know, no session
//! loses its key, and whoever is killed half-way leaves what the next one goes on with.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aip::app::{DatabaseKeys, DatabaseKeysError, KeyRotation, POLL_INTERVAL, ReadKeySet};
use aip_base::{Clock as _, SystemRng, Timestamp};
use aip_jose::{JwkSet, UnverifiedJws};
use aip_keys::{KeySet, KeyState, Purpose, RotationPolicy, RotationStep};
use aip_sandbox::{Endpoint, Received};
use secrecy::ExposeSecret as _;

use crate::app::Tokens;
use crate::keeping::GET_SESSION;
use crate::on_both_engines;
use crate::world::{KEYS, Running, World};

on_both_engines!(
    sessions_from_before_during_and_after_three_rotations_all_refresh,
    id_tokens_verify_at_a_client_that_caches_the_public_keys_as_long_as_anybody,
    no_replica_signs_with_a_key_that_another_does_not_publish,
    a_step_that_is_due_is_done_by_one_replica,
    a_rotation_that_is_killed_at_any_step_is_completed,
    a_key_set_that_does_not_open_makes_its_process_unready,
    a_key_set_that_lacks_a_key_in_use_is_not_stored,
    a_stored_key_set_is_the_one_that_counts_at_every_later_start,
);

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// As long as anybody caches public keys.
const CACHED: Duration = Duration::from_mins(10);
const KNOWN_BY_ALL: Duration = Duration::from_secs(10 * 60 + 30);

/// Short periods, with the times of `aip serve` around them.
const POLICY: RotationPolicy = RotationPolicy {
    upstream_every: Some(Duration::from_hours(48)),
    oidc_every: Some(Duration::from_hours(48)),
    service_auth_every: None,
    publish_before_use: KNOWN_BY_ALL,
    publish_after_use: Duration::from_secs(10 * 60 + 30 + 24 * 60 * 60),
    verify_after_retirement: Duration::from_hours(24 * 90),
};

/// From the activation of a key until so many seconds before its successor is published.
const fn before_publication(seconds: u64) -> Duration {
    Duration::from_secs(48 * 60 * 60 - KNOWN_BY_ALL.as_secs() - seconds)
}

fn database_keys(aip: &Running) -> DatabaseKeys {
    DatabaseKeys {
        storage: Arc::clone(&aip.app.server.storage),
        sealer: Arc::clone(&aip.app.sealer),
        rng: Arc::new(SystemRng),
        active_signing_keys: Vec::new(),
    }
}

/// What that process does in the background.
fn rotation(aip: &Running, policy: RotationPolicy) -> KeyRotation {
    KeyRotation::new(database_keys(aip), Arc::clone(&aip.app.server.keys), policy)
}

/// Keeps the keys of the world in the database from now on.
async fn begin(world: &World) {
    let keys = database_keys(&world.aip());
    let begun = keys.begin(&KEYS, &[], world.clock.now()).await;
    assert!(begun.unwrap());
}

/// Does what is due, and learns the keys that were made.
async fn round(world: &World, rotation: &KeyRotation) -> Vec<&'static str> {
    let mut done = Vec::new();
    while let Some(step) = rotation.round(world.clock.now()).await.unwrap() {
        done.push(step.name());
    }
    learn(world, &stored(world).await.set);
    done
}

fn learn(world: &World, set: &KeySet) {
    let json = set.to_json().unwrap();
    world
        .secrets
        .learn_keys("a signing key", json.expose_secret());
}

async fn stored(world: &World) -> ReadKeySet {
    database_keys(&world.aip()).read().await.unwrap().unwrap()
}

fn only(purpose: Purpose) -> RotationPolicy {
    match purpose {
        Purpose::Upstream => RotationPolicy {
            oidc_every: None,
            ..POLICY
        },
        Purpose::Oidc => RotationPolicy {
            upstream_every: None,
            ..POLICY
        },
        Purpose::ServiceAuth => RotationPolicy {
            upstream_every: None,
            oidc_every: None,
            service_auth_every: POLICY.upstream_every,
            ..POLICY
        },
    }
}

async fn sessions_from_before_during_and_after_three_rotations_all_refresh(world: &World) {
    begin(world).await;
    let rotation = rotation(&world.aip(), only(Purpose::Upstream));
    assert!(rotation.follow().await.unwrap());
    let mut signed_in = Vec::new();
    let mut signers = BTreeSet::new();
    for number in 0..=3 {
        if number > 0 {
            world.pass(before_publication(0));
            assert_eq!(round(world, &rotation).await, ["publish"]);
            // During the rotation: the new key is published and does not sign.
            let app = world.app().await;
            let tokens = app.sign_in(&world.browser(), world.bob()).await;
            signed_in.push((app, tokens));
            world.pass(KNOWN_BY_ALL);
            assert_eq!(round(world, &rotation).await, ["activate"]);
        }
        let app = world.app().await;
        world.pds().forget_requests();
        let tokens = app.sign_in(&world.browser(), world.alice()).await;
        let kids = world.pds().requests_to(Endpoint::Token);
        let kids: BTreeSet<_> = kids.iter().filter_map(Received::assertion_kid).collect();
        assert_eq!(kids.len(), 1, "{kids:?}");
        signers.extend(kids);
        signed_in.push((app, tokens));
    }
    assert_eq!(signers.len(), 4, "each rotation has a key of its own");

    // Sessions keep every key in the set, however long ago it signed last.
    world.pass(DAY);
    round(world, &rotation).await;
    world.pds().forget_requests();
    assert_eq!(signed_in.len(), 7);
    for (app, tokens) in &signed_in {
        let tokens = Tokens::of(&app.refresh(&tokens.refresh).await);
        app.query(&tokens.access, GET_SESSION).await.ok();
    }
    let refreshed = world.pds().requests_to(Endpoint::Token);
    let used: BTreeSet<_> = refreshed
        .iter()
        .filter_map(Received::assertion_kid)
        .collect();
    assert_eq!(
        used, signers,
        "each goes on with the key that it began with"
    );
    let set = stored(world).await.set;
    assert!(signers.iter().all(|kid| set.upstream_by_kid(kid).is_some()));
}

async fn id_tokens_verify_at_a_client_that_caches_the_public_keys_as_long_as_anybody(
    world: &World,
) {
    begin(world).await;
    let rotation = rotation(&world.aip(), only(Purpose::Oidc));
    let app = world.app().await;
    let mut refresh = app.sign_in(&world.browser(), world.alice()).await.refresh;
    let mut cache: Option<(Timestamp, JwkSet)> = None;
    let mut kids = BTreeSet::new();
    let mut id_tokens: Vec<String> = Vec::new();
    for _ in 0..3 {
        world.pass(before_publication(2 * CACHED.as_secs()));
        // From well before the new key is published until well after it signs.
        for _ in 0..25 {
            world.pass(Duration::from_mins(2));
            round(world, &rotation).await;
            let fresh = Tokens::of(&app.refresh(&refresh).await);
            refresh.clone_from(&fresh.refresh);
            id_tokens.push(fresh.id_token().to_owned());
            let now = world.clock.now();
            if cache
                .as_ref()
                .is_none_or(|(read, _)| now.since(*read) >= CACHED)
            {
                let published = world.get("/.well-known/jwks.json").await.ok();
                cache = Some((now, serde_json::from_value(published).unwrap()));
            }
            let (_, public) = cache.as_ref().unwrap();
            // Also the tokens that were given while the cache was older: they are valid for ten
            // minutes.
            for token in id_tokens.iter().rev().take(5) {
                let token = UnverifiedJws::parse(token).unwrap();
                let (kid, alg) = (token.header().kid.clone().unwrap(), token.header().alg);
                let key = public.select(Some(&kid), alg);
                let key = key.unwrap_or_else(|| panic!("{kid} is not in the cache"));
                token.verify(key, alg).unwrap();
                kids.insert(kid);
            }
        }
    }
    assert_eq!(kids.len(), 4, "there were three rotations");
}

async fn no_replica_signs_with_a_key_that_another_does_not_publish(world: &World) {
    begin(world).await;
    let mut replicas = vec![world.aip()];
    for _ in 0..2 {
        world.replica().await;
        replicas.push(world.aip());
    }
    let rotations: Vec<_> = replicas.iter().map(|it| rotation(it, POLICY)).collect();
    for rotation in &rotations {
        assert!(rotation.follow().await.unwrap());
    }
    let mut signed = BTreeSet::new();
    for _ in 0..3 {
        world.pass(before_publication(20));
        // Each replica looks at another instant, as seldom as `aip serve` does.
        for tick in 0_u32..140 {
            world.pass(5 * SECOND);
            let looks = u32::try_from(POLL_INTERVAL.as_secs()).unwrap() / 5;
            for (number, rotation) in (0..).zip(&rotations) {
                if tick % looks == number {
                    rotation.round(world.clock.now()).await.unwrap();
                }
            }
            signed.extend(assert_all_publish_what_one_signs_with(&replicas));
        }
    }
    learn(world, &stored(world).await.set);
    let words = "three rotations of three keys, and the key as a service, which stays";
    assert_eq!(signed.len(), 3 * 4 + 1, "{words}");
}

/// The keys that sign at any of the replicas; each of the others publishes them.
fn assert_all_publish_what_one_signs_with(replicas: &[Arc<Running>]) -> BTreeSet<String> {
    let mut signing = BTreeSet::new();
    for signer in replicas {
        let set = signer.app.server.keys.current();
        for key in set.list().filter(|key| key.state == KeyState::Active) {
            for other in replicas {
                let published = other.app.server.keys.current();
                let there = published.list().any(|it| {
                    it.kid == key.kid && it.state != KeyState::Retired && it.purpose == key.purpose
                });
                assert!(there, "{} signs and is not published", key.kid);
            }
            signing.insert(key.kid.to_owned());
        }
    }
    signing
}

async fn a_step_that_is_due_is_done_by_one_replica(world: &World) {
    begin(world).await;
    let mut replicas = vec![world.aip()];
    for _ in 0..3 {
        world.replica().await;
        replicas.push(world.aip());
    }
    world.pass(before_publication(0));
    let before = stored(world).await.set.list().count();
    let rounds = replicas.iter().map(|replica| {
        let rotation = rotation(replica, only(Purpose::Upstream));
        let now = world.clock.now();
        replica.run(async move { rotation.round(now).await.unwrap() })
    });
    let rounds: Vec<_> = rounds.collect();
    let mut done = 0;
    for round in rounds {
        done += usize::from(round.await.unwrap().is_some());
    }
    let set = stored(world).await.set;
    learn(world, &set);
    assert_eq!((done, set.list().count()), (1, before + 1));
}

/// Where a process is killed in a step.
#[derive(Debug, Clone, Copy)]
enum Kill {
    /// When the new set is made and not stored.
    BeforeStore,
    /// When it is stored and this process does not know.
    AfterStore,
}

async fn a_rotation_that_is_killed_at_any_step_is_completed(world: &World) {
    begin(world).await;
    let mut completed = Vec::new();
    for wanted in ["publish", "activate", "retire", "remove"] {
        for kill in [Kill::BeforeStore, Kill::AfterStore] {
            // On until that step is due: a period and an overlap are less than four days.
            let mut due = None;
            for _ in 0..4 * 24 {
                let ReadKeySet { generation, set } = stored(world).await;
                let now = world.clock.now();
                let policy = only(Purpose::Upstream);
                match set.next_step(&policy, Some(&[]), now) {
                    None => world.pass(Duration::from_hours(1)),
                    Some(step) if step.name() == wanted => {
                        due = Some((generation, set, step));
                        break;
                    }
                    Some(step) => {
                        let done = rotation(&world.aip(), policy).round(now).await.unwrap();
                        assert_eq!(done.map(|done| done.name()), Some(step.name()));
                        learn(world, &stored(world).await.set);
                    }
                }
            }
            let (generation, mut set, step) = due.unwrap();
            set.apply(&step, world.clock.now(), &SystemRng).unwrap();
            learn(world, &set);
            if matches!(kill, Kill::AfterStore) {
                let aip = world.aip();
                assert!(database_keys(&aip).replace(generation, &set).await.unwrap());
            }
            world.restart().await;

            let aip = world.aip();
            let rotation = rotation(&aip, only(Purpose::Upstream));
            assert!(rotation.follow().await.unwrap());
            let next = rotation.round(world.clock.now()).await.unwrap();
            let again = next.as_ref().map(RotationStep::name) == Some(wanted);
            assert_eq!(
                again,
                matches!(kill, Kill::BeforeStore),
                "{kill:?}: {next:?}"
            );
            let after = stored(world).await.set;
            learn(world, &after);
            assert!(aip.app.server.keys.current().is_same(&after));
            let signs = |key: &aip_keys::KeyInfo<'_>| {
                key.purpose == Purpose::Upstream && key.state == KeyState::Active
            };
            assert_eq!(after.list().filter(signs).count(), 1, "{wanted}, {kill:?}");
            completed.push((wanted, again));
        }
    }
    assert_eq!(completed.len(), 8);
    let app = world.app().await;
    app.sign_in(&world.browser(), world.alice()).await;
}

async fn a_key_set_that_does_not_open_makes_its_process_unready(world: &World) {
    begin(world).await;
    let aip = world.aip();
    assert_eq!(aip.app.health.ready().await, Ok(()));
    let others = aip_keys::MasterKeys::generate(&SystemRng);
    let keys = DatabaseKeys {
        sealer: Arc::new(others.sealer()),
        ..database_keys(&aip)
    };
    let ring = Arc::clone(&aip.app.server.keys);
    let foreign = KeyRotation::new(keys, ring, POLICY);
    let refused = foreign.round(world.clock.now()).await;
    assert!(matches!(refused, Err(DatabaseKeysError::Seal(_))));
    let why = aip.app.health.ready().await.unwrap_err();
    assert!(why.contains("signing_key_sets"), "{why}");
    assert!(rotation(&aip, POLICY).follow().await.unwrap());
    assert_eq!(aip.app.health.ready().await, Ok(()));
}

async fn a_key_set_that_lacks_a_key_in_use_is_not_stored(world: &World) {
    let app = world.app().await;
    app.sign_in(&world.browser(), world.alice()).await;
    let aip = world.aip();
    let bound = KEYS.upstream_active().kid().unwrap().to_owned();
    let other = KeySet::generate(&*world.clock, &SystemRng).unwrap();
    let pinned = [(bound.clone(), 1)];
    let keys = database_keys(&aip);
    let refused = keys.begin(&other, &pinned, world.clock.now()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains(&bound) && refused.contains("1 session(s)"),
        "{refused}"
    );
    assert!(!rotation(&aip, POLICY).follow().await.unwrap());

    // A process that has only others is not ready, and says why.
    aip.app.server.keys.adopt(other, &pinned).unwrap_err();
    assert_eq!(
        aip.app.health.ready().await,
        Err(aip.app.server.keys.problem().unwrap())
    );
}

/// A server that is started again offers the key set of its files, or a new one if they are gone.
async fn a_stored_key_set_is_the_one_that_counts_at_every_later_start(world: &World) {
    begin(world).await;
    let stored_before = stored(world).await;
    let app = world.app().await;
    app.sign_in(&world.browser(), world.alice()).await;
    let bound = KEYS.upstream_active().kid().unwrap().to_owned();
    let made_anew = KeySet::generate(&*world.clock, &SystemRng).unwrap();
    let keys = database_keys(&world.aip());
    for (set, pinned) in [
        (&*KEYS, vec![(bound.clone(), 1)]),
        (&*KEYS, vec![("only-in-the-database".to_owned(), 1)]),
        (&made_anew, vec![(bound, 1)]),
    ] {
        let begun = keys.begin(set, &pinned, world.clock.now()).await;
        assert!(!begun.unwrap(), "{pinned:?}");
        assert_eq!(stored(world).await.generation, stored_before.generation);
    }
}
