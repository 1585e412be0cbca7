//! `grant_type=authorization_code` (OAuth 2.1 §4.1.3).

use aip_keys::TokenKind;
use aip_storage::audit::AuditKind;
use aip_storage::grant::{CodeRedemption, RedeemCode, RevokeReason};

use super::{
    CheckedTokenRequest, GrantRefusal, NarrowedTo, TokenError, TokenResponse, Unusable, missing,
};
use crate::AuthorizationServer;
use crate::dpop::ProvenKey;
use crate::pkce;

impl AuthorizationServer {
    pub(super) async fn redeem_authorization_code(
        &self,
        redeeming: &CheckedTokenRequest<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let CheckedTokenRequest {
            params,
            client,
            key,
        } = redeeming;
        let client = client.client();
        let code = params.get("code").ok_or_else(|| missing("code"))?;
        // OAuth 2.1 §10.2: clients of OAuth 2.0 repeat it, others do not. Whether it may be left
        // out depends on the code.
        let redirect_uri = params.get("redirect_uri").map(str::to_owned);
        // A verifier is compared with the code's challenge even if the code has none: to ignore
        // it would let an attacker strip the challenge from the request (RFC 9700 §2.1.1).
        let challenge = match params.get("code_verifier").map(pkce::s256) {
            Some(None) => return Err(Unusable::Verifier.into()),
            challenge => challenge.flatten(),
        };
        let code = TokenKind::Code
            .parse(code)
            .map_err(|_| Unusable::Malformed)?;
        let code = self.hasher.hash_token(code);
        // Before the code is spent; what a grant is for does not change, so nothing can come between.
        let narrowed = if params.get("resource").is_some() {
            let granted = self
                .storage
                .code_resources(&code, &client.id, self.clock.now());
            self.narrowed_resources(params, granted.await?)?
        } else {
            NarrowedTo::default()
        };
        let minted = self.mint(client, TokenKind::RefreshToken.mint(&*self.rng), narrowed);
        let redemption = CodeRedemption {
            code,
            client_id: client.id.clone(),
            redirect_uri,
            challenge,
            dpop_jkt: key.as_ref().map(ProvenKey::thumbprint).map(str::to_owned),
            tokens: minted.tokens.clone(),
            now: self.clock.now(),
        };
        match self.storage.redeem_code(&redemption).await? {
            RedeemCode::Redeemed(redeemed) => {
                let nonce = redeemed.nonce.as_deref();
                self.respond(client, &redeemed.grant, nonce, minted, key.as_ref())
                    .await
            }
            RedeemCode::AlreadySpent(grant) => {
                self.known_tokens.forget_grants(|it| it.id == grant.id);
                let (kind, reason) = (AuditKind::CodeReplayed, RevokeReason::CodeReplayed);
                self.note_end_of_grant(kind, &grant, reason).await;
                Err(TokenError::Grant(GrantRefusal::Replayed))
            }
            RedeemCode::Refused => {
                let why = self.storage.why_code_refused(&redemption).await?;
                Err(Unusable::from(why).into())
            }
        }
    }
}
