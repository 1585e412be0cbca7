//! The steps that authorization endpoint, sign-in page, callback and consent page share: finding
//! the app's request, going on once somebody is signed in, and answering the app.
//!
//! In forms and URLs a request is named by the keyed hash of its token. That is a name and no
//! secret: only the browser that began a request can see or finish it.

use aip_atproto::{Did, ScopeSet, for_upstream};
use aip_base::RowId;
use aip_keys::TokenHash;
use aip_oauth::authorize::{Prompt, Prompts, RefusalCode};
use aip_oauth::decision::Answer;
use aip_oauth::interaction::{ConsentReason, InteractionInput, consent_reason, granted_scope};
use aip_storage::StorageError;
use aip_storage::browser::BrowserAccount;
use aip_storage::client::Client;
use aip_storage::request::{AuthorizationRequest, SignedIn};
use aip_storage::upstream::EndReason;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use secrecy::ExposeSecret as _;

use crate::api_error::ApiError;
use crate::csrf::encode;
use crate::state::AppState;

/// An app's request that waits for the person.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) request: AuthorizationRequest,
    pub(crate) client: Client,
    prompts: Prompts,
}

impl Pending {
    /// A request that was just stored.
    pub(crate) fn new(request: AuthorizationRequest, client: Client, prompts: Prompts) -> Self {
        Self {
            request,
            client,
            prompts,
        }
    }

    /// How forms and URLs name it.
    pub(crate) fn name(&self) -> String {
        encode(&self.request.token)
    }

    /// Whether the app asked for that.
    pub(crate) fn wants(&self, prompt: Prompt) -> bool {
        self.prompts.has(prompt)
    }

    /// What the PDS shall ask. Whoever is sent there for a request with `max_age` has no sign-in
    /// that is recent enough, and the PDS must not let them in silently (OpenID Connect Core
    /// §3.1.2.1).
    pub(crate) fn prompt_for_pds(&self) -> Option<Prompt> {
        if self.request.max_age.is_some() {
            Some(Prompt::Login)
        } else if self.wants(Prompt::Create) {
            Some(Prompt::Create)
        } else if self.wants(Prompt::Login) {
            Some(Prompt::Login)
        } else {
            None
        }
    }

    /// What the app gets if the person agrees: what of its wish the PDS granted to the upstream
    /// session.
    pub(crate) async fn granted_scope(
        &self,
        app: &AppState,
        who: &SignedIn,
    ) -> Result<ScopeSet, StorageError> {
        let session = app.storage().upstream_session(who.upstream_session).await?;
        let upstream = session.map(|it| it.scope).unwrap_or_default();
        Ok(granted_scope(&self.request.scope, &upstream))
    }

    /// Why the person must be asked for `scope`, if they must.
    pub(crate) async fn consent_reason(
        &self,
        app: &AppState,
        who: &SignedIn,
        scope: &ScopeSet,
    ) -> Result<Option<ConsentReason>, StorageError> {
        let allowed = app
            .storage()
            .consent(self.request.browser, &self.client.id, &who.did)
            .await?;
        let input = InteractionInput {
            client: &self.client,
            redirect_uri: &self.request.redirect_uri,
            scope,
            prompts: &self.prompts,
            max_age: self.request.max_age,
            hinted: None,
        };
        Ok(consent_reason(&input, allowed.as_ref()))
    }
}

impl AppState {
    /// The request of that token, if this browser began it and it is not over.
    pub(crate) async fn pending(
        &self,
        browser: RowId,
        token: &TokenHash,
    ) -> Result<Pending, ApiError> {
        self.find_pending(browser, token).await?.ok_or_else(over)
    }

    /// The same, if there is one.
    pub(crate) async fn find_pending(
        &self,
        browser: RowId,
        token: &TokenHash,
    ) -> Result<Option<Pending>, StorageError> {
        let request = self.storage().request(token, browser, self.now()).await?;
        let Some(request) = request else {
            return Ok(None);
        };
        let client = self.storage().client(&request.client_id).await?;
        let prompts = match request.prompt.as_deref() {
            None => Prompts::default(),
            // To forget what the app wants asked would be worse than to fail.
            Some(stored) => Prompts::parse(stored).ok_or_else(|| {
                let browser = &request.browser;
                StorageError::inconsistent("authorization_requests", browser, "an unknown prompt")
            })?,
        };
        Ok(client.map(|client| Pending::new(request, client, prompts)))
    }

    /// Who would be signed in for a request of that client and scope if it went on with an account
    /// of this browser, and what of the scope their PDS granted. `None`: no upstream session serves
    /// it, the person must go to their PDS.
    pub(crate) async fn signed_in_as(
        &self,
        client: &Client,
        scope: &ScopeSet,
        account: &BrowserAccount,
    ) -> Result<Option<(SignedIn, ScopeSet)>, StorageError> {
        let needed = for_upstream(scope);
        let session = self
            .storage()
            .fitting_upstream_session(&client.id, &account.did, &needed)
            .await?;
        Ok(session.map(|session| {
            let who = SignedIn {
                did: account.did.clone(),
                upstream_session: session.id,
                signed_in_at: account.signed_in_at,
                auth_time: account.auth_time,
            };
            (who, granted_scope(scope, &session.scope))
        }))
    }

    /// Goes on with an account of this browser without asking its PDS again, if there is an
    /// upstream session that serves the request. `None`: the person must go to their PDS.
    pub(crate) async fn resume(
        &self,
        pending: &Pending,
        account: &BrowserAccount,
    ) -> Result<Option<Response>, ApiError> {
        let scope = &pending.request.scope;
        match self.signed_in_as(&pending.client, scope, account).await? {
            Some((who, _)) => self.go_on(pending, who, None).await.map(Some),
            None => Ok(None),
        }
    }

    /// Somebody is signed in for the request: asks them, or answers the app at once. `instead_of`
    /// is the account that was asked for if it is another one; then they are asked in any case.
    pub(crate) async fn go_on(
        &self,
        pending: &Pending,
        who: SignedIn,
        instead_of: Option<&Did>,
    ) -> Result<Response, ApiError> {
        let request = &pending.request;
        let noted = self
            .storage()
            .sign_in_request(&request.token, request.browser, &who, self.now())
            .await?;
        if !noted {
            return self.repeat(&request.token, request.browser, None).await;
        }
        let scope = pending.granted_scope(self, &who).await?;
        let reason = pending.consent_reason(self, &who, &scope).await?;
        if reason.is_none() && instead_of.is_none() {
            return self.approve(pending, &who).await;
        }
        let instead_of = instead_of.map_or_else(String::new, |did| format!("&instead_of={did}"));
        let name = pending.name();
        Ok(see_other(&format!("/consent?request={name}{instead_of}")))
    }

    /// The person said yes, or had said so before.
    pub(crate) async fn approve(
        &self,
        pending: &Pending,
        who: &SignedIn,
    ) -> Result<Response, ApiError> {
        let request = &pending.request;
        match self.server().approve(request, who).await? {
            Some(answer) => Ok(to_app(&answer)),
            None => self.repeat(&request.token, request.browser, None).await,
        }
    }

    /// Ends the request without a grant and tells the app.
    pub(crate) async fn refuse(
        &self,
        pending: &Pending,
        code: RefusalCode,
        detail: &str,
    ) -> Result<Response, ApiError> {
        let request = &pending.request;
        let (token, browser, now) = (&request.token, request.browser, self.now());
        let refused = self
            .storage()
            .refuse_request(token, browser, code.as_str(), now)
            .await?;
        let Some(request) = refused else {
            return self.repeat(token, browser, Some((code, detail))).await;
        };
        if let Some(who) = &request.signed_in {
            let reason = EndReason::Abandoned;
            self.storage()
                .end_unused_session(who.upstream_session, reason, self.now())
                .await?;
        }
        let refusal = self.server().refusal_of(&request, code, detail);
        Ok(to_app(&self.server().refuse(&refusal)))
    }

    /// The same decision once more, by a person who clicked twice: the same answer, if the app
    /// can still use it. `refusal` is the decision; without it, a yes.
    pub(crate) async fn repeat(
        &self,
        token: &TokenHash,
        browser: RowId,
        refusal: Option<(RefusalCode, &str)>,
    ) -> Result<Response, ApiError> {
        let answered = self.storage().answered_request(token, browser, self.now());
        let answered = answered.await?.ok_or_else(over)?;
        let answer = self.server().answer_again(&answered, refusal);
        answer.as_ref().map(to_app).ok_or_else(over)
    }
}

/// The token hash that forms and URLs name a request by.
pub(crate) fn request_name(name: &str) -> Option<TokenHash> {
    let bytes = URL_SAFE_NO_PAD.decode(name).ok()?;
    <[u8; 32]>::try_from(bytes).ok().map(TokenHash::from_bytes)
}

/// The request is finished, expired, or another browser's: nobody learns which.
pub(crate) fn over() -> ApiError {
    ApiError::request(
        "This sign-in is over: it was finished before, or it took too long. Go back to the app and start again.",
    )
}

/// Sends the browser to the app. The URL carries the code: nobody logs it.
pub(crate) fn to_app(answer: &Answer) -> Response {
    see_other(answer.location().expose_secret())
}

/// RFC 9700 §4.12: 303, so that a browser never repeats a form elsewhere.
pub(crate) fn see_other(location: &str) -> Response {
    let mut response = Response::default();
    match HeaderValue::from_str(location) {
        Ok(mut location) => {
            location.set_sensitive(true);
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, location);
        }
        // Locations are built from registered URIs and encoded parameters.
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}
