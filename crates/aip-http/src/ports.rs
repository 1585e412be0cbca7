//! What this crate needs of whoever signs people in, and of the process. The binary hands in the
//! real ones; tests of pages hand in stand-ins, so that a sign-in needs no PDS.

use aip_sessions::{BeginError, SignInFailure, SignInRequest, SignInResult};
use aip_storage::request::FlowBrowser;
use async_trait::async_trait;

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
