//! The key that an app proves itself with (`private_key_jwt`).

use std::sync::Arc;

use aip_base::{Clock as _, SystemRng, random_token};
use aip_jose::{Alg, JwkSet, SigningKey, sign_jwt};
use aip_oauth::registration::ClientSettings;
use aip_storage::client::{ClientAuthMethod, ClientKeys};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::App;
use crate::world::{BASE, World};

/// The claims of an assertion that is right.
pub(crate) struct AssertionClaims(pub(crate) Value);

impl<'w> App<'w> {
    /// Registers an app that proves itself with a key; `change` makes it special.
    pub(crate) async fn register_with_key(
        world: &'w World,
        change: impl FnOnce(&mut ClientSettings),
    ) -> Self {
        let key = SigningKey::generate(Alg::Es256, Some("key-1".to_owned())).unwrap();
        let keys = ClientKeys::Registered(JwkSet::new(vec![key.public().clone()]));
        let app = Self::register(world, |settings| {
            settings.auth_method = ClientAuthMethod::PrivateKeyJwt;
            settings.keys = Some(keys);
            change(settings);
        });
        app.await.with_assertion_key(key)
    }

    /// The same app with this key.
    pub(crate) fn with_assertion_key(self, key: SigningKey) -> Self {
        let json = key.to_private_jwk_json().unwrap();
        let secrets = &self.world.secrets;
        secrets.learn_keys("an app's assertion key", json.expose_secret());
        Self {
            assertion_key: Some(Arc::new(key)),
            ..self
        }
    }

    /// What the app signs its assertions with.
    pub(crate) fn assertion_key(&self) -> &SigningKey {
        self.assertion_key.as_ref().unwrap()
    }

    /// A fresh assertion.
    pub(crate) fn assertion(&self) -> String {
        sign(self, self.assertion_key(), &AssertionClaims::of(self))
    }
}

impl AssertionClaims {
    /// What an assertion of the app says, now.
    pub(crate) fn of(app: &App<'_>) -> Self {
        let now = app.world.clock.now().as_secs();
        let id = app.id.as_str();
        Self(json!({
            "iss": id, "sub": id, "aud": BASE, "jti": random_token::<16>(&SystemRng),
            "iat": now, "exp": now + 60,
        }))
    }

    /// The same with one claim changed or, with `null`, left out.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.0[name] = value;
        let claims = self.0.as_object_mut().unwrap();
        claims.retain(|_, value| !value.is_null());
        self
    }
}

/// Signs claims with that key.
pub(crate) fn sign(app: &App<'_>, key: &SigningKey, claims: &AssertionClaims) -> String {
    let assertion = sign_jwt(key, "JWT", &claims.0).unwrap();
    app.world.secrets.learn("a client assertion", &assertion);
    assertion
}
