//! The smallest units of permission, to which every "may this app …?" comes down.

use super::account::{AccountScope, IdentityAttr};
use super::blob::MimeGlob;
use super::repo::RepoAction;
use super::{AccountAttr, Scope, Transition};
use crate::nsid::Nsid;

/// Methods below this group need [`Transition::ChatBsky`] besides [`Transition::Generic`].
const CHAT: &str = "chat.bsky";

/// One thing that an app may do. `None` stands for "any": it is asked for as a whole and allowed
/// only by a scope that has the wildcard, too.
#[derive(Debug, Clone, Copy)]
pub(super) enum Permission<'a> {
    Repo {
        collection: Option<&'a Nsid>,
        action: RepoAction,
    },
    Rpc {
        method: Option<&'a Nsid>,
        audience: Option<&'a str>,
    },
    Blob(&'a MimeGlob),
    Account(AccountScope),
    Identity(IdentityAttr),
}

impl Permission<'_> {
    /// Which transitional scopes, all of them present, allow this.
    pub(super) fn transitions(&self) -> &'static [Transition] {
        const EMAIL: AccountScope = AccountScope {
            attr: AccountAttr::Email,
            manage: false,
        };
        match self {
            Self::Repo { .. } | Self::Blob(_) => &[Transition::Generic],
            Self::Rpc {
                method: Some(method),
                ..
            } if !method.is_within(CHAT) => &[Transition::Generic],
            Self::Rpc { .. } => &[Transition::Generic, Transition::ChatBsky],
            Self::Account(scope) if *scope == EMAIL => &[Transition::Email],
            Self::Account(_) | Self::Identity(_) => &[],
        }
    }
}

impl Scope {
    /// What this scope asks for, one by one. Empty for words, which stand for themselves.
    pub(super) fn permissions(&self) -> Vec<Permission<'_>> {
        match self {
            Self::Repo(repo) => {
                let of = |collection| {
                    repo.actions()
                        .map(move |action| Permission::Repo { collection, action })
                };
                repo.collections
                    .members()
                    .into_iter()
                    .flat_map(of)
                    .collect()
            }
            Self::Rpc(rpc) => {
                let audience = rpc.audience.service();
                let of = |method| Permission::Rpc { method, audience };
                rpc.methods.members().into_iter().map(of).collect()
            }
            Self::Blob(blob) => blob.accept().map(Permission::Blob).collect(),
            Self::Account(account) => vec![Permission::Account(*account)],
            Self::Identity(attr) => vec![Permission::Identity(*attr)],
            Self::Atproto
            | Self::OpenId(_)
            | Self::Transition(_)
            | Self::Include(_)
            | Self::Credentials
            | Self::Other(_) => vec![],
        }
    }

    /// Whether this granular scope alone allows `permission`.
    pub(super) fn grants(&self, permission: &Permission<'_>) -> bool {
        match (self, permission) {
            (Self::Repo(repo), Permission::Repo { collection, action }) => {
                repo.actions.contains(action) && repo.collections.contains(*collection)
            }
            (Self::Rpc(rpc), Permission::Rpc { method, audience }) => {
                let granted = rpc.audience.service();
                (granted.is_none() || granted == *audience) && rpc.methods.contains(*method)
            }
            (Self::Blob(blob), Permission::Blob(wanted)) => {
                blob.accept().any(|glob| glob.covers(wanted))
            }
            (Self::Account(account), Permission::Account(wanted)) => account.covers(*wanted),
            (Self::Identity(attr), Permission::Identity(wanted)) => attr.covers(*wanted),
            _ => false,
        }
    }

    /// What two granular scopes of one kind both allow.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Repo(a), Self::Repo(b)) => a.intersection(b).map(Self::Repo),
            (Self::Rpc(a), Self::Rpc(b)) => a.intersection(b).map(Self::Rpc),
            (Self::Blob(a), Self::Blob(b)) => a.intersection(b).map(Self::Blob),
            (Self::Account(a), Self::Account(b)) => a.intersection(*b).map(Self::Account),
            (Self::Identity(a), Self::Identity(b)) => Some(Self::Identity(a.intersection(*b))),
            _ => None,
        }
    }
}
