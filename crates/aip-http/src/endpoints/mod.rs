//! What each endpoint does, a file for each, and the one place that sends a request to the right one.

mod account;
mod app_password;
mod asset;
mod authorize;
mod callback;
mod client_configuration;
mod client_document;
mod client_information;
mod client_metadata;
mod client_registration;
mod clients_update;
mod consent;
mod credentials;
mod delegations;
mod device;
mod device_authorization;
mod did_document;
mod discovery;
mod home;
mod identity;
mod introspect;
mod login;
mod logout;
mod par;
mod probes;
mod resolve;
mod session;
mod token;
mod upstream;
mod userinfo;
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
    if takes_clients(endpoint) {
        app.read_client_document(incoming, incoming.params())
            .await?;
    }
    match endpoint {
        Endpoint::Home => Ok(home::handle(app, incoming)),
        Endpoint::Account => account::handle(app, incoming).await,
        Endpoint::Login => login::handle(app, incoming).await,
        Endpoint::Consent => consent::handle(app, incoming).await,
        Endpoint::Device => device::handle(app, incoming).await,
        Endpoint::Asset => asset::handle(incoming),
        Endpoint::Authorize => authorize::handle(app, incoming).await,
        Endpoint::Logout => logout::handle(app, incoming).await,
        Endpoint::Callback => callback::handle(app, incoming).await,
        Endpoint::PushedAuthorizationRequest => par::handle(app, incoming).await,
        Endpoint::DeviceAuthorization | Endpoint::DeviceAuthorizationV2 => {
            device_authorization::handle(app, incoming, endpoint).await
        }
        Endpoint::Token => token::token(app, incoming).await,
        Endpoint::Revoke => token::revoke(app, incoming).await,
        Endpoint::Introspect => introspect::introspect(app, incoming).await,
        Endpoint::ClientRegistration => client_registration::handle(app, incoming).await,
        Endpoint::ClientConfiguration => client_configuration::handle(app, incoming).await,
        Endpoint::Userinfo => userinfo::handle(app, incoming).await,
        Endpoint::OpenIdConfiguration | Endpoint::AuthorizationServerMetadata => {
            Ok(discovery::authorization_server(app))
        }
        Endpoint::ProtectedResourceMetadata => Ok(discovery::protected_resource(app)),
        Endpoint::Jwks => Ok(discovery::jwks(app)),
        Endpoint::DidDocument => did_document::handle(app),
        Endpoint::ClientMetadata => upstream::client_metadata(app).await,
        Endpoint::UpstreamJwks => Ok(upstream::jwks(app)),
        Endpoint::Session => session::handle(app, incoming).await,
        Endpoint::AppPassword => app_password::handle(app, incoming).await,
        Endpoint::Resolve => resolve::handle(app, incoming).await,
        Endpoint::ClientsUpdate => clients_update::handle(app, incoming).await,
        Endpoint::Xrpc => xrpc::handle(app, incoming, stream).await,
        Endpoint::Alive => Ok(probes::alive()),
        Endpoint::Ready => probes::ready(app.health()).await,
    }
}

/// Whether requests name a client in their parameters.
fn takes_clients(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::Authorize
            | Endpoint::PushedAuthorizationRequest
            | Endpoint::Token
            | Endpoint::Revoke
            | Endpoint::Introspect
            | Endpoint::Logout
    )
}
