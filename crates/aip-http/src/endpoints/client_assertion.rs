//! `/oauth/client-assertion`: an app that talks to PDSs itself asks for a client assertion (AT Protocol
//! proposal 0010).

use std::time::Duration;

use aip_sessions::{AppAssertionError, AppAssertionRequest};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::ORIGIN;
use serde::Serialize;

use super::token::client_request;
use crate::api_error::ApiError;
use crate::bearer::with_nonce;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::limits::Limit;
use crate::state::AppState;

/// Client assertions signed for one client that proved who it is.
const ASSERTIONS_OF_CLIENT: Limit = Limit::new(
    "assertions_of_client",
    1000,
    Duration::from_millis(10),
    "This client asked for too many client assertions.",
);

/// Client assertions signed in the name of clients that cannot prove who they are, by network.
const ASSERTIONS: Limit = Limit::new(
    "assertions",
    60,
    Duration::from_secs(1),
    "Too many client assertions were asked for from your network.",
);

/// Proposal 0010, "Example".
#[derive(Serialize)]
struct ClientAssertion<'a> {
    client_id: &'a str,
    client_assertion: &'a str,
}

/// Signs one.
pub(super) async fn handle(
    app: &AppState,
    incoming: &IncomingRequest,
) -> Result<Response, ApiError> {
    if !app.server().client_assertions {
        return Err(ApiError::caller(
            StatusCode::NOT_FOUND,
            "not_found",
            "This server signs no client assertions.",
        ));
    }
    let answer = sign(app, incoming).await;
    with_nonce(app, incoming, answer)
}

async fn sign(app: &AppState, incoming: &IncomingRequest) -> Result<Response, ApiError> {
    let request = client_request(incoming, Endpoint::ClientAssertion)?;
    let origin = incoming
        .headers()
        .get(ORIGIN)
        .map(|it| it.to_str().unwrap_or_default());
    let checked = app
        .server()
        .check_assertion_request(request, origin)
        .await?;
    // Anybody can ask in the name of a public client: what that costs is its network's.
    let client = checked.client();
    if client.is_confidential() {
        let limit = ASSERTIONS_OF_CLIENT;
        app.count_for_client(limit, client.id.as_str()).await?;
    } else {
        app.count(ASSERTIONS, incoming).await?;
    }
    let document = app.own_document(client).ok_or_else(|| {
        ApiError::caller(
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            "the client has no upstream client document of its own",
        )
    })?;
    let asked = AppAssertionRequest {
        client: &client.id,
        document: &document,
        jkt: checked.key().thumbprint(),
        audience: checked.audience(),
        audited: client.is_confidential(),
    };
    let signed = app.parts().keeper.upstream.sign_for_app(&asked).await?;
    let body = Json(ClientAssertion {
        client_id: &document,
        client_assertion: &signed,
    });
    Ok(body.into_response())
}

impl From<AppAssertionError> for ApiError {
    fn from(error: AppAssertionError) -> Self {
        match error {
            AppAssertionError::NoClient => {
                let status = StatusCode::UNAUTHORIZED;
                Self::caller(status, "invalid_client", error.to_string())
            }
            AppAssertionError::Storage(error) => error.into(),
            AppAssertionError::MissingKey(_) | AppAssertionError::Sign(_) => {
                Self::internal(error.to_string())
            }
        }
    }
}
