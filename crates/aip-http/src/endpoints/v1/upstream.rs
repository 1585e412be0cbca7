//! AIP v1 as a client of PDSs: the address at which PDSs know it, and the one they sent people back to. AIP
//! signs people in under addresses of its own; these are for what began at v1.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::names;
use crate::api_error::ApiError;
use crate::state::AppState;

/// `/auth/atproto/client-metadata.json`: says to PDSs who was behind the sessions that they gave v1
/// (<https://atproto.com/specs/oauth#clients>). AIP has none of these.
pub(in crate::endpoints) async fn client_metadata(app: &AppState) -> Result<Response, ApiError> {
    let document = names(app)?.client_metadata.as_ref().ok_or_else(|| {
        ApiError::caller(
            StatusCode::NOT_FOUND,
            "not_found",
            "With a loopback base AIP is a loopback client, which has no document.",
        )
    })?;
    let body = document.body(app.server()).await?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// `/auth/atproto/callback`: a sign-in that began at v1 ends here, and has ended: its state, keys and code
/// verifier are v1's.
pub(in crate::endpoints) fn callback() -> ApiError {
    ApiError::request(
        "This sign-in was begun before the server was replaced by a newer one. Go back to the app and start \
         again.",
    )
}
