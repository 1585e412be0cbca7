//! What this crate needs of those that talk to PDSs, and of the process. The binary hands in the
//! real ones; tests of pages and endpoints hand in stand-ins, so that HTTP is tested without a PDS.

use std::sync::Arc;

use aip_atproto::Origin;
use aip_base::{Body, Timestamp};
use aip_oauth::claims::{ClaimedEmail, Emails};
use aip_pds::usable_until;
use aip_sessions::{
    AccountEmails, BeginError, Keeper, KeeperError, SignInFailure, SignInRequest, SignInResult,
    step,
};
use aip_storage::StorageError;
use aip_storage::grant::Grant;
use aip_storage::request::FlowBrowser;
use aip_storage::session_status::SessionStatus;
use aip_xrpc::{ForwardError, XrpcCall};
use async_trait::async_trait;
use http::Response;

/// Signing people in at their PDS.
#[async_trait]
pub trait SignIn: Send + Sync + 'static {
    /// Begins a sign-in and returns the URL at the PDS to send the browser to.
    async fn begin(&self, start: SignInRequest<'_>) -> Result<String, BeginError>;

    /// Finishes a sign-in with the query of the callback, if that browser began it.
    async fn finish(
        &self,
        browser: &FlowBrowser<'_>,
        query: &str,
    ) -> Result<SignInResult, SignInFailure>;
}

/// Sessions at the PDSs of accounts.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// What is told of a session that was just read, after a refresh if it is stale.
    async fn live(&self, read: SessionStatus) -> Result<LiveSession, KeeperError>;
}

/// What is told of a session that can be used now.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// The account's PDS.
    pub pds: Origin,
    /// When it is refreshed next at the latest, if it is used.
    pub usable_until: Timestamp,
    /// When the PDS ends it whatever AIP does, if that is known.
    pub ends_at: Option<Timestamp>,
}

/// Calls on the PDS of an account.
#[async_trait]
pub trait XrpcProxy: Send + Sync + 'static {
    /// Forwards a call and returns the PDS's answer, its body still streaming.
    async fn forward(&self, incoming: XrpcCall<'_>) -> Result<Response<Body>, ForwardError>;
}

/// How the process is.
#[async_trait]
pub trait Health: Send + Sync + 'static {
    /// Whether start-up is over.
    fn started(&self) -> bool;

    /// Whether requests can be taken: the database answers, and no shut-down has begun.
    async fn ready(&self) -> bool;
}

#[async_trait]
impl SignIn for aip_sessions::SignIn {
    async fn begin(&self, start: SignInRequest<'_>) -> Result<String, BeginError> {
        self.begin(start).await
    }

    async fn finish(
        &self,
        browser: &FlowBrowser<'_>,
        query: &str,
    ) -> Result<SignInResult, SignInFailure> {
        self.finish(browser, query).await
    }
}

/// The addresses that PDSs tell, as claims.
pub struct PdsEmails(pub AccountEmails);

#[async_trait]
impl Emails for PdsEmails {
    async fn email(&self, grant: &Grant) -> Result<Option<ClaimedEmail>, StorageError> {
        let known = self.0.of_session(grant.upstream_session).await?;
        Ok(known.map(|it| ClaimedEmail {
            address: it.address,
            verified: it.verified,
        }))
    }
}

#[async_trait]
impl Sessions for Arc<Keeper> {
    async fn live(&self, read: SessionStatus) -> Result<LiveSession, KeeperError> {
        let active = self.active_status(read).await?;
        Ok(LiveSession {
            usable_until: usable_until(active.refreshed_at, active.access_expires_at),
            ends_at: step::ends_at(&active),
            pds: active.pds,
        })
    }
}

#[async_trait]
impl XrpcProxy for aip_xrpc::Forwarder {
    async fn forward(&self, incoming: XrpcCall<'_>) -> Result<Response<Body>, ForwardError> {
        self.forward(incoming).await
    }
}
