//! `/`: the first page.

use axum::response::Response;
use http::StatusCode;

use crate::call::Call;
use crate::pages::{HomePage, html};
use crate::state::App;

/// The query of the page that follows a sign-out.
pub(super) const SIGNED_OUT: &str = "signed-out";

/// Shows the page.
pub(super) fn handle(app: &App, call: &Call) -> Response {
    let page = HomePage {
        brand: app.brand(),
        signed_out: call.query() == SIGNED_OUT.as_bytes(),
    };
    html(StatusCode::OK, &page)
}
