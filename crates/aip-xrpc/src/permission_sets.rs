//! `include:` scopes as the permissions that their sets publish
//! (<https://atproto.com/specs/permission#permission-sets>).
//!
//! They are read only for calls that the token does not allow without them: most calls cost nothing here.

use std::time::Duration;

use aip_atproto::{Scope, ScopeSet};
use aip_pds::{LexiconError, Resolver};
use tokio::time::timeout;

use crate::error::ForwardError;
use crate::permit::Refusal;

/// The most sets of one token that are read; those beyond hold nothing.
const MAX_SETS: usize = 16;
/// How long the sets of one token may take to be read. What was read by then is kept for the next call.
const DEADLINE: Duration = Duration::from_secs(10);

/// Judges by `scope`, and if that allows too little, by what its sets hold besides.
pub(crate) async fn judge_with_sets<T>(
    resolver: &Resolver,
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
    let read = timeout(DEADLINE, with_sets(resolver, scope)).await;
    let (wider, unread) = read.map_err(|_| ForwardError::PermissionSets)?;
    match (judge(&wider), unread) {
        // The one that could not be read may be the one that allows it.
        (Err(Refusal::Scope(_)), Some(error)) => {
            tracing::warn!(%error, "permission set unavailable");
            Err(ForwardError::PermissionSets)
        }
        (judged, _) => Ok(judged?),
    }
}

/// The scope with what its sets hold, and why a set could not be read now. A set that nobody publishes
/// holds nothing.
async fn with_sets(resolver: &Resolver, scope: &ScopeSet) -> (ScopeSet, Option<LexiconError>) {
    let mut scopes: Vec<Scope> = scope.iter().cloned().collect();
    let mut unread = None;
    let includes = scope.iter().filter_map(|it| match it {
        Scope::Include(include) => Some(include),
        _ => None,
    });
    for include in includes.take(MAX_SETS) {
        match resolver.permission_set(include.set()).await {
            Ok(set) => scopes.extend(set.expand(include).iter().cloned()),
            Err(LexiconError::NotPublished(..)) => {}
            Err(error @ LexiconError::Unavailable(..)) => unread = Some(error),
        }
    }
    (scopes.into_iter().collect(), unread)
}
