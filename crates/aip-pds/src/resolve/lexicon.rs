//! Permission sets that `include:` scopes name: lexicons that their authors publish in a repository
//! (<https://atproto.com/specs/lexicon#lexicon-publication-and-resolution>).
//!
//! The record is taken as the author's PDS gives it over TLS; its proof in the repository is not checked.
//! What a set opens here the account's own PDS judges again, by its own reading of the set.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Did, Nsid, PermissionSet};
use aip_base::{DnsError, HttpError, Limits, excerpt};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;
use url::form_urlencoded;

use super::{Freshness, Resolver};
use crate::cache::{ByteSize, CachePolicy, Capacity, Transient};
use crate::document::get;
use crate::trace::Trace;

/// A record with a lexicon.
const RECORD: Limits = Limits {
    max_bytes: 300 * 1024,
    deadline: Duration::from_secs(5),
};
/// How long a set may take to be read in all: who publishes it, the document, and the record. Then that it
/// could not be read is remembered like any other failure, and no call waits for it again.
const READING_DEADLINE: Duration = Duration::from_secs(5);
/// A larger set in memory counts as unpublished, so that few of them do not fill what is remembered of all.
const MAX_SET_BYTES: usize = 64 * 1024;
/// The ages are those of the specification of permission sets: stale after a day, unusable after 90.
pub(super) const SET_AGES: CachePolicy = CachePolicy {
    soft: Duration::from_hours(24),
    hard: Duration::from_hours(90 * 24),
    negative: Duration::from_mins(1),
    pause: Duration::from_secs(30),
};
/// How many permission sets are remembered, and how many bytes they may take.
pub(super) const SETS: Capacity = Capacity {
    entries: 1024,
    bytes: 8 * 1024 * 1024,
};

/// Why a permission set could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LexiconError {
    /// Nobody publishes it.
    #[error("the permission set {0} is not published: {1}")]
    NotPublished(Nsid, String),
    /// No answer, or none that could be understood: asking again later may help.
    #[error("the permission set {0} could not be read now: {1}")]
    Unavailable(Nsid, String),
}

/// `com.atproto.repo.getRecord`.
#[derive(Deserialize)]
struct Record {
    value: Value,
}

impl Resolver {
    /// The permission set that is published as `set`, from the cache if it is there. If it is read for
    /// this caller, `begin` is called before.
    pub async fn permission_set(
        &self,
        set: &Nsid,
        begin: impl FnOnce(),
    ) -> Result<Arc<PermissionSet>, LexiconError> {
        let fetch = async move {
            begin();
            let fetched = timeout(READING_DEADLINE, self.fetch_permission_set(set)).await;
            fetched.unwrap_or_else(|_| {
                let reason = HttpError::Deadline(READING_DEADLINE).to_string();
                Err(LexiconError::Unavailable(set.clone(), reason))
            })
        };
        let (found, _) = self.permission_sets.get(set, fetch).await;
        found
    }

    /// That permission set as it was read at last, for a caller who may not have it read anew. It is older
    /// than it should be, and younger than 90 days.
    pub async fn cached_permission_set(&self, set: &Nsid) -> Option<Arc<PermissionSet>> {
        self.permission_sets.get_cached(set).await
    }

    /// Whether nobody needs to be asked for that permission set now.
    pub fn remembers_permission_set(&self, set: &Nsid) -> bool {
        self.permission_sets.peek(set).is_some()
    }

    async fn fetch_permission_set(&self, set: &Nsid) -> Result<Arc<PermissionSet>, LexiconError> {
        let unpublished = |reason: String| LexiconError::NotPublished(set.clone(), reason);
        let unavailable = |reason: String| LexiconError::Unavailable(set.clone(), excerpt(&reason));
        let author = self.author_of(set).await?;
        let mut trace = Trace::default();
        let document = self.document(&author, Freshness::Cached, &mut trace).await;
        let pds = document.and_then(|document| self.pds_of(&document));
        let pds = pds.map_err(|error| {
            if error.is_transient() {
                unavailable(error.to_string())
            } else {
                unpublished(error.to_string())
            }
        })?;
        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("repo", author.as_str())
            .append_pair("collection", "com.atproto.lexicon.schema")
            .append_pair("rkey", set.as_str())
            .finish();
        let url = pds.join(&format!("/xrpc/com.atproto.repo.getRecord?{query}"));
        let answer = get(&*self.http, &url, RECORD).await;
        let answer = answer.map_err(|error| unavailable(error.to_string()))?;
        match answer.status {
            StatusCode::OK => {}
            // How XRPC says that there is no such record.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
                return Err(unpublished(format!("{pds} has no such record")));
            }
            status => return Err(unavailable(format!("status {status}"))),
        }
        let parsed = parse(set, &answer.body);
        parsed.map(Arc::new).map_err(unpublished)
    }

    /// Who publishes the lexicons of that name: `_lexicon.` and the domain of its group, with no
    /// regard to the domains above.
    async fn author_of(&self, set: &Nsid) -> Result<Did, LexiconError> {
        let domain: Vec<&str> = set.authority().split('.').rev().collect();
        let name = format!("_lexicon.{}", domain.join("."));
        let records = match self.dns.txt(&name).await {
            Ok(records) => records,
            Err(DnsError::NoRecord) => Vec::new(),
            Err(error @ DnsError::Failed(_)) => {
                let reason = excerpt(&error.to_string());
                return Err(LexiconError::Unavailable(set.clone(), reason));
            }
        };
        let did = |record: &String| Did::parse(record.trim().strip_prefix("did=")?.trim()).ok();
        let mut dids = records.iter().filter_map(did);
        match dids.next() {
            Some(did) if dids.all(|other| other == did) => Ok(did),
            Some(_) => Err(LexiconError::NotPublished(
                set.clone(),
                format!("the DNS records {name} name more than one DID"),
            )),
            None => Err(LexiconError::NotPublished(
                set.clone(),
                format!("no DNS record {name} names a DID"),
            )),
        }
    }
}

fn parse(set: &Nsid, body: &Bytes) -> Result<PermissionSet, String> {
    let record: Record =
        serde_json::from_slice(body).map_err(|error| excerpt(&error.to_string()))?;
    let parsed = PermissionSet::parse_for(set, record.value.to_string().as_bytes())
        .map_err(|error| excerpt(&error.to_string()))?;
    if parsed.memory_bytes() > MAX_SET_BYTES {
        return Err(format!("it takes more than {MAX_SET_BYTES} bytes"));
    }
    Ok(parsed)
}

impl Transient for LexiconError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(..))
    }
}

impl ByteSize for Nsid {
    fn bytes(&self) -> usize {
        self.as_str().len()
    }
}

impl ByteSize for Arc<PermissionSet> {
    fn bytes(&self) -> usize {
        self.memory_bytes()
    }
}

impl ByteSize for LexiconError {
    /// The texts of others in it are cut when it is made.
    fn bytes(&self) -> usize {
        1024
    }
}

#[cfg(test)]
#[path = "lexicon_tests.rs"]
mod tests;
