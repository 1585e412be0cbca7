//! A request as a stand-in received it, complete with its secrets, for tests to look at.

use std::sync::{Arc, OnceLock};

use aip_base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

/// How much of a body is remembered, in bytes: forms and records, not videos.
const MAX_JOURNAL_BODY: usize = 64 * 1024;

/// A request that arrived at a stand-in.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The path, as sent.
    pub path: String,
    /// The query without its question mark; empty when there is none.
    pub query: String,
    /// As they were received.
    pub headers: HeaderMap,
    /// The body, of which journals keep the first 64 KiB.
    pub body: Bytes,
    pub(crate) status: Arc<OnceLock<StatusCode>>,
    /// When a PDS looked at its access token for the first time.
    pub(crate) looked_at: OnceLock<Timestamp>,
}

/// Decoded `application/x-www-form-urlencoded` pairs, in the order they were sent.
#[derive(Debug, Clone, Default)]
pub struct Form(Vec<(String, String)>);

impl Received {
    /// The header `name`, when it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a form; empty when it is none.
    pub fn form(&self) -> Form {
        Form::parse(&self.body)
    }

    /// The query's parameters.
    pub fn query_form(&self) -> Form {
        Form::parse(self.query.as_bytes())
    }

    /// The claims of the `DPoP` proof in the request, unverified.
    pub fn dpop_claims(&self) -> Option<Value> {
        claims(self.header("dpop")?)
    }

    /// The nonce of the request's `DPoP` proof.
    pub fn dpop_nonce(&self) -> Option<String> {
        text(&self.dpop_claims()?, "nonce")
    }

    /// The `jti` of the request's `DPoP` proof.
    pub fn dpop_jti(&self) -> Option<String> {
        text(&self.dpop_claims()?, "jti")
    }

    /// The claims of the client assertion in the form, unverified.
    pub fn assertion_claims(&self) -> Option<Value> {
        claims(self.form().get("client_assertion")?)
    }

    /// The `kid` in the header of the client assertion.
    pub fn assertion_kid(&self) -> Option<String> {
        let form = self.form();
        let (header, _) = form.get("client_assertion")?.split_once('.')?;
        text(&decode(header)?, "kid")
    }

    /// The status of the answer; `None` while it is being prepared, and when the connection was
    /// dropped instead.
    pub fn answered(&self) -> Option<StatusCode> {
        self.status.get().copied()
    }

    /// A copy without most of a large body.
    pub(crate) fn for_journal(&self) -> Self {
        let mut copy = self.clone();
        if copy.body.len() > MAX_JOURNAL_BODY {
            copy.body = Bytes::copy_from_slice(&copy.body[..MAX_JOURNAL_BODY]);
        }
        copy
    }

    /// The cookie `name`.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.header("cookie")?
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The name in the `Host` header, without its port.
    pub(crate) fn host_name(&self) -> Option<String> {
        let host = self.header("host")?;
        Some(host.split(':').next().unwrap_or(host).to_ascii_lowercase())
    }
}

impl Form {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self(serde_urlencoded::from_bytes(bytes).unwrap_or_default())
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

fn claims(jwt: &str) -> Option<Value> {
    decode(jwt.split('.').nth(1)?)
}

fn decode(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn text(value: &Value, name: &str) -> Option<String> {
    Some(value.get(name)?.as_str()?.to_owned())
}
