//! The pages: plain HTML forms, escaped by the template engine, and no script but for the one that
//! posts an answer to an app.
//!
//! There is no `form-action` in their policy: Chromium and Safari hold every hop of the answer to
//! a form to it, and where an app or a PDS sends the browser on to (another site, an app on the
//! person's device) is not known when the page is made. Forms of ours are in our templates only.
//! The page that posts an answer has one: it names the app.

use std::borrow::Cow;

use aip_oauth::claims::INVALID_HANDLE;
use aip_oauth::front_channel_logout::LogoutFrame;
use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use url::Url;

use crate::assets::{ICON, STYLE};
use crate::device_facts::DeviceFacts;
use crate::display_text::printable_excerpt;

/// What a page may load and be framed by.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; \
     base-uri 'none'",
);

/// An account as pages show it.
#[derive(Debug, Clone)]
pub(crate) struct AccountName {
    /// The verified handle, or the placeholder.
    pub(crate) handle: String,
    pub(crate) did: String,
}

impl AccountName {
    /// The handle, or without one that holds the DID.
    pub(crate) fn display(&self) -> &str {
        if self.handle == INVALID_HANDLE {
            &self.did
        } else {
            &self.handle
        }
    }
}

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
    pub(crate) message: String,
    /// What the host of the account said.
    pub(crate) theirs: Option<String>,
    /// The error that the app receives when the person goes back to it.
    pub(crate) back: Option<&'static str>,
    pub(crate) tried: Vec<SearchStep>,
}

#[derive(Debug)]
pub(crate) struct SearchStep {
    pub(crate) what: &'static str,
    pub(crate) subject: String,
    pub(crate) outcome: String,
}

impl SearchStep {
    /// The step as a page shows it.
    pub(crate) fn of(step: &aip_pds::Step) -> Self {
        Self {
            what: step.what,
            subject: printable_excerpt(&step.subject, 200),
            outcome: printable_excerpt(&step.outcome, 200),
        }
    }
}

#[derive(Template)]
#[template(path = "consent.html")]
pub(crate) struct ConsentPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) app: &'a str,
    pub(crate) client_id: &'a str,
    /// The host that the app's document is on, for an app that nobody registered.
    pub(crate) document_host: Option<&'a str>,
    /// Where the person goes afterwards; `None` if the app is on another device.
    pub(crate) destination: Option<&'a str>,
    /// The device that it is for.
    pub(crate) device: Option<&'a DeviceFacts>,
    pub(crate) account: &'a AccountName,
    pub(crate) reason: &'a str,
    /// The account that was asked for, if the person chose another one at their host.
    pub(crate) instead_of: Option<&'a str>,
    pub(crate) scopes: &'a [aip_atproto::ScopeLine],
    pub(crate) request: &'a str,
    pub(crate) csrf: &'a str,
}

#[derive(Template)]
#[template(path = "account.html")]
pub(crate) struct AccountPage<'a> {
    pub(crate) brand: &'a str,
    /// The account that was asked for, if the person chose another one at their host.
    pub(crate) instead_of: Option<&'a str>,
    pub(crate) accounts: &'a [AccountSection],
    /// What its owner can let others do.
    pub(crate) presets: &'a [PresetLine],
    /// Why what was sent is not kept.
    pub(crate) failure: Option<&'a str>,
    pub(crate) csrf: &'a str,
}

/// One account with the apps that it lets in.
#[derive(Debug)]
pub(crate) struct AccountSection {
    pub(crate) name: AccountName,
    pub(crate) grants: Vec<GrantLine>,
    /// Who may act for it.
    pub(crate) delegations: Vec<DelegationLine>,
    pub(crate) tokens: Vec<DeveloperTokenLine>,
    /// What they did last.
    pub(crate) acts: Vec<DelegatedActionLine>,
}

/// One developer token.
#[derive(Debug)]
pub(crate) struct DeveloperTokenLine {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<aip_atproto::ScopeLine>,
    pub(crate) made: String,
    pub(crate) until: String,
    /// The hour of its last use, if it was used.
    pub(crate) last_used: Option<String>,
}

/// One account that may act for another one.
#[derive(Debug)]
pub(crate) struct DelegationLine {
    pub(crate) id: String,
    pub(crate) delegate: AccountName,
    /// What its owner chose.
    pub(crate) words: &'static str,
    /// What of that their host granted.
    pub(crate) scopes: Vec<aip_atproto::ScopeLine>,
    /// The last day.
    pub(crate) until: String,
    /// Whether its session can be used; otherwise it must be given anew.
    pub(crate) is_usable: bool,
}

/// Something that a delegate did.
#[derive(Debug)]
pub(crate) struct DelegatedActionLine {
    pub(crate) at: String,
    pub(crate) delegate: AccountName,
    pub(crate) what: String,
    /// The app by which they did it.
    pub(crate) client_id: Option<String>,
}

/// What an owner can let others do.
#[derive(Debug)]
pub(crate) struct PresetLine {
    pub(crate) value: &'static str,
    pub(crate) words: &'static str,
}

/// One app that may act for an account.
#[derive(Debug)]
pub(crate) struct GrantLine {
    pub(crate) app: String,
    pub(crate) client_id: String,
    pub(crate) since: String,
    pub(crate) scopes: Vec<aip_atproto::ScopeLine>,
    /// Whether the person gave it an app password.
    pub(crate) has_app_password: bool,
    /// Whether they may give it one.
    pub(crate) takes_app_password: bool,
}

/// What is said when another account signed in than the one that was chosen here.
#[derive(Template)]
#[template(path = "other_account.html")]
pub(crate) struct OtherAccountPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) app: &'a str,
    /// The account that was chosen here.
    pub(crate) expected: &'a str,
    /// The account that signed in at its host.
    pub(crate) actual: &'a str,
    pub(crate) request: &'a str,
    pub(crate) csrf: &'a str,
}

/// A form of another site that our own page repeats.
#[derive(Template)]
#[template(path = "repeat.html")]
pub(crate) struct RepeatPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) action: &'a str,
    /// The name of the field that says so.
    pub(crate) mark: &'a str,
    pub(crate) fields: &'a [(Cow<'a, str>, Cow<'a, str>)],
}

/// An answer that the browser posts to the app.
#[derive(Template)]
#[template(path = "form_post.html")]
pub(crate) struct FormPostPage<'a> {
    pub(crate) brand: &'a str,
    /// The redirect URI.
    pub(crate) action: &'a str,
    /// The parameters of the answer.
    pub(crate) fields: &'a [(&'a str, &'a str)],
    /// What lets its script run.
    pub(crate) nonce: &'a str,
}

/// Where the code of another device is entered.
#[derive(Template)]
#[template(path = "device.html")]
pub(crate) struct DevicePage<'a> {
    pub(crate) brand: &'a str,
    /// What is in the input.
    pub(crate) user_code: &'a str,
    /// Why it comes again.
    pub(crate) problem: Option<&'a str>,
    pub(crate) csrf: &'a str,
}

/// What is said once the request of another device is decided.
#[derive(Template)]
#[template(path = "device_done.html")]
pub(crate) struct DeviceDonePage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) allowed: bool,
}

/// A developer token, shown once.
#[derive(Template)]
#[template(path = "developer_token_made.html")]
pub(crate) struct DeveloperTokenMadePage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) account: &'a AccountName,
    pub(crate) name: &'a str,
    /// The token; `None` if whoever ordered it has it.
    pub(crate) token: Option<&'a str>,
    pub(crate) until: &'a str,
    pub(crate) scopes: &'a [aip_atproto::ScopeLine],
}

/// The question whether to make a developer token that was ordered.
#[derive(Template)]
#[template(path = "developer_token_order.html")]
pub(crate) struct DeveloperTokenOrderPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) account: &'a AccountName,
    pub(crate) name: &'a str,
    pub(crate) days: u64,
    pub(crate) scopes: &'a [aip_atproto::ScopeLine],
    /// Why it comes again.
    pub(crate) problem: Option<&'a str>,
    /// The secret in the link.
    pub(crate) order: &'a str,
    pub(crate) csrf: &'a str,
}

/// What is said once an order was refused.
#[derive(Template)]
#[template(path = "developer_token_refused.html")]
pub(crate) struct DeveloperTokenRefusedPage<'a> {
    pub(crate) brand: &'a str,
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

/// What is shown while the browser tells apps that the person has signed out.
#[derive(Template)]
#[template(path = "signed_out.html")]
pub(crate) struct SignedOutPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) frames: &'a [LogoutFrame],
    /// Where the browser goes afterwards.
    pub(crate) location: &'a str,
    /// When it goes there by itself.
    pub(crate) seconds: u8,
}

/// Something that went wrong.
#[derive(Template)]
#[template(path = "error.html")]
pub(crate) struct ErrorPage<'a> {
    pub(crate) brand: &'a str,
    pub(crate) message: &'a str,
    pub(crate) ours: bool,
    /// For the developer of the app: names and values.
    pub(crate) developer: &'a [(&'static str, String)],
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

/// What the page that posts an answer may do: run its script, and send its form to the app.
pub(crate) fn form_post_policy(nonce: &str, redirect_uri: &str) -> String {
    let url = Url::parse(redirect_uri).ok();
    let origin = url.as_ref().map(|url| {
        let is_name = |host: &&str| {
            host.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        match url.host_str().filter(is_name) {
            Some(_) => url.origin().ascii_serialization(),
            // CSP Level 3 §2.3.1 cannot name an IPv6 address; its scheme is as near as it gets.
            None => format!("{}:", url.scheme()),
        }
    });
    let destination = origin.as_deref().unwrap_or("'none'");
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'nonce-{nonce}'; \
         form-action {destination}; frame-ancestors 'none'; base-uri 'none'"
    )
}

/// What the page on which the browser tells apps of a logout may do: frame the addresses of these apps.
/// An origin has no character that ends a directive ([`LogoutUri`](aip_storage::logout::LogoutUri)).
pub(crate) fn signed_out_policy(frames: &[LogoutFrame]) -> String {
    let mut origins: Vec<&str> = frames.iter().map(|frame| frame.origin.as_str()).collect();
    origins.sort_unstable();
    origins.dedup();
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src {}; \
         frame-ancestors 'none'; base-uri 'none'",
        origins.join(" ")
    )
}

/// A page as an answer.
pub(crate) fn html(status: StatusCode, page: &impl Template) -> Response {
    answer(status, page, POLICY)
}

/// A page with a policy of its own.
pub(crate) fn html_with_policy(
    status: StatusCode,
    page: &impl Template,
    policy: String,
) -> Response {
    // It is made of an origin and a nonce, which are ASCII.
    match HeaderValue::try_from(policy) {
        Ok(policy) => answer(status, page, policy),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answer(status: StatusCode, page: &impl Template, policy: HeaderValue) -> Response {
    let Ok(text) = page.render() else {
        // A template writes to a string; what can fail is a value's own formatting.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let media_type = HeaderValue::from_static("text/html; charset=utf-8");
    let headers = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    (status, headers, text).into_response()
}

/// The day of an instant: `1 March 2026`.
pub(crate) fn day(at: aip_base::Timestamp) -> String {
    let instant = jiff::Timestamp::from_second(at.as_secs());
    instant.map_or_else(|_| String::new(), |it| it.strftime("%-d %B %Y").to_string())
}

/// The minute of an instant: `1 March 2026, 14:05 UTC`.
pub(crate) fn minute(at: aip_base::Timestamp) -> String {
    let instant = jiff::Timestamp::from_second(at.as_secs());
    instant.map_or_else(
        |_| String::new(),
        |it| it.strftime("%-d %B %Y, %H:%M UTC").to_string(),
    )
}
