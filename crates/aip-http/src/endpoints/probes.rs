//! `/internal/alive` and `/internal/ready`, for load balancers that see the public listener only.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::json;

use crate::api_error::ApiError;
use crate::health::Health;

/// The process answers, therefore it is alive.
pub(super) fn alive() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// Whether requests should be sent here.
pub(super) async fn ready(health: &dyn Health) -> Result<Response, ApiError> {
    if health.ready().await.is_ok() {
        return Ok(Json(json!({ "status": "ready" })).into_response());
    }
    Err(ApiError::caller(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "not ready",
    ))
}
