//! The parameters of an authorization request as one JSON document. Members that this release does
//! not know are ignored; a document that lacks one that it needs is an inconsistency.

use aip_storage::request::AuthorizationParams;
use serde::{Deserialize, Serialize};

use crate::columns::Stored;

#[derive(Serialize, Deserialize)]
struct Document {
    redirect_uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    scope: String,
    asked: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code_challenge: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_jkt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login_hint: Option<String>,
    /// As the parameter is sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    prompt: String,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
}

impl Stored for AuthorizationParams {
    type Column = String;

    fn to_column(&self) -> String {
        let document = Document {
            redirect_uri: self.redirect_uri.as_str().to_owned(),
            state: self.state.clone(),
            scope: self.scope.to_string(),
            asked: self.asked.to_string(),
            nonce: self.nonce.clone(),
            code_challenge: self.code_challenge.clone(),
            dpop_jkt: self.dpop_jkt.clone(),
            login_hint: self.login_hint.clone(),
            prompt: self.prompts.to_string(),
            max_age: self.max_age,
        };
        serde_json::json!(document).to_string()
    }

    fn from_column(column: String) -> Option<Self> {
        let document: Document = serde_json::from_str(&column).ok()?;
        Some(Self {
            redirect_uri: document.redirect_uri.parse().ok()?,
            state: document.state,
            scope: document.scope.parse().ok()?,
            asked: document.asked.parse().ok()?,
            nonce: document.nonce,
            code_challenge: document.code_challenge,
            dpop_jkt: document.dpop_jkt,
            login_hint: document.login_hint,
            prompts: document.prompt.parse().ok()?,
            max_age: document.max_age,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smallest() -> AuthorizationParams {
        AuthorizationParams {
            redirect_uri: "https://app.example/cb".parse().unwrap(),
            state: None,
            scope: "atproto".parse().unwrap(),
            asked: "atproto".parse().unwrap(),
            nonce: None,
            code_challenge: None,
            dpop_jkt: None,
            login_hint: None,
            prompts: "".parse().unwrap(),
            max_age: None,
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let smallest = smallest();
        let all = AuthorizationParams {
            state: Some("\u{0}\"st\u{e4}te\"".to_owned()),
            asked: "atproto email".parse().unwrap(),
            nonce: Some(String::new()),
            code_challenge: Some("c".to_owned()),
            dpop_jkt: Some("j".to_owned()),
            login_hint: Some("alice.example".to_owned()),
            prompts: "login consent".parse().unwrap(),
            max_age: Some(u64::MAX),
            ..smallest.clone()
        };
        for params in [smallest, all] {
            let read = AuthorizationParams::from_column(params.to_column());
            assert_eq!(read, Some(params));
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_request() {
        let column = smallest().to_column();
        assert!(AuthorizationParams::from_column(column.clone()).is_some());
        let with = |member: &str| column.replacen('{', &format!("{{{member},"), 1);
        assert!(AuthorizationParams::from_column(with("\"later\":1")).is_some());
        for damaged in [
            String::new(),
            "{}".to_owned(),
            with("\"prompt\":\"nonsense\""),
            with("\"prompt\":\"none login\""),
            with("\"max_age\":-1"),
            column.replace("https://", "javascript:"),
            column.replace("https", "\u{0}\\"),
            column.replace("\"scope\":\"atproto\"", "\"scope\":7"),
        ] {
            assert_eq!(
                AuthorizationParams::from_column(damaged.clone()),
                None,
                "{damaged}"
            );
        }
    }
}
