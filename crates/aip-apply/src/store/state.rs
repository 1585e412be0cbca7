//! The state of one stack over any store: every change is a conditional write of one document.

use std::sync::Arc;

use aip_base::{Clock, Rng, Timestamp, random_token};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error_text::json_error_position;
use crate::time::rfc3339;

use super::blobs::{Blobs, Version, WriteOutcome};
use super::{
    AcquireOutcome, Intent, Inventory, Lease, LeaseGuard, LeaseHolder, OwnedObject, Pin,
    PinOutcome, Renewal, Revision, RevisionRecord, StoreError,
};

/// The state of one stack. Every verb is one conditional write, so of two callers one wins.
pub struct State {
    blobs: Arc<dyn Blobs>,
    base: String,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

/// The document of the lease: it is never removed, so that "free" has a version too.
#[derive(Default, Serialize, Deserialize)]
struct LeaseRecord {
    lease: Option<Lease>,
    /// Random; makes every version of the document unique.
    nonce: String,
}

/// Attempts at a conditional write before it counts as contended.
const MAX_WRITE_ATTEMPTS: usize = 20;

impl State {
    pub(super) fn new(
        blobs: Arc<dyn Blobs>,
        base: String,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            blobs,
            base,
            clock,
            rng,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    async fn read<T: DeserializeOwned + Default>(
        &self,
        path: &str,
    ) -> Result<(T, Option<Version>), StoreError> {
        let Some((content, version)) = self.blobs.get(path).await? else {
            return Ok((T::default(), None));
        };
        let document = serde_json::from_slice(&content);
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            path: path.to_owned(),
            reason: json_error_position(&error),
        };
        Ok((document.map_err(corrupt)?, Some(version)))
    }

    /// Writes a document that is still as it was read.
    async fn write<T: Serialize>(
        &self,
        path: &str,
        document: &T,
        version: Option<&Version>,
    ) -> Result<WriteOutcome, StoreError> {
        let content = serde_json::to_vec_pretty(document).map_err(|error| StoreError::Corrupt {
            path: path.to_owned(),
            reason: json_error_position(&error),
        })?;
        match version {
            Some(version) => {
                self.blobs
                    .replace(path, Bytes::from(content), version)
                    .await
            }
            None => self.blobs.create(path, Bytes::from(content)).await,
        }
    }

    /// Reads, changes and writes the inventory, again when somebody else was faster.
    async fn change<R>(
        &self,
        mut change: impl FnMut(&mut Inventory) -> (R, bool) + Send,
    ) -> Result<R, StoreError>
    where
        R: Send,
    {
        let path = self.path("inventory.json");
        for _ in 0..MAX_WRITE_ATTEMPTS {
            let (mut inventory, version) = self.read::<Inventory>(&path).await?;
            let (result, write) = change(&mut inventory);
            if !write
                || self.write(&path, &inventory, version.as_ref()).await? != WriteOutcome::Changed
            {
                return Ok(result);
            }
        }
        Err(StoreError::Contended { path })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn lease_path(&self) -> String {
        self.path("lease.json")
    }

    async fn write_lease(
        &self,
        lease: Option<Lease>,
        version: Option<&Version>,
    ) -> Result<WriteOutcome, StoreError> {
        let nonce = random_token::<12>(self.rng.as_ref());
        let record = LeaseRecord { lease, nonce };
        self.write(&self.lease_path(), &record, version).await
    }

    fn is_over(&self, lease: &Lease) -> bool {
        lease
            .expires
            .as_deref()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .is_some_and(|expires| expires.as_microsecond() <= self.now().as_micros())
    }

    async fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let prefix = self.path("history/");
        let paths = self.blobs.list(&prefix).await?;
        let numbers = paths.iter().filter_map(|path| {
            path.strip_prefix(&prefix)?
                .strip_suffix(".json")?
                .trim_start_matches('0')
                .parse()
                .ok()
        });
        Ok(numbers.collect())
    }

    fn revision_path(&self, number: u64) -> String {
        self.path(&format!("history/{number:010}.json"))
    }

    /// What the stack owns; empty for a stack that was never applied.
    pub async fn inventory(&self) -> Result<Inventory, StoreError> {
        Ok(self.read(&self.path("inventory.json")).await?.0)
    }

    /// Pins the stack to a cluster, unless it is pinned.
    pub async fn pin(&self, pin: &Pin) -> Result<PinOutcome, StoreError> {
        self.change(|inventory| {
            if let Some(pinned) = &inventory.pin {
                return (PinOutcome::AlreadyPinned(pinned.clone()), false);
            }
            inventory.pin = Some(pin.clone());
            (PinOutcome::Pinned, true)
        })
        .await
    }

    /// Pins the stack to another cluster and forgets what it owned in the old one.
    pub async fn replace_pin(&self, pin: &Pin) -> Result<(), StoreError> {
        self.change(|inventory| {
            *inventory = Inventory {
                pin: Some(pin.clone()),
                ..Inventory::default()
            };
            ((), true)
        })
        .await
    }

    /// Adds an unfinished intent, before the first write to the cluster.
    pub async fn record_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        self.change(|inventory| {
            inventory.intents.push(intent.clone());
            ((), true)
        })
        .await
    }

    /// Remembers that a migration Job came to its end.
    pub async fn record_migrated(&self, job: &str) -> Result<(), StoreError> {
        self.change(|inventory| {
            let known = inventory.migrated.iter().any(|name| name == job);
            if !known {
                inventory.migrated.push(job.to_owned());
            }
            ((), !known)
        })
        .await
    }

    /// Makes `owned` the last good inventory and clears every intent, after the prune. Of the
    /// migration Jobs, those are remembered of which `owned` still has fields.
    pub async fn promote(&self, owned: Vec<OwnedObject>) -> Result<(), StoreError> {
        self.change(|inventory| {
            inventory.owned.clone_from(&owned);
            inventory.intents.clear();
            inventory.migrated.retain(|name| {
                owned.iter().any(|recorded| {
                    let object = &recorded.object;
                    // What a destroy could not delete has no fields.
                    object.kind == "Job" && object.name == *name && !recorded.fields.is_null()
                })
            });
            ((), true)
        })
        .await
    }

    /// Takes the lease if it is free or expired.
    pub async fn acquire(&self, holder: &LeaseHolder) -> Result<AcquireOutcome, StoreError> {
        let path = self.lease_path();
        for _ in 0..MAX_WRITE_ATTEMPTS {
            let (lease_record, version) = self.read::<LeaseRecord>(&path).await?;
            if let Some(lease) = lease_record.lease.filter(|lease| !self.is_over(lease)) {
                return Ok(AcquireOutcome::HeldBy(lease));
            }
            let lease = Lease {
                id: random_token::<16>(self.rng.as_ref()),
                holder: holder.clone(),
                acquired: rfc3339(self.now()),
                expires: holder.ttl.map(|ttl| rfc3339(self.now() + ttl)),
            };
            match self
                .write_lease(Some(lease.clone()), version.as_ref())
                .await?
            {
                WriteOutcome::Done(version) => {
                    return Ok(AcquireOutcome::Acquired(LeaseGuard { lease, version }));
                }
                // Somebody was faster: see who.
                WriteOutcome::Changed => {}
            }
        }
        Err(StoreError::Contended { path })
    }

    /// Extends the expiry by the holder's TTL.
    pub async fn renew(&self, guard: &LeaseGuard) -> Result<Renewal, StoreError> {
        let mut lease = guard.lease.clone();
        lease.expires = lease.holder.ttl.map(|ttl| rfc3339(self.now() + ttl));
        match self
            .write_lease(Some(lease.clone()), Some(&guard.version))
            .await?
        {
            WriteOutcome::Done(version) => Ok(Renewal::Renewed(LeaseGuard { lease, version })),
            WriteOutcome::Changed => Ok(Renewal::Lost),
        }
    }

    /// Frees the lease.
    pub async fn release(&self, guard: LeaseGuard) -> Result<Renewal, StoreError> {
        match self.write_lease(None, Some(&guard.version)).await? {
            WriteOutcome::Done(version) => Ok(Renewal::Renewed(LeaseGuard { version, ..guard })),
            WriteOutcome::Changed => Ok(Renewal::Lost),
        }
    }

    /// Who has the lease, expired or not.
    pub async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        let (record, _) = self.read::<LeaseRecord>(&self.lease_path()).await?;
        Ok(record.lease)
    }

    /// Removes a lease whoever has it, if it is still `expected`. False: it changed meanwhile.
    pub async fn break_lease(&self, expected: &Lease) -> Result<bool, StoreError> {
        let (record, version) = self.read::<LeaseRecord>(&self.lease_path()).await?;
        if record.lease.is_none_or(|lease| lease.id != expected.id) {
            return Ok(false);
        }
        let written = self.write_lease(None, version.as_ref()).await?;
        Ok(written != WriteOutcome::Changed)
    }

    /// Appends to the history and returns the new revision's number.
    pub async fn append_history(&self, record: &RevisionRecord) -> Result<Revision, StoreError> {
        let mut number = self.numbers().await?.into_iter().max().unwrap_or(0);
        for _ in 0..MAX_WRITE_ATTEMPTS {
            number += 1;
            let path = self.revision_path(number);
            if self.write(&path, record, None).await? != WriteOutcome::Changed {
                return Ok(Revision(number));
            }
        }
        Err(StoreError::Contended {
            path: self.path("history"),
        })
    }

    /// The history, newest first, at most `limit` entries.
    pub async fn history(
        &self,
        limit: usize,
    ) -> Result<Vec<(Revision, RevisionRecord)>, StoreError> {
        let mut numbers = self.numbers().await?;
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let mut entries = Vec::new();
        for number in numbers.into_iter().take(limit) {
            if let Some(record) = self.revision(Revision(number)).await? {
                entries.push((Revision(number), record));
            }
        }
        Ok(entries)
    }

    /// One entry of the history with its stack file.
    pub async fn revision(&self, revision: Revision) -> Result<Option<RevisionRecord>, StoreError> {
        let path = self.revision_path(revision.0);
        let Some((content, _)) = self.blobs.get(&path).await? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&content);
        record.map(Some).map_err(|error| StoreError::Corrupt {
            path,
            reason: json_error_position(&error),
        })
    }
}
