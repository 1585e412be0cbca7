//! Who somebody is: handle → DID → document, and the document's handle back to the DID
//! (<https://atproto.com/specs/handle>, <https://atproto.com/specs/did>).

mod did;
mod directories;
mod error;
mod handle;
mod known;
mod lexicon;

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{AtIdentifier, Did, DidDocument, Handle, Nsid, Origin, PermissionSet};
use aip_base::{Clock, DnsTxt, Http};

pub use error::ResolveError;
pub use handle::HandleMethod;
pub use known::{KnownHandle, KnownIdentity};
pub use lexicon::LexiconError;

use self::did::{Purpose, ReadDocument};
use self::directories::Directories;
use self::handle::HandleAnswer;
use crate::cache::{AnswerCache, ByteSize, CachePolicy, Capacity, Source};
use crate::trace::{Step, Trace};

/// What a cached handle may take on average, in bytes. Usual ones take half of it.
const HANDLE_BYTES: usize = 1024;
/// What a cached document may take on average, in bytes. Usual ones have one kilobyte of JSON.
const DOCUMENT_BYTES: usize = 2048;
/// How old a handle is at most that is shown to a person who signs in, or told to an app then.
const RECENT_HANDLE_MAX_AGE: Duration = Duration::from_mins(10);

/// Where and how to resolve.
#[derive(Debug, Clone)]
pub struct ResolverConfig {
    /// PLC directories, mirrors first; the last one is the authority.
    pub plc: Vec<Origin>,
    /// Servers whose `com.atproto.identity.resolveHandle` is asked when DNS and the host of the
    /// handle give no answer.
    pub handle_fallback: Vec<Origin>,
    /// Whether `.test` handles and plain-http servers exist.
    pub development: bool,
    /// How many handles, and how many documents, are cached.
    pub cache_capacity: usize,
    /// The age after which a cached answer is fetched again.
    pub soft_age: Duration,
    /// The age until which a cached answer is used when fetching it again fails.
    pub hard_age: Duration,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            plc: Vec::new(),
            handle_fallback: Vec::new(),
            development: false,
            cache_capacity: 20_000,
            soft_age: Duration::from_hours(1),
            hard_age: Duration::from_hours(24),
        }
    }
}

/// Whether cached answers may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// For display and routing.
    Cached,
    /// For what is shown while somebody signs in: at most ten minutes old.
    Recent,
    /// For decisions about who somebody is: read anew, of the PLC directories at the authority alone. What
    /// is found refreshes the cache.
    Uncached,
}

/// An account as its DID document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedIdentity {
    /// The account.
    pub did: Did,
    /// Its handle, if the handle resolves back to the account. `None` is shown as
    /// `handle.invalid`.
    pub handle: Option<Handle>,
    /// Its server.
    pub pds: Origin,
    /// The document.
    pub document: Arc<DidDocument>,
}

/// Resolves handles and DIDs.
pub struct Resolver {
    http: Arc<dyn Http>,
    dns: Arc<dyn DnsTxt>,
    clock: Arc<dyn Clock>,
    config: ResolverConfig,
    directories: Directories,
    handles: AnswerCache<Handle, HandleAnswer, ResolveError>,
    documents: AnswerCache<Did, ReadDocument, ResolveError>,
    permission_sets: AnswerCache<Nsid, Arc<PermissionSet>, LexiconError>,
}

impl VerifiedIdentity {
    /// The handle for display, `handle.invalid` when it is not the account's.
    pub fn display_handle(&self) -> &str {
        self.handle
            .as_ref()
            .map_or("handle.invalid", Handle::as_str)
    }
}

impl Resolver {
    /// A resolver with empty caches.
    pub fn new(
        http: Arc<dyn Http>,
        dns: Arc<dyn DnsTxt>,
        clock: Arc<dyn Clock>,
        config: ResolverConfig,
    ) -> Self {
        let policy = CachePolicy {
            soft: config.soft_age,
            hard: config.hard_age,
            negative: Duration::from_mins(1),
            pause: Duration::from_secs(5),
        };
        let capacity = |bytes: usize| Capacity {
            entries: config.cache_capacity,
            bytes: config.cache_capacity.saturating_mul(bytes),
        };
        let handles = AnswerCache::new(capacity(HANDLE_BYTES), policy, Arc::clone(&clock));
        let documents = AnswerCache::new(capacity(DOCUMENT_BYTES), policy, Arc::clone(&clock));
        let permission_sets =
            AnswerCache::new(lexicon::SETS, lexicon::SET_AGES, Arc::clone(&clock));
        let directories = Directories::new(config.plc.clone(), Arc::clone(&clock));
        Self {
            http,
            dns,
            clock,
            config,
            directories,
            handles,
            documents,
            permission_sets,
        }
    }

    /// The account that `id` names, with its handle checked in both directions.
    pub async fn resolve(
        &self,
        id: &AtIdentifier,
        freshness: Freshness,
        trace: &mut Trace,
    ) -> Result<VerifiedIdentity, ResolveError> {
        let (did, asked) = match id {
            AtIdentifier::Did(did) => (did.clone(), None),
            AtIdentifier::Handle(handle) => {
                (self.did_of(handle, freshness, trace).await?, Some(handle))
            }
        };
        let document = self.document(&did, freshness, trace).await?;
        let pds = self.pds_of(&document)?;
        let handle = match document.handle() {
            // The other direction was just walked.
            Some(claimed) if Some(claimed) == asked => Some(claimed.clone()),
            Some(claimed) => {
                let found = self.did_of(claimed, freshness, trace).await;
                (found.as_ref() == Ok(&did)).then(|| claimed.clone())
            }
            None => None,
        };
        Ok(VerifiedIdentity {
            did,
            handle,
            pds,
            document,
        })
    }

    /// The DID document of `did`.
    pub async fn document(
        &self,
        did: &Did,
        freshness: Freshness,
        trace: &mut Trace,
    ) -> Result<Arc<DidDocument>, ResolveError> {
        let found = self.document_and_age(did, freshness, trace).await;
        found.map(|(document, _)| document)
    }

    /// The DID document of `did`, read within `max_age`, of the PLC directories at the authority alone. What
    /// is remembered from before, or from a mirror, is not used, not even when nobody answers. Of all who ask
    /// at once one reads it; where a mirror's document is remembered, each does.
    pub async fn document_within(
        &self,
        did: &Did,
        max_age: Duration,
        trace: &mut Trace,
    ) -> Result<Arc<DidDocument>, ResolveError> {
        let kept = self.documents.peek_kept(did);
        let fetch = self.fetch_document(did, Purpose::Proof, kept, trace);
        let (outcome, _) = self.documents.get_within(did, max_age, fetch).await;
        let read = outcome?;
        if read.is_of_authority {
            return Ok(read.document);
        }
        self.document(did, Freshness::Uncached, trace).await
    }

    /// The DID document of `did`, and how long ago it was read.
    async fn document_and_age(
        &self,
        did: &Did,
        freshness: Freshness,
        trace: &mut Trace,
    ) -> Result<(Arc<DidDocument>, Duration), ResolveError> {
        let kept = self.documents.peek_kept(did);
        if freshness == Freshness::Uncached {
            let fetch = self.fetch_document(did, Purpose::Proof, kept, trace);
            let read = fetch.await?;
            self.documents.put(did.clone(), read.clone());
            return Ok((read.document, Duration::ZERO));
        }
        let fetch = self.fetch_document(did, Purpose::Information, kept, trace);
        let max_age = self.max_age(freshness);
        let (outcome, source) = self.documents.get_within(did, max_age, fetch).await;
        self.note_cache("DID document", did.as_str(), source, outcome.is_ok(), trace);
        outcome.map(|read| (read.document, source.age()))
    }

    /// Forgets what is remembered of an account whose identity has changed.
    pub fn forget(&self, did: &Did) {
        if let Some(read) = self.documents.remove(did)
            && let Some(handle) = read.document.handle()
        {
            self.handles.remove(handle);
        }
    }

    /// Reads what is remembered of an account anew at its next use, because somebody says that it has
    /// changed. While nobody answers, what is remembered is used as long as ever.
    pub fn mark_stale(&self, did: &Did) {
        if let Some(read) = self.documents.expire(did)
            && let Some(handle) = read.document.handle()
        {
            self.handles.expire(handle);
        }
    }

    /// The DID that `handle` points to, one direction only.
    pub async fn did_of(
        &self,
        handle: &Handle,
        freshness: Freshness,
        trace: &mut Trace,
    ) -> Result<Did, ResolveError> {
        let found = self.answer_and_age(handle, freshness, trace).await;
        found.map(|(answer, _)| answer.did)
    }

    /// Likewise, with where that was read, and how long ago.
    async fn answer_and_age(
        &self,
        handle: &Handle,
        freshness: Freshness,
        trace: &mut Trace,
    ) -> Result<(HandleAnswer, Duration), ResolveError> {
        if freshness == Freshness::Uncached {
            let answer = self.fetch_handle(handle, trace).await?;
            self.handles.put(handle.clone(), answer.clone());
            return Ok((answer, Duration::ZERO));
        }
        let (outcome, source) = self
            .handles
            .get_within(
                handle,
                self.max_age(freshness),
                self.fetch_handle(handle, trace),
            )
            .await;
        self.note_cache("handle", handle.as_str(), source, outcome.is_ok(), trace);
        outcome.map(|answer| (answer, source.age()))
    }

    /// The PDS that `document` names, if it may be used.
    pub fn pds_of(&self, document: &DidDocument) -> Result<Origin, ResolveError> {
        let usable = |pds: &&Origin| pds.is_https() || self.config.development;
        let pds = document.pds_endpoint().filter(usable);
        pds.cloned()
            .ok_or_else(|| ResolveError::NoPds(document.id().clone()))
    }

    fn max_age(&self, freshness: Freshness) -> Duration {
        match freshness {
            Freshness::Recent => RECENT_HANDLE_MAX_AGE,
            Freshness::Cached | Freshness::Uncached => self.config.hard_age,
        }
    }

    fn note_cache(
        &self,
        what: &'static str,
        subject: &str,
        source: Source,
        ok: bool,
        trace: &mut Trace,
    ) {
        if let Source::Cache { age } = source {
            let step = Step::begin(&*self.clock, what, subject);
            let outcome = format!("remembered from {} s ago", age.as_secs());
            trace.steps.push(if ok {
                step.found(outcome)
            } else {
                step.failed(outcome)
            });
        }
    }
}

impl ByteSize for Handle {
    fn bytes(&self) -> usize {
        self.as_str().len()
    }
}

impl ByteSize for HandleAnswer {
    fn bytes(&self) -> usize {
        self.did.bytes()
    }
}

impl ByteSize for Did {
    fn bytes(&self) -> usize {
        self.as_str().len()
    }
}

impl ByteSize for Arc<DidDocument> {
    fn bytes(&self) -> usize {
        let handle = self.handle().map_or(0, |handle| handle.as_str().len());
        let pds = self.pds_endpoint().map_or(0, |pds| pds.as_str().len());
        let key = self.signing_key().map_or(0, |key| key.multibase.len());
        let json = self.json().map_or(0, str::len);
        size_of::<DidDocument>() + self.id().as_str().len() + handle + pds + key + json
    }
}

#[cfg(test)]
mod tests;
