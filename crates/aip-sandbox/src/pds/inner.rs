//! The state of one PDS, and which function answers which request.

use std::sync::{Arc, Mutex};

use aip_base::{Clock, Http, Rng, lock};
use http::{HeaderName, Method, StatusCode};
use serde_json::json;

use super::accounts::Accounts;
use super::clients::ClientCache;
use super::error::{OAuthError, ProofRefusal, XrpcError};
use super::grants::Grants;
use super::jwt::TokenSecret;
use super::nonce::Nonces;
use super::replay::UsedOnce;
use super::repos::Repos;
use super::sessions::Sessions;
use super::settings::Settings;
use super::xrpc::app_passwords::PasswordSessions;
use crate::plc::Directory;
use crate::stage::Stage;
use crate::stage::faults::Endpoint;
use crate::stage::reply::Reply;
use crate::stage::request::Received;
use crate::stage::server::Service;

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Everything a PDS knows, shared by its ports.
pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) http: Arc<dyn Http>,
    /// The origin of the resource server: the PDS as DID documents name it.
    pub(crate) resource: String,
    /// The origin of the authorization server, by default the same.
    pub(crate) issuer: String,
    pub(crate) service_did: String,
    pub(crate) directory: Arc<Directory>,
    pub(crate) stage: Stage,
    pub(crate) settings: Mutex<Settings>,
    pub(crate) clients: Mutex<ClientCache>,
    pub(crate) accounts: Mutex<Accounts>,
    pub(crate) grants: Mutex<Grants>,
    pub(crate) sessions: Mutex<Sessions>,
    pub(crate) used_proofs: Mutex<UsedOnce>,
    pub(crate) used_assertions: Mutex<UsedOnce>,
    pub(crate) used_challenges: Mutex<UsedOnce>,
    pub(crate) password_sessions: Mutex<PasswordSessions>,
    pub(crate) repos: Mutex<Repos>,
    pub(crate) tokens: TokenSecret,
}

/// Which half of a PDS a port serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Both,
    AuthorizationServer,
    ResourceServer,
}

/// One port of a PDS.
pub(crate) struct Site {
    pub(crate) inner: Arc<Inner>,
    pub(crate) role: Role,
    pub(crate) nonces: Nonces,
}

impl Service for Site {
    fn stage(&self) -> &Stage {
        &self.inner.stage
    }

    fn endpoint(&self, request: &Received) -> Endpoint {
        let path = request.path.as_str();
        let authorization_server = self.role != Role::ResourceServer;
        let resource_server = self.role != Role::AuthorizationServer;
        match path {
            "/.well-known/oauth-authorization-server" if authorization_server => {
                Endpoint::ServerMetadata
            }
            "/oauth/par" if authorization_server => Endpoint::Par,
            "/oauth/token" if authorization_server => Endpoint::Token,
            "/oauth/revoke" if authorization_server => Endpoint::Revoke,
            "/.well-known/oauth-protected-resource" if resource_server => {
                Endpoint::ResourceMetadata
            }
            "/.well-known/atproto-did" if resource_server => Endpoint::HandleDid,
            _ if authorization_server && path.starts_with("/oauth/authorize") => {
                Endpoint::Authorize
            }
            _ if resource_server => match path.strip_prefix("/xrpc/") {
                Some(nsid) => super::xrpc::endpoint(nsid),
                None => Endpoint::Other,
            },
            _ => Endpoint::Other,
        }
    }

    async fn answer(&self, endpoint: Endpoint, request: Received) -> Reply {
        let reply = match self.act(endpoint, &request).await {
            Some(reply) => reply,
            None => Reply::text(StatusCode::NOT_FOUND, "Not Found"),
        };
        // Every answer has a nonce, so that clients need not ask for one.
        reply.with(DPOP_NONCE, &self.nonce())
    }

    fn demand_nonce(&self, endpoint: Endpoint) -> Reply {
        let reply = match endpoint {
            Endpoint::Xrpc | Endpoint::Method(_) => {
                XrpcError::from(ProofRefusal::NonceDemanded).reply()
            }
            _ => OAuthError::from(ProofRefusal::NonceDemanded).reply(),
        };
        reply.with(DPOP_NONCE, &self.nonce())
    }
}

impl Site {
    /// The nonce of one answer.
    fn nonce(&self) -> String {
        let inner = &self.inner;
        if lock(&inner.settings).nonce_per_answer {
            self.nonces.only(&*inner.rng)
        } else {
            self.nonces.current(inner.clock.now())
        }
    }

    async fn act(&self, endpoint: Endpoint, request: &Received) -> Option<Reply> {
        let post = request.method == Method::POST;
        Some(match endpoint {
            Endpoint::ResourceMetadata => self.inner.resource_metadata(),
            Endpoint::ServerMetadata => self.inner.server_metadata(),
            Endpoint::Par if post => self.par(request).await.unwrap_or_else(|e| e.reply()),
            Endpoint::Token if post => self.token(request).await.unwrap_or_else(|e| e.reply()),
            Endpoint::Revoke if post => self.revoke(request).await.unwrap_or_else(|e| e.reply()),
            Endpoint::Authorize => match (request.path.as_str(), post) {
                ("/oauth/authorize", false) => self.authorize(request),
                ("/oauth/authorize/sign-in", true) => self.sign_in(request),
                ("/oauth/authorize/consent", true) => self.consent(request),
                _ => return None,
            },
            Endpoint::HandleDid => self.handle_did(request)?,
            Endpoint::Xrpc | Endpoint::Method(_) => self.xrpc(request).await,
            Endpoint::Other if request.path == "/xrpc/_health" => {
                Reply::json(StatusCode::OK, &json!({ "version": "sandbox" }))
            }
            _ => return None,
        })
    }

    /// `/.well-known/atproto-did` of the host that was called
    /// (<https://atproto.com/specs/handle#handle-resolution>).
    fn handle_did(&self, request: &Received) -> Option<Reply> {
        let host = request.host_name()?;
        let accounts = lock(&self.inner.accounts);
        let account = accounts.by_handle(&host)?;
        Some(Reply::text(StatusCode::OK, account.did.as_str().to_owned()))
    }
}
