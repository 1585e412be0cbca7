//! Hints that something has changed about an account: what is remembered of it is read anew, and the
//! keeper leaves the sessions of an account alone that is not in use.
//!
//! A hint is the word of a third party. It makes this server ask, and nothing else: whether an account
//! is in use says its PDS, which the DID document names. No hint ends a session, and a lie costs a
//! request or two. They are bounded: in all, and for each account.

mod pending;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aip_atproto::Did;
use aip_base::lock;
use aip_pds::{Freshness, RepoStatus, RepoStatusError, ResolveError, Trace};
use aip_storage::StorageError;
use aip_storage::notices::Notice;
use futures_util::StreamExt as _;
use tokio::sync::Notify;

pub use self::pending::Hint;
use self::pending::{Pending, Work};
use crate::keeper::Keeper;
use crate::keeper::step::overdue_before;

/// The most accounts that are asked about at the same time.
const MAX_CONCURRENT: usize = 8;
/// Between two looks at what has become due.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Paused accounts that are read at once.
const PAGE: u32 = 500;

/// Follows hints about accounts.
pub struct AccountHints {
    keeper: Arc<Keeper>,
    pending: Mutex<Pending>,
    woken: Notify,
}

/// Why nobody knows whether an account is in use.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Document(#[from] ResolveError),
    #[error(transparent)]
    Status(#[from] RepoStatusError),
}

impl AccountHints {
    /// Those for the sessions of `keeper`.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self {
            keeper,
            pending: Mutex::default(),
            woken: Notify::new(),
        }
    }

    /// Receives hints. Those about strangers are dropped.
    pub async fn receive(&self, hints: &[(Did, Hint)]) -> Result<(), StorageError> {
        let mut dids: Vec<Did> = hints.iter().map(|(did, _)| did.clone()).collect();
        dids.sort();
        dids.dedup();
        let known = self.keeper.upstream.storage.accounts_known(&dids).await?;
        count("stranger", dids.len() - known.len());
        let of_known = hints.iter().filter(|(did, _)| known.contains(did));
        self.add(of_known.map(|(did, hint)| (did.clone(), *hint)));
        Ok(())
    }

    /// Verifies anew every account that is paused: it may be in use again, and nobody said so.
    pub async fn verify_paused(&self) -> Result<(), StorageError> {
        let mut after = None;
        loop {
            let storage = &self.keeper.upstream.storage;
            let paused = storage.paused_accounts(after.as_ref(), PAGE).await?;
            let Some(last) = paused.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            if !self.add(paused.into_iter().map(|did| (did, Hint::NotInUse))) {
                return Ok(());
            }
        }
    }

    /// Whether there was room for all.
    fn add(&self, hints: impl Iterator<Item = (Did, Hint)>) -> bool {
        let now = self.keeper.upstream.clock.now();
        let mut dropped = 0;
        {
            let mut pending = lock(&self.pending);
            for (did, hint) in hints {
                dropped += usize::from(!pending.add(did, hint, now));
            }
        }
        count("dropped", dropped);
        self.woken.notify_one();
        dropped == 0
    }

    /// Does what is due, until it is dropped. That loses hints, and nothing else.
    pub async fn run(&self) {
        loop {
            self.process_due().await;
            drop(tokio::time::timeout(POLL_INTERVAL, self.woken.notified()).await);
        }
    }

    /// Does what is due now.
    pub async fn process_due(&self) {
        let now = self.keeper.upstream.clock.now();
        let due = lock(&self.pending).take_due(now);
        futures_util::stream::iter(due)
            .for_each_concurrent(MAX_CONCURRENT, |work| self.process(work))
            .await;
    }

    async fn process(&self, work: Work) {
        let did = work.did.clone();
        self.keeper.upstream.pds.resolver().mark_stale(&did);
        let stale = Notice::IdentityStale(did.clone());
        self.keeper.notices.publish(&stale).await;
        let outcome = match work.hint {
            Hint::Identity => Ok("identity"),
            Hint::InUse => self.resume(&did).await.map(|()| "resumed"),
            Hint::NotInUse => match self.inactive_status(&did).await {
                Ok(None) => self.resume(&did).await.map(|()| "resumed"),
                Ok(Some(status)) => self.pause(&did, status).await.map(|()| "paused"),
                Err(error) => {
                    tracing::debug!(%did, %error, "it is not known whether the account is in use");
                    self.retry(work);
                    return;
                }
            },
        };
        match outcome {
            Ok(outcome) => count(outcome, 1),
            Err(error) => {
                tracing::warn!(%did, %error, "a hint about an account could not be followed");
                self.retry(work);
            }
        }
    }

    fn retry(&self, work: Work) {
        let now = self.keeper.upstream.clock.now();
        if !lock(&self.pending).retry(work, now) {
            count("unverified", 1);
        }
    }

    /// Why the account is not in use, as its own PDS says; `None` if it is.
    async fn inactive_status(&self, did: &Did) -> Result<Option<&'static str>, Unknown> {
        let pds = &self.keeper.upstream.pds;
        let mut trace = Trace::default();
        let document = pds
            .resolver()
            .document(did, Freshness::Uncached, &mut trace);
        let document = match document.await {
            Ok(document) => document,
            Err(ResolveError::DidTombstoned(_)) => return Ok(Some("tombstoned")),
            Err(error) => return Err(error.into()),
        };
        let Ok(home) = pds.resolver().pds_of(&document) else {
            return Ok(Some("no_pds"));
        };
        Ok(match pds.repo_status(&home, did).await? {
            RepoStatus::Active => None,
            RepoStatus::Inactive(status) => Some(status),
            RepoStatus::NotFound => Some("not_found"),
        })
    }

    async fn pause(&self, did: &Did, status: &'static str) -> Result<(), StorageError> {
        let upstream = &self.keeper.upstream;
        let now = upstream.clock.now();
        upstream.storage.pause_account(did, status, now).await?;
        tracing::info!(%did, status, "account is not in use, its sessions are not refreshed unasked");
        Ok(())
    }

    async fn resume(&self, did: &Did) -> Result<(), StorageError> {
        let upstream = &self.keeper.upstream;
        let now = upstream.clock.now();
        let overdue = overdue_before(now);
        if upstream.storage.resume_account(did, overdue, now).await? {
            tracing::info!(%did, "account is in use again, its sessions are refreshed as ever");
        }
        Ok(())
    }
}

fn count(outcome: &'static str, number: usize) {
    if number > 0 {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        metrics::counter!("aip_account_hints_total", "outcome" => outcome).increment(number);
    }
}
