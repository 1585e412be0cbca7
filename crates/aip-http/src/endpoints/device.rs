//! `/device`: a person enters the code that another device shows (RFC 8628 §3.3). The sign-in page and
//! the consent page follow, as for the request of an app in this browser.

use std::time::Duration;

use aip_oauth::params::Params;
use axum::response::Response;
use http::StatusCode;
use url::form_urlencoded;

use crate::api_error::{ApiError, ErrorReport};
use crate::csrf::Purpose;
use crate::display_text::printable_excerpt;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::pages::{DevicePage, html};
use crate::respond::see_other;
use crate::sign_in_target::SignInTarget;
use crate::state::AppState;

/// User codes that were entered, right or wrong, by network: whoever guesses them does it slowly
/// (RFC 8628 §5.1).
const USER_CODES: Limit = Limit::new(
    "user_codes",
    10,
    Duration::from_secs(30),
    "Too many codes were entered from your network.",
);

/// The most characters that the page repeats of what somebody typed.
const MAX_SHOWN: usize = 40;

/// Why the page comes again. Nobody learns which codes there were.
const UNKNOWN: &str = "There is no such code. Is it spelled right? A code can be used once, and for \
                       half an hour.";

/// Shows the page, or takes its form.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let params = Params::parse(incoming.params()).map_err(|e| ApiError::request(e.to_string()))?;
    let typed = params.get("user_code").unwrap_or_default();
    if !incoming.is_post() {
        return Ok(show(app, incoming, StatusCode::OK, typed, None));
    }
    let flow = app.check_flow_csrf(incoming, &params, Purpose::UserCode)?;
    // Every try counts, so that a flood of guesses meets the limit before it meets a code (§5.1).
    app.count(USER_CODES, incoming).await?;
    let Some(code) = app.server().device_of_user_code(typed).await? else {
        let page = show(app, incoming, StatusCode::BAD_REQUEST, typed, Some(UNKNOWN));
        let (blame, detail) = (
            aip_base::Blame::Caller,
            "no device waits with this user code",
        );
        return Ok(ErrorReport::of(blame, None, detail, page));
    };
    let field = SignInTarget::device_field(app, &flow, &code);
    let onwards = see_other(&format!("/login?request={field}"));
    Ok(flow.set_cookie_on(app, incoming, onwards))
}

/// Leads here from the paths of version 2, whose form and whose sign-in are not ours: a code is filled in, and
/// entered anew.
pub(super) fn lead_here(incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let params = Params::parse(incoming.params()).map_err(|e| ApiError::request(e.to_string()))?;
    let here = Endpoint::Device.spec().path;
    let Some(typed) = params.get("user_code") else {
        return Ok(see_other(here));
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("user_code", &printable_excerpt(typed, MAX_SHOWN));
    Ok(see_other(&format!("{here}?{}", query.finish())))
}

fn show(
    app: &AppState,
    incoming: &IncomingRequest,
    status: StatusCode,
    typed: &str,
    problem: Option<&str>,
) -> Response {
    let flow = app.flow(incoming);
    let page = DevicePage {
        brand: app.brand(),
        user_code: &printable_excerpt(typed, MAX_SHOWN),
        problem,
        csrf: &app.csrf(&flow.csrf_binding(app), Purpose::UserCode),
    };
    flow.set_cookie_on(app, incoming, html(status, &page))
}
