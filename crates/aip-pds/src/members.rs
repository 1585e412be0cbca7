//! Reading JSON objects whose content matters more than their form: token answers, which are given
//! once. What is not valid JSON as a whole (a byte order mark, repeated members, bytes after the
//! object, an end that is missing) is read as far as it goes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The members of the first object in `body`; of a repeated one the last. `None` when there is no
/// object at all.
pub(crate) fn members(body: &[u8]) -> Option<Map<String, Value>> {
    let text = String::from_utf8_lossy(body);
    let text = &text[text.find('{')?..];
    let mut members = Map::new();
    let mut json = serde_json::Deserializer::from_str(text);
    if Collect(&mut members).deserialize(&mut json).is_err() {
        // Behind what cannot be read there may be a token.
        for name in [
            "access_token",
            "refresh_token",
            "accessJwt",
            "refreshJwt",
            "sub",
            "did",
        ] {
            if !members.contains_key(name)
                && let Some(value) = string_member(text, name)
            {
                members.insert(name.to_owned(), value.into());
            }
        }
    }
    Some(members)
}

/// The string that follows `"name":` somewhere in `text`.
fn string_member(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("\"{name}\""))?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    let mut strings = serde_json::Deserializer::from_str(value).into_iter::<String>();
    strings.next()?.ok()
}

/// Puts the members of an object into a map one by one, so that those before an error stay.
struct Collect<'a>(&'a mut Map<String, Value>);

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            self.0.insert(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &str) -> Option<Value> {
        members(body.as_bytes()).map(Value::Object)
    }

    #[test]
    fn what_can_be_read_of_an_object_is_read() {
        let both = json!({ "refresh_token": "rt", "n": 1 });
        for body in [
            r#"{"refresh_token":"rt","n":1}"#,
            "\u{feff}\r\n {\"refresh_token\":\"rt\",\"n\":1}\n",
            r#"{"refresh_token":"rt","n":1}<!-- 3 ms -->"#,
            r#"{"refresh_token":"rt","n":1}{"refresh_token":"other"}"#,
            r#"{"refresh_token":"old","n":2,"refresh_token":"rt","n":1}"#,
            r#"{"refresh_token":"rt","n":1,"cut":"off he"#,
            r#"{"refresh_token":"rt","n":1,}"#,
            r#"[{"refresh_token":"rt","n":1}]"#,
        ] {
            assert_eq!(read(body), Some(both.clone()), "{body}");
        }
        let behind = r#"{"n":1,"expires_in":NaN,"refresh_token" : "rt"}"#;
        assert_eq!(read(behind), Some(both.clone()), "{behind}");
        assert_eq!(read("{}"), Some(json!({})));
        assert_eq!(read("<html>"), None);
        assert_eq!(read(""), None);
        let broken = members(b"{\"refresh_token\":\"rt\",\"n\":\"\xff\"}").unwrap();
        assert_eq!(broken["refresh_token"], "rt");
        let deep = format!("{{\"refresh_token\":\"rt\",\"x\":{}", "[".repeat(60_000));
        assert_eq!(members(deep.as_bytes()).unwrap()["refresh_token"], "rt");
    }
}
