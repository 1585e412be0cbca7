//! The private keys that a stack gives to AIP: a JWK Set (RFC 7517 §5), and the ids that sign.
//!
//! What a key is for and where it is in its life are the members `aip_purpose` and `aip_state` of
//! its JWK. A set without them is one of an older AIP, where `ACTIVE_SIGNING_KEYS` says it all.
//! When a key came to its state is in members of the module `times`, in sets of both kinds.
//! Members that are not understood here stay as they are.

mod schedule;
#[cfg(test)]
mod tests;
mod times;

use aip_base::{Clock, Rng, RowId, Timestamp};
use aip_jose::{KeyError, SigningKey};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};

pub use aip_jose::Alg;
pub use schedule::{Deployed, Due, MIN_PUBLISHED, Schedule, Step};
pub use times::KeyTimes;

const PURPOSE: &str = "aip_purpose";
const STATE: &str = "aip_state";
const ACTIVE: &str = "active";
const PUBLISHED: &str = "published";
const RETIRED: &str = "retired";

/// The JWK Set of a stack and the ids that sign.
#[derive(Clone)]
pub struct SigningKeys {
    keys: Vec<Value>,
    /// Other members of the set.
    others: Map<String, Value>,
    active: Vec<String>,
    service: Vec<String>,
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Signs requests to PDSs.
    Upstream,
    /// Signs tokens for apps.
    Oidc,
    /// Signs as a service of the AT Protocol.
    #[serde(rename = "service_auth")]
    ServiceAuth,
}

impl Purpose {
    /// As `aip_purpose` of the JWK says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Oidc => "oidc",
            Self::ServiceAuth => "service_auth",
        }
    }
}

/// The public facts of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// Its id.
    pub kid: String,
    /// Its algorithm, where it is known here.
    pub alg: Option<&'static str>,
    /// What it signs.
    pub purpose: Purpose,
    /// `active`, `published` or `retired`.
    pub state: &'static str,
    /// Whether `SERVICE_AUTH_KEYS` names it.
    pub service_auth: bool,
    /// When it came to its states, as far as its JWK says.
    pub times: KeyTimes,
}

/// Why a stack file is older than what is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutdatedBy {
    /// The deployed set has a key of this id, and the other set has not.
    Lacks(String),
    /// The last change of the deployed set is later than that of the other.
    Older,
}

/// Why the keys are not what was asked for.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages document the variants")]
pub enum SigningKeysError {
    #[error("is not a JWK Set whose keys have a `kid`")]
    Malformed,
    #[error("there is no key `{0}`")]
    Unknown(String),
    #[error("the key `{0}` is active already")]
    AlreadyActive(String),
    #[error("the key `{0}` is retired")]
    Retired(String),
    #[error("the key `{0}` is active: activate another one first")]
    Active(String),
    /// A key that something else signs with would be lost.
    #[error("the key `{0}` is one of SERVICE_AUTH_KEYS: remove it there first")]
    Service(String),
    /// Sessions would end.
    #[error(
        "sessions at PDSs may be bound to the key `{0}`: it stays published until it is removed by hand"
    )]
    Bound(String),
    #[error("the keys of the set have no purposes yet: `aip` generates a set with every purpose")]
    OnePurpose,
    /// Nobody can say what follows it.
    #[error(
        "no {} key of the set is active{}", .0.as_str(),
        if *.0 == Purpose::Upstream { ": name it in aip_config.required_env.ACTIVE_SIGNING_KEYS" } else { "" }
    )]
    NoneActive(Purpose),
    #[error("no key is waiting for activation: `aip-deploy keys rotate` adds one")]
    NoneWaiting,
    #[error("several keys are waiting for activation, specify one: {}", .0.join(" or "))]
    SeveralWaiting(Vec<String>),
    #[error("the key was not generated: {0}")]
    Library(#[from] KeyError),
}

impl SigningKeys {
    /// Reads a JWK Set. `active` and `service` are the ids that the environment names.
    pub fn parse(
        json: &str,
        active: Vec<String>,
        service: Vec<String>,
    ) -> Result<Self, SigningKeysError> {
        let mut set: Map<String, Value> =
            serde_json::from_str(json).map_err(|_| SigningKeysError::Malformed)?;
        match set.remove("keys") {
            Some(Value::Array(keys)) if keys.iter().all(|key| key["kid"].is_string()) => Ok(Self {
                keys,
                others: set,
                active,
                service,
            }),
            _ => Err(SigningKeysError::Malformed),
        }
    }

    /// The JWK Set, with its private members.
    pub fn to_json(&self) -> SecretString {
        let mut set = self.others.clone();
        set.insert("keys".to_owned(), self.keys.clone().into());
        Value::Object(set).to_string().into()
    }

    /// What `ACTIVE_SIGNING_KEYS` has to say.
    pub fn active(&self) -> &[String] {
        &self.active
    }

    /// Every key, as it may be shown.
    pub fn list(&self) -> Vec<KeyView> {
        self.keys.iter().map(|key| self.view(key)).collect()
    }

    /// Whether there is a key of this id.
    pub fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key["kid"] == kid)
    }

    /// Whether a set that is deployed is newer than this one: it has a key that is not in here, or one
    /// that is in both was changed later.
    ///
    /// A retired key that is not for PDSs may be missing, as it is removed at the end of its life. A set from before it
    /// was made is still found: it lacks the key that signs now, or has it as it was before.
    pub fn outdated_by(&self, deployed: &Self) -> Option<OutdatedBy> {
        let all = deployed.list().into_iter();
        let (common, missing): (Vec<_>, Vec<_>) = all.partition(|key| self.has(&key.kid));
        let was_removed = |key: &KeyView| {
            key.purpose != Purpose::Upstream && key.state == RETIRED && !key.service_auth
        };
        if let Some(key) = missing.into_iter().find(|key| !was_removed(key)) {
            return Some(OutdatedBy::Lacks(key.kid));
        }
        let changes = common.into_iter().filter_map(|key| key.times.last());
        (changes.max() > self.last_change()).then_some(OutdatedBy::Older)
    }

    /// When a key last came to another state; none if no key says.
    fn last_change(&self) -> Option<Timestamp> {
        let times = self.keys.iter().map(KeyTimes::of);
        times.filter_map(KeyTimes::last).max()
    }

    /// Whether both sets and the ids that sign are the same.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.keys, &self.others, &self.active) == (&other.keys, &other.others, &other.active)
    }

    /// Generates a key, published and not active. Returns its id.
    pub fn add(
        &mut self,
        purpose: Purpose,
        alg: Alg,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<String, SigningKeysError> {
        let states = self.has_states();
        if purpose != Purpose::Upstream && !states {
            return Err(SigningKeysError::OnePurpose);
        }
        // Ids sort by time, as those do that `aip` makes.
        let kid = RowId::new(clock, rng).to_string();
        let jwk = SigningKey::generate(alg, Some(kid.clone()))?.to_private_jwk_json()?;
        let mut key: Value =
            serde_json::from_str(jwk.expose_secret()).map_err(|_| SigningKeysError::Malformed)?;
        if states {
            key[PURPOSE] = purpose.as_str().into();
            key[STATE] = PUBLISHED.into();
        }
        let now = clock.now();
        times::set(&mut key, times::CREATED, now);
        times::set(&mut key, times::PUBLISHED, now);
        self.keys.push(key);
        Ok(kid)
    }

    /// The one key that is published and waits for its activation.
    pub fn waiting(&self, purpose: Purpose) -> Result<String, SigningKeysError> {
        let sequences = self.key_sequences().into_iter();
        let of_purpose = sequences.filter(|sequence| sequence.purpose == purpose);
        let candidates = of_purpose.flat_map(|line| line.waiting().cloned().collect::<Vec<_>>());
        let mut kids: Vec<String> = candidates.map(|key| key.kid).collect();
        if kids.len() > 1 {
            return Err(SigningKeysError::SeveralWaiting(kids));
        }
        kids.pop().ok_or(SigningKeysError::NoneWaiting)
    }

    /// Lets a published key sign. Those that signed before stay published: sessions at PDSs are
    /// bound to the key they began with.
    pub fn activate(&mut self, kid: &str, now: Timestamp) -> Result<(), SigningKeysError> {
        let chosen = self.find(kid)?;
        match chosen.state {
            ACTIVE => return Err(SigningKeysError::AlreadyActive(chosen.kid)),
            RETIRED => return Err(SigningKeysError::Retired(chosen.kid)),
            _ => {}
        }
        let same = |key: &KeyView| key.purpose == chosen.purpose && key.alg == chosen.alg;
        let others = self.list().into_iter();
        let others = others.map(|key| (same(&key), same(&key) && key.state == ACTIVE));
        let others: Vec<(bool, bool)> = others.collect();
        let states = self.has_states();
        for (key, (same, was_active)) in self.keys.iter_mut().zip(others) {
            if key["kid"] == kid {
                times::set(key, times::ACTIVATED, now);
                times::forget(key, times::SUPERSEDED);
                if states {
                    key[STATE] = ACTIVE.into();
                }
            } else if was_active || (same && key[STATE] == ACTIVE) {
                times::set(key, times::SUPERSEDED, now);
                if states {
                    key[STATE] = PUBLISHED.into();
                }
            }
        }
        if chosen.purpose == Purpose::Upstream {
            self.active = vec![kid.to_owned()];
        }
        Ok(())
    }

    /// Takes a key out of the public set; one for apps still verifies what it signed. One for PDSs would
    /// end every session that is bound to it: that is done by hand, by [`Self::remove`].
    pub fn retire(&mut self, kid: &str, now: Timestamp) -> Result<(), SigningKeysError> {
        let chosen = self.find(kid)?;
        match (chosen.state, chosen.purpose) {
            (ACTIVE, _) => return Err(SigningKeysError::Active(chosen.kid)),
            (RETIRED, _) => return Err(SigningKeysError::Retired(chosen.kid)),
            (_, Purpose::Upstream) => return Err(SigningKeysError::Bound(chosen.kid)),
            (_, Purpose::Oidc | Purpose::ServiceAuth) if chosen.service_auth => {
                return Err(SigningKeysError::Service(chosen.kid));
            }
            (_, Purpose::Oidc | Purpose::ServiceAuth) => {}
        }
        for key in self.keys.iter_mut().filter(|key| key["kid"] == kid) {
            key[STATE] = RETIRED.into();
            times::set(key, times::RETIRED, now);
        }
        Ok(())
    }

    /// Forgets a key that nothing signs with any more.
    pub fn remove(&mut self, kid: &str) -> Result<(), SigningKeysError> {
        let key = self.find(kid)?;
        if key.state == ACTIVE {
            return Err(SigningKeysError::Active(key.kid));
        }
        if key.service_auth {
            return Err(SigningKeysError::Service(key.kid));
        }
        self.keys.retain(|key| key["kid"] != kid);
        Ok(())
    }

    fn find(&self, kid: &str) -> Result<KeyView, SigningKeysError> {
        let mut all = self.list().into_iter();
        all.find(|key| key.kid == kid)
            .ok_or_else(|| SigningKeysError::Unknown(kid.to_owned()))
    }

    fn has_states(&self) -> bool {
        self.keys.iter().any(|key| !key[STATE].is_null())
    }

    fn view(&self, key: &Value) -> KeyView {
        let kid = key["kid"].as_str().unwrap_or_default();
        let alg = alg(key);
        let purpose = match key[PURPOSE].as_str() {
            Some(text) if text == Purpose::Oidc.as_str() => Purpose::Oidc,
            Some(text) if text == Purpose::ServiceAuth.as_str() => Purpose::ServiceAuth,
            // What signs towards PDSs is ES256, so these can only be meant for apps.
            None if matches!(alg, Some(Alg::Rs256 | Alg::EdDsa)) => Purpose::Oidc,
            _ => Purpose::Upstream,
        };
        let named = self.active.iter().any(|active| active == kid);
        let state = match (purpose, key[STATE].as_str()) {
            (_, Some(RETIRED)) => RETIRED,
            // The environment counts more than the file.
            (Purpose::Upstream, _) if !self.active.is_empty() => {
                if named {
                    ACTIVE
                } else {
                    PUBLISHED
                }
            }
            (_, Some(ACTIVE)) => ACTIVE,
            _ if named => ACTIVE,
            _ => PUBLISHED,
        };
        KeyView {
            kid: kid.to_owned(),
            alg: alg.map(Alg::as_str),
            purpose,
            state,
            service_auth: self.service.iter().any(|service| service == kid),
            times: KeyTimes::of(key),
        }
    }
}

/// The algorithm that a key of this type has here; each has one.
fn alg(key: &Value) -> Option<Alg> {
    match (key["kty"].as_str()?, key["crv"].as_str()) {
        ("EC", Some("P-256")) => Some(Alg::Es256),
        ("EC", Some("secp256k1")) => Some(Alg::Es256k),
        ("RSA", _) => Some(Alg::Rs256),
        ("OKP", Some("Ed25519")) => Some(Alg::EdDsa),
        _ => None,
    }
}
