//! The bodies of the methods that write records: which records they name, and the body to send.
//!
//! A PDS reads a body by its own rules: the charset of `Content-Type`, the content coding, which of
//! two members of one name counts, whether names are compared with their case. So the body is read
//! once, here, as UTF-8 JSON, and what was read is sent, written anew.

use aip_atproto::{Nsid, RepoAction};
use bytes::Bytes;
use serde_json::{Map, Value};

/// The members that decide what is written, by any method.
const DECISIVE_MEMBERS: [&str; 5] = ["repo", "collection", "rkey", "writes", "$type"];

/// A member that JavaScript does not treat like others.
const PROTOTYPE: &str = "__proto__";

/// Why a body is not the call of a method that writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyRefusal {
    /// 415: it is not declared as JSON in UTF-8 (RFC 8259 §8.1).
    #[error("Content-Type must be application/json, in UTF-8")]
    MediaType,
    /// 415: it is compressed or otherwise encoded.
    #[error("the body of a write must be sent without Content-Encoding")]
    Coding,
    /// 400: it is no JSON.
    #[error("the body is not JSON in UTF-8: {0}")]
    Json(String),
    /// 400: it is JSON, but not a call of the method.
    #[error("the body is not a call of this method: {0}")]
    Call(&'static str),
}

/// A body that was understood.
#[derive(Debug)]
pub(crate) struct Writes {
    pub(crate) touches: Vec<(Nsid, RepoAction)>,
    /// The same body, written anew.
    pub(crate) body: Bytes,
}

/// Checks what the head says of the body.
pub(crate) fn check_head(
    content_type: Option<&str>,
    content_coding: Option<&str>,
) -> Result<(), BodyRefusal> {
    let mut parts = content_type.unwrap_or_default().split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let plain = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().eq_ignore_ascii_case("charset")
            && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    let in_utf8 = parts.filter(|it| !it.is_empty()).all(plain);
    if !media_type.eq_ignore_ascii_case("application/json") || !in_utf8 {
        return Err(BodyRefusal::MediaType);
    }
    match content_coding.map(str::trim) {
        None | Some("") => Ok(()),
        Some(coding) if coding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(_) => Err(BodyRefusal::Coding),
    }
}

/// Reads the body of `method`.
pub(crate) fn parse(method: &str, body: &[u8]) -> Result<Writes, BodyRefusal> {
    let json =
        serde_json::from_slice(body).map_err(|error| BodyRefusal::Json(error.to_string()))?;
    let Value::Object(call) = json else {
        return Err(BodyRefusal::Call("it is no object"));
    };
    check_names(&call)?;
    let one = |actions: &[RepoAction]| {
        let collection = collection(&call)?;
        let touches = actions.iter().map(|action| (collection.clone(), *action));
        Ok(touches.collect())
    };
    let touches = match method {
        "com.atproto.repo.createRecord" => one(&[RepoAction::Create])?,
        // It creates or replaces, whatever is there.
        "com.atproto.repo.putRecord" => one(&[RepoAction::Create, RepoAction::Update])?,
        "com.atproto.repo.deleteRecord" => one(&[RepoAction::Delete])?,
        "com.atproto.repo.applyWrites" => batch(&call)?,
        _ => return Err(BodyRefusal::Call("the method writes no records")),
    };
    Ok(Writes {
        touches,
        body: Value::Object(call).to_string().into(),
    })
}

fn batch(call: &Map<String, Value>) -> Result<Vec<(Nsid, RepoAction)>, BodyRefusal> {
    let Some(Value::Array(writes)) = call.get("writes") else {
        return Err(BodyRefusal::Call("`writes` must be an array"));
    };
    let touched = |write: &Value| {
        let Value::Object(write) = write else {
            return Err(BodyRefusal::Call("each of `writes` must be an object"));
        };
        check_names(write)?;
        let action = match write.get("$type").and_then(Value::as_str) {
            Some("com.atproto.repo.applyWrites#create") => RepoAction::Create,
            Some("com.atproto.repo.applyWrites#update") => RepoAction::Update,
            Some("com.atproto.repo.applyWrites#delete") => RepoAction::Delete,
            _ => {
                return Err(BodyRefusal::Call(
                    "the `$type` of each of `writes` must be com.atproto.repo.applyWrites#create, \
                     #update or #delete",
                ));
            }
        };
        Ok((collection(write)?, action))
    };
    writes.iter().map(touched).collect()
}

fn collection(members: &Map<String, Value>) -> Result<Nsid, BodyRefusal> {
    let name = members.get("collection").and_then(Value::as_str);
    let nsid = name.and_then(|name| Nsid::parse(name).ok());
    nsid.ok_or(BodyRefusal::Call("`collection` must be an NSID"))
}

/// Refuses members that could stand for others: Go compares names without case, and JavaScript
/// takes one for the object's prototype.
fn check_names(members: &Map<String, Value>) -> Result<(), BodyRefusal> {
    let ambiguous = |name: &String| {
        let decisive = |it: &str| name.eq_ignore_ascii_case(it) && name != it;
        name == PROTOTYPE || DECISIVE_MEMBERS.iter().any(|it| decisive(it))
    };
    if members.keys().any(ambiguous) {
        return Err(BodyRefusal::Call("it has a member with an ambiguous name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: &str = "com.atproto.repo.createRecord";
    const BATCH: &str = "com.atproto.repo.applyWrites";

    #[test]
    fn only_json_in_utf8_without_coding_is_read() {
        for content_type in [
            "application/json",
            "Application/JSON",
            "application/json;charset=UTF-8",
            "application/json; charset=\"utf-8\";",
        ] {
            let checked = check_head(Some(content_type), Some("identity"));
            assert_eq!(checked, Ok(()), "{content_type}");
        }
        for content_type in [
            "",
            "text/plain",
            "application/json; charset=utf-7",
            "application/json; charset=utf-16le",
            "application/json;charset=utf-8;charset=utf-7",
            "application/json; charset*=utf-8''utf-7",
            "application/json; profile=x",
            "application/json, application/json",
            "application/ld+json",
            "json",
        ] {
            let checked = check_head(Some(content_type), None);
            assert_eq!(checked, Err(BodyRefusal::MediaType), "{content_type}");
        }
        assert_eq!(check_head(None, None), Err(BodyRefusal::MediaType));
        for coding in ["gzip", "br", "deflate", "identity, gzip"] {
            let checked = check_head(Some("application/json"), Some(coding));
            assert_eq!(checked, Err(BodyRefusal::Coding), "{coding}");
        }
    }

    #[test]
    fn what_was_judged_is_what_is_sent() {
        let sent = |method: &str, body: &str| {
            let writes = parse(method, body.as_bytes()).unwrap();
            let json: Value = serde_json::from_slice(&writes.body).unwrap();
            (writes.touches, json)
        };
        // Of two members the last one counts, here and at the PDS, which gets only that one.
        let twice = r#"{"collection":"a.b.one","collection":"a.b.two","record":{"n":1,"ü":"é"}}"#;
        let (touches, json) = sent(CREATE, twice);
        assert_eq!(
            touches,
            [(Nsid::parse("a.b.two").unwrap(), RepoAction::Create)]
        );
        let expected = serde_json::json!({"collection":"a.b.two","record":{"n":1,"ü":"é"}});
        assert_eq!(json, expected);
        let escaped = r#"{"coll\u0065ction":"a.b.one"}"#;
        let (touches, _) = sent(CREATE, escaped);
        assert_eq!(touches[0].0.as_str(), "a.b.one");
    }

    #[test]
    fn a_body_that_could_be_read_in_two_ways_is_refused() {
        for body in [
            r#"{"collection":"a.b.one","Collection":"a.b.two"}"#,
            r#"{"collection":"a.b.one","__proto__":{"collection":"a.b.two"}}"#,
            r#"{"collection":"a.b.one","WRITES":[]}"#,
            "\u{feff}{\"collection\":\"a.b.one\"}",
            r#"{"collection":"a.b.one"}{"collection":"a.b.two"}"#,
            r#"[{"collection":"a.b.one"}]"#,
            r#"{"collection":["a.b.one"]}"#,
        ] {
            assert!(parse(CREATE, body.as_bytes()).is_err(), "{body}");
        }
        let utf16: Vec<u8> =
            r#"{"collection":"a.b.one"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(matches!(parse(CREATE, &utf16), Err(BodyRefusal::Json(_))));
        for write in [
            r#"{"$type":"x#create","collection":"a.b.one"}"#,
            r##"{"$type":"#create","collection":"a.b.one"}"##,
            r#"{"$type":"lex:com.atproto.repo.applyWrites#create","collection":"a.b.one"}"#,
            r#"{"$type":"com.atproto.repo.applyWrites#Create","collection":"a.b.one"}"#,
            r#"{"$type":["com.atproto.repo.applyWrites#create"],"collection":"a.b.one"}"#,
            r#"{"$Type":"com.atproto.repo.applyWrites#create","collection":"a.b.one"}"#,
            r#"{"collection":"a.b.one"}"#,
            "7",
        ] {
            let body = format!(r#"{{"writes":[{write}]}}"#);
            let refused = parse(BATCH, body.as_bytes());
            assert!(matches!(refused, Err(BodyRefusal::Call(_))), "{write}");
        }
    }
}
