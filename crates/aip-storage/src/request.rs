//! Requests in flight: an app's authorization request while the person clicks, and the upstream
//! flow while the person is at their PDS. Both live in the database, so a restart loses none.

use std::time::Duration;

use aip_atproto::{Did, Handle, Issuer, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::{Sealed, TokenHash};
use async_trait::async_trait;
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::StorageError;
use crate::client::{Client, ClientId, RedirectUri};
use crate::prompt::Prompts;
use crate::requested_claims::RequestedClaims;
use crate::resource_uri::ResourceList;
use crate::subject::Subject;

/// How the authorization response is encoded (`response_mode`, OAuth 2.0 Multiple Response Type
/// Encoding Practices §2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum ResponseMode {
    /// In the query of the redirect URI.
    #[default]
    Query,
    /// In a form that the browser posts (OAuth 2.0 Form Post Response Mode).
    FormPost,
}

/// Where the browser takes the authorization response, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectDelivery {
    /// Where it goes, as sent.
    pub redirect_uri: RedirectUri,
    /// How it is encoded.
    pub response_mode: ResponseMode,
    /// Echoed to the app.
    pub state: Option<String>,
}

/// How an app gets the answer to its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The browser takes it there.
    Redirect(RedirectDelivery),
    /// The device polls for it with the device code of this keyed hash (RFC 8628).
    Device(TokenHash),
}

impl Delivery {
    /// Where the browser takes it, if it does.
    pub fn redirect(&self) -> Option<&RedirectDelivery> {
        match self {
            Self::Redirect(redirect) => Some(redirect),
            Self::Device(_) => None,
        }
    }

    /// The keyed hash of the device code by which a device polls for it, if one does.
    pub fn device(&self) -> Option<&TokenHash> {
        match self {
            Self::Redirect(_) => None,
            Self::Device(code) => Some(code),
        }
    }
}

/// What an app asked for, after every check. It is kept as one document: a new parameter needs a
/// member here and its check, and no change of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationParams {
    /// How the app gets the answer.
    pub delivery: Delivery,
    /// What the app asks for, as far as it is known and registered for the app.
    pub scope: ScopeSet,
    /// What the app asks for, word for word.
    pub asked: ScopeSet,
    /// Put into the `id_token`.
    pub nonce: Option<String>,
    /// The PKCE challenge (S256).
    pub code_challenge: Option<String>,
    /// The DPoP key that must redeem the code (RFC 9449 §10).
    pub dpop_jkt: Option<String>,
    /// What the app knows of the person.
    pub login_hint: Option<String>,
    /// What the app wants the person to be asked.
    pub prompts: Prompts,
    /// How old the sign-in may be, in seconds. The largest number: as old as it is, if its time is
    /// known (an essential `auth_time`).
    pub max_age: Option<u64>,
    /// The accounts that the app accepts (`id_token_hint`, or `sub` of `claims`); empty: any.
    pub subjects: Vec<Subject>,
    /// The claims that the app asks for by name.
    pub claims: RequestedClaims,
    /// The resource servers that the app asks for (RFC 8707); none: AIP alone.
    pub resources: ResourceList,
}

impl AuthorizationParams {
    /// Whom the app accepts, if it accepts one alone.
    pub fn only_subject(&self) -> Option<&Subject> {
        match self.subjects.as_slice() {
            [subject] => Some(subject),
            _ => None,
        }
    }
}

/// An app's authorization request that waits for the person.
#[derive(Debug, Clone)]
pub struct AuthorizationRequest {
    /// The keyed hash of the token that names it in forms and URLs.
    pub token: TokenHash,
    /// The browser that began it; no other one can see or finish it. `None`: none has, as for a
    /// request that the app pushed (RFC 9126).
    pub browser: Option<RowId>,
    /// The keyed hash of the `request_uri` under which the app pushed it; `None` if it did not.
    pub pushed: Option<TokenHash>,
    /// The app.
    pub client_id: ClientId,
    /// What it asked for.
    pub params: AuthorizationParams,
    /// Who signed in for it, once somebody has.
    pub signed_in: Option<SignedIn>,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// A request that an app pushed (RFC 9126), as its `request_uri` leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedRequest {
    /// What the app asked for.
    pub params: AuthorizationParams,
    /// Whether a browser has begun it: then its `request_uri` is spent.
    pub begun: bool,
}

/// A live request of a browser, with what decides how it goes on.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    /// The request.
    pub request: AuthorizationRequest,
    /// The app as it is registered; `None` if it is not (any more), or is known by its document alone.
    pub client: Option<Client>,
    /// What is known of who signed in for it. `None`: nobody has, or their upstream session is gone.
    pub account: Option<RequestAccount>,
}

/// The account that signed in for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAccount {
    /// What its PDS granted to the upstream session.
    pub upstream_scope: ScopeSet,
    /// What the person has allowed this app in this browser before.
    pub allowed: Option<ScopeSet>,
    /// Its verified handle.
    pub handle: Option<Handle>,
}

/// The account behind an authorization request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The account.
    pub did: Did,
    /// The upstream session that will serve the grant.
    pub upstream_session: RowId,
    /// When the PDS said who it is.
    pub signed_in_at: Timestamp,
    /// When the person last authenticated at the PDS; `None` when the PDS may have remembered
    /// them.
    pub auth_time: Option<Timestamp>,
}

/// A request that was answered a moment ago.
#[derive(Debug, Clone)]
pub struct AnsweredRequest {
    /// The app.
    pub client_id: ClientId,
    /// How the app got the answer.
    pub delivery: Delivery,
    /// Who had signed in for it, if anybody had.
    pub did: Option<Did>,
    /// What the app received.
    pub answer: RequestAnswer,
}

/// What an app received as the answer to its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestAnswer {
    /// The grant of this id, whose code is not redeemed yet.
    Granted(RowId),
    /// An error code (RFC 6749 §4.1.2.1).
    Refused(String),
}

/// How long the repeat of a decision is given the same answer. A person who clicks twice does it
/// within seconds; the code of a grant lives as long.
pub const ANSWER_REPEATED_FOR: Duration = Duration::from_mins(1);

/// A sign-in under way at a PDS.
#[derive(Debug, Clone)]
pub struct UpstreamFlow {
    /// The keyed hash of the `state` sent to the PDS.
    pub state: TokenHash,
    /// The row id used as associated data of `sealed`.
    pub id: RowId,
    /// The browser that began it.
    pub browser: RowId,
    /// The authorization request it serves; `None` for a sign-in from the account page.
    pub request: Option<TokenHash>,
    /// The issuer that was asked.
    pub issuer: Issuer,
    /// The account that must come back, when it is known beforehand.
    pub expected: Option<Did>,
    /// PKCE verifier, DPoP key and what else the callback needs, sealed.
    pub sealed: Sealed,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// The outcome of taking a flow by its `state`.
#[derive(Debug)]
pub enum TakeFlow {
    /// It is taken: nobody can take it again.
    Taken(Box<UpstreamFlow>),
    /// It belongs to another browser; it stays for that one.
    OtherBrowser,
    /// Never seen, already taken, or expired.
    Unknown,
}

/// Requests in flight.
#[async_trait]
pub trait Requests: Send + Sync {
    /// Stores an authorization request. `false`: there is one of that token already, or there was
    /// and it is answered; it stays as it is.
    async fn put_request(&self, request: &AuthorizationRequest) -> Result<bool, StorageError>;

    /// The live request that this client pushed under `pushed`, begun or not.
    async fn pushed_request(
        &self,
        pushed: &TokenHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<PushedRequest>, StorageError>;

    /// Begins the pushed request `request.pushed` of its client: gives it the token, the browser
    /// and the end of `request`, in the one statement that spends its `request_uri`. `false`: it
    /// was begun before, is answered, or expired.
    async fn begin_pushed_request(
        &self,
        request: &AuthorizationRequest,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Forgets a pushed request that was answered before any browser began it.
    async fn drop_pushed_request(&self, pushed: &TokenHash) -> Result<(), StorageError>;

    /// The live request of that token, for that browser only.
    async fn request(
        &self,
        token: &TokenHash,
        browser: RowId,
        now: Timestamp,
    ) -> Result<Option<OpenRequest>, StorageError>;

    /// Notes who signed in for a live request of the browser `from`, which is that of `to` from then
    /// on: who signs in at a browser that nobody had signed in at gets a browser session of their
    /// own. `false`: the request is gone.
    async fn sign_in_request(
        &self,
        token: &TokenHash,
        from: RowId,
        to: RowId,
        who: &SignedIn,
        now: Timestamp,
    ) -> Result<bool, StorageError>;

    /// Ends a request without a grant and returns it, once. The app receives `error`.
    async fn refuse_request(
        &self,
        token: &TokenHash,
        browser: RowId,
        error: &str,
        now: Timestamp,
    ) -> Result<Option<AuthorizationRequest>, StorageError>;

    /// The request of that token, for that browser only, if it was answered within
    /// [`ANSWER_REPEATED_FOR`] and, when it was granted, its code can still be redeemed.
    async fn answered_request(
        &self,
        token: &TokenHash,
        browser: RowId,
        now: Timestamp,
    ) -> Result<Option<AnsweredRequest>, StorageError>;

    /// Stores an upstream flow.
    async fn put_flow(&self, flow: &UpstreamFlow) -> Result<(), StorageError>;

    /// Takes the flow of that `state` in one statement that also checks browser and age.
    async fn take_flow(
        &self,
        state: &TokenHash,
        browser: &FlowBrowser<'_>,
        now: Timestamp,
    ) -> Result<TakeFlow, StorageError>;
}

/// The browser that brings the answer of a PDS: by its session, and by the cookies of its sign-ins
/// that began before anybody had signed in.
#[derive(Debug, Clone, Copy)]
pub struct FlowBrowser<'a> {
    /// Its session, if somebody is signed in there.
    pub session: Option<RowId>,
    /// The keyed hashes of those cookies; more than [`MAX_FLOW_COOKIES`] are not looked at.
    pub flow_cookies: &'a [TokenHash],
}

/// The most cookies of sign-ins that a browser is left with, and that are looked at.
pub const MAX_FLOW_COOKIES: usize = 6;
