//! A key set as a JWK Set (RFC 7517 §5) of private keys.
//!
//! Purpose and state are two members more, `aip_purpose` and `aip_state`, which other software
//! ignores, as it does the times of [`KeyTimes`]. A set without them is one of an older AIP: its ES256 keys are upstream keys, of which
//! a setting names the active ones.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use aip_jose::{Alg, KeyError, SigningKey};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Entry, KeySet, KeySetError, KeyState, KeyTimes, Purpose, SUITABLE_OIDC_ALGS};

const PURPOSE: &str = "aip_purpose";
const STATE: &str = "aip_state";

#[derive(Serialize, Deserialize)]
struct File {
    keys: Vec<Map<String, Value>>,
}

impl KeySet {
    /// Reads a JWK Set of private keys.
    ///
    /// `active` names upstream keys, the one that is to sign first; it wins over the states in
    /// the file. When it is empty and the file has no states, the first ES256 key signs.
    pub fn load_json(json: &str, active: &[String]) -> Result<Self, KeySetError> {
        let file: File = serde_json::from_str(json).map_err(|_| KeySetError::Malformed)?;
        let plain = !file.keys.iter().any(|key| key.contains_key(STATE));
        let entries: Vec<_> = (1..)
            .zip(file.keys)
            .map(|(number, key)| parse_key(number, key))
            .collect::<Result<_, _>>()?;
        check_unique(&entries)?;
        check_one_active(&entries)?;
        let signing = choose_upstream(&entries, active, plain)?;
        let kid = signing.kid.clone();
        let mut set = Self {
            upstream: Arc::clone(&signing.key),
            entries,
        };
        set.set_active(&kid)?;
        if plain {
            set.activate_first_oidc()?;
        }
        Ok(set)
    }

    fn activate_first_oidc(&mut self) -> Result<(), KeySetError> {
        for alg in SUITABLE_OIDC_ALGS {
            let first = self
                .published(Purpose::Oidc)
                .find(|entry| entry.key.alg() == alg);
            if let Some(kid) = first.map(|entry| entry.kid.clone()) {
                self.set_active(&kid)?;
            }
        }
        Ok(())
    }

    /// The JSON text, to be written to a file of mode 0600 or to a secret store.
    pub fn to_json(&self) -> Result<SecretString, KeySetError> {
        let mut keys = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let jwk = entry
                .key
                .to_private_jwk_json()
                .map_err(KeySetError::Library)?;
            let mut key: Map<String, Value> =
                serde_json::from_str(jwk.expose_secret()).map_err(|_| KeySetError::Malformed)?;
            key.insert(PURPOSE.to_owned(), entry.purpose.as_str().into());
            key.insert(STATE.to_owned(), entry.state.as_str().into());
            entry.times.put_into(&mut key);
            keys.push(key);
        }
        serde_json::to_string(&File { keys })
            .map(SecretString::from)
            .map_err(|_| KeySetError::Malformed)
    }
}

fn parse_key(number: usize, mut key: Map<String, Value>) -> Result<Entry, KeySetError> {
    let refused = |source| KeySetError::Key { number, source };
    let state = key.remove(STATE);
    let purpose = key.remove(PURPOSE);
    let kid = key.get("kid").and_then(Value::as_str).map(str::to_owned);
    let times = KeyTimes::take_from(&mut key, kid.as_deref())
        .map_err(|member| KeySetError::Member { number, member })?;
    let mut signing = parse_jwk(&key).map_err(refused)?;
    if signing.kid().is_none() {
        key.insert(
            "kid".to_owned(),
            signing.public().thumbprint().as_str().into(),
        );
        signing = parse_jwk(&key).map_err(refused)?;
    }
    let purpose = match purpose {
        Some(name) => parsed(&name).ok_or(KeySetError::Member {
            number,
            member: PURPOSE,
        })?,
        // What signs towards PDSs is ES256, so these can only be meant for apps.
        None if matches!(signing.alg(), Alg::Rs256 | Alg::EdDsa) => Purpose::Oidc,
        None => Purpose::Upstream,
    };
    let state = match state {
        Some(name) => parsed(&name).ok_or(KeySetError::Member {
            number,
            member: STATE,
        })?,
        None => KeyState::Published,
    };
    Entry::new(signing, purpose, state, times)
}

fn parse_jwk(key: &Map<String, Value>) -> Result<SigningKey, KeyError> {
    // A map of JSON values is always serialisable; an empty text is refused as no JWK.
    let json = Zeroizing::new(serde_json::to_string(key).unwrap_or_default());
    SigningKey::from_jwk_json(&json)
}

fn parsed<T: FromStr>(name: &Value) -> Option<T> {
    name.as_str()?.parse().ok()
}

/// One key under two ids, or for two purposes, would be one key for two purposes.
fn check_unique(entries: &[Entry]) -> Result<(), KeySetError> {
    let mut kids = HashSet::new();
    let mut thumbprints = HashSet::new();
    for entry in entries {
        if !kids.insert(&entry.kid) || !thumbprints.insert(entry.key.public().thumbprint()) {
            return Err(KeySetError::Duplicate(entry.kid.clone()));
        }
    }
    Ok(())
}

fn check_one_active(entries: &[Entry]) -> Result<(), KeySetError> {
    for (number, entry) in entries.iter().enumerate() {
        let (purpose, alg) = (entry.purpose, entry.key.alg());
        let earlier = &entries[..number];
        if entry.state == KeyState::Active && earlier.iter().any(|one| one.signs(purpose, alg)) {
            return Err(KeySetError::TwoActive { purpose, alg });
        }
    }
    Ok(())
}

/// Why `kid` is not among the `usable` keys.
fn not_upstream<'a>(
    entries: &[Entry],
    kid: &str,
    usable: impl Iterator<Item = &'a Entry>,
) -> KeySetError {
    let why = match entries.iter().find(|entry| entry.kid == kid) {
        None => "there is no such key in the set".to_owned(),
        Some(entry) if entry.purpose == Purpose::Upstream => "it is retired".to_owned(),
        Some(entry) => format!("it is a key for {}", entry.purpose),
    };
    KeySetError::NotUpstream {
        kid: kid.to_owned(),
        why,
        usable: usable.map(|entry| entry.kid.clone()).collect(),
    }
}

/// The upstream key that is to sign: the first that the setting names, else the active one.
fn choose_upstream<'a>(
    entries: &'a [Entry],
    active: &[String],
    plain: bool,
) -> Result<&'a Entry, KeySetError> {
    let mut upstream = entries
        .iter()
        .filter(|entry| entry.purpose == Purpose::Upstream && entry.state != KeyState::Retired);
    let find = |kid: &String| {
        upstream
            .clone()
            .find(|entry| entry.kid == *kid)
            .ok_or_else(|| not_upstream(entries, kid, upstream.clone()))
    };
    let named = active.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    match named.first() {
        Some(first) => Ok(first),
        None => upstream
            .find(|entry| plain || entry.state == KeyState::Active)
            .ok_or(KeySetError::NoUpstream),
    }
}
