//! `/.well-known/oauth-protected-resource`: which authorization server a PDS trusts (RFC 9728).

use aip_atproto::{Issuer, Origin};
use aip_base::{Http, excerpt};
use serde::Deserialize;

use super::{
    AuthServer, MetadataCheck, MetadataError, failed, fetch, fetch_auth_server, parse,
    usable_issuer,
};

#[derive(Deserialize)]
struct Document {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
}

/// What a PDS says about its authorization server.
#[derive(Debug)]
pub(crate) enum TrustedServer {
    /// Its metadata names this issuer.
    Named(Issuer),
    /// It has no metadata, but is an authorization server itself.
    Itself(Box<AuthServer>),
}

/// Asks `pds` for its issuer. A PDS without the document (404) may be its own authorization
/// server, which then has to say so in full.
pub(crate) async fn fetch_issuer(
    http: &dyn Http,
    pds: &Origin,
) -> Result<TrustedServer, MetadataError> {
    let url = pds.join("/.well-known/oauth-protected-resource");
    let answer = fetch(http, &url).await?;
    if answer.status == http::StatusCode::NOT_FOUND {
        let missing = MetadataError::Status { url, status: 404 };
        let itself = fetch_auth_server(http, &pds.clone().into()).await;
        return itself
            .map(|server| TrustedServer::Itself(Box::new(server)))
            .map_err(|_| missing);
    }
    let document: Document = parse(&url, &answer)?;
    if document.resource != pds.as_str() {
        return Err(failed(
            &url,
            MetadataCheck::Resource(excerpt(&document.resource)),
        ));
    }
    let [server] = document.authorization_servers.as_slice() else {
        let count = document.authorization_servers.len();
        return Err(failed(&url, MetadataCheck::ServerCount(count)));
    };
    usable_issuer(server, pds)
        .map(TrustedServer::Named)
        .ok_or_else(|| failed(&url, MetadataCheck::Server(excerpt(server))))
}
