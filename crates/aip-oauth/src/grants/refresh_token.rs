//! `grant_type=refresh_token` with rotation and a single-successor grace (RFC 9700 §4.14).
//!
//! The successor is derived from the presented token under a key of ours, so a repeat within the
//! grace computes the very same successor and nothing readable needs to be stored for it.

use aip_atproto::ScopeSet;
use aip_keys::TokenKind;
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::grant::{Grant, RevokeReason, Rotate, Rotation};
use aip_storage::upstream::UpstreamState;

use super::{GrantRefusal, Redeeming, TokenError, TokenResponse, missing};
use crate::AuthorizationServer;
use crate::dpop::ProvenKey;

impl AuthorizationServer {
    pub(super) async fn redeem_refresh_token(
        &self,
        redeeming: &Redeeming<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let Redeeming {
            params,
            client,
            key,
        } = redeeming;
        let client = client.client();
        let presented = params
            .get("refresh_token")
            .ok_or_else(|| missing("refresh_token"))?;
        let unusable = TokenError::Grant(GrantRefusal::Unusable);
        if TokenKind::RefreshToken.parse(presented).is_err() {
            return Err(unusable);
        }
        let now = self.clock.now();
        let hash = self.hasher.hash(presented);
        let narrowed = match params.get("scope") {
            Some(text) => Some(text.parse::<ScopeSet>().map_err(|_| TokenError::Scope)?),
            None => None,
        };
        if let Some(narrowed) = &narrowed
            && let Some(token) = self.storage.refresh_token(&hash, now).await?
            && token.grant.client_id == client.id
            && !token.grant.scope.covers_all(narrowed)
        {
            // RFC 6749 §6: never wider, in a repeat within the grace no more than at first. Checked
            // before the token is spent; a grant's scope does not change, so nothing can come
            // between.
            return Err(TokenError::Scope);
        }
        let successor = self.hasher.derive(TokenKind::RefreshToken, presented);
        let minted = self.mint(client, successor, narrowed);
        let rotation = Rotation {
            refresh: hash,
            client_id: client.id.clone(),
            dpop_jkt: key.as_ref().map(ProvenKey::thumbprint).map(str::to_owned),
            grace: client.refresh_grace,
            tokens: minted.tokens.clone(),
            now,
        };
        match self.storage.rotate_refresh_token(&rotation).await? {
            Rotate::Rotated(grant) => self.respond(client, &grant, None, minted),
            Rotate::Replayed(grant) => {
                self.note(
                    AuditKind::RefreshReplayed,
                    &grant,
                    RevokeReason::RefreshReplayed.as_str(),
                )
                .await?;
                Err(TokenError::Grant(GrantRefusal::Replayed))
            }
            Rotate::Ended(grant) => Err(TokenError::Grant(self.why_ended(&grant).await?)),
            Rotate::Refused => Err(unusable),
        }
    }

    /// What the app is told: when its grant ended with the session at the PDS, why that did.
    async fn why_ended(&self, grant: &Grant) -> Result<GrantRefusal, StorageError> {
        let revoked = grant.revoked.as_ref().map(|it| it.reason);
        let reason = revoked.unwrap_or(RevokeReason::UpstreamEnded);
        if reason == RevokeReason::UpstreamEnded
            && let Some(session) = self
                .storage
                .upstream_session(grant.upstream_session)
                .await?
            && let UpstreamState::NeedsReauth(why) = session.state
        {
            return Ok(GrantRefusal::SignInAgain(why));
        }
        Ok(GrantRefusal::Ended(reason))
    }
}
