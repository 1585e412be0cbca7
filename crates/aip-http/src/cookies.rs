//! Cookies as they come and go (RFC 6265bis): `__Host-` names over TLS; plain ones on loopback, where
//! there is no TLS and browsers refuse the prefix.

use std::time::Duration;

use axum::response::Response;
use http::header::{COOKIE, HeaderValue, SET_COOKIE};

use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// The cookies of a request, as name and value.
pub(crate) fn cookies(incoming: &IncomingRequest) -> impl Iterator<Item = (&str, &str)> {
    let headers = incoming.headers().get_all(COOKIE).iter();
    headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// The one cookie of that name. Two of them mean that somebody planted one: then there is none.
pub(crate) fn cookie<'a>(incoming: &'a IncomingRequest, name: &str) -> Option<&'a str> {
    let mut values = cookies(incoming)
        .filter(|(it, _)| *it == name)
        .map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

impl AppState {
    /// The name of a cookie of ours: `aip`, and what follows it.
    pub(crate) fn cookie_name(&self, suffix: &str) -> String {
        let prefix = if self.is_https() { "__Host-" } else { "" };
        format!("{prefix}aip{suffix}")
    }

    /// Sets a cookie for that long; for no time at all, takes it away. `SameSite=Lax`: the cookie
    /// must come along when an app or a PDS sends the person here.
    pub(crate) fn set_cookie(
        &self,
        response: &mut Response,
        name: &str,
        value: &str,
        life: Duration,
    ) {
        let secure = if self.is_https() { "; Secure" } else { "" };
        let seconds = life.as_secs();
        let cookie =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
            cookie.set_sensitive(true);
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}
