//! Records of known types are checked when they are written, as the reference PDS does, so that an
//! app which works here does not fail there.
//!
//! Only what an app gets wrong first: required members, their kinds, and the type of the record key.
//! Optional members other than text are not looked into.

use aip_atproto::{AtUri, Did};
use serde_json::{Value, json};

use super::super::error::XrpcError;

/// What a member holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A text of at most that many bytes.
    Text(usize),
    /// RFC 3339, with an offset.
    Datetime,
    /// A DID.
    Did,
    /// An `at://` URI.
    AtUri,
    /// `uri` and `cid` of a record.
    StrongRef,
}

/// What a lexicon says of a record.
struct Lexicon {
    collection: &'static str,
    /// There is one such record, and its key is `self`; otherwise the key is a TID.
    single: bool,
    required: &'static [(&'static str, Kind)],
    optional: &'static [(&'static str, Kind)],
}

/// The types that the reference PDS knows and apps write most.
static LEXICONS: [Lexicon; 9] = {
    use Kind::{AtUri, Datetime, Did, StrongRef, Text};
    [
        Lexicon {
            collection: "app.bsky.actor.profile",
            single: true,
            required: &[],
            optional: &[
                ("displayName", Text(640)),
                ("description", Text(2560)),
                ("pronouns", Text(200)),
                ("createdAt", Datetime),
            ],
        },
        many(
            "app.bsky.feed.like",
            &[("subject", StrongRef), ("createdAt", Datetime)],
        ),
        many(
            "app.bsky.feed.post",
            &[("text", Text(3000)), ("createdAt", Datetime)],
        ),
        many(
            "app.bsky.feed.repost",
            &[("subject", StrongRef), ("createdAt", Datetime)],
        ),
        many(
            "app.bsky.feed.threadgate",
            &[("post", AtUri), ("createdAt", Datetime)],
        ),
        many(
            "app.bsky.graph.block",
            &[("subject", Did), ("createdAt", Datetime)],
        ),
        many(
            "app.bsky.graph.follow",
            &[("subject", Did), ("createdAt", Datetime)],
        ),
        many(
            "app.bsky.graph.list",
            &[
                ("purpose", Text(1024)),
                ("name", Text(64)),
                ("createdAt", Datetime),
            ],
        ),
        many(
            "app.bsky.graph.listitem",
            &[("subject", Did), ("list", AtUri), ("createdAt", Datetime)],
        ),
    ]
};

const fn many(collection: &'static str, required: &'static [(&'static str, Kind)]) -> Lexicon {
    Lexicon {
        collection,
        single: false,
        required,
        optional: &[],
    }
}

/// Gives the record its `$type` and checks it; the answer is its `validationStatus`.
pub(super) fn check(
    collection: &str,
    rkey: Option<&str>,
    record: &mut Value,
    validate: Option<bool>,
) -> Result<Option<&'static str>, XrpcError> {
    let kind = record.get("$type").cloned();
    match kind.as_ref().map(Value::as_str) {
        None => record["$type"] = json!(collection),
        Some(Some(kind)) if kind == collection => {}
        Some(kind) => {
            let got = kind.unwrap_or("another kind of value");
            return Err(XrpcError::invalid_request(format!(
                "Invalid $type: expected {collection}, got {got}"
            )));
        }
    }
    if validate == Some(false) {
        return Ok(None);
    }
    let lexicon = LEXICONS.iter().find(|it| it.collection == collection);
    let Some(lexicon) = lexicon else {
        return match validate {
            Some(true) => Err(XrpcError::invalid_request(format!(
                "Unknown lexicon type: {collection}"
            ))),
            _ => Ok(Some("unknown")),
        };
    };
    if rkey.is_some_and(|rkey| !lexicon.takes_key(rkey)) {
        let expected = if lexicon.single { "`self`" } else { "a TID" };
        return Err(XrpcError::invalid_request(format!(
            "Invalid record key for {collection}: expected {expected}"
        )));
    }
    let wrong = lexicon.first_wrong(record);
    match wrong {
        None => Ok(Some("valid")),
        Some(why) => Err(XrpcError::invalid_request(format!(
            "Invalid {collection} record: {why}"
        ))),
    }
}

impl Lexicon {
    fn takes_key(&self, rkey: &str) -> bool {
        let tid = rkey.len() == 13 && rkey.bytes().all(|b| matches!(b, b'2'..=b'7' | b'a'..=b'z'));
        if self.single { rkey == "self" } else { tid }
    }

    fn first_wrong(&self, record: &Value) -> Option<String> {
        let missing = self
            .required
            .iter()
            .find(|(member, _)| record.get(member).is_none());
        if let Some((member, _)) = missing {
            return Some(format!("Missing required key \"{member}\" at $.record"));
        }
        let members = self.required.iter().chain(self.optional);
        let mut wrong = members.filter_map(|(member, kind)| {
            let value = record.get(member)?;
            (!kind.fits(value)).then(|| format!("Invalid value at $.record.{member}"))
        });
        wrong.next()
    }
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        let text = value.as_str();
        match self {
            Self::Text(bytes) => text.is_some_and(|text| text.len() <= bytes),
            Self::Datetime => text.is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
            Self::Did => text.is_some_and(|text| Did::parse(text).is_ok()),
            Self::AtUri => text.is_some_and(|text| AtUri::parse(text).is_ok()),
            Self::StrongRef => {
                let uri = value.get("uri").is_some_and(|uri| Self::AtUri.fits(uri));
                uri && value.get("cid").is_some_and(Value::is_string)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &str = "app.bsky.feed.post";

    fn checked(
        collection: &str,
        mut record: Value,
        validate: Option<bool>,
    ) -> Result<Option<&'static str>, String> {
        check(collection, None, &mut record, validate).map_err(|error| error.message)
    }

    #[test]
    fn a_post_has_a_text_and_a_time() {
        let good = json!({ "text": "hi", "createdAt": "2026-01-01T00:00:00Z" });
        assert_eq!(checked(POST, good, None), Ok(Some("valid")));
        for bad in [
            json!({}),
            json!({ "text": "hi" }),
            json!({ "text": "hi", "createdAt": "yesterday" }),
            json!({ "text": "hi", "createdAt": "2026-01-01T00:00:00" }),
            json!({ "text": 7, "createdAt": "2026-01-01T00:00:00Z" }),
            json!({ "text": "x".repeat(3001), "createdAt": "2026-01-01T00:00:00Z" }),
        ] {
            let refused = checked(POST, bad.clone(), None);
            assert!(refused.is_err_and(|it| it.starts_with("Invalid app.bsky.feed.post record")));
            assert_eq!(checked(POST, bad, Some(false)), Ok(None));
        }
    }

    #[test]
    fn other_known_types_are_checked_and_unknown_ones_are_not() {
        let now = "2026-01-01T00:00:00Z";
        let follow = |subject: &str| json!({ "subject": subject, "createdAt": now });
        let of = "app.bsky.graph.follow";
        assert_eq!(
            checked(of, follow("did:web:a.example"), None),
            Ok(Some("valid"))
        );
        assert!(checked(of, follow("alice.test"), None).is_err());
        let like =
            json!({ "subject": { "uri": "at://did:web:a.example/a.b.c/1" }, "createdAt": now });
        assert!(checked("app.bsky.feed.like", like, None).is_err());
        assert_eq!(
            checked("org.example.note", json!({}), None),
            Ok(Some("unknown"))
        );
        assert!(checked("org.example.note", json!({}), Some(true)).is_err());
    }

    #[test]
    fn type_and_key_of_a_record_are_those_of_its_collection() {
        let other = json!({ "$type": "app.bsky.feed.like" });
        assert!(checked(POST, other, Some(false)).is_err());
        let mut profile = json!({});
        assert!(check("app.bsky.actor.profile", Some("self"), &mut profile, None).is_ok());
        assert_eq!(profile["$type"], "app.bsky.actor.profile");
        assert!(
            check(
                "app.bsky.actor.profile",
                Some("3jzfcijpj2z2a"),
                &mut profile,
                None
            )
            .is_err()
        );
    }
}
