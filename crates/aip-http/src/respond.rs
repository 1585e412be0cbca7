//! Answers that several endpoints give: redirects, to our own pages and to apps.

use aip_base::Blame;
use aip_oauth::authorize::Refusal;
use aip_oauth::decision::Answer;
use axum::response::Response;
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use secrecy::ExposeSecret as _;

use crate::api_error::{ApiError, ErrorReport};
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

/// Sends the browser to the app. The URL carries the code: nobody logs it.
pub(crate) fn to_app(answer: &Answer) -> Response {
    see_other(answer.location().expose_secret())
}

/// Tells the app what is wrong with its request.
pub(crate) fn refused(app: &AppState, refusal: &Refusal) -> Response {
    let code = refusal.code.as_str();
    let response = to_app(&app.server().refuse(refusal));
    ErrorReport::of(Blame::Caller, Some(code), &refusal.detail, response)
}

/// The request is finished, expired, or another browser's: nobody learns which.
pub(crate) fn over() -> ApiError {
    ApiError::request(
        "This sign-in is over: it was finished before, or it took too long. Go back to the app and start again.",
    )
}
