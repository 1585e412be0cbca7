//! `/`: the first page.

use axum::response::Response;
use http::StatusCode;

use crate::incoming_request::IncomingRequest;
use crate::pages::{HomePage, html};
use crate::state::AppState;

/// The query of the page that follows a sign-out.
pub(super) const SIGNED_OUT: &str = "signed-out";

/// Shows the page.
pub(super) fn handle(app: &AppState, incoming: &IncomingRequest) -> Response {
    let page = HomePage {
        brand: app.brand(),
        signed_out: incoming.query() == SIGNED_OUT.as_bytes(),
    };
    html(StatusCode::OK, &page)
}
