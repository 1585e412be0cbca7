//! Randomness as a value, so that a test can seed it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A source of cryptographically secure random bytes.
pub trait Rng: Send + Sync + 'static {
    /// Fills `dest` with random bytes.
    fn fill(&self, dest: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the generator that everybody else is handed"
    )]
    #[allow(
        clippy::expect_used,
        reason = "without entropy nothing this program does is safe: stop"
    )]
    fn fill(&self, dest: &mut [u8]) {
        aws_lc_rs::rand::fill(dest).expect("the operating system provides randomness");
    }
}

/// `N` random bytes as unpadded base64url: for states, nonces, CSRF tokens and `jti`s.
///
/// Use `N` ≥ 16 (128 bits) for anything that must not be guessed.
pub fn random_token<const N: usize>(rng: &dyn Rng) -> String {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Like [`random_token`], for names that people type after a command: it never begins with `-`,
/// which would make it an option.
pub fn random_name<const N: usize>(rng: &dyn Rng) -> String {
    let mut name = random_token::<N>(rng);
    if name.starts_with('-') {
        name.replace_range(..1, "A");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes whose base64url begins with `-`.
    struct Dashes;

    impl Rng for Dashes {
        fn fill(&self, dest: &mut [u8]) {
            dest.fill(0xFB);
        }
    }

    #[test]
    fn a_name_is_never_taken_for_an_option() {
        assert_eq!(random_token::<6>(&Dashes), "-_v7-_v7");
        assert_eq!(random_name::<6>(&Dashes), "A_v7-_v7");
        assert_eq!(random_name::<6>(&SystemRng).len(), 8);
    }
}
