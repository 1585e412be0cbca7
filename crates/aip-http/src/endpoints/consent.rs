//! `/consent`: may this app (OpenID Connect Core §3.1.2.4)? The answer is bound to browser, request,
//! account and scopes by the CSRF token (RFC 9700 §4.7), and the request is spent by it.

use aip_atproto::{Did, OpenIdScope, Scope, ScopeLine, ScopeSet};
use aip_keys::TokenHash;
use aip_oauth::authorize::RefusalCode;
use aip_oauth::client_documents::document_host;
use aip_oauth::interaction::ConsentReason;
use aip_oauth::params::Params;
use aip_storage::request::SignedIn;
use aip_storage::sector::Sector;
use axum::response::Response;
use http::StatusCode;
use url::Url;

use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::csrf::{Purpose, no_cookie};
use crate::device_facts::DeviceFacts;
use crate::flow::Pending;
use crate::hash_text::request_name;
use crate::incoming_request::IncomingRequest;
use crate::pages::{AccountName, ConsentPage, html};
use crate::respond::{request_gone, see_other, to_app};
use crate::state::AppState;

/// Shows the page, or takes the decision.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let params = Params::parse(incoming.params()).map_err(|e| ApiError::request(e.to_string()))?;
    let Some(browser) = app.browser(incoming).await? else {
        let known = app.brings_cookies(incoming);
        return Err(if known { request_gone() } else { no_cookie() });
    };
    let name = params
        .get("request")
        .ok_or_else(|| ApiError::request("There is nothing to decide here."))?;
    let token = request_name(name).ok_or_else(request_gone)?;
    let Some(pending) = app.find_pending(browser.session.id, &token).await? else {
        return repeat_answer(app, incoming, &params, &browser, name, &token).await;
    };
    let signed_in = pending.request.signed_in.as_ref();
    let Some(who) = signed_in.filter(|who| browser.account(who.did.as_str()).is_some()) else {
        return Ok(see_other(&format!("/login?request={name}")));
    };
    let purpose = Purpose::Consent {
        request: name,
        did: who.did.as_str(),
    };
    if !incoming.is_post() {
        let instead_of = params.get("instead_of").and_then(|it| Did::parse(it).ok());
        let device = app.device_facts(incoming, &pending).await?;
        return Ok(show(
            app,
            &browser,
            &pending,
            who,
            purpose,
            instead_of.as_ref(),
            device.as_ref(),
        ));
    }
    app.check_csrf(incoming, &params, &browser, purpose)?;
    match Decision::read(&params)? {
        Decision::Allow => app.approve(&pending, who).await,
        Decision::Deny => app.refuse(&pending, DENIED.0, DENIED.1).await,
    }
}

/// What a person decides.
enum Decision {
    Allow,
    Deny,
}

/// What the app receives after a no.
const DENIED: (RefusalCode, &str) = (
    RefusalCode::AccessDenied,
    "the person did not allow the app",
);

impl Decision {
    fn read(params: &Params) -> Result<Self, ApiError> {
        match params.get("decision") {
            Some("allow") => Ok(Self::Allow),
            Some("deny") => Ok(Self::Deny),
            _ => Err(ApiError::request("The decision is missing.")),
        }
    }
}

/// The request is not open any more. A second click on the same button gets the answer of the
/// first, which the browser did not wait for.
async fn repeat_answer(
    app: &AppState,
    incoming: &IncomingRequest,
    params: &Params,
    browser: &Browser,
    name: &str,
    token: &TokenHash,
) -> Result<Response, ApiError> {
    let id = browser.session.id;
    let answered = app.storage().answered_request(token, id, app.now()).await?;
    let answered = answered
        .filter(|_| incoming.is_post())
        .ok_or_else(request_gone)?;
    let did = answered.did.as_ref().ok_or_else(request_gone)?;
    let purpose = Purpose::Consent {
        request: name,
        did: did.as_str(),
    };
    app.check_csrf(incoming, params, browser, purpose)?;
    let refusal = match Decision::read(params)? {
        Decision::Allow => None,
        Decision::Deny => Some(DENIED),
    };
    let answer = app.server().answer_again(&answered, refusal);
    let answer = answer.ok_or_else(request_gone)?;
    Ok(to_app(app, &answer))
}

fn show(
    app: &AppState,
    browser: &Browser,
    pending: &Pending,
    who: &SignedIn,
    purpose: Purpose<'_>,
    instead_of: Option<&Did>,
    device: Option<&DeviceFacts>,
) -> Response {
    let granted = pending.granted_scope();
    let reason = match pending.consent_reason(&granted) {
        Some(ConsentReason::FirstTime) => "You have not allowed this app in this browser before.",
        Some(ConsentReason::NewScopes) => "This app asks for more than you allowed it before.",
        Some(ConsentReason::UnverifiedApp) => {
            "This app runs on your device, where another one could pretend to be it. So we ask \
             every time."
        }
        Some(ConsentReason::OtherDevice) => {
            "This request came from another device, whose code was entered here. Allow it only if \
             you have that device in front of you and started this there yourself."
        }
        // None: allowed meanwhile, in another tab.
        Some(ConsentReason::RequestedByApp) | None => "This app wants to make sure that you agree.",
    };
    let handle = pending.account.as_ref().and_then(|it| it.handle.as_ref());
    let account = AccountName::new(&who.did, handle);
    let redirect = pending.request.params.delivery.redirect();
    let destination = redirect.map(|it| destination(it.redirect_uri.as_str()));
    let document_host = document_host(&pending.client);
    let scopes = described(&granted, pending.client.settings.pairwise.as_ref());
    let page = ConsentPage {
        brand: app.brand(),
        app: &pending.client.settings.name,
        client_id: pending.client.id.as_str(),
        document_host: document_host.as_deref(),
        destination: destination.as_deref(),
        device,
        account: &account,
        reason,
        instead_of: instead_of.map(Did::as_str),
        scopes: &scopes,
        request: &pending.name(),
        csrf: &app.csrf(&browser.csrf_binding(), purpose),
    };
    html(StatusCode::OK, &page)
}

/// What is delivered, in words: to an app with pairwise subjects no word about the account.
fn described(granted: &ScopeSet, sector: Option<&Sector>) -> Vec<ScopeLine> {
    let mut lines = granted.describe();
    let openid = Scope::OpenId(OpenIdScope::OpenId).to_string();
    if let Some(sector) = sector
        && let Some(line) = lines.iter_mut().find(|it| it.raw == openid)
    {
        "Recognise you when you come back".clone_into(&mut line.title);
        line.detail = format!(
            "Receive an identifier for you that is made for {} alone. It learns neither your handle nor \
             which account you have.",
            sector.id()
        );
    }
    lines
}

/// The host of a redirect URI, or what an app on the person's device is opened by.
fn destination(redirect_uri: &str) -> String {
    let url = Url::parse(redirect_uri).ok();
    match url
        .as_ref()
        .map(|url| (url.host_str(), url.port(), url.scheme()))
    {
        Some((Some(host), Some(port), _)) => format!("{host}:{port}"),
        Some((Some(host), None, _)) => host.to_owned(),
        Some((None, _, scheme)) => format!("{scheme}:"),
        None => String::new(),
    }
}
