//! AIP as a client of PDSs (AT Protocol OAuth, "Client Metadata"): its document and its keys.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use crate::problem::Problem;
use crate::state::App;

/// The client metadata document, with the scopes of the clients as they are now.
pub(super) async fn client_metadata(app: &App) -> Result<Response, Problem> {
    let mut document = app.parts().client_metadata.clone().ok_or_else(|| {
        Problem::caller(
            StatusCode::NOT_FOUND,
            "not_found",
            "With a loopback base AIP is a loopback client, which has no document.",
        )
    })?;
    let always = document["scope"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let scopes = app
        .server()
        .upstream_scopes(&always.unwrap_or_default())
        .await?;
    document["scope"] = scopes.to_string().into();
    Ok(Json(document).into_response())
}

/// The public keys that PDSs verify our assertions with.
pub(super) fn jwks(app: &App) -> Response {
    Json(app.server().keys.current().public_upstream_jwks()).into_response()
}
