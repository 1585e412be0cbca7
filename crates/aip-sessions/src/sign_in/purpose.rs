//! What the session is for that a sign-in brings: an app's request, a delegation, a developer token, or
//! nothing but the proof of who it is.

use aip_atproto::Did;
use aip_base::{RowId, Timestamp};
use aip_storage::StorageError;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientId;
use aip_storage::delegation::{Delegation, DelegationPreset, GiveDelegation};
use aip_storage::upstream::UpstreamSession;

use super::wire::{DelegationSecrets, TokenSecrets};
use super::{DeveloperTokenRequest, SignIn, SignInFailure};

/// A delegation that its owner asks for. The sign-in gives it a session of its own.
#[derive(Debug, Clone)]
pub struct DelegationRequest {
    /// Who is to act.
    pub delegate: Did,
    /// What they may do.
    pub preset: DelegationPreset,
    /// Until when.
    pub ends_at: Timestamp,
}

/// What the session is for that a sign-in brings.
pub(super) enum Purpose {
    /// None is kept: the account page needs only the proof.
    Proof,
    /// The request of that app.
    App(ClientId),
    /// A delegation.
    Delegation(DelegationRequest),
    /// A developer token.
    Token(DeveloperTokenRequest),
}

impl SignIn {
    /// Stores a delegation with its session: what its owner chose, as far as their PDS granted it. With
    /// it goes the event that they `signed_in`, so that nothing can fail once it is there.
    pub(super) async fn give_delegation(
        &self,
        asked: DelegationRequest,
        session: &UpstreamSession,
        signed_in: AuditEvent,
        now: Timestamp,
    ) -> Result<(), SignInFailure> {
        let delegation = Delegation {
            id: self.upstream.new_id(),
            owner: session.did.clone(),
            delegate: asked.delegate,
            preset: asked.preset,
            scope: asked.preset.scope().intersect(&session.scope),
            upstream_session: session.id,
            created_at: now,
            ends_at: asked.ends_at,
        };
        let detail = format!(
            "to {} until {}: {}",
            delegation.delegate, delegation.ends_at, delegation.scope
        );
        let event = self
            .upstream
            .audit_event(AuditKind::DelegationGiven, &detail)
            .of_account(&delegation.owner);
        let (storage, events) = (&self.upstream.storage, [signed_in, event]);
        let given = storage.give_delegation(&delegation, session, &events);
        match given.await? {
            GiveDelegation::Given => Ok(()),
            GiveDelegation::Full => Err(SignInFailure::DelegationsFull),
        }
    }
}

/// What the flow `id` is for.
pub(super) fn purpose_of(
    id: RowId,
    is_for_app: bool,
    client_id: Option<&str>,
    delegation: Option<DelegationSecrets>,
    token: Option<TokenSecrets>,
) -> Result<Purpose, SignInFailure> {
    let unreadable = |what| StorageError::inconsistent("upstream_flows", &id, what);
    if !is_for_app {
        return match (delegation, token) {
            (Some(sealed), _) => {
                let asked = sealed.asked();
                let asked =
                    asked.ok_or_else(|| unreadable("the sealed delegation is not readable"))?;
                Ok(Purpose::Delegation(asked))
            }
            (None, Some(sealed)) => {
                let asked = sealed.asked();
                let asked = asked
                    .ok_or_else(|| unreadable("the sealed developer token is not readable"))?;
                Ok(Purpose::Token(asked))
            }
            (None, None) => Ok(Purpose::Proof),
        };
    }
    match client_id {
        // Flows of the release before do not say it, and their requests are not read here.
        None => Err(SignInFailure::UnknownState("an older release began it")),
        Some(client_id) => client_id
            .parse()
            .map(Purpose::App)
            .map_err(|_| unreadable("the sealed client is not readable").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_of_a_flow_is_known_before_its_code_is_sent() {
        let id = "0192f3a4-7b1c-7def-8abc-0123456789ab".parse().unwrap();
        let purpose = |is_for_app, client| purpose_of(id, is_for_app, client, None, None);
        let app = purpose(true, Some("app")).unwrap();
        assert!(matches!(app, Purpose::App(id) if id.as_str() == "app"));
        let account_page = purpose(false, None).unwrap();
        assert!(matches!(account_page, Purpose::Proof));
        assert!(matches!(
            purpose(true, None),
            Err(SignInFailure::UnknownState(_))
        ));
        assert!(matches!(
            purpose(true, Some("")),
            Err(SignInFailure::Storage(StorageError::Inconsistent { .. }))
        ));
    }

    #[test]
    fn a_delegation_comes_back_as_it_was_asked_for() {
        let id = "0192f3a4-7b1c-7def-8abc-0123456789ab".parse().unwrap();
        let sealed = |delegate: &str, preset: &str| DelegationSecrets {
            delegate: delegate.to_owned(),
            preset: preset.to_owned(),
            ends_at: 1_800_000_000_000_000,
        };
        let bob = sealed("did:web:bob.example", "posts_with_images");
        let Ok(Purpose::Delegation(asked)) = purpose_of(id, false, None, Some(bob), None) else {
            panic!("no delegation");
        };
        assert_eq!(asked.delegate.as_str(), "did:web:bob.example");
        assert_eq!(asked.preset, DelegationPreset::PostsWithImages);
        assert_eq!(asked.ends_at, Timestamp::from_secs(1_800_000_000));
        for (delegate, preset) in [("bob", "posts"), ("did:web:bob.example", "all")] {
            let refused = purpose_of(id, false, None, Some(sealed(delegate, preset)), None);
            assert!(matches!(
                refused,
                Err(SignInFailure::Storage(StorageError::Inconsistent { .. }))
            ));
        }
    }

    #[test]
    fn a_developer_token_comes_back_as_it_was_asked_for() {
        let id = "0192f3a4-7b1c-7def-8abc-0123456789ab".parse().unwrap();
        for order in [None, Some(id)] {
            let token = DeveloperTokenRequest {
                name: "backup".parse().unwrap(),
                scope: "atproto repo:app.bsky.feed.post".parse().unwrap(),
                life: std::time::Duration::from_hours(24),
                order,
            };
            let sealed = serde_json::to_string(&TokenSecrets::from(&token)).unwrap();
            let sealed = serde_json::from_str(&sealed).unwrap();
            let Ok(Purpose::Token(asked)) = purpose_of(id, false, None, None, Some(sealed)) else {
                panic!("no token");
            };
            assert_eq!(asked, token);
        }
        let sealed = |name: &str, order: Option<&str>| TokenSecrets {
            name: name.to_owned(),
            scope: "atproto".to_owned(),
            life: 60,
            order: order.map(str::to_owned),
        };
        for (name, order) in [("", None), ("backup", Some("no id"))] {
            let refused = purpose_of(id, false, None, None, Some(sealed(name, order)));
            assert!(matches!(
                refused,
                Err(SignInFailure::Storage(StorageError::Inconsistent { .. }))
            ));
        }
    }
}
