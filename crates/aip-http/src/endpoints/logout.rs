//! `/oauth/logout`: an app asks for a sign-out (OpenID Connect RP-Initiated Logout 1.0).
//!
//! With a valid hint the account is signed out at once; without one, or with that of an account that
//! is not signed in here, the person is asked, because any site can send people here.

use aip_oauth::logout::{Logout, LogoutError};
use aip_oauth::params::{LenientParams, Params};
use aip_storage::logout::SignedOut;
use axum::response::Response;
use http::StatusCode;

use crate::api_error::ApiError;
use crate::browser::Browser;
use crate::csrf::Purpose;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::navigation::as_navigation;
use crate::pages::{LogoutPage, html};
use crate::sign_out::after_sign_out;
use crate::state::AppState;

/// What the question carries over to the answer.
const CARRIED: [&str; 4] = [
    "client_id",
    "post_logout_redirect_uri",
    "state",
    "id_token_hint",
];

/// Signs out, or asks.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let Logout { hinted, location } = app.server().check_logout(incoming.params()).await?;
    if !app.brings_cookies(incoming)
        && let Some(navigation) = as_navigation(app, incoming, Endpoint::Logout)
    {
        return Ok(navigation);
    }
    let browser = app.browser(incoming).await?;
    let Some(browser) = browser.filter(|it| !it.session.accounts.is_empty()) else {
        return Ok(after_sign_out(app, SignedOut::default(), location).await);
    };
    let id = browser.session.id;
    let hinted = hinted.and_then(|hinted| {
        let mut accounts = browser.session.accounts.iter();
        accounts.find(|it| app.server().is_hinted(&hinted, &it.did))
    });
    if let Some(account) = hinted {
        let ended = app
            .storage()
            .sign_out_account(id, &account.did, app.now())
            .await?;
        return Ok(after_sign_out(app, ended, location).await);
    }
    // RP-Initiated Logout §2: whoever is signed in is not who the app speaks of, or it does not
    // say of whom.
    let params = Params::parse(incoming.params()).map_err(LogoutError::from)?;
    if !incoming.is_post() || params.get("csrf").is_none() {
        return Ok(ask(app, incoming, &browser));
    }
    app.check_csrf(incoming, &params, &browser, Purpose::Logout)?;
    let ended = app.storage().delete_browser_session(id, app.now()).await?;
    Ok(app.forget_browser(after_sign_out(app, ended, location).await))
}

fn ask(app: &AppState, incoming: &IncomingRequest, browser: &Browser) -> Response {
    let params = LenientParams::parse(incoming.params());
    let carried: Vec<_> = CARRIED
        .into_iter()
        .filter_map(|name| Some((name, params.get(name)?)))
        .collect();
    let page = LogoutPage {
        brand: app.brand(),
        csrf: &app.csrf(&browser.csrf_binding(), Purpose::Logout),
        carried: &carried,
    };
    html(StatusCode::OK, &page)
}
