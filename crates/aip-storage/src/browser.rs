//! Browser sessions: AIP's own cookie session, which may hold several accounts.

use std::time::Duration;

use aip_atproto::{Did, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use async_trait::async_trait;

use crate::StorageError;
use crate::client::ClientId;
use crate::logout::SignedOut;

/// A browser that AIP knows by its cookie.
#[derive(Debug, Clone)]
pub struct BrowserSession {
    /// Its id, which stays when the cookie's value is renewed.
    pub id: RowId,
    /// The keyed hash of the cookie's value.
    pub token: TokenHash,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends; moved on by use.
    pub expires_at: Timestamp,
    /// The accounts signed in here, the latest first.
    pub accounts: Vec<BrowserAccount>,
}

/// An account that is signed in at a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserAccount {
    /// The account.
    pub did: Did,
    /// When the PDS last said that it is this account.
    pub signed_in_at: Timestamp,
    /// When the person last authenticated at the PDS for a sign-in here (`auth_time`); `None` when
    /// the PDS may have remembered them each time.
    pub auth_time: Option<Timestamp>,
}

/// How long the cookie from before a sign-in is still recognised: requests of other tabs may be
/// under way with it.
pub const COOKIE_OVERLAP: Duration = Duration::from_mins(1);

/// What became of a sign-in at a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrowserSignIn {
    /// The account is signed in there, and the cookie is replaced.
    Added,
    /// Nothing changed: another sign-in has replaced the cookie that was presented.
    CookieReplaced,
    /// Nothing changed: the browser session has ended.
    SessionEnded,
}

/// The known browsers.
#[async_trait]
pub trait Browsers: Send + Sync {
    /// Stores a new browser session with its accounts. `false`: there is one of that token already,
    /// and it stays as it is.
    async fn create_browser_session(&self, session: &BrowserSession) -> Result<bool, StorageError>;

    /// The live session of that cookie, or of the one that it replaced within [`COOKIE_OVERLAP`];
    /// with the latter, the account that was added by the sign-in is not seen.
    async fn browser_session(
        &self,
        token: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<BrowserSession>, StorageError>;

    /// Adds or refreshes `account` at browser `id` (a known `auth_time` stays unless there is a
    /// newer one), moves its end to `expires_at`, and replaces the cookie `presented` by `next`.
    ///
    /// Of two sign-ins that present the same cookie only one succeeds: whoever planted the cookie
    /// could be one of them, and must not end up in a session with the account of the other
    /// (session fixation).
    async fn sign_in_browser(
        &self,
        id: RowId,
        presented: &TokenHash,
        next: &TokenHash,
        account: &BrowserAccount,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<BrowserSignIn, StorageError>;

    /// Signs one account out of the browser, with its consents there. Its grants live on; of those
    /// that were given there, the clients are to be notified that the person has signed out. Where a client
    /// that wants to be notified has not redeemed its code yet, the grant ends instead.
    async fn sign_out_account(
        &self,
        id: RowId,
        did: &Did,
        now: Timestamp,
    ) -> Result<SignedOut, StorageError>;

    /// Forgets the browser and all that hangs from it. Likewise for all its accounts.
    async fn delete_browser_session(
        &self,
        id: RowId,
        now: Timestamp,
    ) -> Result<SignedOut, StorageError>;

    /// The scopes this person allowed this client in this browser, if any.
    async fn consent(
        &self,
        browser: RowId,
        client: &ClientId,
        did: &Did,
    ) -> Result<Option<ScopeSet>, StorageError>;
}
