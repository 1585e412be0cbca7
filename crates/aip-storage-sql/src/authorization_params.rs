//! The parameters of an authorization request as one JSON document. Members that this release does
//! not know are ignored; a document that lacks one that it needs is an inconsistency.

use aip_keys::TokenHash;
use aip_storage::request::{AuthorizationParams, Delivery, RedirectDelivery, ResponseMode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::columns::Stored;

#[derive(Serialize, Deserialize)]
struct Document {
    /// Of a request that is answered by redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<String>,
    /// Without it: in the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Of a request that is answered at a device: the keyed hash of its code, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_code: Option<String>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    claims: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    resources: String,
}

impl Document {
    fn delivery(&self) -> Option<Delivery> {
        match (&self.redirect_uri, &self.device_code) {
            (Some(redirect_uri), None) => Some(Delivery::Redirect(RedirectDelivery {
                redirect_uri: redirect_uri.parse().ok()?,
                response_mode: match &self.response_mode {
                    Some(word) => word.parse().ok()?,
                    None => ResponseMode::Query,
                },
                state: self.state.clone(),
            })),
            (None, Some(code)) => {
                let hash = URL_SAFE_NO_PAD.decode(code).ok()?;
                TokenHash::from_column(hash).map(Delivery::Device)
            }
            _ => None,
        }
    }
}

impl Stored for AuthorizationParams {
    type Column = String;

    fn to_column(&self) -> String {
        let (redirect, device) = (self.delivery.redirect(), self.delivery.device());
        let response_mode = redirect.map(|it| it.response_mode);
        let response_mode = response_mode.filter(|it| *it != ResponseMode::Query);
        let document = Document {
            redirect_uri: redirect.map(|it| it.redirect_uri.to_string()),
            response_mode: response_mode.map(|it| it.as_str().to_owned()),
            state: redirect.and_then(|it| it.state.clone()),
            device_code: device.map(|it| URL_SAFE_NO_PAD.encode(it.as_bytes())),
            scope: self.scope.to_string(),
            asked: self.asked.to_string(),
            nonce: self.nonce.clone(),
            code_challenge: self.code_challenge.clone(),
            dpop_jkt: self.dpop_jkt.clone(),
            login_hint: self.login_hint.clone(),
            prompt: self.prompts.to_string(),
            max_age: self.max_age,
            subjects: self.subjects.iter().map(ToString::to_string).collect(),
            claims: self.claims.to_string(),
            resources: self.resources.to_string(),
        };
        serde_json::json!(document).to_string()
    }

    fn from_column(column: String) -> Option<Self> {
        let document: Document = serde_json::from_str(&column).ok()?;
        let subjects = document.subjects.iter().map(|it| it.parse().ok());
        Some(Self {
            delivery: document.delivery()?,
            subjects: subjects.collect::<Option<_>>()?,
            claims: document.claims.parse().ok()?,
            resources: document.resources.parse().ok()?,
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
    use aip_storage::requested_claims::RequestedClaims;
    use aip_storage::resource_uri::ResourceList;

    use super::*;

    fn smallest() -> AuthorizationParams {
        AuthorizationParams {
            delivery: redirect(ResponseMode::Query, None),
            scope: "atproto".parse().unwrap(),
            asked: "atproto".parse().unwrap(),
            nonce: None,
            code_challenge: None,
            dpop_jkt: None,
            login_hint: None,
            prompts: "".parse().unwrap(),
            max_age: None,
            subjects: Vec::new(),
            claims: RequestedClaims::default(),
            resources: ResourceList::default(),
        }
    }

    fn redirect(response_mode: ResponseMode, state: Option<&str>) -> Delivery {
        Delivery::Redirect(RedirectDelivery {
            redirect_uri: "https://app.example/cb".parse().unwrap(),
            response_mode,
            state: state.map(str::to_owned),
        })
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let smallest = smallest();
        let all = AuthorizationParams {
            delivery: redirect(ResponseMode::FormPost, Some("\u{0}\"st\u{e4}te\"")),
            asked: "atproto email".parse().unwrap(),
            nonce: Some(String::new()),
            code_challenge: Some("c".to_owned()),
            dpop_jkt: Some("j".to_owned()),
            login_hint: Some("alice.example".to_owned()),
            prompts: "login consent".parse().unwrap(),
            max_age: Some(u64::MAX),
            subjects: vec![
                "did:web:alice.example".parse().unwrap(),
                "A".repeat(43).parse().unwrap(),
            ],
            claims: "id_token.acr userinfo.name".parse().unwrap(),
            resources: "https://api.example urn:photos".parse().unwrap(),
            ..smallest.clone()
        };
        let at_device = AuthorizationParams {
            delivery: Delivery::Device(TokenHash::from_bytes([7; 32])),
            ..smallest.clone()
        };
        for params in [smallest, all, at_device] {
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
            with("\"response_mode\":\"fragment\""),
            with("\"device_code\":\"AAAA\""),
            with("\"subjects\":[\"alice\"]"),
            with("\"claims\":\"everything\""),
            with("\"resources\":\"everything\""),
            column.replace("redirect_uri", "redirect"),
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
