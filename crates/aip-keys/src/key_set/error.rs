//! What can be wrong with a key set, or with what is to be done to it.

use aip_jose::{Alg, KeyError};

use super::Purpose;

/// Why a key set was not loaded or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not a JWK Set.
    #[error("not a JWK Set: a JSON object with an array `keys`")]
    Malformed,
    /// A key of the set is not a private key that AIP can use.
    #[error("key number {number} of the set is refused")]
    Key {
        /// Counted from 1.
        number: usize,
        /// What is wrong with its JWK.
        source: KeyError,
    },
    /// The crypto library failed.
    #[error("a key was not generated or exported")]
    Library(#[source] KeyError),
    /// A purpose or state with an unknown name, or a time that is none.
    #[error(
        "key number {number} of the set has a `{member}` that is none: purposes are `upstream`, \
         `oidc` and `service_auth`, states `published`, `active` and `retired`, times whole seconds since 1970"
    )]
    Member {
        /// Counted from 1.
        number: usize,
        /// The name of the member.
        member: &'static str,
    },
    /// An algorithm that is not used for this purpose.
    #[error(
        "the key `{kid}` is {alg}, which is not used for {purpose} keys (upstream, \
         service_auth: ES256; oidc: ES256, RS256, EdDSA)"
    )]
    Unsuitable {
        /// The key.
        kid: String,
        /// Its algorithm.
        alg: Alg,
        /// Its purpose.
        purpose: Purpose,
    },
    /// Two keys share an id, or are the same key.
    #[error("the key `{0}` is in the set twice")]
    Duplicate(String),
    /// Two active keys of one purpose and algorithm.
    #[error("there are two active {purpose} keys for {alg}; make one of them `published`")]
    TwoActive {
        /// The purpose.
        purpose: Purpose,
        /// The algorithm.
        alg: Alg,
    },
    /// No key to authenticate towards PDSs with.
    #[error("there is no active upstream key: an ES256 key that is listed as active is needed")]
    NoUpstream,
    /// No such key.
    #[error("there is no key `{0}` in the set; `aip keys list` shows them")]
    Unknown(String),
    /// A key that was taken out of the public set.
    #[error("the key `{0}` is retired: nobody would know what it signs")]
    Retired(String),
    /// The list of active keys names one that cannot sign towards PDSs.
    #[error(
        "`{kid}` cannot sign towards PDSs, as keys.active_signing_keys asks: {why}; {}",
        suitable_keys_text(.usable)
    )]
    NotUpstream {
        /// What was named.
        kid: String,
        /// Why it cannot.
        why: String,
        /// The keys that can.
        usable: Vec<String>,
    },
    /// An active key would be lost.
    #[error("the key `{0}` is active: activate another one first")]
    Active(String),
}

fn suitable_keys_text(kids: &[String]) -> String {
    if kids.is_empty() {
        return "no key of the set can".to_owned();
    }
    format!("these can: {}", kids.join(", "))
}
