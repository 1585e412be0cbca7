//! How an upstream session lies in its row.
//!
//! A session under a lease keeps its word in `state` (`active` or `uncertain`); the lease columns
//! make it `Refreshing`. So a lease that lapses gives the state back without a write.

use aip_storage::StorageError;
use aip_storage::upstream::{Lease, SealedTokens, UpstreamSession, UpstreamState};

use super::sql::{Fields, Row};

/// The columns of a session.
macro_rules! session_columns {
    () => {
        "id, client_id, did, issuer, pds, upstream_client_id, client_key_id, dpop_key, scope, \
         access_token, refresh_token, access_expires_at, generation, state, reason, lease_owner, \
         lease_until, fence, next_refresh_at, failures, refreshed_at, created_at"
    };
}
pub(super) use session_columns;

/// How a state lies in its columns.
pub(super) struct StateColumns<'a> {
    pub(super) word: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) lease: Option<&'a Lease>,
}

impl<'a> StateColumns<'a> {
    pub(super) fn of(state: &'a UpstreamState) -> Self {
        let (word, reason, lease) = match state {
            UpstreamState::Active => ("active", None, None),
            UpstreamState::Refreshing(lease) => ("active", None, Some(lease)),
            UpstreamState::Uncertain => ("uncertain", None, None),
            UpstreamState::NeedsReauth(reason) => ("needs_reauth", Some(reason.as_str()), None),
            UpstreamState::Ended(reason) => ("ended", Some(reason.as_str()), None),
        };
        Self {
            word,
            reason,
            lease,
        }
    }
}

fn read_state(fields: &Fields<'_>) -> Result<UpstreamState, StorageError> {
    let word: String = fields.get("state")?;
    let lease = match (fields.get("lease_owner")?, fields.get("lease_until")?) {
        (Some(owner), Some(until)) => Some(Lease {
            owner,
            fence: fields.get("fence")?,
            until,
        }),
        (None, None) => None,
        _ => return Err(fields.inconsistent("owner and end of a lease come together")),
    };
    match (word.as_str(), lease) {
        ("active" | "uncertain", Some(lease)) => Ok(UpstreamState::Refreshing(lease)),
        ("active", None) => Ok(UpstreamState::Active),
        ("uncertain", None) => Ok(UpstreamState::Uncertain),
        ("needs_reauth", None) => Ok(UpstreamState::NeedsReauth(fields.get("reason")?)),
        ("ended", None) => Ok(UpstreamState::Ended(fields.get("reason")?)),
        (_, Some(_)) => Err(fields.inconsistent("only a live session is leased")),
        (_, None) => Err(fields.inconsistent("column state")),
    }
}

pub(super) fn read_session(row: &Row) -> Result<UpstreamSession, StorageError> {
    let fields = Fields::of("upstream_sessions", "id", row)?;
    Ok(UpstreamSession {
        id: fields.get("id")?,
        client_id: fields.get("client_id")?,
        did: fields.get("did")?,
        issuer: fields.get("issuer")?,
        pds: fields.get("pds")?,
        upstream_client_id: fields.get("upstream_client_id")?,
        client_key_id: fields.get("client_key_id")?,
        dpop_key: fields.get("dpop_key")?,
        scope: fields.get("scope")?,
        tokens: SealedTokens {
            access: fields.get("access_token")?,
            refresh: fields.get("refresh_token")?,
            access_expires_at: fields.get("access_expires_at")?,
        },
        generation: fields.get("generation")?,
        state: read_state(&fields)?,
        next_refresh_at: fields.get("next_refresh_at")?,
        failures: fields.get("failures")?,
        refreshed_at: fields.get("refreshed_at")?,
        created_at: fields.get("created_at")?,
    })
}
