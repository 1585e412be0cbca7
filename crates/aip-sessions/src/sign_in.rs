//! Signing a person in at their PDS: from what they typed to an upstream session.
//!
//! Everything between redirect and callback lives in the storage, sealed and bound to the browser
//! that began it. The callback is taken once, its issuer is compared before the code goes
//! anywhere, and nobody is signed in before the identity proof.

use std::sync::Arc;
use std::time::Duration;

use aip_atproto::{AccountAttr, AtIdentifier, Did, ScopeSet, for_upstream};
use aip_base::{Blame, RowId, Timestamp, excerpt, random_token};
use aip_jose::{Alg, KeyError, SigningKey};
use aip_keys::TokenHash;
use aip_pds::{
    Callback, CallbackError, DiscoverError, ExchangeError, Freshness, ProofError, PushedRequest,
    SessionKeys, SignInError, SignedIn, SubjectInput, SubjectInputError, Trace,
};
use aip_storage::StorageError;
use aip_storage::account::Account;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientId;
use aip_storage::delegation::MAX_DELEGATIONS_OF_OWNER;
use aip_storage::developer_token::MAX_DEVELOPER_TOKENS;
use aip_storage::request::{AuthorizationRequest, FlowBrowser, TakeFlow, UpstreamFlow};
use aip_storage::upstream::{
    Credential, Email, EmailReading, OAuthCredential, UpstreamSession, UpstreamState,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::identity::{MissingKey, key_id};
use crate::keeper::step::keep_alive_at;
use crate::session_sealer::{Column, SealerError};
use crate::subject_length::{self, SubjectTooLong};
use crate::upstream::Upstream;

mod developer_token;
mod purpose;
mod wire;

pub use self::developer_token::{CreatedToken, DeveloperTokenRequest};
pub use self::purpose::DelegationRequest;
use self::purpose::{Purpose, purpose_of};
use self::wire::{DelegationSecrets, TokenSecrets};

/// How long a person may stay at their PDS: its own limit is five minutes of inactivity.
const FLOW_TTL: Duration = Duration::from_mins(30);

/// Signs people in.
pub struct SignIn {
    upstream: Upstream,
}

/// A sign-in to begin.
#[derive(Debug, Clone, Copy)]
pub struct SignInRequest<'a> {
    /// The browser session of the person.
    pub browser: RowId,
    /// The app's request; `None` for a sign-in from the account page.
    pub request: Option<&'a AuthorizationRequest>,
    /// Whom the person lets act for their account, and how; then there is no request.
    pub delegation: Option<&'a DelegationRequest>,
    /// Which developer token the person makes; then there is no request.
    pub token: Option<&'a DeveloperTokenRequest>,
    /// The URL of the app's own client document, if PDSs know AIP by one for this app.
    pub own_document: Option<&'a str>,
    /// What the person typed or chose: a handle, a DID, or the URL of a server.
    pub subject: &'a str,
    /// Whether somebody wrote the subject, the person or the app, so that another account at its
    /// server may be meant as well. Otherwise the account was chosen and must come back.
    pub typed: bool,
    /// What the PDS shall ask: `login`, `consent`, `select_account`, `create`.
    pub prompt: Option<&'a str>,
}

/// Why a sign-in does not begin. The words and the steps are for the person.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Not a handle, a DID or the URL of a server.
    #[error(transparent)]
    Input(#[from] SubjectInputError),
    /// It was not found, or its server does not answer as it must.
    #[error("{error}")]
    Discover {
        /// What went wrong.
        error: DiscoverError,
        /// What was tried.
        trace: Trace,
    },
    /// Apps could not know the account by its DID.
    #[error(transparent)]
    Subject(#[from] SubjectTooLong),
    /// The server did not take the request.
    #[error(transparent)]
    Push(#[from] ExchangeError),
    /// Our fault.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Our fault.
    #[error(transparent)]
    Sealer(#[from] SealerError),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A person who is signed in.
#[derive(Debug)]
pub struct SignInResult {
    /// Who.
    pub did: Did,
    /// When their PDS said so.
    pub signed_in_at: Timestamp,
    /// When they authenticated there, if the PDS was told to ask for it (`prompt=login`).
    /// Otherwise it may have remembered them.
    pub auth_time: Option<Timestamp>,
    /// The app's request it was for, with the session that will serve it.
    pub request: Option<(TokenHash, RowId)>,
    /// The browser that began it.
    pub browser: RowId,
    /// The account that was asked for, if the person chose another one at their host.
    pub instead_of: Option<Did>,
    /// The developer token that was made, if the sign-in was for one.
    pub token: Option<CreatedToken>,
}

/// The app's request that a sign-in is for, and the browser session that it is bound to.
#[derive(Debug, Clone, Copy)]
pub struct FlowRequest {
    /// The keyed hash of its token.
    pub token: TokenHash,
    /// The browser.
    pub browser: RowId,
}

impl FlowRequest {
    fn of(flow: &UpstreamFlow) -> Option<Self> {
        flow.request.map(|token| Self {
            token,
            browser: flow.browser,
        })
    }
}

/// Why a callback signs nobody in.
#[derive(Debug, thiserror::Error)]
pub enum SignInFailure {
    /// Not a callback of a flow that this browser began: a page for the person, nothing is sent.
    #[error("this answer belongs to no sign-in of this browser: {0}")]
    UnknownState(&'static str),
    /// Not even a callback.
    #[error(transparent)]
    Malformed(#[from] CallbackError),
    /// The PDS or the person there said no: the app receives the same code.
    #[error("the PDS answered `{error}`")]
    Denied {
        /// The app's request.
        request: Option<FlowRequest>,
        /// The error code of the PDS.
        error: String,
    },
    /// A check failed. What was received is revoked; the app gets `server_error`.
    #[error("refused: {check}")]
    Refused {
        /// The app's request.
        request: Option<FlowRequest>,
        /// Which check, for log and audit.
        check: String,
    },
    /// A server's answer cannot be used: the app gets `server_error` and these words.
    #[error("{what}")]
    Unusable {
        /// The app's request.
        request: Option<FlowRequest>,
        /// What is wrong with which answer; what the server wrote is cut and escaped.
        what: String,
    },
    /// Another account signed in than the one that was chosen here. What was received is given
    /// back.
    #[error("signed in as `{actual}` instead of `{expected}`")]
    OtherAccount {
        /// The app's request.
        request: Option<FlowRequest>,
        /// The account that was chosen.
        expected: Did,
        /// The account that signed in.
        actual: Did,
    },
    /// A server is away: the app gets `temporarily_unavailable`.
    #[error("not reached: {what}")]
    Unavailable {
        /// The app's request.
        request: Option<FlowRequest>,
        /// What was not reached, for the log.
        what: String,
    },
    /// The account lets as many others act for it as one may. What was received is given back.
    #[error("the account has {MAX_DELEGATIONS_OF_OWNER} delegations, and no more are kept")]
    DelegationsFull,
    /// The account has as many developer tokens as one may have. What was received is given back.
    #[error("the account has {MAX_DEVELOPER_TOKENS} developer tokens, and no more are kept")]
    TokensFull,
    /// The developer token that was ordered was made before, or refused, or the link has expired. What was
    /// received is given back.
    #[error("the order of the developer token is used or has expired")]
    TokenOrderGone,
    /// Our fault.
    #[error(transparent)]
    MissingKey(#[from] MissingKey),
    /// Our fault.
    #[error(transparent)]
    Sealer(#[from] SealerError),
    /// Our fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What the callback needs of the beginning, sealed.
#[derive(Serialize, Deserialize)]
struct FlowSecrets {
    verifier: String,
    dpop_key: String,
    upstream_client_id: String,
    client_key_id: Option<String>,
    /// The app that the sign-in is for, if it is for one.
    #[serde(default)]
    client_id: Option<String>,
    /// Whether the PDS was told to make the person authenticate.
    #[serde(default)]
    authenticates: bool,
    /// See [`Start::typed`]. Flows of the release before do not say.
    #[serde(default)]
    typed: bool,
    /// The delegation that the sign-in is for, if it is for one.
    #[serde(default)]
    delegation: Option<DelegationSecrets>,
    /// The developer token that the sign-in is for, if it is for one.
    #[serde(default)]
    token: Option<TokenSecrets>,
}

impl BeginError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Input(_) | Self::Subject(_) => Blame::Caller,
            Self::Discover { error, .. } => error.blame(),
            Self::Push(_) => Blame::Upstream,
            Self::Key(_) | Self::Sealer(_) | Self::Storage(_) => Blame::Ours,
        }
    }
}

impl SignInFailure {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::UnknownState(_)
            | Self::Malformed(_)
            | Self::Denied { .. }
            | Self::DelegationsFull
            | Self::TokensFull
            | Self::TokenOrderGone
            | Self::OtherAccount { .. } => Blame::Caller,
            Self::Refused { .. } | Self::Unusable { .. } | Self::Unavailable { .. } => {
                Blame::Upstream
            }
            Self::MissingKey(_) | Self::Sealer(_) | Self::Storage(_) => Blame::Ours,
        }
    }
}

impl SignIn {
    /// Signs people in as that client of PDSs.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream }
    }

    /// Begins a sign-in and returns the URL at the PDS to send the browser to.
    pub async fn begin(&self, start: SignInRequest<'_>) -> Result<String, BeginError> {
        let input = SubjectInput::parse(start.subject)?;
        let mut trace = Trace::default();
        let destination = match self.upstream.pds.discover(&input, &mut trace).await {
            Ok(destination) => destination,
            Err(error) => return Err(BeginError::Discover { error, trace }),
        };
        if let Some(expected) = &destination.expected {
            subject_length::check(&expected.did)?;
        }
        let scope = match (start.request, start.delegation, start.token) {
            (Some(request), _, _) => for_upstream(&request.params.scope),
            (None, Some(delegation), _) => for_upstream(&delegation.preset.scope()),
            (None, None, Some(token)) => for_upstream(&token.scope),
            (None, None, None) => for_upstream(&ScopeSet::default()),
        };
        let id = self.upstream.new_id();
        let keys = SessionKeys {
            session: id,
            client: self
                .upstream
                .identity
                .for_new_session(&scope, start.own_document),
            dpop: Arc::new(SigningKey::generate(Alg::Es256, None)?),
        };
        let state = random_token::<32>(&*self.upstream.rng);
        let started = self
            .upstream
            .pds
            .start_sign_in(PushedRequest {
                server: &destination.server,
                keys: &keys,
                redirect_uri: self.upstream.identity.redirect_uri(),
                scope: &scope,
                state: &state,
                login_hint: destination.login_hint.as_deref(),
                prompt: start.prompt,
            })
            .await?;
        let secrets = FlowSecrets {
            verifier: started.verifier.expose_secret().to_owned(),
            dpop_key: keys.dpop.to_private_jwk_json()?.expose_secret().to_owned(),
            upstream_client_id: keys.client.client_id().to_owned(),
            client_key_id: key_id(&keys.client),
            client_id: start.request.map(|it| it.client_id.to_string()),
            authenticates: start.prompt == Some("login"),
            typed: start.typed,
            delegation: start.delegation.map(DelegationSecrets::from),
            token: start.token.map(TokenSecrets::from),
        };
        let flow = UpstreamFlow {
            state: self.upstream.hasher.hash(&state),
            id,
            browser: start.browser,
            request: start.request.map(|it| it.token),
            issuer: destination.server.issuer.clone(),
            expected: destination.expected.map(|it| it.did),
            sealed: self
                .upstream
                .sealer
                .seal(&to_json(&secrets), Column::FlowSecrets, id)?,
            expires_at: self.upstream.clock.now() + FLOW_TTL,
        };
        self.upstream.storage.put_flow(&flow).await?;
        Ok(started.authorization_url.into())
    }

    /// Finishes a sign-in with the query of the callback, if that browser began it.
    pub async fn finish(
        &self,
        browser: &FlowBrowser<'_>,
        query: &str,
    ) -> Result<SignInResult, SignInFailure> {
        let callback = Callback::parse(query)?;
        let state = self.upstream.hasher.hash(callback.state());
        let flow = self.take_flow(browser, &state).await?;
        let code = callback
            .code_from(&flow.issuer)
            .map_err(|error| match error {
                CallbackError::Denied { error, .. } => SignInFailure::Denied {
                    request: FlowRequest::of(&flow),
                    error,
                },
                other => SignInFailure::Refused {
                    request: FlowRequest::of(&flow),
                    check: other.to_string(),
                },
            });
        let outcome = match code {
            Ok(code) => self.exchange(&flow, &code).await,
            Err(failure) => Err(failure),
        };
        let check = match &outcome {
            Err(
                SignInFailure::Refused { check, .. } | SignInFailure::Unusable { what: check, .. },
            ) => Some(check.clone()),
            Err(failure @ SignInFailure::OtherAccount { .. }) => Some(failure.to_string()),
            Ok(_) | Err(_) => None,
        };
        if let Some(check) = check {
            let event = self.upstream.audit_event(AuditKind::SignInRefused, &check);
            let event = flow.expected.iter().fold(event, AuditEvent::of_account);
            // The person is told of the refusal in any case.
            self.upstream.storage.note(&event).await;
        }
        outcome
    }

    /// Takes the flow of that `state`, once.
    async fn take_flow(
        &self,
        browser: &FlowBrowser<'_>,
        state: &TokenHash,
    ) -> Result<Box<UpstreamFlow>, SignInFailure> {
        let taken = self
            .upstream
            .storage
            .take_flow(state, browser, self.upstream.clock.now());
        match taken.await? {
            TakeFlow::Taken(flow) => Ok(flow),
            TakeFlow::OtherBrowser => Err(SignInFailure::UnknownState("another browser began it")),
            TakeFlow::Unknown => Err(SignInFailure::UnknownState(
                "it is unknown, used or too old",
            )),
        }
    }

    async fn exchange(
        &self,
        flow: &UpstreamFlow,
        code: &SecretString,
    ) -> Result<SignInResult, SignInFailure> {
        let refused = |check: String| SignInFailure::Refused {
            request: FlowRequest::of(flow),
            check,
        };
        let unavailable = |what: String| SignInFailure::Unavailable {
            request: FlowRequest::of(flow),
            what,
        };
        let unusable = |what: String| SignInFailure::Unusable {
            request: FlowRequest::of(flow),
            what,
        };
        let secrets = self
            .upstream
            .sealer
            .open(&flow.sealed, Column::FlowSecrets, flow.id)?;
        let secrets: FlowSecrets = serde_json::from_str(secrets.expose_secret()).map_err(|_| {
            StorageError::inconsistent(
                "upstream_flows",
                &flow.id,
                "the sealed secrets are not readable",
            )
        })?;
        // Before the code is sent: what comes back must have its place.
        let purpose = purpose_of(
            flow.id,
            flow.request.is_some(),
            secrets.client_id.as_deref(),
            secrets.delegation,
            secrets.token,
        )?;
        let key_id = secrets.client_key_id.as_deref();
        let keys = SessionKeys {
            session: flow.id,
            client: self
                .upstream
                .identity
                .for_session(&secrets.upstream_client_id, key_id)?,
            dpop: Arc::new(
                SigningKey::from_jwk_json(&secrets.dpop_key).map_err(SealerError::from)?,
            ),
        };
        let server = self
            .upstream
            .pds
            .server(&flow.issuer, &mut Trace::default())
            .await
            .map_err(|error| {
                if error.is_transient() {
                    unavailable(error.to_string())
                } else {
                    refused(error.to_string())
                }
            })?;
        let redirect_uri = self.upstream.identity.redirect_uri();
        let verifier = SecretString::from(secrets.verifier);
        // Whoever signed in is proven to be that account; whether it is the one that was asked
        // for is judged below.
        let signed_in = self
            .upstream
            .pds
            .complete_sign_in(&keys, &server, redirect_uri, code, &verifier, None)
            .await
            .map_err(|error| match error {
                SignInError::Exchange(ExchangeError::Refused { error, description }) => {
                    unusable(excerpt(&format!(
                        "the token endpoint answered `{error}`: {description}"
                    )))
                }
                SignInError::Exchange(error @ ExchangeError::Malformed(_)) => {
                    unusable(error.to_string())
                }
                SignInError::Tokens(refusal) => unusable(refusal.to_string()),
                SignInError::Exchange(error) => unavailable(error.to_string()),
                SignInError::Proof(ProofError::Indeterminate(what)) => unavailable(what),
                error @ SignInError::Proof(_) => refused(error.to_string()),
            })?;
        let actual = signed_in.identity.did();
        if let Err(error) = subject_length::check(actual) {
            self.revoke_unused(&keys, &signed_in).await;
            return Err(refused(error.to_string()));
        }
        let instead_of = flow.expected.as_ref().filter(|it| *it != actual);
        if let Some(expected) = instead_of
            && !secrets.typed
        {
            self.revoke_unused(&keys, &signed_in).await;
            return Err(SignInFailure::OtherAccount {
                request: FlowRequest::of(flow),
                expected: expected.clone(),
                actual: actual.clone(),
            });
        }
        let is_kept = !matches!(purpose, Purpose::Proof);
        let stored = self
            .store(flow, purpose, &keys, &signed_in, secrets.authenticates)
            .await;
        if stored.is_err() || !is_kept {
            // Nobody will use these tokens: an account page sign-in needs only the proof.
            self.revoke_unused(&keys, &signed_in).await;
        }
        stored
    }

    /// Keeps what the sign-in brought.
    async fn store(
        &self,
        flow: &UpstreamFlow,
        purpose: Purpose,
        keys: &SessionKeys,
        signed_in: &SignedIn,
        authenticated: bool,
    ) -> Result<SignInResult, SignInFailure> {
        let now = self.upstream.clock.now();
        let did = signed_in.identity.did().clone();
        self.upstream
            .storage
            .put_account(&self.describe(signed_in, now).await)
            .await?;
        let pds = signed_in.identity.pds().as_str();
        let event = self
            .upstream
            .audit_event(AuditKind::SignedIn, pds)
            .of_account(&did);
        let mut token = None;
        match purpose {
            Purpose::Proof => self.upstream.storage.note(&event).await,
            Purpose::App(client) => {
                let mut session = self.new_session(flow.id, &client, keys, signed_in, now)?;
                session.email = self.read_email(keys, signed_in, now).await;
                self.upstream
                    .storage
                    .create_upstream_session(&session)
                    .await?;
                // The session is stored: an error would leave it to nobody.
                let event = event.of_client(&client);
                self.upstream.storage.note(&event).await;
            }
            Purpose::Delegation(asked) => {
                let client = ClientId::of_delegations();
                let session = self.new_session(flow.id, &client, keys, signed_in, now)?;
                self.give_delegation(asked, &session, event, now).await?;
            }
            Purpose::Token(asked) => {
                let client = ClientId::of_developer_tokens();
                let session = self.new_session(flow.id, &client, keys, signed_in, now)?;
                token = Some(self.make_token(asked, &session, event, now).await?);
            }
        }
        Ok(SignInResult {
            signed_in_at: now,
            auth_time: authenticated.then_some(now),
            request: flow.request.map(|token| (token, flow.id)),
            browser: flow.browser,
            instead_of: flow.expected.clone().filter(|it| *it != did),
            token,
            did,
        })
    }

    fn new_session(
        &self,
        id: RowId,
        client_id: &ClientId,
        keys: &SessionKeys,
        signed_in: &SignedIn,
        now: Timestamp,
    ) -> Result<UpstreamSession, SealerError> {
        let tokens = &signed_in.tokens;
        Ok(UpstreamSession {
            id,
            client_id: client_id.clone(),
            did: tokens.sub.clone(),
            pds: signed_in.identity.pds().clone(),
            credential: Credential::OAuth(OAuthCredential {
                issuer: signed_in.identity.server().issuer.clone(),
                upstream_client_id: keys.client.client_id().to_owned(),
                client_key_id: key_id(&keys.client),
                dpop_key: self.upstream.sealer.seal_key(&keys.dpop, id)?,
            }),
            scope: tokens.scope.clone(),
            email: None,
            tokens: self.upstream.sealer.seal_tokens(tokens, id)?,
            generation: 0,
            state: UpstreamState::Active,
            next_refresh_at: keep_alive_at(now),
            failures: 0,
            rejected: None,
            last_error: None,
            refreshed_at: tokens.asked_at,
            created_at: now,
        })
    }

    /// What is shown of the account: the handle only if it holds in both directions. It decides
    /// nothing, so that a failure leaves it out.
    async fn describe(&self, signed_in: &SignedIn, now: Timestamp) -> Account {
        let did = signed_in.identity.did();
        let resolver = self.upstream.pds.resolver();
        let identity = resolver
            .resolve(
                &AtIdentifier::Did(did.clone()),
                Freshness::Recent,
                &mut Trace::default(),
            )
            .await;
        let handle = match identity {
            Ok(identity) => identity.handle,
            Err(error) => {
                tracing::info!(%did, %error, "handle resolution failed");
                None
            }
        };
        Account {
            did: did.clone(),
            handle,
            pds: signed_in.identity.pds().clone(),
            proven_at: now,
        }
    }

    /// The e-mail address, if the PDS tells it to this session. A failure leaves it to be read
    /// later.
    async fn read_email(
        &self,
        keys: &SessionKeys,
        signed_in: &SignedIn,
        now: Timestamp,
    ) -> Option<EmailReading> {
        let tokens = &signed_in.tokens;
        let may_ask = tokens.scope.allows_account(AccountAttr::Email, false);
        if !may_ask || tokens.usable_until() <= now {
            return None;
        }
        let pds = signed_in.identity.pds();
        match self
            .upstream
            .pds
            .session_email(keys, &tokens.access, pds)
            .await
        {
            Ok(email) => Some(EmailReading {
                email: email.map(|it| Email {
                    address: it.address,
                    confirmed: it.confirmed,
                }),
                pds: pds.clone(),
                read_at: now,
            }),
            Err(error) => {
                tracing::info!(did = %tokens.sub, %error, "e-mail address lookup failed");
                None
            }
        }
    }

    async fn revoke_unused(&self, keys: &SessionKeys, signed_in: &SignedIn) {
        let tokens = &signed_in.tokens;
        let token = tokens.refresh.as_ref().unwrap_or(&tokens.access);
        if let Err(error) = self
            .upstream
            .pds
            .revoke(keys, signed_in.identity.server(), token)
            .await
        {
            tracing::warn!(%error, "revocation of unused tokens failed");
        }
    }
}

fn to_json(secrets: &FlowSecrets) -> SecretString {
    // Strings alone cannot fail to serialise.
    serde_json::to_string(secrets).unwrap_or_default().into()
}
