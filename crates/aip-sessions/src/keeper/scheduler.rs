//! The background work of the keeper: it refreshes sessions that come due (idle ones long before
//! their refresh token expires, failed ones when their back-off has ended), revokes ended ones at their
//! PDS, stores spilled tokens, and subscribes to the notices of other replicas.
//!
//! Due sessions are claimed with their leases, in batches, as fast as they complete. Concurrency is
//! limited in all and per PDS, so that a slow one does not starve the others.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aip_atproto::Origin;
use aip_base::{Timestamp, supervise};
use aip_storage::notices::Notice;
use aip_storage::refresh::{Claim, ClaimDue, FailedRefresh, RefreshFailure};
use aip_storage::upstream::{SessionKind, StateName, UpstreamSession};
use futures_util::StreamExt as _;
use strum::IntoEnumIterator as _;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::in_flight::{ClaimGuard, InFlightGuard};
use super::step::{PriorSend, paused_until, prior_send};
use super::{Keeper, KeeperError, LEASE_DURATION};

/// The most scheduled refreshes at the same time.
const MAX_IN_FLIGHT: usize = 256;
/// The most sessions claimed by one statement.
const CLAIM_BATCH_SIZE: usize = 32;
/// The most scheduled refreshes at one PDS at the same time.
const MAX_IN_FLIGHT_PER_PDS: usize = 48;
/// The time between two looks for due sessions while none is due.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks for sessions to revoke.
const REVOKE_INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks for tokens that wait on the disk.
const SPILL_REPLAY_INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks for opened sessions that nobody uses.
const DROP_IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two counts of all sessions.
const GAUGE_INTERVAL: Duration = Duration::from_mins(1);
/// Between the first rounds of two tasks of a new process: at the same moment each would open a
/// connection to the database of its own, and the first probes would wait for theirs.
const START_PAUSE: Duration = Duration::from_millis(100);

/// How long a claimed session waits for another attempt of this process at it to end. Less than its
/// lease by what an attempt takes.
const GUARD_TIMEOUT: Duration = Duration::from_secs(20);

/// The most revocations at the same time.
const MAX_CONCURRENT_TASKS: usize = 16;

/// The refreshes that the scheduler has started.
#[derive(Default)]
struct Workers {
    tasks: JoinSet<Origin>,
    at: HashMap<Origin, usize>,
}

/// A batch that was claimed.
struct Claimed {
    /// The refreshes that were started, with their PDSs.
    attempts: Vec<(Origin, JoinHandle<()>)>,
    /// Whether more may be due.
    more: bool,
}

impl Keeper {
    /// Does all of it until it is aborted. That loses nothing: claims and refreshes run in tasks of
    /// their own, and everything else is one statement at a time. What panics is begun anew.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(
            supervise("scheduled refreshes", || self.refresh_loop()),
            self.run_every(REVOKE_INTERVAL, START_PAUSE, "revocation", async |keeper| {
                keeper.revoke_due().await
            }),
            self.run_every(
                SPILL_REPLAY_INTERVAL,
                Duration::ZERO,
                "replay of the spill directory",
                async |keeper| { keeper.replay_spill().await }
            ),
            self.run_every(
                GAUGE_INTERVAL,
                2 * START_PAUSE,
                "session count",
                async |keeper| { keeper.count_sessions().await }
            ),
            self.run_every(
                DROP_IDLE_INTERVAL,
                DROP_IDLE_INTERVAL,
                "dropping opened sessions",
                async |keeper| {
                    keeper.recent.drop_idle(keeper.upstream.clock.now());
                    Ok(())
                }
            ),
            supervise("notices to the keeper", || self.listen()),
        );
    }

    /// Does once all that is due now, for tests.
    pub async fn round(self: &Arc<Self>) -> Result<(), KeeperError> {
        self.replay_spill().await?;
        let mut workers = Workers::default();
        while self.claim(&mut workers).await? {
            workers.join_next_worker().await;
        }
        while workers.join_next_worker().await {}
        self.revoke_due().await
    }

    async fn run_every(
        self: &Arc<Self>,
        period: Duration,
        first_after: Duration,
        what: &'static str,
        work: impl AsyncFn(&Arc<Self>) -> Result<(), KeeperError>,
    ) {
        supervise(what, || async {
            let mut ticks = tokio::time::interval_at(Instant::now() + first_after, period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = work(self).await {
                    tracing::error!(%error, "{what} failed");
                }
            }
        })
        .await;
    }

    async fn refresh_loop(self: &Arc<Self>) {
        let mut workers = Workers::default();
        loop {
            let more = self.claim(&mut workers).await.unwrap_or_else(|error| {
                tracing::error!(%error, "claiming due sessions failed");
                false
            });
            if more {
                workers.join_next_worker().await;
            } else {
                workers.run_for(IDLE_POLL_INTERVAL).await;
            }
        }
    }

    /// Claims a batch, if the limit allows one, and starts refreshing it. Whether more may be due.
    async fn claim(self: &Arc<Self>, workers: &mut Workers) -> Result<bool, KeeperError> {
        if workers.tasks.len() + CLAIM_BATCH_SIZE > MAX_IN_FLIGHT {
            return Ok(true);
        }
        let mut except = self.upstream.pds.origins().throttled();
        except.extend(workers.full());
        let (keeper, guard) = (Arc::clone(self), ClaimGuard::begin(&self.in_flight));
        // In a task of its own, which a shutdown does not abort: leases under which nobody works would
        // hold up everybody until they lapse.
        let claimed = tokio::spawn(async move { keeper.claim_batch(&except, guard).await });
        // A panic is a defect that was logged.
        let Ok(claimed) = claimed.await else {
            return Ok(false);
        };
        let Claimed { attempts, more } = claimed?;
        for (pds, attempt) in attempts {
            workers.add(pds, attempt);
        }
        Ok(more)
    }

    /// Claims a batch and starts its refreshes, each in a task of its own. `guard` is held until they
    /// are in flight.
    async fn claim_batch(
        self: &Arc<Self>,
        except: &[Origin],
        guard: Arc<ClaimGuard>,
    ) -> Result<Claimed, KeeperError> {
        let now = self.upstream.clock.now();
        let claimed = self
            .upstream
            .storage
            .claim_due(ClaimDue {
                owner: &self.owner,
                length: LEASE_DURATION,
                now,
                limit: u32::try_from(CLAIM_BATCH_SIZE).unwrap_or(u32::MAX),
                except,
            })
            .await?;
        let more = claimed.len() == CLAIM_BATCH_SIZE;
        let mut lag = Duration::ZERO;
        let mut attempts = Vec::with_capacity(claimed.len());
        for claimed in claimed {
            match claimed {
                Ok((session, claim)) => {
                    lag = lag.max(now.since(session.next_refresh_at));
                    let (pds, guard) = (session.pds.clone(), Arc::clone(&guard));
                    attempts.push((pds, self.spawn_attempt(session, claim, guard)));
                }
                Err(error) => {
                    tracing::error!(%error, "skipping unreadable session");
                }
            }
        }
        metrics::gauge!("aip_keeper_due_lag_seconds").set(lag.as_secs_f64());
        Ok(Claimed { attempts, more })
    }

    fn spawn_attempt(
        self: &Arc<Self>,
        session: UpstreamSession,
        claim: Claim,
        guard: Arc<ClaimGuard>,
    ) -> JoinHandle<()> {
        let keeper = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = keeper.attempt_claimed(&session, &claim, guard).await {
                tracing::warn!(session = %session.id, %error, "scheduled refresh failed");
            }
        })
    }

    /// Callers rarely wait for these, and poll: no notice is published for them.
    async fn attempt_claimed(
        self: &Arc<Self>,
        session: &UpstreamSession,
        claim: &Claim,
        claim_guard: Arc<ClaimGuard>,
    ) -> Result<(), KeeperError> {
        // Whoever has the guard may have lost its lease and still hold tokens that are not stored:
        // the journal knows. A caller that is only about to ask for the lease is soon told that it
        // is held.
        let guard = match InFlightGuard::take(&self.in_flight, session.id) {
            None if prior_send(claim) != PriorSend::Unsettled => {
                InFlightGuard::take_within(&self.in_flight, session.id, GUARD_TIMEOUT).await
            }
            taken => taken,
        };
        let Some(_guard) = guard else {
            return self.extend_lease_for_sender(session, claim).await;
        };
        drop(claim_guard);
        let now = self.upstream.clock.now();
        let deferred = match self.pause_of(session) {
            Some(pause) => Some(now + pause),
            None => self.deferred_until(session, claim, now),
        };
        if let Some(at) = deferred
            && prior_send(claim) != PriorSend::Unsettled
        {
            let failed = FailedRefresh {
                id: session.id,
                generation: session.generation,
                fence: claim.lease.fence,
                failure: &RefreshFailure::Deferred(at),
                error: "",
                now,
            };
            self.upstream.storage.settle_failure(failed).await?;
            return Ok(());
        }
        let outcome = self.attempt(session, claim).await;
        self.publish_settled(session.id);
        outcome
    }

    /// Until when the session of a paused account is left alone, if it is.
    fn deferred_until(
        &self,
        session: &UpstreamSession,
        claim: &Claim,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let until = paused_until(session.refreshed_at);
        // After a failure `next_refresh_at` holds back uses as well (`plan`): it must not be so far.
        let has_failed = session.failures > 0;
        let paused = self.respects_pauses && claim.paused && !has_failed && until > now;
        // What is in doubt is settled, whatever the account does.
        let is_deferred = paused && prior_send(claim) == PriorSend::Unsent;
        is_deferred.then(|| {
            metrics::counter!("aip_keeper_refreshes_deferred_total").increment(1);
            until
        })
    }

    async fn listen(&self) {
        let mut notices = self.notices.subscribe();
        while let Some(notice) = notices.next().await {
            match notice {
                Notice::SessionSettled(id) => {
                    self.publish_settled(id);
                    self.in_flight.wake(id);
                }
                Notice::IdentityChanged(did) => self.upstream.pds.resolver().forget(&did),
                Notice::IdentityStale(did) => self.upstream.pds.resolver().mark_stale(&did),
            }
        }
    }

    async fn count_sessions(&self) -> Result<(), KeeperError> {
        let now = self.upstream.clock.now();
        let counted = self.upstream.storage.count_upstream_sessions(now).await?;
        for kind in SessionKind::iter() {
            for state in StateName::iter() {
                let count = counted
                    .counts
                    .iter()
                    .find(|it| (it.0, it.1) == (kind, state));
                #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
                let count = count.map_or(0, |it| it.2) as f64;
                metrics::gauge!("aip_upstream_sessions", "kind" => kind.as_str(), "state" => state.as_str())
                    .set(count);
            }
        }
        if let Some(due) = counted.oldest_due {
            metrics::gauge!("aip_keeper_due_lag_seconds").set(now.since(due).as_secs_f64());
        }
        Ok(())
    }
}

impl Workers {
    /// Counts an attempt that was started.
    fn add(&mut self, pds: Origin, attempt: JoinHandle<()>) {
        *self.at.entry(pds.clone()).or_default() += 1;
        self.tasks.spawn(async move {
            // A panic is a defect that was logged; the lease lapses by itself.
            drop(attempt.await);
            pds
        });
    }

    /// Waits until one is done. Whether there was one.
    async fn join_next_worker(&mut self) -> bool {
        let Some(done) = self.tasks.join_next().await else {
            return false;
        };
        if let Ok(pds) = done
            && let Some(count) = self.at.get_mut(&pds)
        {
            *count -= 1;
            if *count == 0 {
                self.at.remove(&pds);
            }
        }
        true
    }

    /// Runs for `time`, or until a server at its limit is down to half of it: more may be due there.
    async fn run_for(&mut self, time: Duration) {
        let was_at_limit = self.full().next().is_some();
        let idle = tokio::time::sleep(time);
        tokio::pin!(idle);
        loop {
            let busiest = self.at.values().max().copied().unwrap_or_default();
            if was_at_limit && busiest <= MAX_IN_FLIGHT_PER_PDS / 2 {
                return;
            }
            tokio::select! {
                () = &mut idle => return,
                true = self.join_next_worker() => {}
            }
        }
    }

    /// The servers at their limit.
    fn full(&self) -> impl Iterator<Item = Origin> + '_ {
        let full = self
            .at
            .iter()
            .filter(|(_, count)| **count >= MAX_IN_FLIGHT_PER_PDS);
        full.map(|(origin, _)| origin.clone())
    }
}

/// Runs the tasks of a batch, some at a time, so that one slow PDS does not hold up all others. What they
/// return, but of those that panicked.
pub(super) async fn join_all_limited<T: Send + 'static>(
    tasks: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_TASKS));
    let mut running = JoinSet::new();
    for task in tasks {
        let permits = Arc::clone(&permits);
        running.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await.ok();
            task.await
        });
    }
    let mut done = Vec::new();
    while let Some(ended) = running.join_next().await {
        // A panic is a defect that was logged, and does not end the others.
        done.extend(ended.ok());
    }
    done
}
