//! The state of one stack over any store: every change is a conditional write of one document.

use std::sync::Arc;
use std::time::Duration;

use aip_base::{Clock, Rng, Timestamp, random_token};
use async_trait::async_trait;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::foreign::unreadable;
use crate::ui::time::rfc3339;

use super::blobs::{Blobs, Version, Written};
use super::{
    Acquisition, Held, Holder, Intent, Inventory, Lease, Pin, Pinning, Recorded, Revision,
    RevisionRecord, StateStore, StoreError, Tenure,
};

/// The documents of one stack.
pub struct State {
    blobs: Arc<dyn Blobs>,
    base: String,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

/// The document of the lease: it is never removed, so that "free" has a version too.
#[derive(Default, Serialize, Deserialize)]
struct Seat {
    lease: Option<Lease>,
    /// Makes every version another one.
    nonce: String,
}

/// How often a lost race is run again.
const ATTEMPTS: usize = 20;

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
            reason: unreadable(&error),
        };
        Ok((document.map_err(corrupt)?, Some(version)))
    }

    /// Writes a document that is still as it was read.
    async fn write<T: Serialize>(
        &self,
        path: &str,
        document: &T,
        version: Option<&Version>,
    ) -> Result<Written, StoreError> {
        let content = serde_json::to_vec_pretty(document).map_err(|error| StoreError::Corrupt {
            path: path.to_owned(),
            reason: unreadable(&error),
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
        for _ in 0..ATTEMPTS {
            let (mut inventory, version) = self.read::<Inventory>(&path).await?;
            let (result, write) = change(&mut inventory);
            if !write || self.write(&path, &inventory, version.as_ref()).await? != Written::Changed
            {
                return Ok(result);
            }
        }
        Err(StoreError::Contended { path })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn seat(&self, lease: Option<Lease>) -> Seat {
        Seat {
            lease,
            nonce: random_token::<12>(self.rng.as_ref()),
        }
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
}

#[async_trait]
impl StateStore for State {
    async fn inventory(&self) -> Result<Inventory, StoreError> {
        Ok(self.read(&self.path("inventory.json")).await?.0)
    }

    async fn pin(&self, pin: &Pin) -> Result<Pinning, StoreError> {
        self.change(|inventory| {
            if let Some(pinned) = &inventory.pin {
                return (Pinning::AlreadyPinned(pinned.clone()), false);
            }
            inventory.pin = Some(pin.clone());
            (Pinning::Pinned, true)
        })
        .await
    }

    async fn repin(&self, pin: &Pin) -> Result<(), StoreError> {
        self.change(|inventory| {
            *inventory = Inventory {
                pin: Some(pin.clone()),
                ..Inventory::default()
            };
            ((), true)
        })
        .await
    }

    async fn record_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        self.change(|inventory| {
            inventory.intents.push(intent.clone());
            ((), true)
        })
        .await
    }

    async fn record_migrated(&self, job: &str) -> Result<(), StoreError> {
        self.change(|inventory| {
            let known = inventory.migrated.iter().any(|name| name == job);
            if !known {
                inventory.migrated.push(job.to_owned());
            }
            ((), !known)
        })
        .await
    }

    async fn promote(&self, owned: Vec<Recorded>) -> Result<(), StoreError> {
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

    async fn acquire(&self, holder: &Holder) -> Result<Acquisition, StoreError> {
        let path = self.path("lease.json");
        for _ in 0..ATTEMPTS {
            let (seat, version) = self.read::<Seat>(&path).await?;
            if let Some(lease) = seat.lease.filter(|lease| !self.is_over(lease)) {
                return Ok(Acquisition::HeldBy(lease));
            }
            let lease = Lease {
                id: random_token::<16>(self.rng.as_ref()),
                holder: holder.clone(),
                acquired: rfc3339(self.now()),
                expires: holder.ttl.map(|ttl| rfc3339(self.now() + ttl)),
            };
            match self
                .write(&path, &self.seat(Some(lease.clone())), version.as_ref())
                .await?
            {
                Written::Done(version) => {
                    return Ok(Acquisition::Acquired(Held { lease, version }));
                }
                // Somebody was faster: see who.
                Written::Changed => {}
            }
        }
        Err(StoreError::Contended { path })
    }

    async fn renew(&self, held: &Held) -> Result<Tenure, StoreError> {
        let mut lease = held.lease.clone();
        lease.expires = lease
            .holder
            .ttl
            .map(|ttl: Duration| rfc3339(self.now() + ttl));
        let seat = self.seat(Some(lease.clone()));
        match self
            .write(&self.path("lease.json"), &seat, Some(&held.version))
            .await?
        {
            Written::Done(version) => Ok(Tenure::Kept(Held { lease, version })),
            Written::Changed => Ok(Tenure::Lost),
        }
    }

    async fn release(&self, held: Held) -> Result<Tenure, StoreError> {
        match self
            .write(
                &self.path("lease.json"),
                &self.seat(None),
                Some(&held.version),
            )
            .await?
        {
            Written::Done(version) => Ok(Tenure::Kept(Held { version, ..held })),
            Written::Changed => Ok(Tenure::Lost),
        }
    }

    async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.read::<Seat>(&self.path("lease.json")).await?.0.lease)
    }

    async fn break_lease(&self, expected: &Lease) -> Result<bool, StoreError> {
        let path = self.path("lease.json");
        let (seat, version) = self.read::<Seat>(&path).await?;
        if seat
            .lease
            .as_ref()
            .is_none_or(|lease| lease.id != expected.id)
        {
            return Ok(false);
        }
        let written = self
            .write(&path, &self.seat(None), version.as_ref())
            .await?;
        Ok(written != Written::Changed)
    }

    async fn append_history(&self, record: &RevisionRecord) -> Result<Revision, StoreError> {
        let mut number = self.numbers().await?.into_iter().max().unwrap_or(0);
        for _ in 0..ATTEMPTS {
            number += 1;
            let path = self.revision_path(number);
            if self.write(&path, record, None).await? != Written::Changed {
                return Ok(Revision(number));
            }
        }
        Err(StoreError::Contended {
            path: self.path("history"),
        })
    }

    async fn history(&self, limit: usize) -> Result<Vec<(Revision, RevisionRecord)>, StoreError> {
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

    async fn revision(&self, revision: Revision) -> Result<Option<RevisionRecord>, StoreError> {
        let path = self.revision_path(revision.0);
        let Some((content, _)) = self.blobs.get(&path).await? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&content);
        record.map(Some).map_err(|error| StoreError::Corrupt {
            path,
            reason: unreadable(&error),
        })
    }
}
