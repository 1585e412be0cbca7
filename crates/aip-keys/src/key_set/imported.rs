//! Keys of another server, whose place AIP takes: what that server signed stays valid.

use aip_base::Timestamp;
use aip_jose::SigningKey;

use super::{Entry, KeySet, KeySetError, KeyState, KeyTimes, Purpose};

impl KeySet {
    /// Publishes `key` under the id that it has at the other server, for the sessions that are bound
    /// to it (upstream) or what it signed (OIDC). It never signs what is new, and it is retired as a
    /// key that was superseded at `now`. `false`: it is in the set already, and published.
    pub fn import(
        &mut self,
        key: SigningKey,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<bool, KeySetError> {
        let mut times = KeyTimes::published_at(now);
        // Without these, a rotation would take it for the successor of the key that signs.
        times.activate(now);
        times.supersede(now);
        let imported = Entry::new(key, purpose, KeyState::Published, times)?;
        let thumbprint = imported.key.public().thumbprint();
        let same =
            |it: &&Entry| it.kid == imported.kid || it.key.public().thumbprint() == thumbprint;
        match self.entries.iter().find(same) {
            None => {
                self.entries.push(imported);
                Ok(true)
            }
            Some(there)
                if there.kid != imported.kid
                    || there.purpose != purpose
                    || there.key.public().thumbprint() != thumbprint =>
            {
                Err(KeySetError::Duplicate(imported.kid))
            }
            Some(there) if there.state == KeyState::Retired => {
                Err(KeySetError::Retired(imported.kid))
            }
            Some(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aip_base::{SystemClock, SystemRng};
    use aip_jose::Alg;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::RotationPolicy;

    const NOW: Timestamp = Timestamp::from_secs(4_000_000_000);
    const KID: &str = "did:key:of-the-other-server";

    fn set() -> KeySet {
        KeySet::generate(&SystemClock, &SystemRng).unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::generate(Alg::Es256, Some(KID.to_owned())).unwrap()
    }

    /// The same key once more, perhaps under another id.
    fn copy_of(key: &SigningKey, kid: &str) -> SigningKey {
        let jwk = key.to_private_jwk_json().unwrap();
        let renamed = jwk.expose_secret().replace(KID, kid);
        SigningKey::from_jwk_json(&renamed).unwrap()
    }

    #[test]
    fn it_is_published_and_does_not_sign_what_is_new() {
        let mut set = set();
        let active = set.upstream_active().kid().unwrap().to_owned();
        let key = key();
        assert!(
            set.import(copy_of(&key, KID), Purpose::Upstream, NOW)
                .unwrap()
        );
        assert!(
            !set.import(copy_of(&key, KID), Purpose::Upstream, NOW)
                .unwrap()
        );
        assert_eq!(set.upstream_active().kid(), Some(active.as_str()));
        let jwks = set.public_upstream_jwks();
        assert!(jwks.keys().iter().any(|it| it.kid() == Some(KID)));
        assert!(set.upstream_by_kid(KID).is_some());
        // As it is stored, too.
        let json = set.to_json().unwrap();
        let read = KeySet::load_json(json.expose_secret(), &[]).unwrap();
        assert_eq!(read.upstream_active().kid(), Some(active.as_str()));
        assert!(read.upstream_by_kid(KID).is_some());
    }

    #[test]
    fn a_rotation_neither_activates_it_nor_retires_it_while_sessions_are_bound_to_it() {
        let mut set = set();
        set.import(key(), Purpose::Upstream, NOW).unwrap();
        let year = Duration::from_hours(24 * 365);
        let policy = RotationPolicy {
            upstream_every: Some(year * 100),
            oidc_every: None,
            service_auth_every: None,
            publish_before_use: Duration::ZERO,
            publish_after_use: Duration::ZERO,
            verify_after_retirement: Duration::ZERO,
        };
        let pinned = [(KID.to_owned(), 1)];
        let later = NOW + year;
        assert_eq!(set.next_step(&policy, Some(&pinned), later), None);
        let step = set.next_step(&policy, Some(&[]), later);
        let retire = crate::RotationStep::Retire {
            kid: KID.to_owned(),
        };
        assert_eq!(step, Some(retire));
    }

    #[test]
    fn one_key_has_one_id_and_one_purpose() {
        let mut set = set();
        let key = key();
        set.import(copy_of(&key, KID), Purpose::Upstream, NOW)
            .unwrap();
        for (other, purpose) in [
            (copy_of(&key, KID), Purpose::Oidc),
            (copy_of(&key, "another-id"), Purpose::Upstream),
            (self::key(), Purpose::Upstream),
        ] {
            let refused = set.import(other, purpose, NOW);
            assert!(
                matches!(refused, Err(KeySetError::Duplicate(_))),
                "{refused:?}"
            );
        }
        set.retire(KID, NOW).unwrap();
        let refused = set.import(copy_of(&key, KID), Purpose::Upstream, NOW);
        assert!(
            matches!(refused, Err(KeySetError::Retired(_))),
            "{refused:?}"
        );
    }
}
