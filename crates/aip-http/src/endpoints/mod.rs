//! What each endpoint does, a file for each, and the one place that sends a request to the right one.

mod account;
mod app_password;
mod asset;
mod authorize;
mod callback;
mod client_assertion;
mod client_configuration;
mod client_document;
mod client_information;
mod client_metadata;
mod client_registration;
mod clients_update;
mod consent;
mod credentials;
mod delegations;
mod developer_token_order;
mod developer_tokens;
mod device;
mod device_authorization;
mod did_document;
mod discovery;
mod home;
mod identity;
mod introspect;
mod login;
mod logout;
mod openapi;
mod par;
mod probes;
mod resolve;
mod session;
mod token;
mod upstream;
mod userinfo;
mod v1;
mod xrpc;

pub use self::client_document::read_client_document;

use axum::body::Body;
use axum::response::Response;

use crate::api_error::ApiError;
use crate::endpoint::Endpoint;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// Answers a request for `endpoint`, its method and form already checked. `stream` is the body of
/// what takes [`Payload::Stream`](crate::endpoint::Payload::Stream), otherwise empty.
pub(crate) async fn dispatch(
    endpoint: Endpoint,
    app: &AppState,
    incoming: &IncomingRequest,
    stream: Body,
) -> Result<Response, ApiError> {
    if endpoint.spec().names_client {
        app.read_client_document(incoming, incoming.params())
            .await?;
    }
    // In a box each: what the largest of them needs is not for every request.
    match endpoint {
        Endpoint::Home => Ok(home::handle(app, incoming)),
        Endpoint::Account => Box::pin(account::handle(app, incoming)).await,
        Endpoint::Login => Box::pin(login::handle(app, incoming)).await,
        Endpoint::Consent => Box::pin(consent::handle(app, incoming)).await,
        Endpoint::Device => Box::pin(device::handle(app, incoming)).await,
        Endpoint::DeviceCodeV2 | Endpoint::DeviceCallbackV2 => device::lead_here(incoming),
        Endpoint::DeveloperTokenOrder => {
            Box::pin(developer_token_order::handle(app, incoming)).await
        }
        Endpoint::Asset => asset::handle(incoming),
        Endpoint::Authorize => Box::pin(authorize::handle(app, incoming)).await,
        Endpoint::Logout => Box::pin(logout::handle(app, incoming)).await,
        Endpoint::Callback => Box::pin(callback::handle(app, incoming)).await,
        Endpoint::PushedAuthorizationRequest => Box::pin(par::handle(app, incoming)).await,
        Endpoint::DeviceAuthorization | Endpoint::DeviceAuthorizationV2 => {
            Box::pin(device_authorization::handle(app, incoming, endpoint)).await
        }
        Endpoint::Token => Box::pin(token::token(app, incoming)).await,
        Endpoint::ClientAssertion => Box::pin(client_assertion::handle(app, incoming)).await,
        Endpoint::Revoke => Box::pin(token::revoke(app, incoming)).await,
        Endpoint::Introspect => Box::pin(introspect::introspect(app, incoming)).await,
        Endpoint::ClientRegistration => Box::pin(client_registration::handle(app, incoming)).await,
        Endpoint::ClientConfiguration => {
            Box::pin(client_configuration::handle(app, incoming)).await
        }
        Endpoint::Userinfo => Box::pin(userinfo::handle(app, incoming)).await,
        Endpoint::OpenIdConfiguration | Endpoint::AuthorizationServerMetadata => {
            Ok(discovery::authorization_server(app))
        }
        Endpoint::ProtectedResourceMetadata => Ok(discovery::protected_resource(app)),
        Endpoint::Jwks => Ok(discovery::jwks(app)),
        Endpoint::DidDocument => did_document::handle(app),
        Endpoint::ClientMetadata => Box::pin(upstream::client_metadata(app)).await,
        Endpoint::UpstreamClientDocument => {
            Box::pin(upstream::document_of_client(app, incoming)).await
        }
        Endpoint::UpstreamJwks => Ok(upstream::jwks(app)),
        Endpoint::OpenApi => Ok(openapi::handle(app)),
        Endpoint::Session => Box::pin(session::handle(app, incoming)).await,
        Endpoint::AppPassword => Box::pin(app_password::handle(app, incoming)).await,
        Endpoint::Resolve => Box::pin(resolve::handle(app, incoming)).await,
        Endpoint::ClientsUpdate => Box::pin(clients_update::handle(app, incoming)).await,
        Endpoint::Xrpc => Box::pin(xrpc::handle(app, incoming, stream)).await,
        Endpoint::V1SignIn => Box::pin(v1::sign_in(app, incoming)).await,
        Endpoint::V1Callback => Err(v1::callback()),
        Endpoint::V1Refresh => Box::pin(v1::refresh(app, incoming)).await,
        Endpoint::V1Debug => Box::pin(v1::debug(app, incoming)).await,
        Endpoint::V1ClientMetadata => Box::pin(v1::client_metadata(app)).await,
        Endpoint::V1Me => Box::pin(v1::me(app, incoming)).await,
        Endpoint::V1Resolve => Box::pin(v1::resolve(app, incoming)).await,
        Endpoint::V1Permissions => Box::pin(v1::permissions(app, incoming)).await,
        Endpoint::V1AppPassword => Box::pin(v1::app_password(app, incoming)).await,
        Endpoint::V1Credentials => Box::pin(v1::credentials(app, incoming)).await,
        Endpoint::Alive => Ok(probes::alive()),
        Endpoint::Ready => Box::pin(probes::ready(app.health())).await,
    }
}
