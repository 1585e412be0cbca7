//! `/static/{file}`: style sheet and icon.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::api_error::ApiError;
use crate::assets::ASSETS;
use crate::incoming_request::IncomingRequest;

/// Answers with the file of that name.
pub(super) fn handle(incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let path = incoming.head.uri.path();
    let asset = ASSETS.into_iter().find(|it| it.path() == path);
    let asset = asset.ok_or_else(|| {
        ApiError::caller(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no file of this name.",
        )
    })?;
    Ok(([(CONTENT_TYPE, asset.media_type)], asset.content).into_response())
}
