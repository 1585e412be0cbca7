//! AIP as a client of PDSs (AT Protocol OAuth, "Client Metadata"): its document, those of apps that
//! have one of their own, and the keys of all of them.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::api_error::ApiError;
use crate::incoming_request::IncomingRequest;
use crate::own_document;
use crate::state::AppState;
use crate::upstream_document::UpstreamDocument;

/// The client metadata document.
pub(super) async fn client_metadata(app: &AppState) -> Result<Response, ApiError> {
    let body = shared(app)?.body(app.server()).await?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// That of one app. Of an app that has none any more, or is deleted, it is served as long as sessions
/// are bound to it: their PDSs read it at each refresh, and at the revocation that ends them.
pub(super) async fn document_of_client(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    let shared = shared(app)?;
    let unknown = || not_found("There is no client document at this address.");
    let path = incoming.head.uri.path();
    let id = own_document::client_at(path).ok_or_else(unknown)?;
    let client = app.storage().client(&id).await?;
    let is_its_own = (client.as_ref()).is_some_and(|it| it.settings.own_upstream_document);
    if !is_its_own && !app.storage().keeps_upstream_document(&id).await? {
        return Err(unknown());
    }
    let settings = client.as_ref().map(|it| &it.settings);
    let url = app.issuer().url(path);
    let signs_assertions = app.server().client_assertions;
    let document = own_document::of(&shared.document, &url, settings, signs_assertions);
    let body = document.to_string();
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

fn shared(app: &AppState) -> Result<&UpstreamDocument, ApiError> {
    let document = app.parts().client_metadata.as_ref();
    document.ok_or_else(|| {
        not_found("With a loopback base AIP is a loopback client, which has no document.")
    })
}

fn not_found(words: &'static str) -> ApiError {
    ApiError::caller(StatusCode::NOT_FOUND, "not_found", words)
}

/// The public keys that PDSs verify our assertions with.
pub(super) fn jwks(app: &AppState) -> Response {
    let keys = app.public_keys().upstream;
    ([(CONTENT_TYPE, "application/json")], keys).into_response()
}
