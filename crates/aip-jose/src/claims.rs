//! The two claim types whose JSON has more than one form (RFC 7519 §2 and §4.1.3).

use std::fmt;

use aip_base::Timestamp;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// Seconds since the epoch, as `iat`, `exp` and `nbf` carry them. A fraction is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NumericDate(i64);

/// The `aud` claim: one string, or an array of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// `"aud": "x"`.
    One(String),
    /// `"aud": ["x", "y"]`.
    Many(Vec<String>),
}

impl NumericDate {
    /// The instant it names.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_secs(self.0)
    }
}

impl From<Timestamp> for NumericDate {
    fn from(instant: Timestamp) -> Self {
        Self(instant.as_secs())
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumericDateVisitor)
    }
}

struct NumericDateVisitor;

impl Visitor<'_> for NumericDateVisitor {
    type Value = NumericDate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since the epoch")
    }

    fn visit_i64<E>(self, secs: i64) -> Result<NumericDate, E> {
        Ok(NumericDate(secs))
    }

    fn visit_u64<E: de::Error>(self, secs: u64) -> Result<NumericDate, E> {
        i64::try_from(secs)
            .map(NumericDate)
            .map_err(|_| E::custom("a time out of range"))
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the range is checked in the line before, the fraction is to be cut off"
    )]
    fn visit_f64<E: de::Error>(self, secs: f64) -> Result<NumericDate, E> {
        if !(-1e15..=1e15).contains(&secs) {
            return Err(E::custom("a time out of range"));
        }
        Ok(NumericDate(secs.floor() as i64))
    }
}

impl Audience {
    /// Every audience named.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
        .iter()
        .map(String::as_str)
    }

    /// Whether `audience` is among those named.
    pub fn contains(&self, audience: &str) -> bool {
        self.iter().any(|named| named == audience)
    }

    /// The audience, if there is exactly one.
    pub fn single(&self) -> Option<&str> {
        let mut all = self.iter();
        all.next().filter(|_| all.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_fractions_and_must_be_in_range() {
        let parse = |json: &str| serde_json::from_str::<NumericDate>(json).ok().map(|d| d.0);
        assert_eq!(parse("1700000000"), Some(1_700_000_000));
        assert_eq!(parse("1700000000.9"), Some(1_700_000_000));
        assert_eq!(parse("-1.5"), Some(-2));
        for bad in [
            "1e300",
            "18446744073709551615",
            "\"1700000000\"",
            "null",
            "true",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_single_audience_may_be_written_as_an_array() {
        let parse = |json: &str| serde_json::from_str::<Audience>(json).unwrap();
        assert_eq!(parse(r#""a""#).single(), Some("a"));
        assert_eq!(parse(r#"["a"]"#).single(), Some("a"));
        assert_eq!(parse(r#"["a","b"]"#).single(), None);
        assert_eq!(parse("[]").single(), None);
        assert!(parse(r#"["a","b"]"#).contains("b"));
    }
}
