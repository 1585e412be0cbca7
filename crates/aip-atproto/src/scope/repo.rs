//! `repo:` scopes: writing records of the account (<https://atproto.com/specs/permission#repo>).

use std::collections::BTreeSet;
use std::fmt;
use strum::IntoEnumIterator as _;

use super::nsid_set::NsidSet;
use super::syntax::{self, Syntax};

/// What may be done to which collections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoScope {
    pub(super) collections: NsidSet,
    pub(super) actions: BTreeSet<RepoAction>,
}

/// A way of writing a record.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::EnumIter,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
pub enum RepoAction {
    /// Adding a record.
    Create,
    /// Replacing a record.
    Update,
    /// Removing a record.
    Delete,
}

impl RepoAction {
    /// The action as scopes write it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// From the values of an `action` parameter; none at all means every action.
    pub(super) fn from_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<BTreeSet<Self>> {
        let action = |name: &str| name.parse().ok();
        let mut actions = names.map(action).collect::<Option<BTreeSet<_>>>()?;
        if actions.is_empty() {
            actions.extend(Self::iter());
        }
        Some(actions)
    }
}

impl RepoScope {
    pub(super) fn from_syntax(syntax: &Syntax<'_>) -> Option<Self> {
        if !syntax.has_only(&["collection", "action"]) {
            return None;
        }
        let collections = NsidSet::from_values(&syntax.values("collection", true)?)?;
        let actions = RepoAction::from_names(syntax.values("action", false)?.into_iter())?;
        Some(Self {
            collections,
            actions,
        })
    }

    /// The collections that may be written to.
    pub fn collections(&self) -> &NsidSet {
        &self.collections
    }

    /// What may be done to their records: at least one action.
    pub fn actions(&self) -> impl Iterator<Item = RepoAction> {
        self.actions.iter().copied()
    }

    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let collections = self.collections.intersection(&other.collections)?;
        let actions: BTreeSet<_> = self.actions.intersection(&other.actions).copied().collect();
        (!actions.is_empty()).then_some(Self {
            collections,
            actions,
        })
    }
}

impl fmt::Display for RepoScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parameters = vec![("collection", self.collections.values())];
        if self.actions.len() < RepoAction::iter().len() {
            parameters.push(("action", self.actions().map(RepoAction::as_str).collect()));
        }
        syntax::write(f, "repo", &parameters)
    }
}
