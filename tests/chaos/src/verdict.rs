//! The judgement: which loss belongs to which fault, and whether a bound is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::fault::{Fault, LossBound};
use crate::ledger::LedgerRecords;

/// What a session is that nobody can save: the PDS spent its refresh token and the answer is lost.
const LOST_RESPONSE: &str = "lost_response";

/// What is known from elsewhere than the apps.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Every account with a session.
    pub(crate) accounts: BTreeSet<String>,
    /// Accounts whose session a replica was refreshing when it was killed.
    pub(crate) in_flight: BTreeSet<String>,
    /// Accounts whose answer the PDS lost after it had spent the refresh token.
    pub(crate) lost_answers: BTreeSet<String>,
    /// Why AIP gave sessions up, by account.
    pub(crate) given_up: BTreeMap<String, String>,
    /// When and why the PDS ended sessions, by account.
    pub(crate) ended: BTreeMap<String, End>,
    /// How often each fault happened.
    pub(crate) counts: BTreeMap<Fault, u64>,
    /// What went wrong with a fault itself, such as a replica that does not end.
    pub(crate) broken: Vec<String>,
}

/// The end of a session at its PDS.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) at: Instant,
    /// In the PDS's words.
    pub(crate) why: String,
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) count: u64,
    pub(crate) sessions_lost: usize,
    /// More than these break the bound.
    pub(crate) sessions_allowed: usize,
    pub(crate) requests_failed: u64,
    #[serde(rename = "longest_stall_ms", serialize_with = "as_milliseconds")]
    pub(crate) longest_stall: Duration,
}

/// A bound, and whether it holds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) rule: String,
    pub(crate) holds: bool,
    /// What breaks it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) broken_by: Vec<String>,
}

impl Evidence {
    /// How many sessions this fault may have cost.
    fn allowed(&self, fault: Fault) -> usize {
        match fault.bound() {
            LossBound::Nothing => 0,
            LossBound::InFlight => self.in_flight.len(),
            LossBound::Unavoidable => self.lost_answers.len(),
        }
    }
}

/// Which fault cost a session: what is known of it comes before when the PDS ended it, and that before
/// when it was noticed.
fn cause(did: &str, records: &LedgerRecords, evidence: &Evidence) -> Option<Fault> {
    if evidence.lost_answers.contains(did) {
        Some(Fault::LostAnswer)
    } else if evidence.in_flight.contains(did) {
        Some(Fault::Kill)
    } else if let Some(end) = evidence.ended.get(did) {
        records.fault_at(end.at)
    } else {
        records.lost.get(did).and_then(|loss| loss.during)
    }
}

/// The table: calm first, then every fault that happened.
pub(crate) fn rows(records: &LedgerRecords, evidence: &Evidence) -> Vec<Row> {
    let kinds = evidence.counts.keys().copied().map(Some);
    std::iter::once(None)
        .chain(kinds)
        .map(|kind| {
            let windows = || records.windows.iter().filter(|window| window.fault == kind);
            let lost = records.lost.keys();
            Row {
                fault: kind.map_or("before any fault", Fault::name),
                count: kind.map_or(0, |kind| evidence.counts[&kind]),
                sessions_lost: lost
                    .filter(|did| cause(did, records, evidence) == kind)
                    .count(),
                sessions_allowed: kind.map_or(0, |kind| evidence.allowed(kind)),
                requests_failed: windows().map(|window| window.failed).sum(),
                longest_stall: windows()
                    .map(|window| window.longest)
                    .max()
                    .unwrap_or_default(),
            }
        })
        .collect()
}

/// Every bound.
pub(crate) fn checks(records: &LedgerRecords, evidence: &Evidence) -> Vec<Check> {
    let mut checks: Vec<Check> = std::iter::once(None)
        .chain(evidence.counts.keys().copied().map(Some))
        .map(|kind| bound(kind, records, evidence))
        .collect();
    let lost: BTreeSet<&String> = records.lost.keys().collect();
    let alive: BTreeSet<&String> = records.alive.iter().collect();
    let silent = evidence.accounts.iter();
    let silent = silent.filter(|did| !alive.contains(did) && !lost.contains(did));
    checks.push(Check::of(
        "every session that is not lost works in the end",
        silent.cloned().collect(),
    ));
    let given_up: BTreeSet<&String> = evidence.given_up.keys().collect();
    let told_otherwise = given_up.symmetric_difference(&lost);
    checks.push(Check::of(
        "what apps are told is what the database says",
        told_otherwise.map(|did| (*did).clone()).collect(),
    ));
    checks.push(Check::of(
        "nobody gets the answer of somebody else",
        records.wrong.clone(),
    ));
    checks.push(Check::of(
        "every program ends and starts as it should",
        evidence.broken.clone(),
    ));
    checks
}

/// When and why the PDS ended a session.
fn why_ended(did: &str, records: &LedgerRecords, evidence: &Evidence) -> String {
    match evidence.ended.get(did) {
        Some(End { at, why }) => {
            let seconds = records
                .began()
                .map_or(0.0, |began| (*at - began).as_secs_f64());
            format!("the PDS ended it after {seconds:.1} s: {why}")
        }
        None => "the PDS did not end it".to_owned(),
    }
}

fn bound(kind: Option<Fault>, records: &LedgerRecords, evidence: &Evidence) -> Check {
    let app_error = |did: &String| {
        let reason = evidence.given_up.get(did).map_or("-", String::as_str);
        let app_error = records
            .lost
            .get(did)
            .map_or("", |loss| loss.app_error.as_str());
        format!(
            "{did} is lost: {reason}: {app_error}: {}",
            why_ended(did, records, evidence)
        )
    };
    let lost: Vec<&String> = records
        .lost
        .keys()
        .filter(|did| cause(did, records, evidence) == kind)
        .collect();
    let by_another_name = lost
        .iter()
        .filter(|did| evidence.given_up.get(**did).map(String::as_str) != Some(LOST_RESPONSE))
        .map(|did| app_error(did));
    let Some(fault) = kind else {
        let broken = lost.iter().map(|did| app_error(did));
        return Check::of("before any fault: no session lost", broken.collect());
    };
    let unless_known = |known: &BTreeSet<String>| -> Vec<String> {
        let unknown = lost.iter().filter(|did| !known.contains(**did));
        unknown.map(|did| app_error(did)).collect()
    };
    let (rule, broken): (_, Vec<String>) = match fault.bound() {
        LossBound::Nothing => ("no session lost", unless_known(&BTreeSet::new())),
        LossBound::InFlight => (
            "no more sessions lost than refreshes in flight, each as lost_response",
            by_another_name
                .chain(unless_known(&evidence.in_flight))
                .collect(),
        ),
        LossBound::Unavoidable => {
            let survivors = evidence.lost_answers.iter();
            let survivors = survivors
                .filter(|did| !records.lost.contains_key(*did))
                .map(|did| format!("{did} is not lost"));
            (
                "exactly the sessions lost whose answer was lost, each as lost_response",
                by_another_name
                    .chain(unless_known(&evidence.lost_answers))
                    .chain(survivors)
                    .collect(),
            )
        }
    };
    Check::of(&format!("{}: {rule}", fault.name()), broken)
}

impl Check {
    fn of(rule: &str, broken_by: Vec<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            holds: broken_by.is_empty(),
            broken_by,
        }
    }
}

fn as_milliseconds<S: serde::Serializer>(
    time: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    /// A run in which `during` was the newest fault when `lost` was lost.
    fn run(during: Fault, lost: &[&str]) -> (LedgerRecords, Evidence) {
        let now = Instant::now();
        let ledger = Ledger::new(now);
        ledger.begin(during, now);
        let mut evidence = Evidence::default();
        evidence.counts.insert(during, 1);
        for did in ["did:a", "did:b", "did:c"] {
            evidence.accounts.insert(did.to_owned());
            if lost.contains(&did) {
                ledger.lost(did, "the session is over");
                let reason = LOST_RESPONSE.to_owned();
                evidence.given_up.insert(did.to_owned(), reason);
            } else {
                ledger.alive(did);
            }
        }
        (ledger.records(), evidence)
    }

    #[track_caller]
    fn broken(records: &LedgerRecords, evidence: &Evidence, word: &str) {
        let checks = checks(records, evidence);
        let broken: Vec<&Check> = checks.iter().filter(|check| !check.holds).collect();
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].rule.contains(word), "{broken:?}");
    }

    #[test]
    fn a_run_without_a_loss_holds_every_bound() {
        let (records, evidence) = run(Fault::Valkey, &[]);
        assert!(checks(&records, &evidence).iter().all(|check| check.holds));
    }

    #[test]
    fn one_lost_session_breaks_the_bound_of_its_fault() {
        let (records, evidence) = run(Fault::Valkey, &["did:b"]);
        broken(&records, &evidence, "Valkey");
        assert_eq!(rows(&records, &evidence)[1].sessions_lost, 1);
    }

    #[test]
    fn a_kill_may_cost_what_was_in_flight_and_no_more() {
        let (records, mut evidence) = run(Fault::Kill, &["did:a"]);
        evidence.in_flight.insert("did:a".to_owned());
        assert!(checks(&records, &evidence).iter().all(|check| check.holds));
        // Noticed long after the kill, when something else was the newest fault.
        let (records, mut evidence) = run(Fault::Skew, &["did:a", "did:c"]);
        evidence.counts.insert(Fault::Kill, 1);
        evidence.in_flight.insert("did:a".to_owned());
        broken(&records, &evidence, "skew");
        // Noticed at once, and not in flight.
        let (records, evidence) = run(Fault::Kill, &["did:a"]);
        broken(&records, &evidence, "in flight");
    }

    #[test]
    fn a_lost_answer_costs_exactly_its_session_by_its_name() {
        let (records, mut evidence) = run(Fault::LostAnswer, &["did:a"]);
        evidence.lost_answers.insert("did:a".to_owned());
        assert!(checks(&records, &evidence).iter().all(|check| check.holds));
        evidence.lost_answers.insert("did:b".to_owned());
        broken(&records, &evidence, "answer lost");
        evidence.lost_answers.remove("did:b");
        let refused = "refused".to_owned();
        evidence.given_up.insert("did:a".to_owned(), refused);
        broken(&records, &evidence, "answer lost");
    }

    #[test]
    fn a_loss_belongs_to_the_fault_at_which_the_pds_ended_the_session_and_says_why() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ledger = Ledger::new(start);
        ledger.begin(Fault::Valkey, at(10));
        ledger.begin(Fault::PdsRestart, at(20));
        // Noticed in the second window, and over since the first.
        ledger.lost("did:a", "the session is over");
        let mut evidence = Evidence::default();
        evidence.counts.insert(Fault::Valkey, 1);
        evidence.counts.insert(Fault::PdsRestart, 1);
        evidence.accounts.insert("did:a".to_owned());
        let reason = "refused".to_owned();
        evidence.given_up.insert("did:a".to_owned(), reason);
        let why = "loadTokenClaims".to_owned();
        let end = End { at: at(15), why };
        evidence.ended.insert("did:a".to_owned(), end);
        let records = ledger.records();
        broken(&records, &evidence, "Valkey");
        let check = checks(&records, &evidence).into_iter().find(|it| !it.holds);
        let app_error = check.unwrap().broken_by.join("");
        assert!(
            app_error.contains("after 15.0 s: loadTokenClaims"),
            "{app_error}"
        );
    }

    #[test]
    fn a_session_that_does_not_answer_any_more_is_no_success() {
        let (mut records, evidence) = run(Fault::Database, &[]);
        records.alive.pop();
        broken(&records, &evidence, "works in the end");
    }

    #[test]
    fn a_session_that_only_the_database_gave_up_is_found() {
        let (records, mut evidence) = run(Fault::Database, &[]);
        let refused = "refused".to_owned();
        evidence.given_up.insert("did:a".to_owned(), refused);
        broken(&records, &evidence, "database says");
    }
}
