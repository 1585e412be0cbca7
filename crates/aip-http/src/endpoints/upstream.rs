//! AIP as a client of PDSs (AT Protocol OAuth, "Client Metadata"): its document and its keys.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::api_error::ApiError;
use crate::state::AppState;

/// The client metadata document.
pub(super) async fn client_metadata(app: &AppState) -> Result<Response, ApiError> {
    let document = app.parts().client_metadata.as_ref().ok_or_else(|| {
        ApiError::caller(
            StatusCode::NOT_FOUND,
            "not_found",
            "With a loopback base AIP is a loopback client, which has no document.",
        )
    })?;
    let body = document.body(app.server()).await?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// The public keys that PDSs verify our assertions with.
pub(super) fn jwks(app: &AppState) -> Response {
    let keys = app.public_keys().upstream;
    ([(CONTENT_TYPE, "application/json")], keys).into_response()
}
