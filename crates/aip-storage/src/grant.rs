//! Grants and what hangs from them: codes, access tokens, refresh tokens.
//!
//! A grant is the family of its tokens. Its `revoked_at` is the one switch that kills them all, on
//! every replica at once. Rotation with grace follows RFC 9700 §4.14: a spent refresh token has
//! exactly one successor, and a repeat within the grace gets that same successor.

use std::time::Duration;

use aip_atproto::{Did, ScopeSet};
use aip_base::{RowId, Timestamp};
use aip_keys::TokenHash;
use async_trait::async_trait;
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::StorageError;
use crate::audit::AuditEvent;
use crate::client::{Client, ClientId, RedirectUri};
use crate::request::RedirectDelivery;
use crate::requested_claims::RequestedClaims;
use crate::resource_uri::ResourceList;
use crate::sector::SectorId;
use crate::session_read::TokenForCall;
use crate::session_status::TokenWithSession;

/// What a person allowed a client.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Its id; also the `family` of its refresh tokens.
    pub id: RowId,
    /// The app.
    pub client_id: ClientId,
    /// Whose account at their PDS the grant is for: the `sub` of its tokens, unless it is pairwise.
    pub subject: Did,
    /// The sector of the client, if that knows the subject by an identifier of its sector.
    pub sector: Option<SectorId>,
    /// Who allowed it and acts with it: the subject, or a delegate of theirs
    /// ([`delegation`](crate::delegation)).
    pub actor: Did,
    /// What was allowed: by the person here, and by their PDS.
    pub scope: ScopeSet,
    /// What the app had asked for, which may be more than was allowed.
    pub asked: ScopeSet,
    /// The upstream session behind it.
    pub upstream_session: RowId,
    /// The thumbprint of the DPoP key that its code was redeemed with (RFC 9449 §6.1); `None` means
    /// that no key was shown. The refresh tokens of public clients are bound to it (§5).
    pub dpop_jkt: Option<String>,
    /// When the person last authenticated at their PDS (`auth_time`); `None` when the PDS may have
    /// remembered them.
    pub auth_time: Option<Timestamp>,
    /// The claims that the app asked for by name.
    pub claims: RequestedClaims,
    /// The resource servers that its access tokens may be for (RFC 8707); none: AIP alone.
    pub resources: ResourceList,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it ended and why; `None` while it lives.
    pub revoked: Option<Revoked>,
}

impl Grant {
    /// Who acts with it for the subject, if that is somebody else.
    pub fn delegate(&self) -> Option<&Did> {
        (self.actor != self.subject).then_some(&self.actor)
    }
}

/// The end of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The first end counts: later ones do not change it.
    pub at: Timestamp,
    /// What ended it.
    pub reason: RevokeReason,
}

/// Why a grant ended. The words are shown to apps as `error_description`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum RevokeReason {
    /// The app gave its tokens back (RFC 7009).
    ByClient,
    /// The person took it back on the account page.
    ByPerson,
    /// A spent code was presented again.
    CodeReplayed,
    /// A spent refresh token was presented again.
    RefreshReplayed,
    /// The session at the PDS has ended.
    UpstreamEnded,
    /// Every token of it expired unused.
    Expired,
    /// An operator ended it.
    ByOperator,
    /// The delegation that it rests on has ended.
    DelegationEnded,
}

impl RevokeReason {
    /// Whether the person is not signed in any more at the client with it, and the client is to be notified.
    /// Not of what the client did itself, nor of stolen tokens: the session of whoever they were stolen
    /// from is the client's affair.
    pub fn ends_the_sign_in(self) -> bool {
        match self {
            Self::ByPerson | Self::UpstreamEnded | Self::ByOperator => true,
            Self::ByClient
            | Self::CodeReplayed
            | Self::RefreshReplayed
            | Self::Expired
            | Self::DelegationEnded => false,
        }
    }
}

/// An authorization code to be stored with its grant.
#[derive(Debug, Clone)]
pub struct NewCode {
    /// The keyed hash of the code.
    pub hash: TokenHash,
    /// How it gets to the app: by the redirect URI of the authorization request.
    pub redirect: RedirectDelivery,
    /// The PKCE challenge (S256), if one was sent.
    pub code_challenge: Option<String>,
    /// The DPoP key that must redeem it, if the request named one (`dpop_jkt`, RFC 9449 §10).
    pub dpop_jkt: Option<String>,
    /// The OpenID Connect `nonce`.
    pub nonce: Option<String>,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The person said yes: what becomes of the request.
#[derive(Debug, Clone)]
pub struct Approval {
    /// The request that is finished by this.
    pub request: TokenHash,
    /// The browser it belongs to.
    pub browser: RowId,
    /// The grant that is given.
    pub grant: Grant,
    /// Whether the client registered itself: then it is used from now on, and is kept.
    pub client_registered_itself: bool,
    /// The client if it is known by a document: it is kept from now on.
    pub client_from_document: Option<DocumentClient>,
    /// What the client is registered for, as it was read, if the grant is for other resource servers than
    /// AIP. Where that has changed meanwhile, the request is gone.
    pub client_resources: Option<ResourceList>,
    /// Whether the session at the PDS ends by this, and the grant goes on without it: the client is for
    /// authentication only.
    pub ends_session: bool,
    /// How the app gets at the grant.
    pub redemption: Redemption,
    /// The event that tells of the grant.
    pub event: AuditEvent,
}

/// A client that is known by a document at its id.
#[derive(Debug, Clone)]
pub struct DocumentClient {
    /// The client, as its document has it.
    pub client: Client,
    /// How many clients of this kind may be kept, with this one.
    pub max_clients: u64,
    /// What the ids of all clients of its host begin with.
    pub site: String,
    /// How many of these may be kept, with this one.
    pub max_clients_of_site: u64,
    /// How many clients of this kind an account may allow something, with this one, for one to be kept
    /// that is new.
    pub max_clients_of_account: u64,
    /// How many of these may be of its host.
    pub max_clients_of_account_at_site: u64,
}

/// How an app gets at a grant.
#[derive(Debug, Clone)]
pub enum Redemption {
    /// By a code that the browser takes to it.
    Code(NewCode),
    /// By the device code of this keyed hash, with which it polls (RFC 8628).
    Device(TokenHash),
}

/// The outcome of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approve {
    /// Request spent; grant, code and the consent of this browser stored.
    Approved,
    /// The request was finished before, expired, belongs to another browser or client, or the
    /// upstream session that would serve the grant has ended. Or the client was known by a document, and
    /// the operator has registered one of its id meanwhile.
    RequestGone,
    /// The client is known by a document, and as many of this kind are kept as may be: of all, of its
    /// site, or of those that the account allowed something. Nothing changed.
    ClientsFull,
}

/// Tokens to be stored when a code or refresh token is spent.
#[derive(Debug, Clone)]
pub struct NewTokens {
    /// The keyed hash of the access token.
    pub access: TokenHash,
    /// When the access token expires.
    pub access_expires_at: Timestamp,
    /// The scope of the access token if narrower than the grant's.
    pub access_scope: Option<ScopeSet>,
    /// The resource servers that the access token is for, if not all of the grant's.
    pub access_audience: Option<ResourceList>,
    /// The keyed hash of the refresh token.
    pub refresh: TokenHash,
    /// When the refresh token expires unless used.
    pub refresh_expires_at: Timestamp,
}

/// A code presented at the token endpoint by an authenticated client.
#[derive(Debug, Clone)]
pub struct CodeRedemption {
    /// The keyed hash of the code.
    pub code: TokenHash,
    /// The client that authenticated.
    pub client_id: ClientId,
    /// The `redirect_uri` of the token request, as sent: it is compared with that of the code, byte
    /// for byte. It may be left out where the code has a PKCE challenge (OAuth 2.1 §10.2).
    pub redirect_uri: Option<String>,
    /// The S256 transform of the `code_verifier`, if one was sent.
    pub challenge: Option<String>,
    /// The key of the DPoP proof, if one was sent. It must be the code's, where that names one;
    /// the grant is bound to it from now on.
    pub dpop_jkt: Option<String>,
    /// What to store if the code is good.
    pub tokens: NewTokens,
    /// The present instant.
    pub now: Timestamp,
}

/// A code's outcome.
#[derive(Debug)]
pub enum RedeemCode {
    /// Spent now, by this call alone; the tokens are stored.
    Redeemed(Box<RedeemedCode>),
    /// Spent before, and presented with the right bindings: its grant is revoked by this call.
    AlreadySpent(Box<Grant>),
    /// Unknown, expired, or bound to another client, redirect, verifier or key. Nothing was spent.
    Refused,
}

/// What a good code stands for.
#[derive(Debug)]
pub struct RedeemedCode {
    /// The grant.
    pub grant: Grant,
    /// The OpenID Connect `nonce` of the request.
    pub nonce: Option<String>,
}

/// A refresh token presented by an authenticated client.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The keyed hash of the presented refresh token.
    pub refresh: TokenHash,
    /// The client that authenticated.
    pub client_id: ClientId,
    /// The key of the DPoP proof, if one was sent. The new access token is bound to it.
    pub dpop_jkt: Option<String>,
    /// Whether another key than the grant's will do: the refresh tokens of a confidential client
    /// are bound to its authentication instead (RFC 9449 §5). A grant with a key never gives
    /// tokens without one.
    pub any_key: bool,
    /// Whether the token has a successor from now on. Otherwise it stays good, and lives anew
    /// until `tokens.refresh_expires_at`; `tokens.refresh` is itself.
    pub rotates: bool,
    /// How long after its first use a repeat gets the same successor.
    pub grace: Duration,
    /// What to store. `tokens.refresh` is derived from the presented token, so that a repeat
    /// computes the same successor.
    pub tokens: NewTokens,
    /// The present instant.
    pub now: Timestamp,
}

/// A refresh token's outcome.
#[derive(Debug)]
pub enum Rotate {
    /// Spent now or repeated within the grace while its successor is unused: the access token is
    /// stored, and `tokens.refresh` is the one successor.
    Rotated(Box<Grant>),
    /// Used outside the grace or after its successor: the family is revoked by this call.
    Replayed(Box<Grant>),
    /// Its grant has ended; the grant says why.
    Ended(Box<Grant>),
    /// Unknown, expired, another client's, or bound to another key. Nothing changed.
    Refused,
}

/// Why a code or refresh token is no good, in words for the log: whoever presents it is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Never given out, or forgotten after its end.
    #[error("it is not known: never given out, or over for so long that it is forgotten")]
    Unknown,
    /// Another client presents it.
    #[error("it was given to the client `{0}`")]
    OtherClient(ClientId),
    /// The redirect URI is not that of the authorization request.
    #[error("it was given out for the redirect URI `{}`", .0.as_str())]
    OtherRedirect(RedirectUri),
    /// There was a challenge, and no verifier came.
    #[error("the `code_verifier` is missing: the authorization request had a `code_challenge`")]
    NoVerifier,
    /// A verifier came, and there was no challenge.
    #[error("there is a `code_verifier`: the authorization request had no `code_challenge`")]
    NoChallenge,
    /// The verifier does not lead to the challenge.
    #[error("the `code_verifier` does not fit the `code_challenge` of the authorization request")]
    OtherVerifier,
    /// Bound to a key, and no proof or one by another key came; or the other way round.
    #[error("the DPoP key is not the one that it is bound to")]
    OtherKey,
    /// Too late.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// Its grant was revoked.
    #[error("the sign-in that it came from has ended")]
    GrantEnded,
    /// It was used before.
    #[error("it was used before")]
    Spent,
    /// Everything is right by now: it was spent or revoked by a request beside this one.
    #[error("it was spent or revoked at this very moment by another request")]
    Raced,
}

/// A live access token.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// Its grant.
    pub grant: Grant,
    /// What it may do: the grant's scope or less.
    pub scope: ScopeSet,
    /// The resource servers that it is for: the grant's, or fewer; none: AIP alone.
    pub audience: ResourceList,
    /// The thumbprint of the DPoP key that it is bound to; `None` for a Bearer token.
    pub dpop_jkt: Option<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A refresh token of a live grant.
#[derive(Debug, Clone)]
pub struct RefreshToken {
    /// Its grant.
    pub grant: Grant,
    /// Whether it was used: then it is good for a repeat within the grace at most.
    pub spent: bool,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires unless used.
    pub expires_at: Timestamp,
}

/// Codes at the token endpoint.
#[async_trait]
pub trait Codes: Send + Sync {
    /// Spends a code and stores its tokens, in one transaction.
    async fn redeem_code(&self, redemption: &CodeRedemption) -> Result<RedeemCode, StorageError>;

    /// The resource servers that the app asked for, of a code of this client that is not expired,
    /// spent or not. `None` if there is no such code.
    async fn code_resources(
        &self,
        code: &TokenHash,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<ResourceList>, StorageError>;

    /// Why a code was refused. Read afterwards, for the log alone.
    async fn why_code_refused(
        &self,
        redemption: &CodeRedemption,
    ) -> Result<TokenFault, StorageError>;
}

/// The verbs on refresh tokens at the token endpoint.
#[async_trait]
pub trait RefreshTokens: Send + Sync {
    /// Spends or repeats a refresh token and stores its successor, in one transaction.
    async fn rotate_refresh_token(&self, rotation: &Rotation) -> Result<Rotate, StorageError>;

    /// Why a refresh token was refused. Read afterwards, for the log alone.
    async fn why_refresh_refused(&self, rotation: &Rotation) -> Result<TokenFault, StorageError>;

    /// The refresh token of that hash, used or not, if it has not expired and its grant is live.
    async fn refresh_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<RefreshToken>, StorageError>;
}

/// Grants and access tokens.
#[async_trait]
pub trait Grants: Send + Sync {
    /// Finishes a request with a yes: spends the request and stores grant, code and consent, in
    /// one transaction. The present instant is the grant's `created_at`.
    async fn approve(&self, approval: &Approval) -> Result<Approve, StorageError>;

    /// The access token of that hash, if it and its grant are live.
    async fn access_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<AccessToken>, StorageError>;

    /// The same token as [`Grants::access_token`] with its session and account, in one read.
    async fn access_token_with_session(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<TokenWithSession>, StorageError>;

    /// The same token as [`Grants::access_token`] with all of the sessions that calls may be made with
    /// and what of its client matters to calls, in one read.
    async fn access_token_for_call(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<TokenForCall>, StorageError>;

    /// Deletes one access token; its grant lives on. `false`: not there, or another client's.
    async fn revoke_access_token(
        &self,
        hash: &TokenHash,
        client: &ClientId,
    ) -> Result<bool, StorageError>;

    /// Ends a grant with its codes and tokens, and marks its upstream session ended and due for
    /// revocation at the PDS unless another live grant uses it. Repeating it changes nothing.
    async fn revoke_grant(
        &self,
        id: RowId,
        reason: RevokeReason,
        now: Timestamp,
    ) -> Result<(), StorageError>;

    /// The live grants that the account `subject` gave apps for itself, newest first. Those by which
    /// delegates act for it are not among them, nor those of its developer tokens.
    async fn grants_of(&self, subject: &Did) -> Result<Vec<Grant>, StorageError>;

    /// Ends every live grant of that client for the account `subject` as [`Grants::revoke_grant`]
    /// does, forgets the consents that `subject` gave it, and records the end of grants as `event`. Returns
    /// how many there were.
    async fn revoke_client_grants(
        &self,
        client: &ClientId,
        subject: &Did,
        reason: RevokeReason,
        now: Timestamp,
        event: AuditEvent,
    ) -> Result<u64, StorageError>;
}
