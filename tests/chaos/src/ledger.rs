//! What the apps met: requests that failed, how long they were held up, and which sessions are
//! gone; each counted for the fault that was the newest at that time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use aip_base::lock;
use tokio::time::Instant;

use crate::fault::Fault;

/// What everybody writes into.
pub(crate) struct Ledger(Mutex<LedgerRecords>);

/// What was written.
#[derive(Debug, Default, Clone)]
pub(crate) struct LedgerRecords {
    /// The time between two faults, the first before any.
    pub(crate) windows: Vec<Window>,
    /// Sessions whose app was told to send the person to sign in again, by account.
    pub(crate) lost: BTreeMap<String, LostSession>,
    /// Accounts whose session worked after the run had ended.
    pub(crate) alive: Vec<String>,
    /// What no fault may cause, such as the answer of somebody else.
    pub(crate) wrong: Vec<String>,
    /// How requests failed, and how often.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Requests that did not fail.
    pub(crate) answered: u64,
}

/// From one fault to the next.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) fault: Option<Fault>,
    began: Instant,
    pub(crate) failed: u64,
    pub(crate) longest: Duration,
}

/// A session that is gone.
#[derive(Debug, Clone)]
pub(crate) struct LostSession {
    /// The fault that was the newest.
    pub(crate) during: Option<Fault>,
    /// What the app received.
    pub(crate) app_error: String,
}

impl Ledger {
    pub(crate) fn new(now: Instant) -> Self {
        let records = LedgerRecords {
            windows: vec![Window::of(None, now)],
            ..LedgerRecords::default()
        };
        Self(Mutex::new(records))
    }

    pub(crate) fn begin(&self, fault: Fault, now: Instant) {
        lock(&self.0).windows.push(Window::of(Some(fault), now));
    }

    /// A request was answered well.
    pub(crate) fn answered(&self) {
        lock(&self.0).answered += 1;
    }

    /// A request that was sent then failed, and is repeated.
    pub(crate) fn failed(&self, how: &str, sent: Instant, now: Instant) {
        let mut records = lock(&self.0);
        *records.failures.entry(how.to_owned()).or_default() += 1;
        if let Some(window) = records.at(in_trouble(sent, now)) {
            window.failed += 1;
        }
    }

    /// What an app wanted to do since `began` is done, with all repetitions; when the first request
    /// failed, if one did.
    pub(crate) fn done(&self, began: Instant, failed: Option<Instant>, now: Instant) {
        if let Some(window) = lock(&self.0).at(in_trouble(began, failed.unwrap_or(now))) {
            window.longest = window.longest.max(now - began);
        }
    }

    /// The session of an account is gone.
    pub(crate) fn lost(&self, did: &str, app_error: &str) {
        let mut records = lock(&self.0);
        let during = records.windows.last().and_then(|window| window.fault);
        let app_error = app_error.to_owned();
        records
            .lost
            .insert(did.to_owned(), LostSession { during, app_error });
    }

    /// The session of an account works after the run had ended.
    pub(crate) fn alive(&self, did: &str) {
        lock(&self.0).alive.push(did.to_owned());
    }

    /// Something that must never be.
    pub(crate) fn wrong(&self, what: String) {
        lock(&self.0).wrong.push(what);
    }

    /// Everything so far.
    pub(crate) fn records(&self) -> LedgerRecords {
        lock(&self.0).clone()
    }
}

/// When something that began then got into trouble: when it failed or was done at last, unless a
/// second had passed before.
fn in_trouble(began: Instant, at_last: Instant) -> Instant {
    at_last.min(began + Duration::from_secs(1))
}

impl LedgerRecords {
    /// When the run began.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.windows.first().map(|window| window.began)
    }

    /// The fault that was the newest at that time.
    pub(crate) fn fault_at(&self, time: Instant) -> Option<Fault> {
        let mut windows = self.windows.iter().rev();
        windows.find(|window| window.began <= time)?.fault
    }

    /// The window of that time.
    fn at(&mut self, time: Instant) -> Option<&mut Window> {
        let mut windows = self.windows.iter_mut().rev();
        windows.find(|window| window.began <= time)
    }
}

impl Window {
    fn of(fault: Option<Fault>, began: Instant) -> Self {
        Self {
            fault,
            began,
            failed: 0,
            longest: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_belongs_to_the_fault_that_was_the_newest_when_trouble_began() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let ledger = Ledger::new(start);
        ledger.begin(Fault::Kill, at(300));
        ledger.begin(Fault::Valkey, at(3300));
        // Failed before the first fault; held up by the first; not in trouble at all.
        ledger.done(start, Some(at(100)), at(3400));
        ledger.done(at(200), None, at(3300));
        ledger.done(at(3200), None, at(3310));
        ledger.failed("503", at(3350), at(3350));
        ledger.failed("504", at(300), at(15_300));
        let windows = ledger.records().windows;
        let seen: Vec<_> = windows
            .iter()
            .map(|window| (window.fault, window.failed, window.longest.as_millis()))
            .collect();
        assert_eq!(
            seen,
            [
                (None, 0, 3400),
                (Some(Fault::Kill), 1, 3100),
                (Some(Fault::Valkey), 1, 110)
            ]
        );
    }
}
