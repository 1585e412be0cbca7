//! `/`: the first page.

use axum::response::Response;
use http::StatusCode;

use crate::incoming_request::IncomingRequest;
use crate::pages::{HomePage, html};
use crate::sign_out::SIGNED_OUT;
use crate::state::AppState;

/// Shows the page.
pub(super) fn handle(app: &AppState, incoming: &IncomingRequest) -> Response {
    let page = HomePage {
        brand: app.brand(),
        signed_out: incoming.query() == SIGNED_OUT.as_bytes(),
    };
    html(StatusCode::OK, &page)
}
