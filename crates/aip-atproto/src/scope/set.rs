//! Sets of scopes: parsing (RFC 6749 §3.3), comparing, and asking what they allow.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::account::{AccountAttr, AccountScope, IdentityAttr};
use super::blob::MimeGlob;
use super::permission::Permission;
use super::repo::RepoAction;
use super::{Scope, Transition};
use crate::nsid::Nsid;

/// The longest set as text, as written and in canonical form.
const MAX_LEN: usize = 8 * 1024;
/// The most scopes in one set.
const MAX_SCOPES: usize = 128;
/// What [`super::for_upstream`] may add. Every set leaves room for it, so that the set which a PDS
/// is asked for can be stored and read back like any other.
const ADDED_UPSTREAM: [Scope; 2] = [
    Scope::Atproto,
    Scope::Account(AccountScope {
        attr: AccountAttr::Email,
        manage: false,
    }),
];

/// What a client asks for, or was granted: scopes without repetition, in canonical order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeSet(BTreeSet<Scope>);

/// Why a text is not a scope parameter. Unknown words are no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// More than 8 KiB.
    #[error("a scope parameter has at most {MAX_LEN} characters")]
    TooLong,
    /// More than 126 scopes besides `atproto` and `account:email`.
    #[error("at most {} scopes can be asked for at once", MAX_SCOPES - ADDED_UPSTREAM.len())]
    TooMany,
    /// A character that RFC 6749 §3.3 does not allow.
    #[error(
        "scopes are printable ASCII without quotation marks and backslashes, separated by spaces"
    )]
    Characters,
}

impl ScopeSet {
    /// Parses a space-separated list; the empty text is the empty set.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAX_LEN {
            return Err(ScopeError::TooLong);
        }
        let allowed = |b: u8| matches!(b, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !text.bytes().all(allowed) {
            return Err(ScopeError::Characters);
        }
        let tokens = text.split(' ').filter(|token| !token.is_empty());
        Self(tokens.map(Scope::parse).collect()).bounded()
    }

    /// Refuses a set that would be too large to be read back.
    fn bounded(self) -> Result<Self, ScopeError> {
        let mut widest = self.clone();
        widest.0.extend(ADDED_UPSTREAM);
        if widest.len() > MAX_SCOPES {
            return Err(ScopeError::TooMany);
        }
        if widest.to_string().len() > MAX_LEN {
            return Err(ScopeError::TooLong);
        }
        Ok(self)
    }

    /// The scopes, in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether there is no scope.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of scopes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this very scope is in the set. See [`Self::covers`] for what it allows.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// This set without the words that this server does not know.
    #[must_use]
    pub fn known(&self) -> Self {
        let known = |scope: &&Scope| !matches!(scope, Scope::Other(_));
        Self(self.0.iter().filter(known).cloned().collect())
    }

    /// The words that this server does not know, and that therefore grant nothing.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|scope| match scope {
            Scope::Other(word) => Some(word.as_str()),
            _ => None,
        })
    }

    /// Whether everything that `scope` allows is allowed by this set: by this very scope, or by
    /// others together. Words and `include:` are covered by themselves only.
    pub fn covers(&self, scope: &Scope) -> bool {
        if self.contains(scope) {
            return true;
        }
        let wanted = scope.permissions();
        !wanted.is_empty() && wanted.iter().all(|permission| self.permits(permission))
    }

    /// Whether this set covers every scope of `other`.
    pub fn covers_all(&self, other: &Self) -> bool {
        other.0.iter().all(|scope| self.covers(scope))
    }

    /// What both sets allow, as far as scopes can say it: the result is covered by both. Where
    /// no scope says it exactly (all methods of a service, without chat), it is left out.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mine = self.0.iter().filter(|scope| other.covers(scope));
        let theirs = other.0.iter().filter(|scope| self.covers(scope));
        let common: Self = mine.chain(theirs).cloned().collect();
        let pairs = self
            .0
            .iter()
            .flat_map(|a| other.0.iter().map(move |b| (a, b)));
        let overlaps = pairs.filter_map(|(a, b)| a.intersection(b));

        let mut both = Self::default();
        for scope in common.0.iter().cloned().chain(overlaps) {
            if !common.contains(&scope) && both.covers(&scope) {
                continue;
            }
            let mut wider = both.clone();
            wider.0.insert(scope);
            // Two hostile sets could multiply; what does not fit is not granted.
            match wider.bounded() {
                Ok(wider) => both = wider,
                Err(_) => break,
            }
        }
        both
    }

    /// The scopes of both sets; an error if they are too many for one.
    pub fn union(&self, other: &Self) -> Result<Self, ScopeError> {
        Self(self.0.union(&other.0).cloned().collect()).bounded()
    }

    /// Adds one scope.
    pub(super) fn insert(&mut self, scope: Scope) {
        self.0.insert(scope);
    }

    /// Whether records of `collection` may be written in this way.
    pub fn allows_repo(&self, collection: &Nsid, action: RepoAction) -> bool {
        self.permits(&Permission::Repo {
            collection: Some(collection),
            action,
        })
    }

    /// Whether the method may be called at `audience` (`did#service`), by proxying or with a
    /// service token.
    pub fn allows_rpc(&self, method: &Nsid, audience: &str) -> bool {
        self.permits(&Permission::Rpc {
            method: Some(method),
            audience: Some(audience),
        })
    }

    /// Whether a file of this media type (the value of `Content-Type`, parameters are ignored) may
    /// be uploaded.
    pub fn allows_blob(&self, media_type: &str) -> bool {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        MimeGlob::parse(essence).is_some_and(|glob| self.permits(&Permission::Blob(&glob)))
    }

    /// Whether the attribute of the account may be read or, with `manage`, changed.
    pub fn allows_account(&self, attr: AccountAttr, manage: bool) -> bool {
        self.permits(&Permission::Account(AccountScope { attr, manage }))
    }

    /// Whether the attribute of the identity may be changed.
    pub fn allows_identity(&self, attr: IdentityAttr) -> bool {
        self.permits(&Permission::Identity(attr))
    }

    fn permits(&self, permission: &Permission<'_>) -> bool {
        let transitions = permission.transitions();
        let has = |transition: &Transition| self.contains(&Scope::Transition(*transition));
        (!transitions.is_empty() && transitions.iter().all(has))
            || self.0.iter().any(|scope| scope.grants(permission))
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            scope.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for ScopeSet {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::collections::btree_set::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
