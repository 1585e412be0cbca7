//! Delegations: an owner lets another account, the delegate, act for theirs through AIP.
//!
//! A delegation has an upstream session of its own, which the owner's PDS gave for it. A call or a
//! token of the delegate for the owner is judged by the scope that the delegation and the token both
//! allow. Whoever acts for somebody cannot pass that on: a token exchanged by a delegation is no
//! subject of another exchange (RFC 8693 §2.1).

use std::time::Duration;

use aip_atproto::{Did, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use async_trait::async_trait;
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::StorageError;
use crate::audit::AuditEvent;
use crate::client::ClientId;
use crate::grant::Grant;
use crate::resource_uri::ResourceList;
use crate::upstream::{StateName, UpstreamSession};

/// The most live delegations of one owner.
pub const MAX_DELEGATIONS_OF_OWNER: u32 = 20;

/// The most live tokens of one app by which one delegate acts for one owner. The oldest gives way to a
/// new one: an app that exchanges at every call must not lock itself out.
pub const MAX_EXCHANGED_TOKENS: u32 = 20;

/// The longest life of a delegation.
pub const MAX_DELEGATION_LIFE: Duration = Duration::from_hours(366 * 24);

/// An account that may act for another one.
#[derive(Debug, Clone)]
pub struct Delegation {
    /// Its id.
    pub id: RowId,
    /// Whose account it is.
    pub owner: Did,
    /// Who may act for it: another account.
    pub delegate: Did,
    /// What the owner chose, in the words of the page.
    pub preset: DelegationPreset,
    /// What of it the owner's PDS granted. A delegate has no more, whatever their token allows.
    pub scope: ScopeSet,
    /// The session that serves it, at the owner's PDS.
    pub upstream_session: RowId,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub ends_at: Timestamp,
}

/// What an owner can let somebody do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum DelegationPreset {
    /// Write and delete posts.
    Posts,
    /// The same, with images and videos.
    PostsWithImages,
    /// The same, and like, repost and follow.
    PostsAndReactions,
    /// All records and files, and all that the network's default service shows the account; nothing of
    /// the account itself.
    Everything,
}

/// Why a delegation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum DelegationEnd {
    /// The owner took it back.
    TakenBack,
    /// The owner gave the same account another one.
    Replaced,
    /// Its time had passed.
    Expired,
}

/// A delegation as its owner sees it.
#[derive(Debug, Clone)]
pub struct DelegationStatus {
    /// The delegation.
    pub delegation: Delegation,
    /// The state of its session; `None` if it is not there any more.
    pub session: Option<StateName>,
}

/// A live delegation with its session, as of one instant.
#[derive(Debug, Clone)]
pub struct DelegationForCall {
    /// The delegation.
    pub delegation: Delegation,
    /// Its session, which can be used or refreshed: one that needs the owner serves nobody.
    pub session: UpstreamSession,
}

/// The outcome of giving a delegation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveDelegation {
    /// It is stored with its session. One that the same delegate had from the owner has ended.
    Given,
    /// The owner has as many as one may have. Nothing changed.
    Full,
}

/// A token by which a delegate acts for an owner, to be stored.
#[derive(Debug, Clone)]
pub struct DelegatedToken {
    /// By which delegation. It must be live.
    pub delegation: RowId,
    /// The grant of the delegate's own token, which was exchanged. It must be live, and the token ends
    /// with it.
    pub parent: RowId,
    /// The grant that the token belongs to, unless this delegation and `parent` have one already: its
    /// subject is the owner, its actor the delegate.
    pub grant: Grant,
    /// The keyed hash of the access token.
    pub access: TokenHash,
    /// What it allows.
    pub scope: ScopeSet,
    /// The resource servers that it is for; none: AIP alone. If these are all of `grant`, it loses those that
    /// are taken from the grant.
    pub audience: ResourceList,
    /// The key that it is bound to.
    pub dpop_jkt: Option<String>,
    /// When it expires.
    pub expires_at: Timestamp,
    /// What tells of `grant`, if that is stored with it: once for each grant, as one token can be
    /// exchanged any number of times.
    pub event: AuditEvent,
}

/// The verbs on delegations and on the tokens of delegates.
#[async_trait]
pub trait Delegations: Send + Sync {
    /// Stores a delegation with its session and the events that tell of it, in one transaction.
    async fn give_delegation(
        &self,
        delegation: &Delegation,
        session: &UpstreamSession,
        events: &[AuditEvent],
    ) -> Result<GiveDelegation, StorageError>;

    /// The live delegations of an owner, newest first.
    async fn delegations_of(
        &self,
        owner: &Did,
        now: Timestamp,
    ) -> Result<Vec<DelegationStatus>, StorageError>;

    /// The live delegation by which `delegate` may act for `owner`, with its session; `None` as well
    /// if the session cannot be used any more.
    async fn delegation_for_call(
        &self,
        owner: &Did,
        delegate: &Did,
        now: Timestamp,
    ) -> Result<Option<DelegationForCall>, StorageError>;

    /// Ends a delegation of that owner with its tokens and its session, and records that as `event`. Whether
    /// it was live.
    async fn end_delegation(
        &self,
        owner: &Did,
        id: RowId,
        reason: DelegationEnd,
        now: Timestamp,
        event: AuditEvent,
    ) -> Result<bool, StorageError>;

    /// Ends up to `batch` delegations whose time has passed, likewise. Returns how many there were.
    async fn end_expired_delegations(
        &self,
        now: Timestamp,
        batch: u32,
    ) -> Result<u64, StorageError>;

    /// Stores a token of a delegate, in place of the oldest where the app has [`MAX_EXCHANGED_TOKENS`] live
    /// ones of the delegation. `false`: its delegation or the grant that it comes from has ended
    /// meanwhile, and nothing changed. The present instant is the grant's `created_at`.
    async fn put_delegated_token(&self, token: &DelegatedToken) -> Result<bool, StorageError>;

    /// The newest audit events of what delegates did for `owner`, newest first, at most `limit`.
    async fn acts_of_delegates(
        &self,
        owner: &Did,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, StorageError>;
}

impl DelegationPreset {
    /// What it allows. Never the account itself (`account:`, `identity:`), nor `aip:credentials`.
    pub fn scope(self) -> ScopeSet {
        let words = match self {
            Self::Posts => "atproto repo:app.bsky.feed.post?action=create&action=delete",
            Self::PostsWithImages => {
                "atproto repo:app.bsky.feed.post?action=create&action=delete \
                 blob?accept=image/*&accept=video/*"
            }
            Self::PostsAndReactions => {
                "atproto repo:app.bsky.feed.post?action=create&action=delete \
                 blob?accept=image/*&accept=video/* \
                 repo:app.bsky.feed.like?action=create&action=delete \
                 repo:app.bsky.feed.repost?action=create&action=delete \
                 repo:app.bsky.graph.follow?action=create&action=delete"
            }
            Self::Everything => {
                "atproto repo:* blob:*/* rpc:*?aud=did:web:api.bsky.app%23bsky_appview"
            }
        };
        // They are fixed, and a test parses them; a set without a scope would allow nothing.
        words.parse().unwrap_or_default()
    }
}

impl ClientId {
    /// What stands for a client in the sessions of delegations, which serve no single app. No client
    /// can be registered under it.
    pub fn of_delegations() -> Self {
        Self::fixed("aip:delegations")
    }
}

#[cfg(test)]
mod tests {
    use aip_atproto::Scope;
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn a_preset_allows_what_it_says_and_nothing_of_the_account_itself() {
        for preset in DelegationPreset::iter() {
            let scope = preset.scope();
            assert!(scope.contains(&Scope::Atproto), "{preset:?}");
            assert!(scope.len() > 1, "{preset:?}: {scope}");
            assert_eq!(scope, scope.known(), "{preset:?}");
            let beyond = scope.iter().find(|it| {
                matches!(
                    it,
                    Scope::Account(_)
                        | Scope::Identity(_)
                        | Scope::Credentials
                        | Scope::Transition(_)
                        | Scope::Include(_)
                )
            });
            assert_eq!(beyond, None, "{preset:?}");
        }
    }

    #[test]
    fn each_preset_allows_all_of_the_one_before() {
        let presets: Vec<_> = DelegationPreset::iter().collect();
        for pair in presets.windows(2) {
            let (less, more) = (pair[0].scope(), pair[1].scope());
            assert!(more.covers_all(&less), "{pair:?}");
            assert!(!less.covers_all(&more), "{pair:?}");
        }
    }
}
