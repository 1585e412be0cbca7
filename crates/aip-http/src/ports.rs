//! What this room needs of rooms that talk to PDSs, and of the process. The binary hands in the
//! real ones; tests of pages and endpoints hand in stand-ins, so that HTTP is tested without a PDS.

use aip_base::{Body, RowId};
use aip_sessions::{BeginError, Finished, SignInFailure, Start};
use aip_xrpc::{ForwardError, XrpcCall};
use async_trait::async_trait;
use http::Response;

/// Signing people in at their PDS.
#[async_trait]
pub trait SignIn: Send + Sync + 'static {
    /// Begins a sign-in and returns the URL at the PDS to send the browser to.
    async fn begin(&self, start: Start<'_>) -> Result<String, BeginError>;

    /// Finishes a sign-in with the query of the callback.
    async fn finish(&self, browser: RowId, query: &str) -> Result<Finished, SignInFailure>;
}

/// Calls on the PDS of an account.
#[async_trait]
pub trait XrpcProxy: Send + Sync + 'static {
    /// Forwards a call and returns the PDS's answer, its body still streaming.
    async fn forward(&self, call: XrpcCall<'_>) -> Result<Response<Body>, ForwardError>;
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
    async fn begin(&self, start: Start<'_>) -> Result<String, BeginError> {
        self.begin(start).await
    }

    async fn finish(&self, browser: RowId, query: &str) -> Result<Finished, SignInFailure> {
        self.finish(browser, query).await
    }
}

#[async_trait]
impl XrpcProxy for aip_xrpc::Forwarder {
    async fn forward(&self, call: XrpcCall<'_>) -> Result<Response<Body>, ForwardError> {
        self.forward(call).await
    }
}
