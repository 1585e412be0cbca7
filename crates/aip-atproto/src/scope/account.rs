//! `account:` and `identity:` scopes: the account at its PDS, its handle and its DID document
//! (<https://atproto.com/specs/permission#account>, `#identity`).

use std::fmt;

use super::syntax::{self, Syntax};

/// One attribute of the account, to read or to manage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountScope {
    /// The attribute.
    pub attr: AccountAttr,
    /// Whether it may be changed, too; otherwise it may only be read.
    pub manage: bool,
}

/// An attribute of an account.
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
pub enum AccountAttr {
    /// The e-mail address.
    Email,
    /// The repository as a whole; managing it means importing one.
    Repo,
    /// Whether the account is active.
    Status,
}

/// An attribute of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityAttr {
    /// `identity:handle`: the handle may be changed.
    Handle,
    /// `*`: the whole DID document, keys and PDS included.
    Any,
}

impl AccountAttr {
    /// The attribute as scopes write it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl AccountScope {
    pub(super) fn from_syntax(syntax: &Syntax<'_>) -> Option<Self> {
        if !syntax.has_only(&["attr", "action"]) {
            return None;
        }
        let name = syntax.value("attr", true)?;
        let attr = name.parse().ok()?;
        let manage = match syntax.values("action", false)?.as_slice() {
            [] | ["read"] => false,
            ["manage"] => true,
            _ => return None,
        };
        Some(Self { attr, manage })
    }

    /// Whether this scope allows what `other` allows: managing includes reading.
    pub(super) fn covers(self, other: Self) -> bool {
        self.attr == other.attr && (self.manage || !other.manage)
    }

    pub(super) fn intersection(self, other: Self) -> Option<Self> {
        (self.attr == other.attr).then_some(Self {
            attr: self.attr,
            manage: self.manage && other.manage,
        })
    }
}

impl fmt::Display for AccountScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = if self.manage { vec!["manage"] } else { vec![] };
        syntax::write(
            f,
            "account",
            &[("attr", vec![self.attr.as_str()]), ("action", action)],
        )
    }
}

impl IdentityAttr {
    /// The attribute as scopes write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handle => "handle",
            Self::Any => "*",
        }
    }

    pub(super) fn from_syntax(syntax: &Syntax<'_>) -> Option<Self> {
        if !syntax.has_only(&["attr"]) {
            return None;
        }
        let name = syntax.value("attr", true)?;
        [Self::Handle, Self::Any]
            .into_iter()
            .find(|attr| attr.as_str() == name)
    }

    pub(super) fn covers(self, other: Self) -> bool {
        self == Self::Any || self == other
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        if self == Self::Any { other } else { self }
    }
}

impl fmt::Display for IdentityAttr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        syntax::write(f, "identity", &[("attr", vec![self.as_str()])])
    }
}
