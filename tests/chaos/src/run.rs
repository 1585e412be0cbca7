//! One run: a site, people who sign in, apps that use their sessions, and faults; then the verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use harness::scratch::Scratch;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::apps::{Apps, Session};
use crate::decisions::Decisions;
use crate::fault::{Fault, schedule};
use crate::ledger::LedgerRecords;
use crate::report::say;
use crate::site::Site;
use crate::upstream::Upstream;
use crate::verdict::{self, Check, Evidence, Row};

/// Everything must work so long after the last fault: no lease and no back-off lasts longer.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(150);
/// So long AIP waits for the answer to a refresh that it has sent (`REFRESH_TIMEOUT` of `aip-pds`):
/// what was sent while the PDS never answers is under its lease until then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);
/// Before the first fault.
const TIME_BEFORE_FAULTS: Duration = Duration::from_secs(3);

/// What is run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    pub(crate) sessions: usize,
    pub(crate) faults: &'static [Fault],
    pub(crate) time: Duration,
    /// The longest time that a session is left alone.
    pub(crate) rest: Duration,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) run: String,
    pub(crate) seed: u64,
    pub(crate) sessions: usize,
    pub(crate) seconds: u64,
    pub(crate) requests_answered: u64,
    pub(crate) faults: Vec<Row>,
    pub(crate) checks: Vec<Check>,
    #[serde(skip)]
    pub(crate) records: LedgerRecords,
}

impl Plan {
    pub(crate) async fn run(
        &self,
        program: &Path,
        scratch: &Scratch,
        upstream: Upstream,
    ) -> Result<Outcome> {
        let run = match upstream.release() {
            Some(release) => format!("{} {release}", self.name),
            None => self.name.to_owned(),
        };
        let mut site = Site::start(program, scratch, upstream).await?;
        let began = Instant::now();
        let sessions = site.sign_in(self.sessions).await?;
        say_at(
            &run,
            began,
            &format!("{} people have signed in", sessions.len()),
        );

        let mut evidence = Evidence {
            accounts: sessions.iter().map(|(did, _)| did.clone()).collect(),
            ..Evidence::default()
        };
        let (end, over) = watch::channel(false);
        let apps = Arc::new(Apps::new(&site, self.rest, over));
        let mut running = JoinSet::new();
        let calm = Instant::now();
        for (number, (did, tokens)) in (1..).zip(sessions) {
            let decisions = Decisions::new(self.seed, number);
            let session = Session {
                did,
                tokens,
                decisions,
            };
            let apps = Arc::clone(&apps);
            running.spawn(async move { session.live(&apps).await });
        }

        let decisions = Decisions::new(self.seed, 0);
        sleep(TIME_BEFORE_FAULTS).await;
        let mut last_hang = None;
        for step in schedule(&decisions, self.faults, self.time) {
            sleep(step.after).await;
            say_at(&run, began, step.fault.name());
            apps.ledger.begin(step.fault, Instant::now());
            site.inject_fault(step.fault, &decisions, &mut evidence)
                .await?;
            if step.fault == Fault::TimeOut {
                last_hang = Some(Instant::now());
            }
        }

        say_at(&run, began, "no more faults");
        let _ = end.send(true);
        let deadline = settled_by(Instant::now(), last_hang);
        while let Ok(Some(_)) = timeout_at(deadline, running.join_next()).await {}
        running.abort_all();
        say_at(&run, began, "over");
        let seconds = calm.elapsed().as_secs();
        site.record_database_state(&mut evidence).await?;
        let records = apps.ledger.records();
        Ok(Outcome {
            run,
            seed: self.seed,
            sessions: self.sessions,
            seconds,
            requests_answered: records.answered,
            faults: verdict::rows(&records, &evidence),
            checks: verdict::checks(&records, &evidence),
            records,
        })
    }
}

/// When everything must work, if the last fault ended at `last_fault` and the last one in which the
/// PDS never answered at `last_hang`.
fn settled_by(last_fault: Instant, last_hang: Option<Instant>) -> Instant {
    let answered = last_hang.map(|hang| hang + ANSWER_TIMEOUT);
    answered.map_or(last_fault, |at| at.max(last_fault)) + SETTLE_TIMEOUT
}

/// Several runs may go on at the same time.
fn say_at(run: &str, began: Instant, what: &str) {
    let seconds = began.elapsed().as_secs();
    say(&format!("{run}, {seconds:>3} s: {what}"));
}

impl Outcome {
    /// Whether every bound holds.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hang_near_the_end_takes_longer_to_settle() {
        let end = Instant::now() + ANSWER_TIMEOUT * 2;
        let seconds = Duration::from_secs;
        assert_eq!(settled_by(end, None), end + SETTLE_TIMEOUT);
        let early = end - ANSWER_TIMEOUT - seconds(1);
        assert_eq!(settled_by(end, Some(early)), end + SETTLE_TIMEOUT);
        let late = settled_by(end, Some(end - seconds(2)));
        assert_eq!(late, end + ANSWER_TIMEOUT + SETTLE_TIMEOUT - seconds(2));
    }
}
