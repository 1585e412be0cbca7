//! A demo app: a website that signs people in through AIP and posts in their name. It speaks
//! plain OAuth 2.1 and OpenID Connect, as any app with any library does; nothing in here knows of
//! `DPoP`, of PDSs or of how a handle is resolved.

mod handlers;
mod pages;
mod provider;
mod sessions;

use std::sync::Arc;

use aip_base::{Clock, Http, Rng};
use axum::Router;
use axum::routing::{get, post};
use secrecy::SecretString;

use self::provider::Provider;
use self::sessions::Sessions;

/// The scopes that the demo asks for.
pub const SCOPE: &str = "openid profile offline_access atproto repo:app.bsky.feed.post";

/// How to set the demo up.
#[derive(Clone)]
pub struct DemoOptions {
    /// The base URL of AIP.
    pub issuer: String,
    /// The base URL of the demo itself, without a trailing slash.
    pub base: String,
    /// The client as which the demo is known at AIP; without one it registers itself (RFC 7591).
    pub client: Option<DemoClient>,
    /// The time that tokens expire by.
    pub clock: Arc<dyn Clock>,
    /// Where secrets come from.
    pub rng: Arc<dyn Rng>,
    /// The way to AIP.
    pub http: Arc<dyn Http>,
}

/// The demo's registration at AIP.
#[derive(Debug, Clone)]
pub struct DemoClient {
    /// The client's id.
    pub id: String,
    /// The secret of a confidential client.
    pub secret: Option<SecretString>,
}

/// What the handlers share.
struct Demo {
    provider: Provider,
    sessions: Sessions,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

/// The demo as a router, to be served at [`DemoOptions::base`].
pub fn router(options: DemoOptions) -> Router {
    let demo = Demo {
        provider: Provider::new(&options),
        sessions: Sessions::default(),
        clock: options.clock,
        rng: options.rng,
    };
    Router::new()
        .route("/", get(handlers::home))
        .route("/sign-in", post(handlers::sign_in))
        .route("/callback", get(handlers::callback))
        .route("/post", post(handlers::post))
        .route("/sign-out", post(handlers::sign_out))
        .with_state(Arc::new(demo))
}
