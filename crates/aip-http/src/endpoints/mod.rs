//! The endpoints: one enum, one file for what each does, one table ([`Endpoint::spec`]) for what
//! each is. What is not in the enum is not mounted, and what is not mounted is not advertised
//! (RFC 8414 §2, RFC 9728 §2).

mod account;
mod authorize;
mod callback;
mod consent;
mod discovery;
mod home;
mod login;
mod logout;
mod probes;
mod session;
mod spec;
mod table;
mod token;
mod upstream;
mod userinfo;
mod xrpc;

use axum::body::Body;
use axum::response::Response;

pub(crate) use self::authorize::refused;
pub(crate) use self::login::LoginForm;
pub(crate) use self::spec::FORM_LIMIT;
pub use self::spec::{CachePolicy, Cors, ErrorFormat, Payload, Spec, Verb};
use crate::api_error::ApiError;
use crate::assets;
use crate::incoming_request::IncomingRequest;
use crate::state::AppState;

/// An endpoint of the public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter)]
pub enum Endpoint {
    /// The first page.
    Home,
    /// What apps may do, and taking it back.
    Account,
    /// The sign-in page.
    Login,
    /// The question whether an app may.
    Consent,
    /// The style sheet and the icon.
    Asset,
    /// OAuth 2.1 §3.1.
    Authorize,
    /// OpenID Connect RP-Initiated Logout.
    Logout,
    /// Where PDSs send people back to.
    Callback,
    /// OAuth 2.1 §3.2.
    Token,
    /// RFC 7009.
    Revoke,
    /// RFC 7662.
    Introspect,
    /// OpenID Connect Core §5.3.
    Userinfo,
    /// OpenID Connect Discovery §4.
    OpenIdConfiguration,
    /// RFC 8414 §3, with the same body.
    AuthorizationServerMetadata,
    /// RFC 9728 §3.
    ProtectedResourceMetadata,
    /// The keys that apps verify with.
    Jwks,
    /// AIP's own client metadata document, for PDSs.
    ClientMetadata,
    /// The keys that PDSs verify with.
    UpstreamJwks,
    /// What an app may know of its session at the PDS.
    Session,
    /// Calls on the account's PDS.
    Xrpc,
    /// Is the process alive?
    Alive,
    /// Can it take requests?
    Ready,
}

impl Endpoint {
    /// Answers a request for this endpoint, its method and form already checked. `stream` is the
    /// body of what takes [`Payload::Stream`], otherwise empty.
    pub(crate) async fn handle(
        self,
        app: &AppState,
        incoming: &IncomingRequest,
        stream: Body,
    ) -> Result<Response, ApiError> {
        match self {
            Self::Home => Ok(home::handle(app, incoming)),
            Self::Account => account::handle(app, incoming).await,
            Self::Login => login::handle(app, incoming).await,
            Self::Consent => consent::handle(app, incoming).await,
            Self::Asset => assets::handle(incoming),
            Self::Authorize => authorize::handle(app, incoming).await,
            Self::Logout => logout::handle(app, incoming).await,
            Self::Callback => callback::handle(app, incoming).await,
            Self::Token => token::token(app, incoming).await,
            Self::Revoke => token::revoke(app, incoming).await,
            Self::Introspect => token::introspect(app, incoming).await,
            Self::Userinfo => userinfo::handle(app, incoming).await,
            Self::OpenIdConfiguration | Self::AuthorizationServerMetadata => {
                Ok(discovery::authorization_server(app))
            }
            Self::ProtectedResourceMetadata => Ok(discovery::protected_resource(app)),
            Self::Jwks => Ok(discovery::jwks(app)),
            Self::ClientMetadata => upstream::client_metadata(app).await,
            Self::UpstreamJwks => Ok(upstream::jwks(app)),
            Self::Session => session::handle(app, incoming).await,
            Self::Xrpc => xrpc::handle(app, incoming, stream).await,
            Self::Alive => Ok(probes::alive()),
            Self::Ready => probes::ready(app.health()).await,
        }
    }
}
