//! The public keys as JSON, made once for each key set: many ask for them, and they change seldom.

use std::sync::{Arc, Mutex};

use aip_base::lock;
use aip_keys::KeySet;
use bytes::Bytes;

/// The JWK Sets (RFC 7517 §5) of the key set that was asked for last.
#[derive(Default)]
pub(crate) struct PublicKeys(Mutex<Option<Made>>);

/// The JWK Sets of one key set.
#[derive(Clone)]
pub(crate) struct Made {
    of: Arc<KeySet>,
    /// The keys that apps verify AIP's tokens with.
    pub(crate) oidc: Bytes,
    /// The keys that PDSs verify AIP's assertions with.
    pub(crate) upstream: Bytes,
}

impl PublicKeys {
    /// Those of `current`.
    pub(crate) fn of(&self, current: Arc<KeySet>) -> Made {
        let mut made = lock(&self.0);
        match &*made {
            // The set that it was made of is held, so that no other one has its address.
            Some(made) if Arc::ptr_eq(&made.of, &current) => made.clone(),
            _ => {
                let fresh = Made {
                    oidc: current.public_oidc_jwks().to_json().into(),
                    upstream: current.public_upstream_jwks().to_json().into(),
                    of: current,
                };
                *made = Some(fresh.clone());
                fresh
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aip_base::{Clock as _, SystemClock, SystemRng};
    use aip_jose::Alg;
    use aip_keys::Purpose;

    use super::*;

    #[test]
    fn keys_are_written_once_for_each_key_set() {
        let set = Arc::new(KeySet::generate(&SystemClock, &SystemRng).unwrap());
        let made = PublicKeys::default();
        let first = made.of(Arc::clone(&set));
        assert_eq!(first.oidc, set.public_oidc_jwks().to_json());
        assert_eq!(first.upstream, set.public_upstream_jwks().to_json());
        assert_eq!(first.oidc.as_ptr(), made.of(Arc::clone(&set)).oidc.as_ptr());

        let mut changed = (*set).clone();
        let kid = changed.add(Purpose::Oidc, Alg::Es256, &SystemClock, &SystemRng);
        let kid = kid.unwrap();
        changed.activate(&kid, SystemClock.now()).unwrap();
        let changed = Arc::new(changed);
        let second = made.of(Arc::clone(&changed));
        assert!(String::from_utf8_lossy(&second.oidc).contains(&kid));
        assert_ne!(first.oidc, second.oidc);
        assert_eq!(made.of(set).oidc, first.oidc, "whichever is asked for");
    }
}
