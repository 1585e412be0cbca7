//! `grant_type=client_credentials` (RFC 6749 §4.4): a token for the client itself, of no account.

use aip_atproto::{Scope, ScopeSet};
use aip_keys::TokenKind;
use aip_storage::client::Client;
use aip_storage::client_token::ClientToken;

use super::{CheckedTokenRequest, TokenError, TokenResponse, token_type};
use crate::AuthorizationServer;
use crate::access_token::AccessTokenContent;
use crate::dpop::ProvenKey;
use crate::invalid_values::scopes_not_allowed;

impl AuthorizationServer {
    pub(super) async fn issue_client_token(
        &self,
        redeeming: &CheckedTokenRequest<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let CheckedTokenRequest {
            params,
            client,
            key,
        } = redeeming;
        let client = client.client();
        let scope = client_scope(client, params.get("scope"))?;
        let audience = self.requested_resources(params, client)?;
        let now = self.clock.now();
        let life = client.settings.access_token_ttl;
        let (new, hash) = self.new_access_token(client, TokenKind::ClientToken);
        let token = ClientToken {
            client_id: client.id.clone(),
            scope,
            audience,
            dpop_jkt: key.as_ref().map(ProvenKey::thumbprint).map(str::to_owned),
            issued_at: now,
            expires_at: now + life,
        };
        self.storage.put_client_token(&hash, &token).await?;
        let content = AccessTokenContent {
            account: None,
            actor: None,
            audience: &token.audience,
            scope: &token.scope,
            auth_time: None,
            key: key.as_ref(),
            issued_at: token.issued_at,
            expires_at: token.expires_at,
        };
        Ok(TokenResponse {
            access_token: self.finish_access_token(client, new, &content)?,
            issued_token_type: None,
            token_type: token_type(key.is_some()),
            expires_in: life.as_secs(),
            // RFC 6749 §4.4.3: "A refresh token SHOULD NOT be included".
            refresh_token: None,
            scope: token.scope,
            id_token: None,
        })
    }
}

/// What the client asks for of what it is registered with, or all of that. Scopes of OpenID Connect
/// are about a person, of whom there is none.
fn client_scope(client: &Client, asked: Option<&str>) -> Result<ScopeSet, TokenError> {
    let registered = &client.settings.scope;
    let about_a_person = |scope: &&Scope| matches!(scope, Scope::OpenId(_));
    let Some(asked) = asked else {
        let own = registered.iter().filter(|it| !about_a_person(it));
        let own: ScopeSet = own.cloned().collect();
        if own.is_empty() {
            return Err(TokenError::Scope(
                "the client is registered for scopes about people alone, and `client_credentials` is about none"
                    .to_owned(),
            ));
        }
        return Ok(own);
    };
    let asked: ScopeSet = asked
        .parse()
        .map_err(|e| TokenError::Scope(format!("`scope` is malformed: {e}")))?;
    if let Some(scope) = asked.iter().find(about_a_person) {
        return Err(TokenError::Scope(format!(
            "`{scope}` is about a person, and `client_credentials` is about none"
        )));
    }
    if !registered.covers_all(&asked) {
        return Err(TokenError::Scope(format!(
            "`scope` goes beyond what the client registered: {}",
            scopes_not_allowed(&asked, registered)
        )));
    }
    Ok(asked)
}
