//! Which authorization server a PDS trusts, and what that server says about itself
//! (RFC 9728, RFC 8414, <https://atproto.com/specs/oauth#server-metadata>).

mod authorization_server;
mod protected_resource;

use aip_atproto::{Issuer, Origin};
use aip_base::{Fetched, Http, excerpt};
use serde::de::DeserializeOwned;
use url::Url;

pub use authorization_server::AuthServer;
pub(crate) use authorization_server::fetch_auth_server;
pub(crate) use protected_resource::{TrustedServer, fetch_issuer};

use crate::cache::{ByteSize, Transient};
use crate::document::{DOCUMENT_LIMITS, get};

/// The longest URL of an endpoint.
const MAX_URL: usize = 2048;

/// Why metadata cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No answer.
    #[error("{url} cannot be fetched: {reason}")]
    Unreachable {
        /// What was fetched.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// Another status than exactly 200; redirects are not followed.
    #[error("{url} answered {status} instead of 200")]
    Status {
        /// What was fetched.
        url: String,
        /// The status.
        status: u16,
    },
    /// The answer is not JSON, or not of the shape of a metadata document.
    #[error("{url} is not a metadata document: {reason}")]
    Malformed {
        /// What was fetched.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A well-formed document says something that must not be accepted.
    #[error("{url}: {check}")]
    Check {
        /// What was fetched.
        url: String,
        /// The check that failed.
        #[source]
        check: MetadataCheck,
    },
}

/// A check that a metadata document failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataCheck {
    /// `resource` is not the PDS that was asked.
    #[error("`resource` is `{0}`, not this server")]
    Resource(String),
    /// `authorization_servers` is not a list of exactly one.
    #[error("`authorization_servers` has {0} entries instead of one")]
    ServerCount(usize),
    /// The authorization server is not named by a bare https origin.
    #[error("the authorization server `{0}` is not a bare https origin")]
    Server(String),
    /// `issuer` is not the origin that the document was fetched from.
    #[error("`issuer` is `{0}`, not this server")]
    Issuer(String),
    /// A list must contain a value and does not.
    #[error("`{field}` does not contain `{value}`")]
    Lacks {
        /// The member.
        field: &'static str,
        /// The value it must contain.
        value: &'static str,
    },
    /// A list must not contain a value and does.
    #[error("`{field}` contains `{value}`")]
    Contains {
        /// The member.
        field: &'static str,
        /// The value it must not contain.
        value: &'static str,
    },
    /// A boolean member must be true, or must not be false.
    #[error("`{0}` has the wrong value")]
    WrongBoolean(&'static str),
    /// An endpoint is missing or not an https URL of a named host.
    #[error("`{field}` is not usable: {reason}")]
    Endpoint {
        /// The member.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server lists the resources it serves, and the PDS is not among them (RFC 9728 §4).
    #[error("`protected_resources` does not list `{0}`")]
    NotServed(String),
}

impl MetadataError {
    /// Whether the error may pass by itself. Only a well-formed document with a wrong content is
    /// a definite answer: pages of proxies and statuses of restarts are not.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Check { .. })
    }
}

impl ByteSize for MetadataError {
    /// The texts of others in it are cut when it is made.
    fn bytes(&self) -> usize {
        1024
    }
}

impl ByteSize for Issuer {
    fn bytes(&self) -> usize {
        self.as_str().len()
    }
}

impl Transient for MetadataError {
    fn is_transient(&self) -> bool {
        self.is_transient()
    }
}

async fn fetch(http: &dyn Http, url: &str) -> Result<Fetched, MetadataError> {
    let unreachable = |error: aip_base::HttpError| MetadataError::Unreachable {
        url: url.to_owned(),
        reason: excerpt(&error.to_string()),
    };
    get(http, url, DOCUMENT_LIMITS).await.map_err(unreachable)
}

/// The document in an answer that is exactly 200 and JSON.
fn parse<T: DeserializeOwned>(url: &str, answer: &Fetched) -> Result<T, MetadataError> {
    if answer.status != http::StatusCode::OK {
        let status = answer.status.as_u16();
        return Err(MetadataError::Status {
            url: url.to_owned(),
            status,
        });
    }
    let malformed = |reason| MetadataError::Malformed {
        url: url.to_owned(),
        reason,
    };
    if !answer.is_json() {
        return Err(malformed("its content type is not JSON".to_owned()));
    }
    serde_json::from_slice(&answer.body).map_err(|error| malformed(excerpt(&error.to_string())))
}

fn failed(url: &str, check: MetadataCheck) -> MetadataError {
    MetadataError::Check {
        url: url.to_owned(),
        check,
    }
}

/// An issuer that may be used by `neighbour`: https, or plain http beside a plain-http neighbour,
/// which only development lets out.
fn usable_issuer(text: &str, neighbour: &Origin) -> Option<Issuer> {
    let issuer = Issuer::parse(text).ok()?;
    (issuer.origin().is_https() || !neighbour.is_https()).then_some(issuer)
}

/// An endpoint of `issuer`: https with a named host, or anything of loopback when the issuer
/// itself is plain-http loopback.
fn endpoint(
    issuer: &Issuer,
    field: &'static str,
    text: Option<&str>,
) -> Result<Url, MetadataCheck> {
    let refused = |reason| MetadataCheck::Endpoint { field, reason };
    let text = text.ok_or(refused("it is missing"))?;
    if text.len() > MAX_URL {
        return Err(refused("it is longer than 2048 bytes"));
    }
    let url = Url::parse(text).map_err(|_| refused("not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it contains credentials"));
    }
    if url.fragment().is_some() {
        return Err(refused("it contains a fragment"));
    }
    let development = !issuer.origin().is_https();
    let origin = Origin::parse(&url.origin().ascii_serialization());
    match (url.scheme(), url.host(), origin) {
        ("http" | "https", _, Ok(origin)) if development && origin.is_loopback() => Ok(url),
        ("https", Some(url::Host::Domain(_)), Ok(origin)) if !origin.is_loopback() => Ok(url),
        ("https", _, _) => Err(refused("its host is not a public name")),
        _ => Err(refused("it is not https")),
    }
}

#[cfg(test)]
mod tests;
