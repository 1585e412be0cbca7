//! What accounts show of themselves, as their PDSs told it a while ago. Anybody may read it, so it is
//! kept in memory, for all apps, and read without any session. It is never needed: a PDS that does not
//! answer soon costs a name and a picture, and is asked again later.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, Origin};
use aip_base::{Clock, Timestamp};
use aip_pds::{Freshness, PdsClient, ProfileError, ProfileRecord, ResolveError, Trace};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use tokio::time::timeout;

/// How long a profile is taken to be as it was read.
const PROFILE_MAX_AGE: Duration = Duration::from_mins(10);
/// How long a PDS that did not tell a profile is not asked for it again.
const PROFILE_RETRY_DELAY: Duration = Duration::from_mins(1);
/// How long a caller waits for the DID document and the PDS.
const PROFILE_READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How many profiles are remembered, of 3 KB at most each, most of which is a long DID.
const MAX_PROFILES: usize = 4096;

/// Knows the profiles of accounts.
pub struct AccountProfiles {
    pds: Arc<PdsClient>,
    clock: Arc<dyn Clock>,
    known: Cache<Did, Arc<Reading>>,
}

/// What a PDS told.
struct Reading {
    pds: Origin,
    profile: Option<ProfileRecord>,
    read_at: Timestamp,
    read_again_at: Timestamp,
}

/// Why a profile could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Account(#[from] ResolveError),
    #[error(transparent)]
    Pds(#[from] ProfileError),
}

impl Reading {
    /// Whether it holds: it was read a moment ago, at the PDS that the account is at now. Not when the
    /// clock was set back meanwhile.
    fn is_current(&self, pds: &Origin, now: Timestamp) -> bool {
        self.pds == *pds && self.read_at <= now && now < self.read_again_at
    }
}

impl AccountProfiles {
    /// Reads them with `pds`.
    pub fn new(pds: Arc<PdsClient>, clock: Arc<dyn Clock>) -> Self {
        Self {
            pds,
            clock,
            known: Cache::new(MAX_PROFILES),
        }
    }

    /// The profile of `did`, which was at `pds` when it last signed in; `None` if it has none there, or
    /// none that can be read at present. Takes two seconds at most, once for all who ask at the same time.
    pub async fn profile(&self, did: &Did, pds: &Origin) -> Option<ProfileRecord> {
        let now = self.clock.now();
        let before = self.known.get(did);
        if let Some(reading) = &before
            && reading.is_current(pds, now)
        {
            return reading.profile.clone();
        }
        let if_current = |_: &Did, reading: &mut Arc<Reading>| {
            if reading.is_current(pds, self.clock.now()) {
                EntryAction::Retain(Arc::clone(reading))
            } else {
                EntryAction::ReplaceWithGuard
            }
        };
        let reader = match self.known.entry_async(did, if_current).await {
            EntryResult::Retained(reading) => return reading.profile.clone(),
            EntryResult::Replaced(reader, _) | EntryResult::Vacant(reader) => Some(reader),
            // Neither is asked for.
            EntryResult::Removed(..) | EntryResult::Timeout => None,
        };
        let reading = self.read(did, pds, before.as_deref()).await;
        let profile = reading.profile.clone();
        if let Some(reader) = reader {
            // An error says that it was thrown out meanwhile.
            drop(reader.insert(Arc::new(reading)));
        }
        profile
    }

    /// What the PDS tells now; if it does not, what it told before.
    async fn read(&self, did: &Did, pds: &Origin, before: Option<&Reading>) -> Reading {
        let read = timeout(PROFILE_READ_TIMEOUT, self.record(did, pds)).await;
        let read_at = self.clock.now();
        let failed = match read {
            Ok(Ok(profile)) => {
                return Reading {
                    pds: pds.clone(),
                    profile,
                    read_at,
                    read_again_at: read_at + PROFILE_MAX_AGE,
                };
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!(
                "the PDS takes longer than {} s",
                PROFILE_READ_TIMEOUT.as_secs()
            ),
        };
        tracing::info!(account = %did, %pds, error = failed, "profile lookup failed");
        let before = before.filter(|it| it.pds == *pds);
        Reading {
            pds: pds.clone(),
            profile: before.and_then(|it| it.profile.clone()),
            read_at,
            read_again_at: read_at + PROFILE_RETRY_DELAY,
        }
    }

    /// The record at `pds`; `None` if the account is not there any more. Where it was at its last sign-in
    /// is all that the caller knows, and a host that somebody has left must not name them.
    async fn record(&self, did: &Did, pds: &Origin) -> Result<Option<ProfileRecord>, ReadError> {
        let resolver = self.pds.resolver();
        let found = resolver
            .document(did, Freshness::Cached, &mut Trace::default())
            .await;
        match found.and_then(|document| resolver.pds_of(&document)) {
            Ok(current) if current == *pds => Ok(self.pds.profile_record(pds, did).await?),
            Err(error) if error.is_transient() => Err(error.into()),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}
