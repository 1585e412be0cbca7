//! The table of endpoints: one enum, and for each what it is ([`Endpoint::spec`]). Router, preflights,
//! `Allow`, discovery and the reference page derive from it. What is not in the enum is not mounted, and
//! what is not mounted is not advertised (RFC 8414 §2, RFC 9728 §2). What each does is in `endpoints`.

mod spec;
mod table;

use aip_atproto::Origin;

pub(crate) use self::spec::BODY_LIMIT;
pub use self::spec::{CachePolicy, Cors, ErrorFormat, Payload, Spec, Verb};

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
    /// Where the code of another device is entered (RFC 8628 §3.3).
    Device,
    /// The link by which an operator lets a person make a developer token.
    DeveloperTokenOrder,
    /// The style sheet and the icon.
    Asset,
    /// OAuth 2.1 §3.1.
    Authorize,
    /// OpenID Connect RP-Initiated Logout.
    Logout,
    /// Where PDSs send people back to.
    Callback,
    /// RFC 9126.
    PushedAuthorizationRequest,
    /// RFC 8628 §3.1.
    DeviceAuthorization,
    /// The same under the path that version 2 had.
    DeviceAuthorizationV2,
    /// OAuth 2.1 §3.2.
    Token,
    /// AT Protocol proposal 0010.
    ClientAssertion,
    /// RFC 7009.
    Revoke,
    /// RFC 7662.
    Introspect,
    /// RFC 7591.
    ClientRegistration,
    /// RFC 7592.
    ClientConfiguration,
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
    /// AIP's own DID document.
    DidDocument,
    /// AIP's own client metadata document, for PDSs.
    ClientMetadata,
    /// The client metadata document of one app, for PDSs.
    UpstreamClientDocument,
    /// The keys that PDSs verify with.
    UpstreamJwks,
    /// What an app may know of its session at the PDS.
    Session,
    /// The app password that a person gave an app.
    AppPassword,
    /// Who handles and DIDs are.
    Resolve,
    /// An administrator changes a client.
    ClientsUpdate,
    /// Calls on the account's PDS.
    Xrpc,
    /// AIP v1's sign-in.
    V1SignIn,
    /// Where PDSs sent people back to at AIP v1.
    V1Callback,
    /// Refreshes a session.
    V1Refresh,
    /// What is known of an access token, in development.
    V1Debug,
    /// The client metadata document of AIP v1.
    V1ClientMetadata,
    /// Whose access token it is.
    V1Me,
    /// Who handles and DIDs are.
    V1Resolve,
    /// Who may act for an account.
    V1Permissions,
    /// The app password that a person gave an app.
    V1AppPassword,
    /// The credentials of a session.
    V1Credentials,
    /// Is the process alive?
    Alive,
    /// Can it take requests?
    Ready,
}

impl Endpoint {
    /// The URL of this endpoint, which has no variable part, at the public base URL.
    pub fn url(self, base: &Origin) -> String {
        base.join(self.spec().path)
    }
}
