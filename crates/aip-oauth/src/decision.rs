//! The person's decision: a yes becomes grant, code and consent in one transaction; a no goes to
//! the app. Every answer carries `state` and `iss` (RFC 9207).

use aip_atproto::ScopeSet;
use aip_base::RowId;
use aip_keys::TokenKind;
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::client::{Client, RedirectUri};
use aip_storage::grant::{Approval, Approve, Grant, NewCode, Redemption};
use aip_storage::request::{
    ANSWER_REPEATED_FOR, AnsweredRequest, AuthorizationRequest, Delivery, RedirectDelivery,
    RequestAnswer, ResponseMode, SignedIn,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::AuthorizationServer;
use crate::authorize::{Refusal, RefusalCode};

/// How long a code may be redeemed.
const CODE_TTL: std::time::Duration = ANSWER_REPEATED_FOR;

/// The answer to an app's request.
#[derive(Debug)]
pub enum Answer {
    /// The browser takes it to the app.
    Redirect(RedirectAnswer),
    /// The app gets it at the token endpoint; the person is told that they are done here.
    AtDevice(DeviceAnswer),
}

/// The outcome of a yes.
#[derive(Debug)]
pub enum Approved {
    /// The app gets what it asked for.
    Answer(Answer),
    /// The request was finished before, or expired meanwhile.
    RequestGone,
    /// The app is known by a document, and this server keeps no more apps of this kind.
    ClientsFull,
}

/// What a person decided about the request of another device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceAnswer {
    /// They allowed the app.
    Allowed,
    /// The app gets nothing.
    Refused,
}

/// What a browser takes to an app.
#[derive(Debug)]
pub struct RedirectAnswer {
    redirect_uri: RedirectUri,
    response_mode: ResponseMode,
    params: Vec<(&'static str, SecretString)>,
}

impl RedirectAnswer {
    /// An answer in the query of one of the client's own addresses.
    pub(crate) fn in_query(
        redirect_uri: RedirectUri,
        params: Vec<(&'static str, SecretString)>,
    ) -> Self {
        Self {
            redirect_uri,
            response_mode: ResponseMode::Query,
            params,
        }
    }

    /// How it is encoded.
    pub fn response_mode(&self) -> ResponseMode {
        self.response_mode
    }

    /// Where it goes.
    pub fn redirect_uri(&self) -> &RedirectUri {
        &self.redirect_uri
    }

    /// Its parameters, one of which may be a code: never log them.
    pub fn params(&self) -> &[(&'static str, SecretString)] {
        &self.params
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
    /// granted `scope` of what was asked.
    pub async fn approve(
        &self,
        request: &AuthorizationRequest,
        client: &Client,
        browser: RowId,
        who: &SignedIn,
        scope: ScopeSet,
    ) -> Result<Approved, StorageError> {
        let now = self.clock.now();
        let id = RowId::new(&*self.clock, &*self.rng);
        let params = &request.params;
        // The operator may have taken one from the client since the request was checked.
        if let Some(resource) = self.unregistered_resource(&params.resources, client) {
            let (client, resource) = (client.id.as_str(), resource.as_str());
            tracing::info!(
                client,
                resource,
                "authorization request ended: its resource was removed from the client"
            );
            return Ok(Approved::RequestGone);
        }
        let grant = Grant {
            id,
            client_id: request.client_id.clone(),
            subject: who.did.clone(),
            sector: client.settings.pairwise.as_ref().map(|it| it.id().clone()),
            actor: who.did.clone(),
            scope,
            asked: params.asked.clone(),
            upstream_session: who.upstream_session,
            dpop_jkt: None,
            auth_time: who.auth_time,
            claims: params.claims.clone(),
            resources: params.resources.clone(),
            created_at: now,
            revoked: None,
        };
        let redemption = match &params.delivery {
            Delivery::Device(code) => Redemption::Device(*code),
            Delivery::Redirect(redirect) => Redemption::Code(NewCode {
                hash: self.hash(&self.code_of(id)),
                redirect: redirect.clone(),
                code_challenge: params.code_challenge.clone(),
                dpop_jkt: params.dpop_jkt.clone(),
                nonce: params.nonce.clone(),
                expires_at: now + CODE_TTL,
            }),
        };
        let event = self.grant_event(AuditKind::GrantGiven, &grant, &grant.scope.to_string());
        let approval = Approval {
            request: request.token,
            browser,
            grant,
            client_registered_itself: client.registered_itself,
            ends_session: client.settings.authentication_only,
            client_from_document: self.client_documents.document_client(client, now),
            client_resources: self
                .names_other_servers(&params.resources)
                .then(|| client.settings.resources.clone()),
            redemption,
            event,
        };
        match self.storage.approve(&approval).await? {
            Approve::Approved => {}
            Approve::RequestGone => return Ok(Approved::RequestGone),
            Approve::ClientsFull => {
                let client = client.id.as_str();
                tracing::warn!(
                    client,
                    "no further clients with a metadata document, of all, of this host or of this account: see AIP_MAX_DOCUMENT_CLIENTS"
                );
                return Ok(Approved::ClientsFull);
            }
        }
        Ok(Approved::Answer(self.granted(&params.delivery, id)))
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
            (RequestAnswer::Granted(grant), None) => Some(self.granted(&answered.delivery, *grant)),
            (RequestAnswer::Refused(told), Some((code, detail))) if told == code.as_str() => {
                Some(self.refuse(&Refusal {
                    client_id: answered.client_id.clone(),
                    delivery: answered.delivery.clone(),
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

    /// Tells the app that it has this grant.
    fn granted(&self, delivery: &Delivery, grant: RowId) -> Answer {
        match delivery {
            Delivery::Device(_) => Answer::AtDevice(DeviceAnswer::Allowed),
            Delivery::Redirect(redirect) => {
                self.redirect(redirect, vec![("code", self.code_of(grant))])
            }
        }
    }

    /// Tells the app that its request ends without a grant.
    pub fn refuse(&self, refusal: &Refusal) -> Answer {
        match &refusal.delivery {
            Delivery::Device(_) => Answer::AtDevice(DeviceAnswer::Refused),
            Delivery::Redirect(redirect) => {
                let params = vec![
                    ("error", refusal.code.as_str().to_owned().into()),
                    ("error_description", refusal.detail.clone().into()),
                ];
                self.redirect(redirect, params)
            }
        }
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
            delivery: request.params.delivery.clone(),
            code,
            detail: detail.to_owned(),
        }
    }

    fn redirect(
        &self,
        delivery: &RedirectDelivery,
        mut params: Vec<(&'static str, SecretString)>,
    ) -> Answer {
        if let Some(state) = &delivery.state {
            params.push(("state", state.clone().into()));
        }
        params.push(("iss", self.issuer.as_str().to_owned().into()));
        Answer::Redirect(RedirectAnswer {
            redirect_uri: delivery.redirect_uri.clone(),
            response_mode: delivery.response_mode,
            params,
        })
    }
}
