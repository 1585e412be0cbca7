//! The name of a request, in its answer and in every log line about it.

use std::fmt;

use aip_base::{Rng, random_token};

/// The name of a request. Not a secret, and nothing can be learnt from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// A fresh one.
    pub fn new(rng: &dyn Rng) -> Self {
        Self(random_token::<12>(rng))
    }

    /// Its text: letters, digits, `-` and `_`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;

    use super::*;

    #[test]
    fn ids_differ_and_fit_into_a_header() {
        let (one, other) = (RequestId::new(&SystemRng), RequestId::new(&SystemRng));
        assert_ne!(one, other);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        assert!(one.as_str().len() == 16 && one.as_str().bytes().all(plain));
    }
}
