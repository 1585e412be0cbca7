//! The person's decision: a yes becomes grant, code and consent in one transaction; a no goes to
//! the app. Every answer carries `state` and `iss` (RFC 9207).

use aip_atproto::ScopeSet;
use aip_base::RowId;
use aip_keys::TokenKind;
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::client::RedirectUri;
use aip_storage::grant::{Approval, Approve, Grant, NewCode};
use aip_storage::request::{
    ANSWER_REPEATED_FOR, AnsweredRequest, AuthorizationRequest, RequestAnswer, SignedIn,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::AuthorizationServer;
use crate::authorize::{Refusal, RefusalCode};

/// How long a code may be redeemed.
const CODE_TTL: std::time::Duration = ANSWER_REPEATED_FOR;

/// What goes to the app by redirect.
#[derive(Debug)]
pub struct Answer {
    redirect_uri: RedirectUri,
    params: Vec<(&'static str, SecretString)>,
}

impl Answer {
    /// An answer to one of the client's own addresses.
    pub(crate) fn new(
        redirect_uri: RedirectUri,
        params: Vec<(&'static str, SecretString)>,
    ) -> Self {
        Self {
            redirect_uri,
            params,
        }
    }

    /// The URL to redirect the browser to. It carries the code: never log it.
    pub fn location(&self) -> SecretString {
        if self.params.is_empty() {
            return self.redirect_uri.as_str().into();
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.params {
            query.append_pair(name, value.expose_secret());
        }
        let uri = self.redirect_uri.as_str();
        let joint = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{joint}{}", query.finish()).into()
    }
}

impl AuthorizationServer {
    /// Finishes `request`, of `browser`, with a yes of the account that signed in for it, whose PDS
    /// granted `scope` of what was asked. `None`: it was finished before, or expired meanwhile.
    pub async fn approve(
        &self,
        request: &AuthorizationRequest,
        browser: RowId,
        who: &SignedIn,
        scope: ScopeSet,
    ) -> Result<Option<Answer>, StorageError> {
        let now = self.clock.now();
        let id = RowId::new(&*self.clock, &*self.rng);
        let code = self.code_of(id);
        let params = &request.params;
        let grant = Grant {
            id,
            client_id: request.client_id.clone(),
            subject: who.did.clone(),
            actor: who.did.clone(),
            scope,
            asked: params.asked.clone(),
            upstream_session: who.upstream_session,
            dpop_jkt: None,
            auth_time: who.auth_time,
            created_at: now,
            revoked: None,
        };
        let approval = Approval {
            request: request.token,
            browser,
            grant,
            state: params.state.clone(),
            code: NewCode {
                hash: self.hash(&code),
                redirect_uri: params.redirect_uri.clone(),
                code_challenge: params.code_challenge.clone(),
                dpop_jkt: params.dpop_jkt.clone(),
                nonce: params.nonce.clone(),
                expires_at: now + CODE_TTL,
            },
        };
        if self.storage.approve(&approval).await? == Approve::RequestGone {
            return Ok(None);
        }
        self.note(
            AuditKind::GrantGiven,
            &approval.grant,
            &approval.grant.scope.to_string(),
        )
        .await?;
        Ok(Some(self.answer(
            &params.redirect_uri,
            params.state.as_deref(),
            vec![("code", code)],
        )))
    }

    /// The answer of a moment ago, for a person who sent the same decision twice: a browser shows
    /// the answer to the second click only. `refusal` is the decision; without it, a yes. `None`:
    /// it was answered otherwise. Nothing is stored, so there is never a second grant.
    pub fn answer_again(
        &self,
        answered: &AnsweredRequest,
        refusal: Option<(RefusalCode, &str)>,
    ) -> Option<Answer> {
        match (&answered.answer, refusal) {
            (RequestAnswer::Granted(grant), None) => Some(self.answer(
                &answered.redirect_uri,
                answered.state.as_deref(),
                vec![("code", self.code_of(*grant))],
            )),
            (RequestAnswer::Refused(told), Some((code, detail))) if told == code.as_str() => {
                Some(self.refuse(&Refusal {
                    client_id: answered.client_id.clone(),
                    redirect_uri: answered.redirect_uri.clone(),
                    state: answered.state.clone(),
                    code,
                    detail: detail.to_owned(),
                }))
            }
            _ => None,
        }
    }

    /// The code of a grant. It follows from the grant's id and the key for tokens, so that it can
    /// be sent again without being kept.
    fn code_of(&self, grant: RowId) -> SecretString {
        self.hasher
            .derive(TokenKind::Code, &format!("code of {grant}"))
    }

    /// Tells the app that its request ends without a grant.
    pub fn refuse(&self, refusal: &Refusal) -> Answer {
        let params = vec![
            ("error", refusal.code.as_str().to_owned().into()),
            ("error_description", refusal.detail.clone().into()),
        ];
        self.answer(&refusal.redirect_uri, refusal.state.as_deref(), params)
    }

    /// The refusal of a stored request.
    pub fn refusal_of(
        &self,
        request: &AuthorizationRequest,
        code: RefusalCode,
        detail: &str,
    ) -> Refusal {
        Refusal {
            client_id: request.client_id.clone(),
            redirect_uri: request.params.redirect_uri.clone(),
            state: request.params.state.clone(),
            code,
            detail: detail.to_owned(),
        }
    }

    fn answer(
        &self,
        redirect_uri: &RedirectUri,
        state: Option<&str>,
        mut params: Vec<(&'static str, SecretString)>,
    ) -> Answer {
        if let Some(state) = state {
            params.push(("state", state.to_owned().into()));
        }
        params.push(("iss", self.issuer.as_str().to_owned().into()));
        Answer::new(redirect_uri.clone(), params)
    }
}
