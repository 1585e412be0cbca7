//! The collections of a `repo:` scope and the methods of an `rpc:` scope: all, or a list.

use std::collections::BTreeSet;

use crate::nsid::Nsid;

/// All NSIDs, or those listed (at least one).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NsidSet {
    /// `*`.
    Any,
    /// These, without partial wildcards.
    Listed(BTreeSet<Nsid>),
}

impl NsidSet {
    /// From the values of a parameter: each is `*` or an NSID, and there is at least one.
    pub(super) fn from_values(values: &[&str]) -> Option<Self> {
        let mut any = false;
        let mut listed = BTreeSet::new();
        for value in values {
            if *value == "*" {
                any = true;
            } else {
                listed.insert(Nsid::parse(value).ok()?);
            }
        }
        match (any, listed.is_empty()) {
            (true, _) => Some(Self::Any),
            (false, true) => None,
            (false, false) => Some(Self::Listed(listed)),
        }
    }

    /// The values of the parameter, in canonical order.
    pub(super) fn values(&self) -> Vec<&str> {
        match self {
            Self::Any => vec!["*"],
            Self::Listed(listed) => listed.iter().map(Nsid::as_str).collect(),
        }
    }

    /// Whether `nsid` is in this set.
    pub fn has(&self, nsid: &Nsid) -> bool {
        self.contains(Some(nsid))
    }

    /// The members to check one by one; `None` stands for all NSIDs at once.
    pub(super) fn members(&self) -> Vec<Option<&Nsid>> {
        match self {
            Self::Any => vec![None],
            Self::Listed(listed) => listed.iter().map(Some).collect(),
        }
    }

    /// Whether `member` (all NSIDs if `None`) is in this set.
    pub(super) fn contains(&self, member: Option<&Nsid>) -> bool {
        match (self, member) {
            (Self::Any, _) => true,
            (Self::Listed(listed), Some(nsid)) => listed.contains(nsid),
            (Self::Listed(_), None) => false,
        }
    }

    /// What is in both sets.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, set) | (set, Self::Any) => Some(set.clone()),
            (Self::Listed(a), Self::Listed(b)) => {
                let both: BTreeSet<Nsid> = a.intersection(b).cloned().collect();
                (!both.is_empty()).then_some(Self::Listed(both))
            }
        }
    }
}
