//! Answers that several endpoints give: redirects, to our own pages and to apps.

use aip_base::{Blame, random_token};
use aip_oauth::authorize::Refusal;
use aip_oauth::decision::{Answer, DeviceAnswer, RedirectAnswer};
use aip_storage::request::ResponseMode;
use axum::response::Response;
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use secrecy::ExposeSecret as _;

use crate::api_error::{ApiError, ErrorReport};
use crate::pages::{DeviceDonePage, FormPostPage, form_post_policy, html, html_with_policy};
use crate::state::AppState;

/// RFC 9700 §4.12: 303, so that a browser never repeats a form elsewhere.
pub(crate) fn see_other(location: &str) -> Response {
    let mut response = Response::default();
    match HeaderValue::from_str(location) {
        Ok(mut location) => {
            location.set_sensitive(true);
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, location);
        }
        // Locations are built from registered URIs and encoded parameters.
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// Sends the browser to the app with its answer; the person whose device gets it is informed.
pub(crate) fn to_app(app: &AppState, answer: &Answer) -> Response {
    match answer {
        // The URL carries the code: nobody logs it.
        Answer::Redirect(redirect) if redirect.response_mode() == ResponseMode::Query => {
            see_other(redirect.location().expose_secret())
        }
        Answer::Redirect(redirect) => form_post(app, redirect),
        Answer::AtDevice(decided) => {
            let page = DeviceDonePage {
                brand: app.brand(),
                allowed: *decided == DeviceAnswer::Allowed,
            };
            html(StatusCode::OK, &page)
        }
    }
}

/// A page whose form the browser posts to the app (OAuth 2.0 Form Post Response Mode §2): by a
/// script, or by the person where scripts are off.
fn form_post(app: &AppState, answer: &RedirectAnswer) -> Response {
    let nonce = random_token::<16>(&*app.server().rng);
    let fields = answer.params().iter();
    let fields: Vec<_> = fields
        .map(|(name, value)| (*name, value.expose_secret()))
        .collect();
    let page = FormPostPage {
        brand: app.brand(),
        action: answer.redirect_uri().as_str(),
        fields: &fields,
        nonce: &nonce,
    };
    let policy = form_post_policy(&nonce, answer.redirect_uri().as_str());
    html_with_policy(StatusCode::OK, &page, policy)
}

/// Tells the app what is wrong with its request.
pub(crate) fn refused(app: &AppState, refusal: &Refusal) -> Response {
    let code = refusal.code.as_str();
    let response = to_app(app, &app.server().refuse(refusal));
    ErrorReport::of(Blame::Caller, Some(code), &refusal.detail, response)
}

/// The request is finished, expired, or another browser's: nobody learns which.
pub(crate) fn request_gone() -> ApiError {
    ApiError::request(
        "This sign-in has ended: it was finished before, or it took too long. Go back to the app and start again.",
    )
}
