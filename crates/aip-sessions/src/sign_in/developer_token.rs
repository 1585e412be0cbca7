//! A developer token, made when its owner has signed in for it: that gives it a session of its own.

use std::time::Duration;

use aip_atproto::{ScopeSet, for_upstream};
use aip_base::{RowId, Timestamp};
use aip_keys::TokenKind;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientId;
use aip_storage::developer_token::{
    DeveloperTokenName, DeveloperTokenOrigin, MakeDeveloperToken, NewDeveloperToken,
};
use aip_storage::grant::Grant;
use aip_storage::requested_claims::RequestedClaims;
use aip_storage::resource_uri::ResourceList;
use aip_storage::upstream::UpstreamSession;
use secrecy::{ExposeSecret as _, SecretString};

use super::{SignIn, SignInFailure};

/// A developer token that its owner asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeveloperTokenRequest {
    /// What they call it.
    pub name: DeveloperTokenName,
    /// What it is to allow.
    pub scope: ScopeSet,
    /// How long it is to live.
    pub life: Duration,
    /// The order of an operator that it is made for.
    pub order: Option<RowId>,
}

/// A developer token that was made.
#[derive(Debug)]
pub struct CreatedToken {
    /// What its owner calls it.
    pub name: DeveloperTokenName,
    /// What it allows: what was asked for, as far as the owner's PDS granted it.
    pub scope: ScopeSet,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The token, which is known nowhere else; `None` if it was ordered: whoever did that has it.
    pub secret: Option<SecretString>,
}

impl SignIn {
    /// Stores a developer token with its grant and its session. With it goes the event that its owner
    /// `signed_in`, so that nothing can fail once it is there.
    pub(super) async fn make_token(
        &self,
        asked: DeveloperTokenRequest,
        session: &UpstreamSession,
        signed_in: AuditEvent,
        now: Timestamp,
    ) -> Result<CreatedToken, SignInFailure> {
        let scope = granted(&asked.scope, &session.scope);
        let expires_at = now + asked.life;
        let (origin, secret) = if let Some(order) = asked.order {
            (DeveloperTokenOrigin::Order(order), None)
        } else {
            let secret = TokenKind::DeveloperToken.mint(&*self.upstream.rng);
            let hash = self.upstream.hasher.hash(secret.expose_secret());
            (DeveloperTokenOrigin::New(hash), Some(secret))
        };
        let token = NewDeveloperToken {
            grant: Grant {
                id: self.upstream.new_id(),
                client_id: ClientId::of_developer_tokens(),
                subject: session.did.clone(),
                sector: None,
                actor: session.did.clone(),
                scope: scope.clone(),
                asked: asked.scope,
                upstream_session: session.id,
                dpop_jkt: None,
                auth_time: None,
                claims: RequestedClaims::default(),
                resources: ResourceList::default(),
                created_at: now,
                revoked: None,
            },
            name: asked.name,
            expires_at,
            origin,
        };
        let by = match asked.order {
            Some(_) => ", ordered by the operator",
            None => "",
        };
        let id = token.grant.id;
        let detail = format!("token {id} until {expires_at}{by}: {scope}");
        let event = self
            .upstream
            .audit_event(AuditKind::DeveloperTokenMade, &detail)
            .of_account(&session.did);
        let (storage, events) = (&self.upstream.storage, [signed_in, event]);
        match storage
            .make_developer_token(&token, session, &events)
            .await?
        {
            MakeDeveloperToken::Made => Ok(CreatedToken {
                name: token.name,
                scope,
                expires_at,
                secret,
            }),
            MakeDeveloperToken::Full => Err(SignInFailure::TokensFull),
            MakeDeveloperToken::OrderGone => Err(SignInFailure::TokenOrderGone),
        }
    }
}

/// What of `asked` a token gets whose session got `from_pds`. The scopes of OpenID Connect are between the
/// owner and AIP.
fn granted(asked: &ScopeSet, from_pds: &ScopeSet) -> ScopeSet {
    let upstream = for_upstream(asked);
    let ours = asked.iter().filter(|it| !upstream.contains(it)).cloned();
    let both = upstream.intersect(from_pds);
    both.iter().cloned().chain(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gets_what_its_pds_granted_and_says_whose_it_is() {
        for (asked, from_pds, expected) in [
            (
                "atproto openid profile repo:app.bsky.feed.post",
                "atproto repo:app.bsky.feed.post",
                "atproto openid profile repo:app.bsky.feed.post",
            ),
            (
                "atproto openid profile repo:app.bsky.feed.post blob:image/*",
                "atproto repo:app.bsky.feed.post",
                "atproto openid profile repo:app.bsky.feed.post",
            ),
            (
                "atproto openid",
                "atproto transition:generic",
                "atproto openid",
            ),
        ] {
            let scope = granted(&asked.parse().unwrap(), &from_pds.parse().unwrap());
            assert_eq!(scope, expected.parse().unwrap(), "{asked} / {from_pds}");
        }
    }
}
