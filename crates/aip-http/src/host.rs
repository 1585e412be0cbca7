//! Pages have one address. On a developer's machine AIP is easily opened under another of its names,
//! `localhost` for `127.0.0.1`, where it would not see its own cookies: such a page is sent on.
//!
//! Elsewhere the `Host` that arrives may be one that a proxy made up, and sending the browser to the
//! base would lead it in a circle.

use aip_atproto::Origin;
use axum::extract::Request;
use http::Method;
use http::header::HOST;
use http::uri::Authority;

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
    let own = base.origin();
    let asked: Origin = format!("http://{authority}").parse().ok()?;
    let is_other_name = asked.is_loopback() && asked.host() != own.host();
    if asked.port() != own.port() || !is_other_name {
        return None;
    }
    let path = request.uri().path_and_query()?;
    Some(base.url(path.as_str()))
}
