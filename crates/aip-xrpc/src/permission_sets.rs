//! `include:` scopes as the permissions that their sets publish
//! (<https://atproto.com/specs/permission#permission-sets>).
//!
//! They are read only for calls that the token does not allow without them: most calls cost nothing here.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{Nsid, PermissionSet, Scope, ScopeSet};
use aip_base::{HttpError, Timestamp};
use aip_pds::{LexiconError, Resolver};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::error::ForwardError;
use crate::permit::Refusal;
use crate::quota::{CallQuota, OverQuota};

/// The most sets of one token that are read; those beyond hold nothing.
const MAX_SETS: usize = 16;
/// How long a call waits for a set. The resolver ends the reading of one before, and remembers that; this
/// is for who waits for what others read.
const DEADLINE: Duration = Duration::from_secs(6);

/// Reads the permission sets of an app's token.
pub(crate) struct SetReader<'a> {
    /// Reads them, and remembers what they hold.
    pub(crate) resolver: &'a Resolver,
    /// Counts those that are read, if calls are limited.
    pub(crate) quota: Option<&'a CallQuota>,
    /// The app.
    pub(crate) client: &'a str,
    pub(crate) now: Timestamp,
}

/// Why it is not known now what a set holds.
enum UnavailableSet {
    /// Nobody says it.
    Unavailable(LexiconError),
    /// The app has had too many read.
    TooOften(OverQuota),
}

impl SetReader<'_> {
    /// Judges by `scope`, and if that allows too little, by what its sets hold besides.
    pub(crate) async fn judge<T>(
        &self,
        scope: &ScopeSet,
        judge: impl Fn(&ScopeSet) -> Result<T, Refusal>,
    ) -> Result<T, ForwardError> {
        let refusal = match judge(scope) {
            Ok(judged) => return Ok(judged),
            Err(refusal) => refusal,
        };
        let includes = scope.iter().any(|it| matches!(it, Scope::Include(_)));
        if !includes || !matches!(refusal, Refusal::Scope(_)) {
            return Err(refusal.into());
        }
        // In a box: calls that the token itself allows need none of it.
        let (wider, unread) = Box::pin(self.with_sets(scope)).await;
        match (judge(&wider), unread) {
            // The one that could not be read may be the one that allows it.
            (Err(Refusal::Scope(_)), Some(UnavailableSet::Unavailable(error))) => {
                tracing::warn!(%error, "permission set unavailable");
                Err(ForwardError::PermissionSets)
            }
            (Err(Refusal::Scope(_)), Some(UnavailableSet::TooOften(over))) => {
                metrics::counter!("aip_rate_limited_total", "limit" => "permission_sets")
                    .increment(1);
                Err(over.into())
            }
            (judged, _) => Ok(judged?),
        }
    }

    /// The scope with what its sets hold, and why it is not known what one of them holds. They are read
    /// side by side, so that one that is slow keeps no other from being read.
    async fn with_sets(&self, scope: &ScopeSet) -> (ScopeSet, Option<UnavailableSet>) {
        let includes = scope.iter().filter_map(|it| match it {
            Scope::Include(include) => Some(include),
            _ => None,
        });
        let includes: Vec<_> = includes.take(MAX_SETS).collect();
        let mut reads = Vec::with_capacity(includes.len());
        for include in &includes {
            reads.push(self.read(include.set()).boxed());
        }
        let reads = join_all(reads).await;
        let mut scopes: Vec<Scope> = scope.iter().cloned().collect();
        let mut unread = None;
        for (include, read) in includes.into_iter().zip(reads) {
            match read {
                Ok(Some(set)) => scopes.extend(set.expand(include).iter().cloned()),
                Ok(None) => {}
                Err(error) => unread = Some(error),
            }
        }
        (scopes.into_iter().collect(), unread)
    }

    /// The set; `None` if nobody publishes it: then it holds nothing.
    async fn read(&self, set: &Nsid) -> Result<Option<Arc<PermissionSet>>, UnavailableSet> {
        // Who asks for what others read already costs nothing, so what is read is counted where it begins.
        if let Some(quota) = self.quota
            && !self.resolver.remembers_permission_set(set)
            && let Err(over) = quota.may_read_set(self.client, self.now)
        {
            // What is kept of it is good for longer than it is taken without a look.
            let kept = timeout(DEADLINE, self.resolver.cached_permission_set(set)).await;
            let kept = kept.ok().flatten();
            return kept.map(Some).ok_or(UnavailableSet::TooOften(over));
        }
        let count = || {
            if let Some(quota) = self.quota {
                quota.count_set(self.client, self.now);
            }
        };
        let read = timeout(DEADLINE, self.resolver.permission_set(set, count));
        match read.await {
            Ok(Ok(set)) => Ok(Some(set)),
            Ok(Err(LexiconError::NotPublished(..))) => Ok(None),
            Ok(Err(error @ LexiconError::Unavailable(..))) => {
                Err(UnavailableSet::Unavailable(error))
            }
            Err(_) => {
                let reason = HttpError::Deadline(DEADLINE).to_string();
                let error = LexiconError::Unavailable(set.clone(), reason);
                Err(UnavailableSet::Unavailable(error))
            }
        }
    }
}
