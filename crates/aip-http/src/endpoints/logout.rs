//! `/oauth/logout`: an app asks for a sign-out (OpenID Connect RP-Initiated Logout 1.0).
//!
//! With a valid hint the account is signed out at once; without one the person is asked, because
//! any site can send people here.

use aip_oauth::logout::{Logout, LogoutError};
use aip_oauth::params::{Lenient, Params};
use axum::response::Response;
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::home::SIGNED_OUT;
use crate::browser::Browser;
use crate::call::Call;
use crate::csrf::Purpose;
use crate::endpoints::Endpoint;
use crate::flow::see_other;
use crate::pages::{FormTargets, LogoutPage, html};
use crate::problem::Problem;
use crate::state::App;

/// What the question carries over to the answer; a hint would not have led to the question.
const CARRIED: [&str; 3] = ["client_id", "post_logout_redirect_uri", "state"];

/// Signs out, or asks.
pub(super) async fn handle(app: &App, call: &Call) -> Result<Response, Problem> {
    let Logout { account, location } = app.server().check_logout(call.params()).await?;
    let Some(browser) = app.browser(call).await? else {
        return Ok(match call.as_navigation(Endpoint::Logout) {
            Some(navigation) => navigation,
            None => onwards(location),
        });
    };
    if let Some(did) = account {
        let id = browser.session.id;
        app.storage().sign_out_account(id, &did).await?;
        return Ok(onwards(location));
    }
    if browser.session.accounts.is_empty() {
        return Ok(onwards(location));
    }
    let params = Params::parse(call.params()).map_err(LogoutError::from)?;
    if !call.is_post() || params.get("csrf").is_none() {
        return Ok(ask(app, call, &browser, location.as_ref()));
    }
    app.check_csrf(call, &params, &browser.session, Purpose::Logout)?;
    let id = browser.session.id;
    app.storage().delete_browser_session(id).await?;
    Ok(app.forget_browser(onwards(location)))
}

fn ask(app: &App, call: &Call, browser: &Browser, location: Option<&SecretString>) -> Response {
    let params = Lenient::parse(call.params());
    let carried: Vec<_> = CARRIED
        .into_iter()
        .filter_map(|name| Some((name, params.get(name)?)))
        .collect();
    let page = LogoutPage {
        brand: app.brand(),
        csrf: &app.csrf(&browser.session, Purpose::Logout),
        carried: &carried,
    };
    let targets = FormTargets {
        loopback: app.issuer().is_loopback(),
        app: location.map(ExposeSecret::expose_secret),
    };
    html(StatusCode::OK, &page, Some(targets))
}

/// To the address that the app registered, or to our own page.
fn onwards(location: Option<SecretString>) -> Response {
    match location {
        Some(location) => see_other(location.expose_secret()),
        None => see_other(&format!("/?{SIGNED_OUT}")),
    }
}
