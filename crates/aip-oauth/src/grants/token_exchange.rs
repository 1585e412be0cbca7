//! `grant_type=urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): an app swaps the access token
//! of a person for one that acts for an owner who lets that person do so.
//!
//! The owner is named by `requested_subject`, which RFC 8693 leaves to extensions (§2.1) and other servers
//! call so, too. What comes back is delegation (§1.1): `sub` is the owner, `act` names the person (§4.1).
//! It cannot be exchanged once more, it is not refreshed, it lives no longer than the token that it comes
//! from, and it ends with the grant of that one or with the delegation.

use aip_atproto::{Did, ScopeSet};
use aip_base::{RequestNotes, RowId, Timestamp};
use aip_keys::TokenKind;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::{Client, GrantType};
use aip_storage::delegation::{DelegatedToken, DelegationForCall};
use aip_storage::grant::{AccessToken, Grant};
use aip_storage::requested_claims::RequestedClaims;

use super::{CheckedTokenRequest, TokenError, TokenResponse, missing, token_type};
use crate::AuthorizationServer;
use crate::access_token::AccessTokenContent;
use crate::delegation::effective_scope;
use crate::dpop::{ProofError, ProvenKey};
use crate::invalid_values::quoted;
use crate::params::Params;
use crate::resource_indicators::TargetError;

/// RFC 8693 §3.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

impl AuthorizationServer {
    pub(super) async fn exchange_token(
        &self,
        redeeming: &CheckedTokenRequest<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let CheckedTokenRequest {
            params,
            client,
            key,
        } = redeeming;
        let (client, key) = (client.client(), key.as_ref());
        check_form(params)?;
        let asked = requested_scope(params)?;
        let subject = self.subject_token(params, client, key).await?;
        let (owner, delegate) = (requested_subject(params)?, subject.grant.subject.clone());
        if owner == delegate {
            return Err(TokenError::Request(
                "`requested_subject` is the account of `subject_token` itself".to_owned(),
            ));
        }
        let now = self.clock.now();
        let found = self.storage.delegation_for_call(&owner, &delegate, now);
        let found = found.await?.ok_or_else(|| not_allowed(&owner))?;
        let scope = effective_scope(&subject.scope, &found.delegation.scope);
        let scope = asked.map_or(scope.clone(), |asked| asked.intersect(&scope));
        if scope.is_empty() {
            return Err(TokenError::Scope(
                "nothing of `scope` is allowed by both `subject_token` and the owner".to_owned(),
            ));
        }
        let audience = self.narrowed_audience(params, &subject.audience)?;
        let audience = audience.unwrap_or_else(|| subject.audience.clone());

        let (new, access) = self.new_access_token(client, TokenKind::AccessToken);
        let expires_at = subject
            .expires_at
            .min(found.delegation.ends_at)
            .min(now + client.settings.access_token_ttl);
        let detail = format!("until {expires_at}: {scope}");
        let event = AuditEvent::new(&*self.clock, &*self.rng, AuditKind::DelegatedToken, &detail)
            .of_account(&owner)
            .by_delegate(&delegate)
            .of_client(&client.id);
        let token = DelegatedToken {
            delegation: found.delegation.id,
            parent: subject.grant.id,
            grant: self.delegated_grant(&subject, &found, now),
            access,
            scope,
            audience,
            dpop_jkt: key.map(ProvenKey::thumbprint).map(str::to_owned),
            expires_at,
            event,
        };
        if !self.storage.put_delegated_token(&token).await? {
            return Err(not_allowed(&owner));
        }
        RequestNotes::note_account(owner.as_str());
        let content = AccessTokenContent {
            account: Some(owner.as_str()),
            actor: Some(delegate.as_str()),
            audience: &token.audience,
            scope: &token.scope,
            auth_time: None,
            key,
            issued_at: now,
            expires_at: token.expires_at,
        };
        Ok(TokenResponse {
            access_token: self.finish_access_token(client, new, &content)?,
            issued_token_type: Some(ACCESS_TOKEN),
            token_type: token_type(key.is_some()),
            expires_in: token.expires_at.since(now).as_secs(),
            refresh_token: None,
            scope: token.scope,
            id_token: None,
        })
    }

    /// The token that is to be exchanged: a live one for AIP itself, which that client was given for a
    /// person and shows as it must be shown.
    async fn subject_token(
        &self,
        params: &Params,
        client: &Client,
        key: Option<&ProvenKey>,
    ) -> Result<AccessToken, TokenError> {
        let text = params
            .get("subject_token")
            .ok_or_else(|| missing("subject_token"))?;
        let refused = |words: &str| TokenError::Request(format!("`subject_token` {words}"));
        // One answer for unknown, expired and foreign ones: nobody learns which it was.
        let unusable =
            || refused("is no live access token that this client was given for a person");
        let token = self.read_token(text).ok_or_else(unusable)?;
        if token.kind != TokenKind::AccessToken {
            return Err(unusable());
        }
        let found = self.storage.access_token(&token.hash, self.clock.now());
        let found = found.await?.filter(|it| it.grant.client_id == client.id);
        let found = found.ok_or_else(unusable)?;
        if found.grant.delegate().is_some() {
            return Err(refused(
                "acts for somebody already, and delegations are not passed on",
            ));
        }
        if found.grant.sector.is_some() {
            // Whom somebody acts for would tell who they are.
            return Err(TokenError::NotAllowed(GrantType::TokenExchange.as_str()));
        }
        if !self.issuer.is_in(&found.audience) {
            return Err(refused(
                "is for other resource servers, and not for this one",
            ));
        }
        match (&found.dpop_jkt, key) {
            (None, _) => Ok(found),
            (Some(_), None) => Err(ProofError::Missing.into()),
            (Some(jkt), Some(key)) if key.thumbprint() == jkt => Ok(found),
            (Some(_), Some(_)) => Err(refused("is bound to another key than that of the proof")),
        }
    }

    /// The grant of the new token, without `openid`: nobody has signed in as the owner, so that there is
    /// no end of a sign-in to tell the app of.
    fn delegated_grant(
        &self,
        subject: &AccessToken,
        found: &DelegationForCall,
        now: Timestamp,
    ) -> Grant {
        let scope = subject.grant.scope.intersect(&found.delegation.scope);
        Grant {
            id: RowId::new(&*self.clock, &*self.rng),
            client_id: subject.grant.client_id.clone(),
            subject: found.delegation.owner.clone(),
            sector: None,
            actor: found.delegation.delegate.clone(),
            asked: scope.clone(),
            scope,
            upstream_session: found.delegation.upstream_session,
            dpop_jkt: None,
            auth_time: None,
            claims: RequestedClaims::default(),
            resources: subject.grant.resources.clone(),
            created_at: now,
            revoked: None,
        }
    }
}

/// Checks what the request says of the kinds of tokens (RFC 8693 §2.1).
fn check_form(params: &Params) -> Result<(), TokenError> {
    let only_access = |name: &str, value: &str| {
        if value == ACCESS_TOKEN {
            return Ok(());
        }
        let value = quoted(value);
        Err(TokenError::Request(format!(
            "`{name}` is {value}; it must be `{ACCESS_TOKEN}`"
        )))
    };
    let name = "subject_token_type";
    only_access(name, params.get(name).ok_or_else(|| missing(name))?)?;
    let name = "requested_token_type";
    params
        .get(name)
        .map_or(Ok(()), |value| only_access(name, value))?;
    for name in ["actor_token", "actor_token_type"] {
        if params.get(name).is_some() {
            return Err(TokenError::Request(format!(
                "`{name}` is not supported: who acts is whom `subject_token` is for"
            )));
        }
    }
    if let Some(audience) = params.get("audience") {
        return Err(TargetError::Audience(quoted(audience)).into());
    }
    Ok(())
}

fn requested_scope(params: &Params) -> Result<Option<ScopeSet>, TokenError> {
    let asked = params.get("scope").map(str::parse).transpose();
    asked.map_err(|error| TokenError::Scope(format!("`scope` is malformed: {error}")))
}

fn requested_subject(params: &Params) -> Result<Did, TokenError> {
    let name = "requested_subject";
    let text = params.get(name).ok_or_else(|| missing(name))?;
    Did::parse(text).map_err(|_| {
        let text = quoted(text);
        TokenError::Request(format!("`{name}` is {text}; it must be the owner's DID"))
    })
}

/// RFC 8693 §2.2.2: a token that is unacceptable by policy is an invalid request.
fn not_allowed(owner: &Did) -> TokenError {
    TokenError::Request(format!(
        "{owner} does not let the account of `subject_token` act for it, or has to allow it anew"
    ))
}
