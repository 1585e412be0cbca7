//! Purposes and states of keys, and their names in files and on the command line.

use std::fmt;

use aip_jose::Alg;

use super::KeyTimes;

/// What a key signs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::IntoStaticStr, strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
pub enum Purpose {
    /// Client assertions towards PDSs.
    Upstream,
    /// `id_token`s and other tokens that apps verify.
    Oidc,
    /// What AIP says as a service of the AT Protocol: the key is in its own DID document.
    ServiceAuth,
}

/// Where a key is in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::IntoStaticStr, strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
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
    /// When it came into its states.
    pub times: KeyTimes,
}

impl Purpose {
    /// The name in files and on the command line.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl KeyState {
    /// The name in files and on the command line.
    pub fn as_str(self) -> &'static str {
        self.into()
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
