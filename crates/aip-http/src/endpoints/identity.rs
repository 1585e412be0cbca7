//! The methods of `com.atproto.identity` that AIP answers itself: who somebody is, is public, and AIP
//! knows it as well as a PDS (<https://atproto.com/specs/handle>). Every access token may ask, at no cost
//! to the account's PDS. A call that names a service in `atproto-proxy` goes there as any other.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use aip_atproto::{AtIdentifier, Did, DidDocument, Handle, Nsid};
use aip_base::Blame;
use aip_oauth::claims::INVALID_HANDLE;
use aip_pds::{Freshness, ResolveError, Trace};
use aip_storage::grant::Grant;
use aip_xrpc::headers::single_header_text;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::header::ALLOW;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use strum::{EnumIter, IntoEnumIterator as _};
use url::form_urlencoded;

use crate::api_error::ApiError;
use crate::incoming_request::IncomingRequest;
use crate::lookups::Lookups;
use crate::state::AppState;
use crate::subject_quota::Requester;

/// A method that AIP answers itself, by what it resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter)]
pub(super) enum IdentityMethod {
    Handle,
    Did,
    Identity,
}

impl IdentityMethod {
    /// The one of that name, unless the call names another service.
    pub(super) fn of(nsid: &Nsid, headers: &HeaderMap) -> Option<Self> {
        let method = Self::iter().find(|method| method.nsid() == nsid.as_str())?;
        // Judged as the proxy does: one that could be read in two ways it refuses.
        let names_none = matches!(single_header_text(headers, "atproto-proxy"), Ok(None));
        names_none.then_some(method)
    }

    fn nsid(self) -> &'static str {
        match self {
            Self::Handle => "com.atproto.identity.resolveHandle",
            Self::Did => "com.atproto.identity.resolveDid",
            Self::Identity => "com.atproto.identity.resolveIdentity",
        }
    }

    /// Answers a call under `grant`.
    pub(super) async fn answer(
        self,
        app: &AppState,
        incoming: &IncomingRequest,
        grant: &Grant,
    ) -> Result<Response, ApiError> {
        if incoming.is_post() {
            let words = format!("{} is called with GET", self.nsid());
            let problem = ApiError::caller(StatusCode::METHOD_NOT_ALLOWED, "InvalidRequest", words);
            return Err(problem.with(ALLOW, "GET, HEAD"));
        }
        let (query, resolver) = (incoming.query(), app.resolver());
        let body = match self {
            Self::Handle => {
                let handle: Handle = parameter(query, "handle")?;
                let mut trace = Trace::default();
                let is_remembered = resolver.remembers_handle(&handle);
                let found = resolver.did_of(&handle, Freshness::Cached, &mut trace);
                let did = look_up(app, grant, is_remembered, found).await?;
                json!({ "did": did.as_str() })
            }
            Self::Did => {
                let did: Did = parameter(query, "did")?;
                let mut trace = Trace::default();
                let is_remembered = resolver.remembers_document(&did);
                let found = resolver.document(&did, Freshness::Cached, &mut trace);
                let document = look_up(app, grant, is_remembered, found).await?;
                json!({ "didDoc": document_json(&document)? })
            }
            Self::Identity => {
                let id: AtIdentifier = parameter(query, "identifier")?;
                let is_remembered = resolver.remembers(&id);
                let known = look_up(app, grant, is_remembered, resolver.known(&id)).await?;
                let handle = known.handle.as_ref();
                json!({
                    "did": known.did.as_str(),
                    "handle": handle.map_or(INVALID_HANDLE, |it| it.handle.as_str()),
                    "didDoc": document_json(&known.document)?,
                })
            }
        };
        Ok(Json(body).into_response())
    }
}

async fn look_up<T>(
    app: &AppState,
    grant: &Grant,
    is_remembered: bool,
    found: impl Future<Output = Result<T, ResolveError>>,
) -> Result<T, ApiError> {
    let requester = Requester::of(grant);
    app.lookups().count(app, &requester, 1)?;
    let deadline = Lookups::deadline();
    let lookup = app
        .lookups()
        .run(&requester, deadline, is_remembered, found);
    Ok(lookup.await?)
}

/// The parameter of that name, which must be there once.
fn parameter<T: FromStr>(query: &[u8], name: &str) -> Result<T, ApiError>
where
    T::Err: fmt::Display,
{
    let invalid = |words| ApiError::caller(StatusCode::BAD_REQUEST, "InvalidRequest", words);
    let mut values = form_urlencoded::parse(query).filter(|(key, _)| key == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => value
            .parse()
            .map_err(|error| invalid(format!("the parameter `{name}`: {error}"))),
        _ => Err(invalid(format!("the query must name `{name}` once"))),
    }
}

/// The whole document. AIP reads parts of it alone, so the rest may be what nobody can repeat.
fn document_json(document: &DidDocument) -> Result<Value, ApiError> {
    let unusable = |what: &str, detail: String| {
        let words = format!("the DID document of {} is {what}", document.id());
        ApiError::caller(StatusCode::BAD_GATEWAY, "UpstreamFailure", words)
            .with_detail(Blame::Upstream, detail)
    };
    let json = document.json().ok_or_else(|| {
        let what = "too large to be handed on";
        unusable(what, what.to_owned())
    })?;
    serde_json::from_str(json).map_err(|error| unusable("not usable", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_there_once_and_is_what_it_should_be() {
        let did = |query: &str| parameter::<Did>(query.as_bytes(), "did");
        assert!(did("did=did:web:a.example&x=1").is_ok());
        assert!(did("did=did%3Aweb%3Aa.example").is_ok());
        for query in [
            "",
            "did",
            "did=alice.example",
            "DID=did:web:a.example",
            "did=did:web:a.example&did=did:web:a.example",
            "did=did:web:a.example&did=did:web:b.example",
            "did[]=did:web:a.example",
            "did=did:web:a.example%0d%0a",
        ] {
            assert!(did(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_call_that_names_a_service_is_not_answered_here() {
        let nsid = |name| Nsid::parse(name).unwrap();
        let mut headers = HeaderMap::new();
        for method in IdentityMethod::iter() {
            let found = IdentityMethod::of(&nsid(method.nsid()), &headers);
            assert_eq!(found, Some(method));
        }
        let other = nsid("com.atproto.identity.refreshIdentity");
        assert_eq!(IdentityMethod::of(&other, &headers), None);
        headers.insert("atproto-proxy", "x".parse().unwrap());
        for method in IdentityMethod::iter() {
            assert_eq!(IdentityMethod::of(&nsid(method.nsid()), &headers), None);
        }
        // What could be read in two ways is for the proxy to refuse, and what is for AIP alone is none.
        headers.append("atproto-proxy", "y".parse().unwrap());
        for (connection, is_answered) in [
            ("keep-alive", false),
            ("x-atproto-proxy", false),
            ("atproto-proxy", true),
            ("close, Atproto-Proxy", true),
        ] {
            headers.insert("connection", connection.parse().unwrap());
            for method in IdentityMethod::iter() {
                let found = IdentityMethod::of(&nsid(method.nsid()), &headers);
                assert_eq!(found, is_answered.then_some(method), "{connection}");
            }
        }
    }

    #[test]
    fn a_document_that_is_too_deep_or_too_large_is_an_error() {
        let deep = format!(
            r#"{{"id":"did:web:a.example","x":{}{}}}"#,
            "[".repeat(1000),
            "]".repeat(1000)
        );
        if let Ok(document) = DidDocument::parse(deep.as_bytes()) {
            assert!(document_json(&document).is_err());
        }
        for (padding, is_told) in [(1, true), (8000, true), (9000, false), (60_000, false)] {
            let padding = "x".repeat(padding);
            let document = format!(r#"{{"id":"did:web:a.example","x":"{padding}"}}"#);
            let document = DidDocument::parse(document.as_bytes()).unwrap();
            assert_eq!(document_json(&document).is_ok(), is_told);
        }
        let document = DidDocument::parse(br#"{"id":"did:web:a.example","x":[1]}"#).unwrap();
        assert_eq!(document_json(&document).unwrap()["x"][0], 1);
    }
}
