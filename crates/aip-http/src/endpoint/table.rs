//! The table of endpoints.

use aip_oauth::client_auth::TOKEN_ENDPOINT;

use super::spec::{CachePolicy, Cors, ErrorFormat, Payload, Spec, Verb};

const PAGE: Spec = Spec {
    path: "",
    verbs: &[Verb::Get, Verb::Post],
    cors: Cors::SameOrigin,
    cache: CachePolicy::NoStore,
    errors: ErrorFormat::Page,
    payload: Payload::Form,
    inert: false,
    clients: false,
    names_client: false,
    is_of_v1: false,
    public: false,
    metadata: None,
    summary: "",
    standard: "",
};

/// Forms in, JSON out, from anywhere.
const API: Spec = Spec {
    verbs: &[Verb::Post],
    cors: Cors::AnyOrigin,
    errors: ErrorFormat::OAuth,
    ..PAGE
};

const DOCUMENT: Spec = Spec {
    verbs: &[Verb::Get],
    cache: CachePolicy::Minutes(5),
    payload: Payload::Nothing,
    inert: true,
    ..API
};

const PROBE: Spec = Spec {
    cors: Cors::SameOrigin,
    cache: CachePolicy::NoStore,
    ..DOCUMENT
};

/// For the back ends of apps of AIP v1, in the same cluster: no gateway leads here.
const V1_API: Spec = Spec {
    is_of_v1: true,
    verbs: &[Verb::Get],
    cors: Cors::SameOrigin,
    payload: Payload::Nothing,
    ..API
};

/// `/// documentation`, `Name => its Spec,` of each endpoint.
macro_rules! endpoints {
    ($($(#[$doc:meta])* $endpoint:ident => $spec:expr,)*) => {
        /// An endpoint of the public listener.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter)]
        pub enum Endpoint {
            $($(#[$doc])* $endpoint,)*
        }

        impl Endpoint {
            /// What this endpoint is.
            #[allow(
                clippy::too_many_lines,
                reason = "it is the table, and a table is read in one piece"
            )]
            pub const fn spec(self) -> Spec {
                match self {
                    $(Self::$endpoint => $spec,)*
                }
            }
        }
    };
}

endpoints! {
    /// The first page.
    Home => Spec {
        path: "/",
        public: true,
        verbs: &[Verb::Get],
        payload: Payload::Nothing,
        inert: true,
        summary: "First page",
        ..PAGE
    },
    /// What apps may do, and taking it back.
    Account => Spec {
        path: "/account",
        public: true,
        summary: "What apps may do with an account, taking it back, signing out",
        ..PAGE
    },
    /// The sign-in page.
    Login => Spec {
        path: "/login",
        public: true,
        summary: "Sign-in page: handle, DID or address of a PDS",
        ..PAGE
    },
    /// The question whether an app may.
    Consent => Spec {
        path: "/consent",
        public: true,
        summary: "Consent page",
        ..PAGE
    },
    /// Where the code of another device is entered (RFC 8628 §3.3).
    Device => Spec {
        path: "/device",
        public: true,
        summary: "Page for the code of another device",
        standard: "RFC 8628 §3.3",
        ..PAGE
    },
    /// Where version 2 had a code sent.
    DeviceCodeV2 => Spec {
        path: "/device/authorize",
        public: true,
        summary: "The same page, under the path that version 2 had for its form",
        ..PAGE
    },
    /// Where version 2 had people come back to who were about to connect a device.
    DeviceCallbackV2 => Spec {
        path: "/device/callback",
        public: true,
        verbs: &[Verb::Get],
        payload: Payload::Nothing,
        summary: "The same page, for whoever was sent away by version 2",
        ..PAGE
    },
    /// The link by which an operator lets a person make a developer token.
    DeveloperTokenOrder => Spec {
        path: "/account/token",
        public: true,
        summary: "Page of a link by which a person makes a developer token",
        ..PAGE
    },
    /// The style sheet and the icon.
    Asset => Spec {
        path: "/static/{file}",
        public: true,
        cache: CachePolicy::Immutable,
        cors: Cors::SameOrigin,
        summary: "Style sheet and icon",
        ..DOCUMENT
    },
    /// OAuth 2.1 §3.1.
    Authorize => Spec {
        path: "/oauth/authorize",
        names_client: true,
        public: true,
        metadata: Some("authorization_endpoint"),
        summary: "Authorization endpoint",
        standard: "OAuth 2.1 §3.1, OpenID Connect Core §3.1.2, RFC 9207",
        ..PAGE
    },
    /// OpenID Connect RP-Initiated Logout.
    Logout => Spec {
        path: "/oauth/logout",
        names_client: true,
        public: true,
        metadata: Some("end_session_endpoint"),
        summary: "Signing out at an app's wish",
        standard: "OpenID Connect RP-Initiated Logout §2",
        ..PAGE
    },
    /// Where PDSs send people back to.
    Callback => Spec {
        path: "/oauth/atp/callback",
        public: true,
        verbs: &[Verb::Get],
        payload: Payload::Nothing,
        summary: "Where PDSs send people back to",
        standard: "AT Protocol OAuth",
        ..PAGE
    },
    /// RFC 9126.
    PushedAuthorizationRequest => Spec {
        path: "/oauth/par",
        names_client: true,
        public: true,
        metadata: Some("pushed_authorization_request_endpoint"),
        clients: true,
        summary: "Pushed authorization requests",
        standard: "RFC 9126",
        ..API
    },
    /// RFC 8628 §3.1.
    DeviceAuthorization => Spec {
        path: "/oauth/device_authorization",
        public: true,
        metadata: Some("device_authorization_endpoint"),
        clients: true,
        summary: "Device authorization",
        standard: "RFC 8628",
        ..API
    },
    /// The same under the path that version 2 had.
    DeviceAuthorizationV2 => Spec {
        path: "/oauth/device",
        public: true,
        clients: true,
        summary: "Device authorization, under the path of version 2",
        standard: "RFC 8628",
        ..API
    },
    /// OAuth 2.1 §3.2.
    Token => Spec {
        path: TOKEN_ENDPOINT,
        names_client: true,
        public: true,
        metadata: Some("token_endpoint"),
        clients: true,
        summary: "Token endpoint",
        standard: "OAuth 2.1 §3.2, RFC 9449",
        ..API
    },
    /// AT Protocol proposal 0010.
    ClientAssertion => Spec {
        path: "/oauth/client-assertion",
        public: true,
        clients: true,
        summary: "Client assertions for apps that talk to PDSs themselves, if the operator lets them",
        standard: "AT Protocol proposal 0010",
        ..API
    },
    /// RFC 7009.
    Revoke => Spec {
        path: "/oauth/revoke",
        names_client: true,
        public: true,
        metadata: Some("revocation_endpoint"),
        clients: true,
        summary: "Token revocation",
        standard: "RFC 7009",
        ..API
    },
    /// RFC 7662.
    Introspect => Spec {
        path: "/oauth/introspect",
        names_client: true,
        public: true,
        metadata: Some("introspection_endpoint"),
        // Only servers that can keep a secret may ask; a browser has no business here.
        cors: Cors::SameOrigin,
        clients: true,
        summary: "Token introspection",
        standard: "RFC 7662",
        ..API
    },
    // Advertised only where it is open (`discovery`), so it has no `metadata` here.
    /// RFC 7591.
    ClientRegistration => Spec {
        path: "/oauth/clients/register",
        public: true,
        payload: Payload::Json,
        summary: "Apps register themselves, if the operator lets them",
        standard: "RFC 7591, OpenID Connect Registration §3",
        ..API
    },
    /// RFC 7592.
    ClientConfiguration => Spec {
        path: "/oauth/clients/{id}",
        public: true,
        verbs: &[Verb::Get, Verb::Put, Verb::Delete],
        payload: Payload::Json,
        summary: "An app looks after its own registration",
        standard: "RFC 7592",
        ..API
    },
    /// OpenID Connect Core §5.3.
    Userinfo => Spec {
        path: "/oauth/userinfo",
        public: true,
        verbs: &[Verb::Get, Verb::Post],
        metadata: Some("userinfo_endpoint"),
        summary: "Who signed in",
        standard: "OpenID Connect Core §5.3",
        ..API
    },
    /// OpenID Connect Discovery §4.
    OpenIdConfiguration => Spec {
        path: "/.well-known/openid-configuration",
        public: true,
        summary: "Discovery document",
        standard: "OpenID Connect Discovery §4",
        ..DOCUMENT
    },
    /// RFC 8414 §3, with the same body.
    AuthorizationServerMetadata => Spec {
        path: "/.well-known/oauth-authorization-server",
        public: true,
        summary: "The same document",
        standard: "RFC 8414 §3",
        ..DOCUMENT
    },
    /// RFC 9728 §3.
    ProtectedResourceMetadata => Spec {
        path: "/.well-known/oauth-protected-resource",
        public: true,
        summary: "Metadata of AIP as a resource server",
        standard: "RFC 9728 §3",
        ..DOCUMENT
    },
    /// The keys that apps verify with.
    Jwks => Spec {
        path: "/.well-known/jwks.json",
        public: true,
        metadata: Some("jwks_uri"),
        summary: "Keys that apps verify with",
        standard: "RFC 7517 §5",
        ..DOCUMENT
    },
    /// AIP's own DID document.
    DidDocument => Spec {
        path: "/.well-known/did.json",
        public: true,
        errors: ErrorFormat::Xrpc,
        summary: "DID document of AIP as a service (not with a loopback base)",
        standard: "did:web, AT Protocol DID",
        ..DOCUMENT
    },
    /// AIP's own client metadata document, for PDSs.
    ClientMetadata => Spec {
        path: "/oauth-client-metadata.json",
        public: true,
        summary: "AIP as a client of PDSs (not with a loopback base)",
        standard: "AT Protocol OAuth",
        ..DOCUMENT
    },
    /// The client metadata document of one app, for PDSs.
    UpstreamClientDocument => Spec {
        path: "/oauth/upstream/clients/{file}",
        public: true,
        summary: "AIP as a client of PDSs for one app that has a document of its own",
        standard: "AT Protocol OAuth",
        ..DOCUMENT
    },
    /// The keys that PDSs verify with.
    UpstreamJwks => Spec {
        path: "/oauth/upstream/jwks.json",
        public: true,
        summary: "Keys that PDSs verify AIP with",
        standard: "RFC 7517 §5",
        ..DOCUMENT
    },
    /// These endpoints as an `OpenAPI` document.
    OpenApi => Spec {
        path: "/openapi.yaml",
        public: true,
        summary: "The endpoints as an OpenAPI document",
        standard: "OpenAPI 3.1",
        ..DOCUMENT
    },
    /// What an app may know of its session at the PDS.
    Session => Spec {
        path: "/api/atprotocol/session",
        public: true,
        verbs: &[Verb::Get],
        payload: Payload::Nothing,
        summary: "The app's session at the account's PDS",
        ..API
    },
    /// The app password that a person gave an app.
    AppPassword => Spec {
        path: "/api/atprotocol/app-password",
        public: true,
        verbs: &[Verb::Get, Verb::Post, Verb::Delete],
        summary: "The app password that a person gave the app",
        standard: "AT Protocol XRPC, app passwords",
        ..API
    },
    /// Who handles and DIDs are.
    Resolve => Spec {
        path: "/api/atprotocol/resolve",
        public: true,
        verbs: &[Verb::Get],
        errors: ErrorFormat::Xrpc,
        payload: Payload::Nothing,
        summary: "Who handles and DIDs are: DID, verified handle, PDS, signing key",
        standard: "AT Protocol handles and DIDs",
        ..API
    },
    /// An administrator changes a client.
    ClientsUpdate => Spec {
        path: "/xrpc/tools.graze.aip.clients.Update",
        public: true,
        errors: ErrorFormat::Xrpc,
        payload: Payload::Json,
        summary: "An administrator changes a client, by a service token",
        standard: "AT Protocol XRPC",
        ..API
    },
    /// Calls on the account's PDS.
    Xrpc => Spec {
        path: "/xrpc/{nsid}",
        public: true,
        verbs: &[Verb::Get, Verb::Post],
        cache: CachePolicy::Private,
        errors: ErrorFormat::Xrpc,
        payload: Payload::Stream,
        summary: "Calls on the account's PDS",
        standard: "AT Protocol XRPC",
        ..API
    },
    /// AIP v1's sign-in.
    V1SignIn => Spec {
        path: "/auth/atproto",
        is_of_v1: true,
        public: true,
        summary: "Sign-in, on to the authorization endpoint",
        ..PAGE
    },
    /// Where PDSs sent people back to at AIP v1.
    V1Callback => Spec {
        path: "/auth/atproto/callback",
        is_of_v1: true,
        public: true,
        verbs: &[Verb::Get],
        payload: Payload::Nothing,
        inert: true,
        summary: "Says that a sign-in of v1 is over",
        ..PAGE
    },
    /// Refreshes a session.
    V1Refresh => Spec {
        path: "/auth/atproto/refresh",
        public: true,
        summary: "Refreshes the session of an access token",
        ..V1_API
    },
    /// What is known of an access token, in development.
    V1Debug => Spec {
        path: "/auth/atproto/debug",
        summary: "What is known of an access token, in development",
        ..V1_API
    },
    /// The client metadata document of AIP v1.
    V1ClientMetadata => Spec {
        path: "/auth/atproto/client-metadata.json",
        is_of_v1: true,
        public: true,
        summary: "Whom the sessions of v1 belonged to (not with a loopback base)",
        standard: "AT Protocol OAuth",
        ..DOCUMENT
    },
    /// Whose access token it is.
    V1Me => Spec {
        path: "/internal/api/me",
        summary: "Whose access token it is",
        ..V1_API
    },
    /// Who handles and DIDs are.
    V1Resolve => Spec {
        path: "/internal/api/resolve",
        summary: "Who handles and DIDs are",
        ..V1_API
    },
    /// Who may act for an account.
    V1Permissions => Spec {
        path: "/internal/api/permissions",
        verbs: &[Verb::Post],
        payload: Payload::Json,
        summary: "Who may act for an account, as a list of operations",
        ..V1_API
    },
    /// The app password that a person gave an app.
    V1AppPassword => Spec {
        path: "/internal/api/app_password",
        verbs: &[Verb::Post],
        payload: Payload::Json,
        summary: "The app password that a person gave the app",
        ..V1_API
    },
    /// The credentials of a session.
    V1Credentials => Spec {
        path: "/internal/api/credentials",
        summary: "The credentials of a session, for apps with `aip:credentials`",
        ..V1_API
    },
    /// Is the process alive?
    Alive => Spec {
        path: "/internal/alive",
        summary: "Whether the process runs",
        ..PROBE
    },
    /// Can it take requests?
    Ready => Spec {
        path: "/internal/ready",
        summary: "Whether it can take requests",
        ..PROBE
    },
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn every_endpoint_has_a_path_and_a_summary_of_its_own() {
        for (i, endpoint) in Endpoint::iter().enumerate() {
            let spec = endpoint.spec();
            assert!(spec.path.starts_with('/'), "{endpoint:?}");
            assert!(!spec.summary.is_empty(), "{endpoint:?}");
            for other in Endpoint::iter().skip(i + 1) {
                assert_ne!(spec.path, other.spec().path);
                assert_ne!(endpoint, other);
            }
        }
    }

    #[test]
    fn what_discovery_names_is_public_and_probes_are_not() {
        for endpoint in Endpoint::iter() {
            let spec = endpoint.spec();
            if spec.metadata.is_some() {
                assert!(spec.public, "{endpoint:?} needs `public: true` in its row");
            }
            if spec.path.starts_with("/internal/") {
                assert!(!spec.public, "{endpoint:?}");
            }
        }
    }

    #[test]
    fn the_paths_of_v1_are_known_by_their_beginning() {
        for endpoint in Endpoint::iter() {
            let path = endpoint.spec().path;
            let is_of_v1 = path.starts_with("/auth/") || path.starts_with("/internal/api/");
            assert_eq!(endpoint.is_of_v1(), is_of_v1, "{endpoint:?}");
        }
    }

    #[test]
    fn what_takes_cookies_is_closed_to_scripts_of_other_origins() {
        for endpoint in Endpoint::iter() {
            let spec = endpoint.spec();
            if spec.errors == ErrorFormat::Page {
                assert_eq!(spec.cors, Cors::SameOrigin, "{endpoint:?}");
                assert_eq!(spec.cache, CachePolicy::NoStore, "{endpoint:?}");
            }
        }
    }
}
