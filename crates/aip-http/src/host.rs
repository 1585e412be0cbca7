//! Pages have one address. On a developer's machine AIP is easily opened under another of its names,
//! `localhost` for `127.0.0.1`, where it would not see its own cookies: such a page is sent on.
//!
//! Elsewhere the `Host` that arrives may be one that a proxy made up, and sending the browser to the
//! base would lead it in a circle.

use std::net::IpAddr;

use axum::extract::Request;
use http::Method;
use http::header::HOST;
use http::uri::Authority;
use url::{Host, Url};

use crate::endpoint::{ErrorFormat, Spec};
use crate::state::AppState;

/// Where a page is to be opened instead: the same path and query at our own base, for a `GET` under
/// another loopback name of the same port.
pub(crate) fn canonical(app: &AppState, spec: &Spec, request: &Request) -> Option<String> {
    let base = app.issuer();
    if spec.errors != ErrorFormat::Page || request.method() != Method::GET || !base.is_loopback() {
        return None;
    }
    let host = request.headers().get(HOST)?.to_str().ok()?;
    let authority: Authority = host.parse().ok()?;
    let url = Url::parse(base.as_str()).ok()?;
    let same_port = authority.port_u16().or(Some(80)) == url.port_or_known_default();
    let ours = url.host_str()?;
    if !same_port || !is_loopback(authority.host()) || authority.host() == ours {
        return None;
    }
    let path = request.uri().path_and_query()?;
    Some(format!("{}{path}", base.as_str()))
}

fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Ok(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Ok(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        Err(_) => false,
    }
}
