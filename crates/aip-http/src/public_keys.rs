//! The public keys as JSON, made once for each key set: many ask for them, and they change seldom.

use std::sync::{Arc, Mutex};

use aip_base::lock;
use aip_keys::KeySet;
use bytes::Bytes;

/// The JWK Sets (RFC 7517 §5) of the key set that was asked for last.
#[derive(Default)]
pub(crate) struct PublicKeys(Mutex<Option<RenderedKeySets>>);

/// The JWK Sets of one key set.
#[derive(Clone)]
pub(crate) struct RenderedKeySets {
    source: Arc<KeySet>,
    /// The keys that apps verify AIP's tokens with.
    pub(crate) oidc: Bytes,
    /// The keys that PDSs verify AIP's assertions with.
    pub(crate) upstream: Bytes,
}

impl PublicKeys {
    /// Those of `current`.
    pub(crate) fn of(&self, current: Arc<KeySet>) -> RenderedKeySets {
        let mut rendered = lock(&self.0);
        match &*rendered {
            // The source is held, so that no other one has its address.
            Some(rendered) if Arc::ptr_eq(&rendered.source, &current) => rendered.clone(),
            _ => {
                let fresh = RenderedKeySets {
                    oidc: current.public_oidc_jwks().to_json().into(),
                    upstream: current.public_upstream_jwks().to_json().into(),
                    source: current,
                };
                *rendered = Some(fresh.clone());
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
        let rendered = PublicKeys::default();
        let first = rendered.of(Arc::clone(&set));
        assert_eq!(first.oidc, set.public_oidc_jwks().to_json());
        assert_eq!(first.upstream, set.public_upstream_jwks().to_json());
        assert_eq!(
            first.oidc.as_ptr(),
            rendered.of(Arc::clone(&set)).oidc.as_ptr()
        );

        let mut changed = (*set).clone();
        let kid = changed.add(Purpose::Oidc, Alg::Es256, &SystemClock, &SystemRng);
        let kid = kid.unwrap();
        changed.activate(&kid, SystemClock.now()).unwrap();
        let changed = Arc::new(changed);
        let second = rendered.of(Arc::clone(&changed));
        assert!(String::from_utf8_lossy(&second.oidc).contains(&kid));
        assert_ne!(first.oidc, second.oidc);
        assert_eq!(rendered.of(set).oidc, first.oidc, "whichever is asked for");
    }
}
