//! What every state backend must hold: conditional writes decide who wins.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aip_apply::store::{
    AcquireOutcome, Counts, Intent, LeaseGuard, LeaseHolder, Outcome, OwnedObject, Pin, PinOutcome,
    Renewal, Revision, RevisionRecord, Stacks, State,
};
use aip_aws::Aws;
use aip_base::{Clock, Environment, SystemRng, Timestamp};
use aip_stack::desired::ObjectRef;
use pulumi_files::{Backend, StackName};

/// A clock moved by hand.
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct TestStore {
    pub(crate) stacks: Stacks,
    clock: Arc<ManualClock>,
}

impl TestStore {
    pub(crate) fn new(url: &str, environment: &Environment, aws: &Aws) -> Self {
        let clock = Arc::new(ManualClock(AtomicI64::new(1_800_000_000)));
        let backend = Backend::parse(url, Path::new("/"), environment).unwrap();
        let clock_for_store: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let stacks = Stacks::open(
            &backend,
            environment,
            aws,
            clock_for_store,
            Arc::new(SystemRng),
        );
        Self { stacks, clock }
    }

    pub(crate) fn state(&self) -> State {
        self.stacks.state("aip", &main())
    }

    fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

pub(crate) fn main() -> StackName {
    "main".parse().unwrap()
}

fn holder(user: &str, ttl: Option<u64>) -> LeaseHolder {
    let ttl = ttl.map(Duration::from_secs);
    LeaseHolder {
        user: user.to_owned(),
        host: "host".to_owned(),
        pid: 1,
        command: "up".to_owned(),
        ttl,
    }
}

fn acquired(outcome: AcquireOutcome) -> LeaseGuard {
    match outcome {
        AcquireOutcome::Acquired(guard) => guard,
        AcquireOutcome::HeldBy(lease) => panic!("held by {}", lease.holder.user),
    }
}

fn object(name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Secret".to_owned(),
        plural: "secrets".to_owned(),
        namespace: Some("aip-main".to_owned()),
        name: name.to_owned(),
        logical_name: name.to_owned(),
    }
}

fn record(user: &str) -> RevisionRecord {
    RevisionRecord {
        command: "up".to_owned(),
        user: user.to_owned(),
        host: "host".to_owned(),
        started: "2027-01-15T08:00:00Z".to_owned(),
        ended: "2027-01-15T08:00:06Z".to_owned(),
        git_commit: None,
        image: None,
        counts: Counts::default(),
        outcome: Outcome::Succeeded,
        stack_file: "config: {}\n".to_owned(),
    }
}

pub(crate) async fn of_two_only_one_gets_the_lease_and_the_other_learns_who_has_it(
    store: &TestStore,
) {
    let (one, other) = (store.state(), store.state());
    let (first, second) = (holder("ann", Some(60)), holder("bob", Some(60)));
    let (one, other) = tokio::join!(one.acquire(&first), other.acquire(&second));
    let winners = [one.unwrap(), other.unwrap()];
    let names: Vec<_> = winners
        .iter()
        .map(|outcome| match outcome {
            AcquireOutcome::Acquired(guard) => guard.lease.holder.user.clone(),
            AcquireOutcome::HeldBy(lease) => lease.holder.user.clone(),
        })
        .collect();
    assert_eq!(names[0], names[1], "the loser is told the winner");
    assert_eq!(
        winners
            .iter()
            .filter(|outcome| matches!(outcome, AcquireOutcome::Acquired(_)))
            .count(),
        1
    );
}

pub(crate) async fn an_expired_lease_is_taken_over_by_exactly_one_of_eight(store: &TestStore) {
    let old = acquired(
        store
            .state()
            .acquire(&holder("ann", Some(60)))
            .await
            .unwrap(),
    );
    store.pass(61);
    let mut thieves = tokio::task::JoinSet::new();
    for number in 0..8 {
        let state = store.state();
        thieves.spawn(async move {
            state
                .acquire(&holder(&format!("thief{number}"), Some(60)))
                .await
                .unwrap()
        });
    }
    let outcomes = thieves.join_all().await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, AcquireOutcome::Acquired(_)))
            .count(),
        1
    );
    assert!(
        matches!(store.state().renew(&old).await.unwrap(), Renewal::Lost),
        "the old holder must stop"
    );
    assert!(matches!(
        store.state().release(old).await.unwrap(),
        Renewal::Lost
    ));
    assert!(
        store
            .state()
            .lease()
            .await
            .unwrap()
            .unwrap()
            .holder
            .user
            .starts_with("thief")
    );
}

pub(crate) async fn a_renewed_lease_does_not_expire_and_a_released_one_is_free(store: &TestStore) {
    let mut guard = acquired(
        store
            .state()
            .acquire(&holder("ann", Some(60)))
            .await
            .unwrap(),
    );
    for _ in 0..5 {
        store.pass(50);
        guard = match store.state().renew(&guard).await.unwrap() {
            Renewal::Renewed(guard) => guard,
            Renewal::Lost => panic!("lost"),
        };
    }
    assert!(matches!(
        store
            .state()
            .acquire(&holder("bob", Some(60)))
            .await
            .unwrap(),
        AcquireOutcome::HeldBy(_)
    ));
    assert!(matches!(
        store.state().release(guard).await.unwrap(),
        Renewal::Renewed(_)
    ));
    assert!(store.state().lease().await.unwrap().is_none());
    acquired(
        store
            .state()
            .acquire(&holder("bob", Some(60)))
            .await
            .unwrap(),
    );
}

pub(crate) async fn a_lease_taken_by_hand_never_expires_but_can_be_broken_by_name(
    store: &TestStore,
) {
    let guard = acquired(store.state().acquire(&holder("ann", None)).await.unwrap());
    store.pass(1_000_000);
    assert!(matches!(
        store
            .state()
            .acquire(&holder("bob", Some(60)))
            .await
            .unwrap(),
        AcquireOutcome::HeldBy(_)
    ));
    let mut other = guard.lease.clone();
    "another".clone_into(&mut other.id);
    assert!(!store.state().break_lease(&other).await.unwrap());
    assert!(store.state().break_lease(&guard.lease).await.unwrap());
    acquired(
        store
            .state()
            .acquire(&holder("bob", Some(60)))
            .await
            .unwrap(),
    );
}

pub(crate) async fn an_intent_stays_until_the_inventory_is_promoted(store: &TestStore) {
    let state = store.state();
    assert_eq!(state.inventory().await.unwrap().owned, []);
    let intent = |id: &str| Intent {
        id: id.to_owned(),
        started: String::new(),
        objects: vec![object(id)],
    };
    let (one, two) = (intent("a"), intent("b"));
    let (first, second) = tokio::join!(state.record_intent(&one), state.record_intent(&two));
    first.unwrap();
    second.unwrap();
    assert_eq!(
        store.state().inventory().await.unwrap().intents.len(),
        2,
        "no intent is lost to a race"
    );
    let owned = vec![OwnedObject {
        object: object("a"),
        fields: serde_json::Value::Null,
    }];
    state.promote(owned.clone()).await.unwrap();
    let inventory = store.state().inventory().await.unwrap();
    assert_eq!((inventory.owned, inventory.intents), (owned, vec![]));
}

pub(crate) async fn a_migration_is_remembered_as_long_as_its_job_is_owned(store: &TestStore) {
    let state = store.state();
    let job = |name: &str, fields: serde_json::Value| OwnedObject {
        object: ObjectRef {
            kind: "Job".to_owned(),
            ..object(name)
        },
        fields,
    };
    let fields = serde_json::json!({"f:spec": {}});
    for name in ["m1", "m2", "m2"] {
        state.record_migrated(name).await.unwrap();
    }
    assert_eq!(state.inventory().await.unwrap().migrated, ["m1", "m2"]);
    state.promote(vec![job("m2", fields)]).await.unwrap();
    assert_eq!(state.inventory().await.unwrap().migrated, ["m2"]);
    // What a destroy could not delete is no reason to believe in the database.
    let left = job("m2", serde_json::Value::Null);
    state.promote(vec![left]).await.unwrap();
    assert_eq!(state.inventory().await.unwrap().migrated, [""; 0]);
}

pub(crate) async fn a_stack_is_pinned_once(store: &TestStore) {
    let pin = |uid: &str| Pin {
        context: "here".to_owned(),
        cluster_uid: uid.to_owned(),
    };
    assert_eq!(
        store.state().pin(&pin("1")).await.unwrap(),
        PinOutcome::Pinned
    );
    assert_eq!(
        store.state().pin(&pin("2")).await.unwrap(),
        PinOutcome::AlreadyPinned(pin("1"))
    );
    store.state().replace_pin(&pin("2")).await.unwrap();
    assert_eq!(store.state().inventory().await.unwrap().pin, Some(pin("2")));
}

pub(crate) async fn the_history_is_numbered_without_gaps_and_read_newest_first(store: &TestStore) {
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..6 {
        let state = store.state();
        writers.spawn(async move {
            state
                .append_history(&record(&format!("u{number}")))
                .await
                .unwrap()
        });
    }
    let mut revisions = writers.join_all().await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=6).map(Revision).collect::<Vec<_>>());
    let newest: Vec<_> = store
        .state()
        .history(2)
        .await
        .unwrap()
        .into_iter()
        .map(|(revision, _)| revision.0)
        .collect();
    assert_eq!(newest, [6, 5]);
    assert!(store.state().revision(Revision(3)).await.unwrap().is_some());
    assert!(store.state().revision(Revision(9)).await.unwrap().is_none());
}

/// One test per rule, each in a store of its own.
macro_rules! contract {
    ($store:ident: $($rule:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $rule() {
            let place = $store().await;
            contract::$rule(&place.store).await;
        })+
    };
    ($store:ident) => {
        contract!($store: of_two_only_one_gets_the_lease_and_the_other_learns_who_has_it, an_expired_lease_is_taken_over_by_exactly_one_of_eight, a_renewed_lease_does_not_expire_and_a_released_one_is_free, a_lease_taken_by_hand_never_expires_but_can_be_broken_by_name, an_intent_stays_until_the_inventory_is_promoted, a_migration_is_remembered_as_long_as_its_job_is_owned, a_stack_is_pinned_once, the_history_is_numbered_without_gaps_and_read_newest_first);
    };
}
pub(crate) use contract;
