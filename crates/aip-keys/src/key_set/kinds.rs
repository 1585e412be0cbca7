//! Purposes and states of keys, and their names in files and on the command line.

use std::fmt;

use aip_jose::Alg;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Client assertions towards PDSs.
    Upstream,
    /// `id_token`s and other tokens that apps verify.
    Oidc,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and signs what is new.
    Active,
    /// Published; an upstream key still signs for the sessions that are bound to it.
    Published,
    /// Not published; only verifies what it signed before.
    Retired,
}

/// A key, as it may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo<'a> {
    /// Its id.
    pub kid: &'a str,
    /// Its algorithm.
    pub alg: Alg,
    /// What it signs.
    pub purpose: Purpose,
    /// Where it is in its life.
    pub state: KeyState,
}

impl Purpose {
    pub(super) const ALL: [Self; 2] = [Self::Upstream, Self::Oidc];

    /// The name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Oidc => "oidc",
        }
    }
}

impl KeyState {
    pub(super) const ALL: [Self; 3] = [Self::Active, Self::Published, Self::Retired];

    /// The name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Published => "published",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
