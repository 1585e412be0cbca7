//! `DPoP` nonces (RFC 9449 §8): derived from the time, as the reference PDS does, so that nothing
//! is stored per client. A new one every minute; one lives for two to three.

use std::sync::Mutex;

use aip_base::{Rng, Timestamp, lock, random_token};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Seconds between two nonces.
const WINDOW: i64 = 60;

/// The nonces of one server.
pub(crate) struct Nonces {
    key: hmac::Key,
    /// The one that is accepted, where each answer has another.
    only: Mutex<Option<String>>,
}

impl Nonces {
    pub(crate) fn new(rng: &dyn Rng) -> Self {
        let mut secret = [0; 32];
        rng.fill(&mut secret);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            only: Mutex::default(),
        }
    }

    /// The nonce to hand out now: the one of the next window, which lives longest.
    pub(crate) fn current(&self, now: Timestamp) -> String {
        *lock(&self.only) = None;
        self.of_window(now.as_secs() / WINDOW + 1)
    }

    /// A nonce that makes all others stale.
    pub(crate) fn only(&self, rng: &dyn Rng) -> String {
        let nonce = random_token::<16>(rng);
        *lock(&self.only) = Some(nonce.clone());
        nonce
    }

    /// Whether `nonce` was handed out within the last two to three minutes.
    pub(crate) fn accepts(&self, nonce: &str, now: Timestamp) -> bool {
        if let Some(only) = &*lock(&self.only) {
            return only == nonce;
        }
        let window = now.as_secs() / WINDOW;
        (window - 1..=window + 1).any(|window| self.of_window(window) == nonce)
    }

    fn of_window(&self, window: i64) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, &window.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;

    use super::*;

    #[test]
    fn a_nonce_changes_every_minute_and_lives_for_two_to_three() {
        let nonces = Nonces::new(&SystemRng);
        let first = nonces.current(Timestamp::from_secs(600));
        assert_eq!(nonces.current(Timestamp::from_secs(659)), first);
        assert_ne!(nonces.current(Timestamp::from_secs(660)), first);
        assert!(nonces.accepts(&first, Timestamp::from_secs(600)));
        assert!(nonces.accepts(&first, Timestamp::from_secs(779)));
        assert!(!nonces.accepts(&first, Timestamp::from_secs(780)));
        assert!(!nonces.accepts("made-up", Timestamp::from_secs(600)));
    }

    #[test]
    fn two_servers_never_share_a_nonce() {
        let now = Timestamp::from_secs(600);
        let (one, other) = (Nonces::new(&SystemRng), Nonces::new(&SystemRng));
        assert!(!other.accepts(&one.current(now), now));
    }
}
