//! What an account shows of itself: its record `app.bsky.actor.profile/self`, which anybody may read at
//! its PDS (<https://atproto.com/lexicons/app-bsky-actor>, `app.bsky.actor.profile`).

use std::time::Duration;

use aip_atproto::{Did, Origin};
use aip_base::{HttpError, Limits};
use http::StatusCode;
use serde::Deserialize;
use url::form_urlencoded;

use crate::client::PdsClient;
use crate::document;

/// A record is some kilobytes; nobody waits long for a name.
const LIMITS: Limits = Limits {
    max_bytes: 64 * 1024,
    deadline: Duration::from_secs(2),
};
/// The longest display name, in bytes, as the lexicon has it.
const MAX_DISPLAY_NAME_BYTES: usize = 640;
/// The longest content identifier of a picture, in characters; those of today have 59.
const MAX_CID_LENGTH: usize = 128;

/// What of the record names and shows the account. Its owner wrote it: nothing is checked but the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRecord {
    /// The name for display, not empty, 640 bytes at most, without control characters.
    pub display_name: Option<String>,
    /// The content identifier of the picture, ASCII letters and digits.
    pub avatar_cid: Option<String>,
}

/// Why a profile is not known.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Nothing was sent: the PDS is down or asked for a pause.
    #[error("the PDS is to be left alone for {} s", .0.as_secs())]
    Paused(Duration),
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Neither a record nor the word that there is none.
    #[error("the PDS answered with status {0}")]
    Status(StatusCode),
    /// Not a record.
    #[error("the PDS answered with something that is no record: {0}")]
    Malformed(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Answer {
    value: Value,
}

/// Members of another type than the lexicon has are as good as none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    #[serde(default)]
    display_name: serde_json::Value,
    #[serde(default)]
    avatar: serde_json::Value,
}

impl PdsClient {
    /// The profile of `did` at its PDS; `None` if it has none.
    pub async fn profile_record(
        &self,
        pds: &Origin,
        did: &Did,
    ) -> Result<Option<ProfileRecord>, ProfileError> {
        if let Some(wait) = self.origins.refresh_wait(pds) {
            return Err(ProfileError::Paused(wait));
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("repo", did.as_str())
            .append_pair("collection", "app.bsky.actor.profile")
            .append_pair("rkey", "self")
            .finish();
        let url = pds.join(&format!("/xrpc/com.atproto.repo.getRecord?{query}"));
        let answer = document::get(&*self.http, &url, LIMITS).await?;
        match answer.status {
            StatusCode::OK => read(&answer.body)
                .map(Some)
                .map_err(ProfileError::Malformed),
            // `RecordNotFound` is 400 at the reference PDS, and 404 at others.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Ok(None),
            status => Err(ProfileError::Status(status)),
        }
    }
}

fn read(body: &[u8]) -> Result<ProfileRecord, serde_json::Error> {
    let Answer { value } = serde_json::from_slice(body)?;
    let cid = value.avatar.pointer("/ref/$link");
    Ok(ProfileRecord {
        display_name: value.display_name.as_str().and_then(display_name),
        avatar_cid: cid
            .and_then(serde_json::Value::as_str)
            .filter(|cid| is_cid(cid))
            .map(str::to_owned),
    })
}

/// The name without what is not seen but changes how the rest is read.
fn display_name(written: &str) -> Option<String> {
    let is_seen = |c: &char| {
        !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name: String = written.chars().filter(is_seen).collect();
    let name = name.trim();
    let fits = !name.is_empty() && name.len() <= MAX_DISPLAY_NAME_BYTES;
    fits.then(|| name.to_owned())
}

fn is_cid(text: &str) -> bool {
    let length = text.len();
    (1..=MAX_CID_LENGTH).contains(&length) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(value: &str) -> (Option<String>, Option<String>) {
        let body = format!(r#"{{"uri":"at://x","value":{value}}}"#);
        let record = read(body.as_bytes()).unwrap();
        (record.display_name, record.avatar_cid)
    }

    #[test]
    fn a_profile_is_read_as_the_lexicon_has_it() {
        let value = r#"{"$type":"app.bsky.actor.profile","displayName":" Alice 👩🏽‍🚀 ",
            "avatar":{"$type":"blob","ref":{"$link":"bafkreib"},"mimeType":"image/png","size":3}}"#;
        let (name, cid) = profile(value);
        assert_eq!(name.as_deref(), Some("Alice 👩🏽‍🚀"));
        assert_eq!(cid.as_deref(), Some("bafkreib"));
        assert_eq!(profile("{}"), (None, None));
    }

    #[test]
    fn what_no_lexicon_allows_is_left_out() {
        let long = format!(r#""{}""#, "x".repeat(MAX_DISPLAY_NAME_BYTES + 1));
        for name in ["null", "1", "[]", r#""""#, r#"" \u0000\n ""#, &long] {
            let value = format!(r#"{{"displayName":{name}}}"#);
            assert_eq!(profile(&value), (None, None), "{name}");
        }
        let turned = profile(r#"{"displayName":"a\u202eb\u2066c\u0007d"}"#);
        assert_eq!(turned.0.as_deref(), Some("abcd"));
        for link in [r#""../x""#, r#""a&b""#, r#""""#, "1", "{}", &long] {
            let value = format!(r#"{{"avatar":{{"ref":{{"$link":{link}}}}}}}"#);
            assert_eq!(profile(&value), (None, None), "{link}");
        }
        assert_eq!(
            profile(r#"{"avatar":"https://evil.example/x"}"#),
            (None, None)
        );
        for body in ["", "[]", "{}", r#"{"value":1}"#, r#"{"value":null}"#] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
