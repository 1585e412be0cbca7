//! The table of endpoints: what is not in it is not mounted, and what is not mounted is not
//! advertised (RFC 8414 §2, RFC 9728 §2). Router, preflights, `Allow`, discovery and reference all
//! read [`Endpoint::spec`].

mod account;
mod authorize;
mod callback;
mod consent;
mod discovery;
mod home;
mod login;
mod probes;
mod token;
mod upstream;
mod userinfo;
mod xrpc;

use axum::body::Body;
use axum::response::Response;

pub(crate) use self::login::LoginForm;
use crate::assets;
use crate::call::Call;
use crate::problem::Problem;
use crate::state::App;

/// An endpoint of the public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Calls on the account's PDS.
    Xrpc,
    /// Is the process alive?
    Alive,
    /// Can it take requests?
    Ready,
}

/// A method that an endpoint takes. `GET` brings `HEAD` with it, and every endpoint `OPTIONS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `GET` and `HEAD`.
    Get,
    /// `POST`.
    Post,
}

/// Whether scripts of other origins may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cors {
    /// From any origin, always without cookies.
    AnyOrigin,
    /// No: people come here by navigation only.
    SameOrigin,
}

/// Who may keep a successful answer. Errors are never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// Nobody.
    NoStore,
    /// Everybody, for some minutes.
    Minutes(u32),
    /// Everybody, for ever: the name changes with the content.
    Immutable,
    /// As the PDS says.
    AsUpstream,
}

/// What an error looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// A page for people.
    Page,
    /// RFC 6749 §5.2: `error` and `error_description`.
    OAuth,
    /// AT Protocol XRPC: `error` and `message`.
    Xrpc,
}

/// What may be sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a body is not read.
    Nothing,
    /// A form of at most 64 KiB.
    Form,
    /// Anything; it streams through.
    Stream,
}

/// The most bytes of a form.
pub(crate) const FORM_LIMIT: usize = 64 * 1024;

/// All that the rest derives from.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The path, in the router's notation.
    pub path: &'static str,
    /// The methods.
    pub verbs: &'static [Verb],
    /// Scripts of other origins.
    pub cors: Cors,
    /// Who may keep the answer.
    pub cache: CachePolicy,
    /// What errors look like.
    pub errors: ErrorFormat,
    /// What is read of a request.
    pub payload: Payload,
    /// The member of the discovery document that holds the URL of this endpoint.
    pub metadata: Option<&'static str>,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Where it is specified.
    pub standard: &'static str,
}

const PAGE: Spec = Spec {
    path: "",
    verbs: &[Verb::Get, Verb::Post],
    cors: Cors::SameOrigin,
    cache: CachePolicy::NoStore,
    errors: ErrorFormat::Page,
    payload: Payload::Form,
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
    ..API
};

const PROBE: Spec = Spec {
    cors: Cors::SameOrigin,
    cache: CachePolicy::NoStore,
    ..DOCUMENT
};

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 20] = [
        Self::Home,
        Self::Account,
        Self::Login,
        Self::Consent,
        Self::Asset,
        Self::Authorize,
        Self::Callback,
        Self::Token,
        Self::Revoke,
        Self::Introspect,
        Self::Userinfo,
        Self::OpenIdConfiguration,
        Self::AuthorizationServerMetadata,
        Self::ProtectedResourceMetadata,
        Self::Jwks,
        Self::ClientMetadata,
        Self::UpstreamJwks,
        Self::Xrpc,
        Self::Alive,
        Self::Ready,
    ];

    /// What this endpoint is.
    #[allow(
        clippy::too_many_lines,
        reason = "it is the table, and a table is read in one piece"
    )]
    pub const fn spec(self) -> Spec {
        match self {
            Self::Home => Spec {
                path: "/",
                verbs: &[Verb::Get],
                payload: Payload::Nothing,
                summary: "First page",
                ..PAGE
            },
            Self::Account => Spec {
                path: "/account",
                summary: "What apps may do with an account, taking it back, signing out",
                ..PAGE
            },
            Self::Login => Spec {
                path: "/login",
                summary: "Sign-in page: handle, DID or address of a PDS",
                ..PAGE
            },
            Self::Consent => Spec {
                path: "/consent",
                summary: "Consent page",
                ..PAGE
            },
            Self::Asset => Spec {
                path: "/static/{file}",
                cache: CachePolicy::Immutable,
                cors: Cors::SameOrigin,
                summary: "Style sheet and icon",
                ..DOCUMENT
            },
            Self::Authorize => Spec {
                path: "/oauth/authorize",
                metadata: Some("authorization_endpoint"),
                summary: "Authorization endpoint",
                standard: "OAuth 2.1 §3.1, OpenID Connect Core §3.1.2, RFC 9207",
                ..PAGE
            },
            Self::Callback => Spec {
                path: "/oauth/atp/callback",
                verbs: &[Verb::Get],
                payload: Payload::Nothing,
                summary: "Where PDSs send people back to",
                standard: "AT Protocol OAuth",
                ..PAGE
            },
            Self::Token => Spec {
                path: "/oauth/token",
                metadata: Some("token_endpoint"),
                summary: "Token endpoint",
                standard: "OAuth 2.1 §3.2, RFC 9449",
                ..API
            },
            Self::Revoke => Spec {
                path: "/oauth/revoke",
                metadata: Some("revocation_endpoint"),
                summary: "Token revocation",
                standard: "RFC 7009",
                ..API
            },
            Self::Introspect => Spec {
                path: "/oauth/introspect",
                metadata: Some("introspection_endpoint"),
                // Only servers that can keep a secret may ask; a browser has no business here.
                cors: Cors::SameOrigin,
                summary: "Token introspection",
                standard: "RFC 7662",
                ..API
            },
            Self::Userinfo => Spec {
                path: "/oauth/userinfo",
                verbs: &[Verb::Get, Verb::Post],
                metadata: Some("userinfo_endpoint"),
                summary: "Who signed in",
                standard: "OpenID Connect Core §5.3",
                ..API
            },
            Self::OpenIdConfiguration => Spec {
                path: "/.well-known/openid-configuration",
                summary: "Discovery document",
                standard: "OpenID Connect Discovery §4",
                ..DOCUMENT
            },
            Self::AuthorizationServerMetadata => Spec {
                path: "/.well-known/oauth-authorization-server",
                summary: "The same document",
                standard: "RFC 8414 §3",
                ..DOCUMENT
            },
            Self::ProtectedResourceMetadata => Spec {
                path: "/.well-known/oauth-protected-resource",
                summary: "Metadata of AIP as a resource server",
                standard: "RFC 9728 §3",
                ..DOCUMENT
            },
            Self::Jwks => Spec {
                path: "/.well-known/jwks.json",
                metadata: Some("jwks_uri"),
                summary: "Keys that apps verify with",
                standard: "RFC 7517 §5",
                ..DOCUMENT
            },
            Self::ClientMetadata => Spec {
                path: "/oauth-client-metadata.json",
                summary: "AIP as a client of PDSs (not with a loopback base)",
                standard: "AT Protocol OAuth",
                ..DOCUMENT
            },
            Self::UpstreamJwks => Spec {
                path: "/oauth/upstream/jwks.json",
                summary: "Keys that PDSs verify AIP with",
                standard: "RFC 7517 §5",
                ..DOCUMENT
            },
            Self::Xrpc => Spec {
                path: "/xrpc/{nsid}",
                verbs: &[Verb::Get, Verb::Post],
                cache: CachePolicy::AsUpstream,
                errors: ErrorFormat::Xrpc,
                payload: Payload::Stream,
                summary: "Calls on the account's PDS",
                standard: "AT Protocol XRPC",
                ..API
            },
            Self::Alive => Spec {
                path: "/internal/alive",
                summary: "Whether the process runs",
                ..PROBE
            },
            Self::Ready => Spec {
                path: "/internal/ready",
                summary: "Whether it can take requests",
                ..PROBE
            },
        }
    }

    /// Answers a request for this endpoint, its method and form already checked. `stream` is the
    /// body of what takes [`Payload::Stream`], otherwise empty.
    pub(crate) async fn handle(
        self,
        app: &App,
        call: &Call,
        stream: Body,
    ) -> Result<Response, Problem> {
        match self {
            Self::Home => home::handle(app, call),
            Self::Account => account::handle(app, call).await,
            Self::Login => login::handle(app, call).await,
            Self::Consent => consent::handle(app, call).await,
            Self::Asset => assets::handle(call),
            Self::Authorize => authorize::handle(app, call).await,
            Self::Callback => callback::handle(app, call).await,
            Self::Token => token::token(app, call).await,
            Self::Revoke => token::revoke(app, call).await,
            Self::Introspect => token::introspect(app, call).await,
            Self::Userinfo => userinfo::handle(app, call).await,
            Self::OpenIdConfiguration | Self::AuthorizationServerMetadata => {
                Ok(discovery::authorization_server(app))
            }
            Self::ProtectedResourceMetadata => Ok(discovery::protected_resource(app)),
            Self::Jwks => Ok(discovery::jwks(app)),
            Self::ClientMetadata => upstream::client_metadata(app),
            Self::UpstreamJwks => Ok(upstream::jwks(app)),
            Self::Xrpc => xrpc::handle(app, call, stream).await,
            Self::Alive => Ok(probes::alive()),
            Self::Ready => probes::ready(app.health()).await,
        }
    }
}

impl Spec {
    /// The value of `Allow`.
    pub(crate) fn allow(&self) -> String {
        let mut methods: Vec<&str> = Vec::new();
        for verb in self.verbs {
            methods.extend(match verb {
                Verb::Get => ["GET", "HEAD"].as_slice(),
                Verb::Post => ["POST"].as_slice(),
            });
        }
        methods.push("OPTIONS");
        methods.join(", ")
    }

    /// Whether `method` is among the methods, `OPTIONS` aside.
    pub(crate) fn takes(&self, method: &http::Method) -> bool {
        self.verbs.iter().any(|verb| match verb {
            Verb::Get => method == http::Method::GET || method == http::Method::HEAD,
            Verb::Post => method == http::Method::POST,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_a_path_and_a_summary_of_its_own() {
        for (i, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            let spec = endpoint.spec();
            assert!(spec.path.starts_with('/'), "{endpoint:?}");
            assert!(!spec.summary.is_empty(), "{endpoint:?}");
            for other in &Endpoint::ALL[i + 1..] {
                assert_ne!(spec.path, other.spec().path);
                assert_ne!(endpoint, *other);
            }
        }
    }

    #[test]
    fn what_takes_cookies_is_closed_to_scripts_of_other_origins() {
        for endpoint in Endpoint::ALL {
            let spec = endpoint.spec();
            if spec.errors == ErrorFormat::Page {
                assert_eq!(spec.cors, Cors::SameOrigin, "{endpoint:?}");
                assert_eq!(spec.cache, CachePolicy::NoStore, "{endpoint:?}");
            }
        }
    }
}
