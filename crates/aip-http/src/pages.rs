//! The pages: plain HTML forms, no script, escaped by the template engine.

use aip_pds::Trace;
use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};

use crate::account_names::AccountName;
use crate::assets::{ICON, STYLE};

/// The first page.
#[derive(Template)]
#[template(path = "home.html")]
pub(crate) struct HomePage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) signed_out: bool,
}

/// The sign-in page.
#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct LoginPage<'a> {
    pub(crate) brand: &'a str,
    /// The name of the app; `None` for a sign-in from our own pages.
    pub(crate) app: Option<&'a str>,
    /// Names the app's request.
    pub(crate) request: Option<&'a str>,
    pub(crate) csrf: &'a str,
    /// What is in the input.
    pub(crate) subject: &'a str,
    /// Accounts that are signed in at this browser.
    pub(crate) accounts: &'a [AccountName],
    pub(crate) failure: Option<&'a Failure>,
}

/// Why the sign-in page comes again.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) words: String,
    pub(crate) tried: Trace,
}

/// The consent page.
#[derive(Template)]
#[template(path = "consent.html")]
pub(crate) struct ConsentPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) app: &'a str,
    pub(crate) client_id: &'a str,
    /// Where the person goes afterwards.
    pub(crate) destination: &'a str,
    pub(crate) account: &'a AccountName,
    pub(crate) reason: &'a str,
    pub(crate) scopes: &'a [aip_atproto::ScopeLine],
    pub(crate) request: &'a str,
    pub(crate) csrf: &'a str,
}

/// The account page.
#[derive(Template)]
#[template(path = "account.html")]
pub(crate) struct AccountPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) accounts: &'a [AccountSection],
    pub(crate) csrf: &'a str,
}

/// One account with the apps that it lets in.
#[derive(Debug)]
pub(crate) struct AccountSection {
    pub(crate) name: AccountName,
    pub(crate) grants: Vec<GrantLine>,
}

/// One app that may act for an account.
#[derive(Debug)]
pub(crate) struct GrantLine {
    pub(crate) app: String,
    pub(crate) client_id: String,
    pub(crate) since: String,
    pub(crate) scopes: Vec<aip_atproto::ScopeLine>,
}

/// The question whether to sign out at an app's wish.
#[derive(Template)]
#[template(path = "logout.html")]
pub(crate) struct LogoutPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) csrf: &'a str,
    /// Parameters of the app's request.
    pub(crate) carried: &'a [(&'a str, &'a str)],
}

/// Something that went wrong.
#[derive(Template)]
#[template(path = "error.html")]
pub(crate) struct ErrorPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) words: &'a str,
    pub(crate) ours: bool,
    pub(crate) request_id: &'a str,
}

/// What every page has, for the layout.
trait Layout {
    /// Where the style sheet is.
    fn style(&self) -> String {
        STYLE.path()
    }

    /// Where the icon is.
    fn icon(&self) -> String {
        ICON.path()
    }
}

impl<T: Template> Layout for T {}

/// Where the forms of a page may lead. A form that posts to us is answered by a redirect to a PDS
/// or to an app, and browsers hold redirects to `form-action`, too; hosts are not known when the
/// page is made, and CSP cannot name IPv6 hosts, so it is the scheme that is limited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FormTargets<'a> {
    /// Whether this AIP is for development on loopback, with a PDS on plain http.
    pub(crate) loopback: bool,
    /// The redirect URI of the app.
    pub(crate) app: Option<&'a str>,
}

impl FormTargets<'_> {
    fn sources(self) -> String {
        let app = self.app.and_then(|uri| uri.split_once(':'));
        match app.map_or("https", |(scheme, _)| scheme) {
            "https" if self.loopback => "'self' https: http:".to_owned(),
            "https" => "'self' https:".to_owned(),
            scheme if self.loopback => format!("'self' https: http: {scheme}:"),
            scheme => format!("'self' https: {scheme}:"),
        }
    }
}

/// A page as an answer. Without `targets` its forms lead nowhere but here.
pub(crate) fn html(
    status: StatusCode,
    page: &impl Template,
    targets: Option<FormTargets<'_>>,
) -> Response {
    let Ok(text) = page.render() else {
        // A template writes to a string; what can fail is a value's own formatting.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let actions = targets.map_or_else(|| "'self'".to_owned(), FormTargets::sources);
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action {actions}; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    let media_type = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = (status, [(CONTENT_TYPE, media_type)], text).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The day of an instant: `1 March 2026`.
pub(crate) fn day(at: aip_base::Timestamp) -> String {
    let instant = jiff::Timestamp::from_second(at.as_secs());
    instant.map_or_else(|_| String::new(), |it| it.strftime("%-d %B %Y").to_string())
}
