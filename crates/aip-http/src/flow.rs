//! The steps that authorization endpoint, sign-in page, callback and consent page share: finding
//! the app's request, going on once somebody is signed in, and answering the app.

use std::sync::Arc;

use aip_atproto::{Did, ScopeSet, for_upstream};
use aip_base::{RequestNotes, RowId};
use aip_keys::TokenHash;
use aip_oauth::AuthorizationServer;
use aip_oauth::authorize::{RefusalCode, ValidRequest};
use aip_oauth::decision::Approved;
use aip_oauth::interaction::{ConsentReason, InteractionInput, consent_reason, granted_scope};
use aip_storage::StorageError;
use aip_storage::browser::BrowserAccount;
use aip_storage::client::Client;
use aip_storage::prompt::Prompt;
use aip_storage::request::{AuthorizationRequest, OpenRequest, RequestAccount, SignedIn};
use aip_storage::upstream::EndReason;
use axum::response::Response;

use crate::api_error::ApiError;
use crate::hash_text::encode;
use crate::respond::{refused, request_gone, see_other, to_app};
use crate::state::AppState;

/// An app's request that waits for the person.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) request: AuthorizationRequest,
    pub(crate) client: Arc<Client>,
    /// The browser that it was found for.
    browser: RowId,
    /// What is known of who signed in for it.
    pub(crate) account: Option<RequestAccount>,
}

impl Pending {
    /// A request that was just stored.
    pub(crate) fn new(request: AuthorizationRequest, client: Arc<Client>, browser: RowId) -> Self {
        Self {
            request,
            client,
            browser,
            account: None,
        }
    }

    /// How forms and URLs name it.
    pub(crate) fn name(&self) -> String {
        encode(&self.request.token)
    }

    /// Whether the app asked for that.
    pub(crate) fn wants(&self, prompt: Prompt) -> bool {
        self.request.params.prompts.has(prompt)
    }

    /// Whether the app accepts other accounts only (OpenID Connect Core §3.1.2.1 on
    /// `id_token_hint`, §5.5.1 on `sub`).
    pub(crate) fn is_for_another(&self, server: &AuthorizationServer, did: &Did) -> bool {
        !server.accepts(&self.client, &self.request.params.subjects, did)
    }

    /// What the PDS shall ask. Whoever is sent there for a request with `max_age` has no sign-in
    /// that is recent enough, and the PDS must not let them in silently (OpenID Connect Core
    /// §3.1.2.1).
    pub(crate) fn prompt_for_pds(&self) -> Option<Prompt> {
        if self.request.params.max_age.is_some() {
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
    pub(crate) fn granted_scope(&self) -> ScopeSet {
        self.account.as_ref().map_or_else(ScopeSet::default, |it| {
            granted_scope(&self.request.params.scope, &it.upstream_scope)
        })
    }

    /// Why the person must be asked for `scope`, if they must.
    pub(crate) fn consent_reason(&self, scope: &ScopeSet) -> Option<ConsentReason> {
        let params = &self.request.params;
        let input = InteractionInput {
            client: &self.client,
            delivery: &params.delivery,
            scope,
            prompts: &params.prompts,
            max_age: params.max_age,
            hinted: None,
        };
        let allowed = self.account.as_ref().and_then(|it| it.allowed.as_ref());
        consent_reason(&input, allowed)
    }
}

impl AppState {
    /// The request of that token, if this browser began it and it is not over.
    pub(crate) async fn pending(
        &self,
        browser: RowId,
        token: &TokenHash,
    ) -> Result<Pending, ApiError> {
        self.find_pending(browser, token)
            .await?
            .ok_or_else(request_gone)
    }

    /// The same, if there is one.
    pub(crate) async fn find_pending(
        &self,
        browser: RowId,
        token: &TokenHash,
    ) -> Result<Option<Pending>, StorageError> {
        let open = self.storage().request(token, browser, self.now()).await?;
        let Some(OpenRequest {
            request,
            client,
            account,
        }) = open
        else {
            return Ok(None);
        };
        let client = self.server().client_of_request(&request.client_id, client);
        Ok(client.await?.map(|client| {
            RequestNotes::note_client(client.id.as_str());
            Pending {
                request,
                client,
                browser,
                account,
            }
        }))
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
        let scope = &pending.request.params.scope;
        match self.signed_in_as(&pending.client, scope, account).await? {
            Some((who, _)) => self.continue_request(pending, who).await.map(Some),
            None => Ok(None),
        }
    }

    /// Somebody is signed in for the request at its browser: asks them, or answers the app at once.
    pub(crate) async fn continue_request(
        &self,
        pending: &Pending,
        who: SignedIn,
    ) -> Result<Response, ApiError> {
        let (token, browser) = (&pending.request.token, pending.browser);
        self.continue_after_sign_in(token, browser, browser, who, None)
            .await
    }

    /// The same at the end of a sign-in that began at the browser session `from`; `to` is that of
    /// who signed in. `instead_of` is the account that was asked for if it is another one; then the
    /// person is asked in any case.
    pub(crate) async fn continue_after_sign_in(
        &self,
        token: &TokenHash,
        from: RowId,
        to: RowId,
        who: SignedIn,
        instead_of: Option<&Did>,
    ) -> Result<Response, ApiError> {
        let noted = self
            .storage()
            .sign_in_request(token, from, to, &who, self.now())
            .await?;
        if !noted {
            let reason = EndReason::Abandoned;
            self.storage()
                .end_unused_session(who.upstream_session, reason, self.now())
                .await?;
            return self.repeat(token, to, None).await;
        }
        let pending = self.pending(to, token).await?;
        if pending.is_for_another(self.server(), &who.did) {
            return self.refuse_other_subject(&pending).await;
        }
        let reason = pending.consent_reason(&pending.granted_scope());
        if reason.is_none() && instead_of.is_none() {
            return self.approve(&pending, &who).await;
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
        if pending.is_for_another(self.server(), &who.did) {
            return self.refuse_other_subject(pending).await;
        }
        let (request, browser) = (&pending.request, pending.browser);
        let scope = pending.granted_scope();
        let server = self.server();
        let approved = server.approve(request, &pending.client, browser, who, scope);
        match approved.await? {
            Approved::Answer(answer) => Ok(to_app(self, &answer)),
            Approved::RequestGone => self.repeat(&request.token, browser, None).await,
            Approved::ClientsFull => {
                let detail = "this server takes no further apps at present";
                self.refuse(pending, RefusalCode::TemporarilyUnavailable, detail)
                    .await
            }
        }
    }

    /// Another account signed in than the app accepts.
    async fn refuse_other_subject(&self, pending: &Pending) -> Result<Response, ApiError> {
        let detail = "another account signed in than the app asked for";
        self.refuse(pending, RefusalCode::LoginRequired, detail)
            .await
    }

    /// Ends the request without a grant and tells the app.
    pub(crate) async fn refuse(
        &self,
        pending: &Pending,
        code: RefusalCode,
        detail: &str,
    ) -> Result<Response, ApiError> {
        let (token, browser, now) = (&pending.request.token, pending.browser, self.now());
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
        Ok(to_app(self, &self.server().refuse(&refusal)))
    }

    /// Tells the app that it gets nothing for a request that no browser has begun.
    pub(crate) async fn refuse_unstored(
        &self,
        valid: &ValidRequest,
        code: RefusalCode,
        detail: &str,
    ) -> Result<Response, ApiError> {
        let refusal = self.server().refuse_unbegun(valid, code, detail).await?;
        Ok(refused(self, &refusal))
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
        let answered = answered.await?.ok_or_else(request_gone)?;
        let answer = self.server().answer_again(&answered, refusal);
        let answer = answer.ok_or_else(request_gone)?;
        Ok(to_app(self, &answer))
    }
}
