//! The key that an app binds its tokens to (RFC 9449).

use std::sync::Mutex;

use aip_base::{Clock as _, SystemRng};
use aip_jose::dpop::Proof;
use aip_jose::{Alg, SigningKey};
use secrecy::ExposeSecret as _;

use super::App;
use crate::world::BASE;

/// The key that an app binds its tokens to, and the nonce that AIP gave it last.
pub(super) struct Dpop {
    pub(super) key: SigningKey,
    pub(super) nonce: Mutex<Option<String>>,
}

impl App<'_> {
    /// The same app with its tokens bound to a new key.
    pub(crate) fn with_dpop(self) -> Self {
        self.with_dpop_of(Alg::Es256)
    }

    /// The same app with its tokens bound to a new key of that algorithm.
    pub(crate) fn with_dpop_of(self, alg: Alg) -> Self {
        self.with_dpop_key(SigningKey::generate(alg, None).unwrap())
    }

    /// The same app with its tokens bound to that key.
    pub(crate) fn with_dpop_key(self, key: SigningKey) -> Self {
        let json = key.to_private_jwk_json().unwrap();
        self.world
            .secrets
            .learn_keys("an app's DPoP key", json.expose_secret());
        let nonce = Mutex::default();
        Self {
            dpop: Some(Dpop { key, nonce }),
            ..self
        }
    }

    /// The same app with another key than its tokens are bound to.
    pub(crate) fn with_another_key(&self) -> Self {
        self.without_key().with_dpop()
    }

    /// The same app as if it knew nothing of DPoP.
    pub(crate) fn without_key(&self) -> Self {
        Self {
            world: self.world,
            id: self.id.clone(),
            secret: self.secret.clone(),
            method: self.method,
            assertion_key: self.assertion_key.clone(),
            dpop: None,
        }
    }

    /// The nonce that AIP gave last.
    pub(crate) fn nonce(&self) -> Option<String> {
        self.dpop.as_ref()?.nonce.lock().unwrap().clone()
    }

    /// The key that the tokens are bound to.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.dpop.as_ref().unwrap().key
    }

    /// A fresh proof for a request, if the app has a key.
    pub(super) fn proof(&self, htm: &str, path: &str, access: Option<&str>) -> Option<String> {
        let dpop = self.dpop.as_ref()?;
        let nonce = dpop.nonce.lock().unwrap().clone();
        let proof = Proof {
            htm,
            htu: &format!("{BASE}{path}"),
            nonce: nonce.as_deref(),
            access_token: access,
        };
        Some(
            proof
                .make(&dpop.key, &SystemRng, self.world.clock.now())
                .unwrap(),
        )
    }
}
