//! JSON in which no object names a member twice.
//!
//! RFC 7515 §4 and RFC 7519 §4 let a parser choose between refusing duplicates and taking the
//! last one. Two parsers that choose differently see two different tokens under one signature,
//! so they are refused here.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

/// Why bytes are not the JSON that was asked for. Nothing of the content is kept, as it may be a
/// key or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line}, column {column}")]
pub struct JsonError {
    problem: &'static str,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        let problem = if error.is_data() {
            "a member is missing, of the wrong type or named twice"
        } else {
            "not JSON"
        };
        Self {
            problem,
            line: error.line(),
            column: error.column(),
        }
    }
}

/// Parses `bytes` as `T`, refusing duplicate member names at every depth.
///
/// `serde_json` bounds the depth at 128; the caller bounds the size.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    serde_json::from_slice::<NoDuplicates>(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Any JSON value without duplicate members; the value itself is thrown away.
struct NoDuplicates;

impl<'de> de::Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoDuplicates)
    }
}

impl<'de> Visitor<'de> for NoDuplicates {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name) {
                return Err(de::Error::custom("a member is named twice"));
            }
            map.next_value::<Self>()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_named_twice_is_refused_at_every_depth() {
        for twice in [r#"{"a":1,"a":2}"#, r#"{"b":[{"a":1,"\u0061":2}]}"#] {
            assert!(
                parse::<serde_json::Value>(twice.as_bytes()).is_err(),
                "{twice}"
            );
        }
        let once = br#"{"a":[null,true,-1,1.5,"x",{"a":{}}],"b":{"a":18446744073709551615}}"#;
        assert!(parse::<serde_json::Value>(once).is_ok());
    }

    #[test]
    fn an_error_says_where_and_quotes_nothing() {
        let error = parse::<u64>(br#""a private key""#).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("line 1") && !shown.contains("private"),
            "{shown}"
        );
    }

    #[test]
    fn very_deep_json_is_an_error_and_no_overflow() {
        let deep = "[".repeat(100_000);
        assert!(parse::<serde_json::Value>(deep.as_bytes()).is_err());
    }
}
