//! `grant_type=refresh_token` with rotation and a single-successor grace (RFC 9700 §4.14).
//!
//! The successor is derived from the presented token under a key of ours, so a repeat within the
//! grace computes the very same successor and nothing readable needs to be stored for it.

use std::time::Duration;

use aip_atproto::ScopeSet;
use aip_keys::{TokenHash, TokenKind, has_v2_form};
use aip_storage::StorageError;
use aip_storage::audit::AuditKind;
use aip_storage::client::{Client, ClientId, SecurityProfile};
use aip_storage::grant::{Grant, RevokeReason, Rotate, Rotation};
use aip_storage::upstream::UpstreamState;

use super::{
    CheckedTokenRequest, GrantRefusal, NarrowedTo, TokenError, TokenResponse, Unusable, missing,
};
use crate::AuthorizationServer;
use crate::dpop::ProvenKey;
use crate::invalid_values::scopes_not_allowed;
use crate::params::Params;

/// The longest grace of a Bearer token of a public client: whoever stole it could use it as well
/// within the grace.
const PUBLIC_BEARER_GRACE: Duration = Duration::from_secs(10);

impl AuthorizationServer {
    pub(super) async fn redeem_refresh_token(
        &self,
        redeeming: &CheckedTokenRequest<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let CheckedTokenRequest {
            params,
            client,
            key,
        } = redeeming;
        let client = client.client();
        let presented = params
            .get("refresh_token")
            .ok_or_else(|| missing("refresh_token"))?;
        if TokenKind::RefreshToken.parse(presented).is_err() && !has_v2_form(presented) {
            return Err(Unusable::Malformed.into());
        }
        let now = self.clock.now();
        let hash = self.hasher.hash(presented);
        let asked = match params.get("scope") {
            Some(text) => Some(
                text.parse::<ScopeSet>()
                    .map_err(|e| TokenError::Scope(format!("`scope` is malformed: {e}")))?,
            ),
            None => None,
        };
        // Before the token is spent; what a grant allows and is for does not change, so nothing can
        // come between.
        let narrowed = if asked.is_some() || params.get("resource").is_some() {
            self.narrowed(&client.id, &hash, asked.as_ref(), params)
                .await?
        } else {
            NarrowedTo::default()
        };
        // FAPI 2.0 Security Profile §5.3.2.1: no rotation, since nobody can use the tokens without
        // the client's keys, and an answer that is lost would cost the grant.
        let rotates = client.settings.security_profile != SecurityProfile::Fapi2;
        let successor = if rotates {
            self.hasher.derive(TokenKind::RefreshToken, presented)
        } else {
            presented.to_owned().into()
        };
        let minted = self.mint(client, successor, narrowed);
        let rotation = Rotation {
            refresh: hash,
            client_id: client.id.clone(),
            dpop_jkt: key.as_ref().map(ProvenKey::thumbprint).map(str::to_owned),
            any_key: client.is_confidential(),
            rotates,
            grace: grace(client, key.as_ref()),
            tokens: minted.tokens.clone(),
            now,
        };
        match self.storage.rotate_refresh_token(&rotation).await? {
            Rotate::Rotated(grant) => {
                self.respond(client, &grant, None, minted, key.as_ref())
                    .await
            }
            Rotate::Replayed(grant) => {
                self.known_tokens.forget_grants(|it| it.id == grant.id);
                let (kind, reason) = (AuditKind::RefreshReplayed, RevokeReason::RefreshReplayed);
                self.note_end_of_grant(kind, &grant, reason).await;
                Err(TokenError::Grant(GrantRefusal::Replayed))
            }
            Rotate::Ended(grant) => Err(TokenError::Grant(self.end_reason(&grant).await?)),
            Rotate::Refused => {
                let why = self.storage.why_refresh_refused(&rotation).await?;
                Err(Unusable::from(why).into())
            }
        }
    }

    /// The scope and the resource servers of the new access token. Many libraries repeat at each refresh what they asked for
    /// at first (RFC 6749 §6 lets them): what of that was not granted is left out, in a repeat
    /// within the grace as at first. What was never asked for is refused. Nothing when there is no
    /// such token, which is reported when it is spent.
    async fn narrowed(
        &self,
        client: &ClientId,
        refresh: &TokenHash,
        asked: Option<&ScopeSet>,
        params: &Params,
    ) -> Result<NarrowedTo, TokenError> {
        let token = self
            .storage
            .refresh_token(refresh, self.clock.now())
            .await?;
        let Some(token) = token.filter(|it| it.grant.client_id == *client) else {
            return Ok(NarrowedTo::default());
        };
        let grant = token.grant;
        if let Some(asked) = asked
            && !grant.asked.covers_all(asked)
        {
            return Err(TokenError::Scope(format!(
                "the authorization request did not ask for all of `scope`: {}",
                scopes_not_allowed(asked, &grant.asked)
            )));
        }
        Ok(NarrowedTo {
            scope: asked.map(|asked| asked.intersect(&grant.scope)),
            audience: self.narrowed_audience(params, &grant.resources)?,
        })
    }

    /// What the app receives: when its grant ended with the session at the PDS, why that did.
    async fn end_reason(&self, grant: &Grant) -> Result<GrantRefusal, StorageError> {
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

/// How long a repeat of this refresh gets the same answer.
fn grace(client: &Client, key: Option<&ProvenKey>) -> Duration {
    if client.is_confidential() || key.is_some() {
        client.settings.refresh_grace
    } else {
        client.settings.refresh_grace.min(PUBLIC_BEARER_GRACE)
    }
}
