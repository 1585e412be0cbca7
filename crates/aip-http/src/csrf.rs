//! Forms of ours are posted by our pages only (OWASP CSRF Prevention, "HMAC based token pattern").
//!
//! Each form carries a keyed hash over what the browser is known by, the form and what it decides
//! about, so a token is worth nothing in another browser, in another form or for another request.
//! It outlives the replacement of a cookie: a page may wait while another tab signs in. What the
//! browser says about the origin of a request is checked as well; pages are sent with
//! `Referrer-Policy: no-referrer`, so a genuine form may come with `Origin: null`.

use aip_keys::secrets_equal;
use aip_oauth::params::Params;
use http::header::{HeaderName, ORIGIN};
use http::{HeaderMap, StatusCode};

use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::flow_cookie::FlowCookie;
use crate::hash_text::encode;
use crate::incoming_request::{IncomingRequest, SEC_FETCH_SITE};
use crate::state::AppState;

/// What a form is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// Signing in, for the named request if there is one.
    Login(Option<&'a str>),
    /// Deciding about a request, in the name of an account.
    Consent { request: &'a str, did: &'a str },
    /// Changing something on the account page.
    Account,
    /// Signing out at an app's wish.
    Logout,
    /// Entering the code of another device.
    UserCode,
    /// Going on with the device of that name, whose code was entered.
    Device(&'a str),
    /// Deciding about a developer token that was ordered; named by the hash of its link.
    DeveloperTokenOrder(&'a str),
}

impl AppState {
    /// The token of a form, for the browser that knows what `csrf_binding` stands for: a browser
    /// session, or the cookie of a sign-in that has not finished.
    pub(crate) fn csrf(&self, binding: &str, purpose: Purpose<'_>) -> String {
        let about = match purpose {
            Purpose::Login(request) => format!("login {}", request.unwrap_or("-")),
            Purpose::Consent { request, did } => format!("consent {request} {did}"),
            Purpose::Account => "account".to_owned(),
            Purpose::Logout => "logout".to_owned(),
            Purpose::UserCode => "user code".to_owned(),
            Purpose::Device(name) => format!("device {name}"),
            Purpose::DeveloperTokenOrder(name) => format!("developer token order {name}"),
        };
        encode(
            &self
                .server()
                .hasher
                .hash(&format!("csrf {binding} {about}")),
        )
    }

    /// Refuses a form that one of our pages did not make for this browser.
    pub(crate) fn check_csrf(
        &self,
        incoming: &IncomingRequest,
        params: &Params,
        browser: &Browser,
        purpose: Purpose<'_>,
    ) -> Result<(), ApiError> {
        check_origin(incoming.headers(), self.issuer().origin().as_str())?;
        if self.is_csrf(params, &browser.csrf_binding(), purpose) {
            Ok(())
        } else {
            Err(refused("the CSRF token is missing or wrong"))
        }
    }

    /// Refuses a form from before a sign-in that our page did not make for this browser; otherwise
    /// says for which of its sign-ins it did.
    pub(crate) fn check_flow_csrf(
        &self,
        incoming: &IncomingRequest,
        params: &Params,
        purpose: Purpose<'_>,
    ) -> Result<FlowCookie, ApiError> {
        check_origin(incoming.headers(), self.issuer().origin().as_str())?;
        let flows = self.flows(incoming);
        if flows.is_empty() {
            return Err(no_cookie());
        }
        flows
            .into_iter()
            .find(|flow| self.is_csrf(params, &flow.csrf_binding(self), purpose))
            .ok_or_else(|| refused("the CSRF token is missing or wrong"))
    }

    fn is_csrf(&self, params: &Params, binding: &str, purpose: Purpose<'_>) -> bool {
        let expected = self.csrf(binding, purpose);
        params
            .get("csrf")
            .is_some_and(|sent| secrets_equal(sent, &expected))
    }
}

/// A form that comes without the cookie that its page has set.
pub(crate) fn no_cookie() -> ApiError {
    ApiError::caller(
        StatusCode::FORBIDDEN,
        "access_denied",
        "Your browser did not send the cookie of this page. Either it does not keep cookies of \
         this site, or the page was open for too long. Allow cookies for this site, go back to \
         where you came from and start again.",
    )
    .with_detail(aip_base::Blame::Caller, "no cookie came with the form")
}

/// Judges what the browser says of the page that sent the form.
fn check_origin(headers: &HeaderMap, ours: &str) -> Result<(), ApiError> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    match text(&SEC_FETCH_SITE) {
        None | Some("same-origin" | "none") => {}
        Some(_) => return Err(refused("Sec-Fetch-Site is of another site")),
    }
    match text(&ORIGIN) {
        None | Some("null") => Ok(()),
        Some(origin) if origin == ours => Ok(()),
        Some(_) => Err(refused("Origin is another one")),
    }
}

fn refused(detail: &str) -> ApiError {
    ApiError::caller(
        StatusCode::FORBIDDEN,
        "access_denied",
        "This page was out of date, or another site sent you here. Go back, reload the page and try again.",
    )
    .with_detail(aip_base::Blame::Caller, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(HeaderName, &'static str)]) -> bool {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value)))
            .collect();
        check_origin(&headers, "https://aip.example").is_ok()
    }

    #[test]
    fn only_our_own_origin_may_send_forms() {
        assert!(judged(&[]));
        assert!(judged(&[(ORIGIN, "https://aip.example")]));
        assert!(judged(&[(SEC_FETCH_SITE, "same-origin"), (ORIGIN, "null")]));
        assert!(!judged(&[(SEC_FETCH_SITE, "cross-site"), (ORIGIN, "null")]));
        assert!(!judged(&[(SEC_FETCH_SITE, "same-site")]));
        assert!(!judged(&[(ORIGIN, "https://evil.example")]));
        assert!(!judged(&[(ORIGIN, "https://aip.example.evil.example")]));
        assert!(!judged(&[(ORIGIN, "http://aip.example")]));
    }
}
