//! `/consent`: may this app (OpenID Connect Core §3.1.2.4)? The answer is bound to browser, request,
//! account and scopes by the CSRF token (RFC 9700 §4.7), and the request is spent by it.

use aip_oauth::authorize::RefusalCode;
use aip_oauth::interaction::ConsentReason;
use aip_oauth::params::Params;
use aip_storage::request::SignedIn;
use axum::response::Response;
use http::StatusCode;
use url::Url;

use super::login::no_cookie;
use crate::browser::Browser;
use crate::call::Call;
use crate::csrf::Purpose;
use crate::flow::{Pending, see_other};
use crate::pages::{ConsentPage, FormTargets, html};
use crate::problem::Problem;
use crate::state::App;

/// Shows the page, or takes the decision.
pub(super) async fn handle(app: &App, call: &Call) -> Result<Response, Problem> {
    let params = Params::parse(call.params()).map_err(|e| Problem::request(e.to_string()))?;
    let browser = app.browser(call).await?.ok_or_else(no_cookie)?;
    let name = params
        .get("request")
        .ok_or_else(|| Problem::request("There is nothing to decide here."))?;
    let pending = app.pending_by_name(&browser, name).await?;
    let signed_in = pending.request.signed_in.as_ref();
    let Some(who) = signed_in.filter(|who| browser.account(who.did.as_str()).is_some()) else {
        return Ok(see_other(&format!("/login?request={name}")));
    };
    let purpose = Purpose::Consent {
        request: name,
        did: who.did.as_str(),
    };
    if !call.is_post() {
        return show(app, &browser, &pending, who, purpose).await;
    }
    app.check_csrf(call, &params, &browser.session, purpose)?;
    match params.get("decision") {
        Some("allow") => app.approve(&pending, who).await,
        Some("deny") => {
            let detail = "the person did not allow the app";
            app.refuse(&pending, RefusalCode::AccessDenied, detail)
                .await
        }
        _ => Err(Problem::request("The decision is missing.")),
    }
}

async fn show(
    app: &App,
    browser: &Browser,
    pending: &Pending,
    who: &SignedIn,
    purpose: Purpose<'_>,
) -> Result<Response, Problem> {
    let granted = pending.granted(app, who).await?;
    let reason = match pending.consent_reason(app, who, &granted).await? {
        Some(ConsentReason::FirstTime) => "You have not allowed this app in this browser before.",
        Some(ConsentReason::NewScopes) => "This app asks for more than you allowed it before.",
        Some(ConsentReason::Unproven) => {
            "This app runs on your device, where another one could pretend to be it. So we ask \
             every time."
        }
        // None: allowed meanwhile, in another tab.
        Some(ConsentReason::Asked) | None => "This app wants to make sure that you agree.",
    };
    let account = app.account_name(&who.did).await?;
    let redirect_uri = pending.request.redirect_uri.as_str();
    let page = ConsentPage {
        brand: app.brand(),
        app: &pending.client.name,
        client_id: pending.client.id.as_str(),
        destination: &destination(redirect_uri),
        account: &account,
        reason,
        scopes: &granted.describe(),
        request: &pending.name(),
        csrf: &app.csrf(&browser.session, purpose),
    };
    let targets = FormTargets {
        loopback: app.issuer().is_loopback(),
        app: Some(redirect_uri),
    };
    Ok(html(StatusCode::OK, &page, Some(targets)))
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
