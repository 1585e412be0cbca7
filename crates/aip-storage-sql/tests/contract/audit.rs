//! The audit stream.

use aip_base::RowId;
use aip_storage::StorageError;
use aip_storage::audit::{AuditEvent, AuditKind};
use aip_storage::client::ClientId;
use aip_storage::delegation::DelegationEnd;
use aip_storage::grant::{Approval, RevokeReason};
use strum::IntoEnumIterator as _;

use crate::world::{NOW, SECOND, World, alice, bob, new_event, new_id};
use crate::{delegations, developer_tokens};

super::on_both_engines!(
    every_kind_of_event_is_read_back_newest_first,
    no_more_events_are_read_than_asked_for,
    what_is_done_is_recorded_with_it_or_not_done,
    what_was_not_there_to_be_done_is_not_recorded,
);

async fn every_kind_of_event_is_read_back_newest_first(world: World) {
    let client = world.client("app").await;
    let mut recorded = Vec::new();
    for (n, kind) in (0..).zip(AuditKind::iter()) {
        let event = AuditEvent {
            id: new_id(),
            at: NOW + n * SECOND,
            kind,
            did: (n % 2 == 0).then(alice),
            actor: (n % 4 == 0).then(bob),
            client_id: (n % 3 == 0).then(|| client.clone()),
            detail: format!("event {n}"),
        };
        world.storage.record(&event).await.unwrap();
        recorded.insert(0, event);
    }

    let events = world.storage.audit_events(100).await.unwrap();

    assert_eq!(format!("{events:?}"), format!("{recorded:?}"));
}

/// The verbs that store their event.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Approve,
    EndDelegation,
    RevokeDeveloperToken,
    RevokeClientGrants,
}

/// What the verbs are done to.
struct Objects {
    approval: Approval,
    client: ClientId,
    delegation: RowId,
    token: RowId,
}

impl Objects {
    async fn new(world: &World) -> Self {
        let client = world.client("app").await;
        world.redeemed(&client, &alice()).await;
        let session = world.session(&client, &alice()).await.id;
        Self {
            approval: world.pending(&client, &alice(), session).await,
            delegation: delegations::given(world, &alice(), &bob()).await.id,
            token: developer_tokens::made(world, &alice()).await.grant.id,
            client,
        }
    }

    async fn done(&self, world: &World, deed: Deed, event: AuditEvent) -> Result<(), StorageError> {
        let (storage, by_person, did) = (&world.storage, RevokeReason::ByPerson, alice());
        match deed {
            Deed::Approve => {
                let approval = Approval {
                    event,
                    ..self.approval.clone()
                };
                storage.approve(&approval).await.map(drop)
            }
            Deed::EndDelegation => {
                let (id, reason) = (self.delegation, DelegationEnd::TakenBack);
                let ended = storage.end_delegation(&did, id, reason, NOW, event);
                ended.await.map(drop)
            }
            Deed::RevokeDeveloperToken => {
                let ended = storage.revoke_developer_token(self.token, None, by_person, NOW, event);
                ended.await.map(drop)
            }
            Deed::RevokeClientGrants => {
                let ended = storage.revoke_client_grants(&self.client, &did, by_person, NOW, event);
                ended.await.map(drop)
            }
        }
    }

    /// What there is of everything.
    async fn state(&self, world: &World) -> Vec<String> {
        let rows = "SELECT id || COALESCE(revoke_reason, '') FROM grants
            UNION ALL SELECT id || COALESCE(end_reason, '') FROM delegations
            UNION ALL SELECT id || state FROM upstream_sessions
            UNION ALL SELECT client_id FROM authorization_requests ORDER BY 1";
        world.strings(rows).await
    }
}

const DEEDS: [Deed; 4] = [
    Deed::Approve,
    Deed::EndDelegation,
    Deed::RevokeDeveloperToken,
    Deed::RevokeClientGrants,
];

async fn what_is_done_is_recorded_with_it_or_not_done(world: World) {
    let objects = Objects::new(&world).await;
    let events = async || world.storage.audit_events(100).await.unwrap();
    for deed in DEEDS {
        let (before, recorded) = (objects.state(&world).await, events().await.len());
        // There is an event of that id already.
        let taken = events().await.remove(0);
        let refused = objects.done(&world, deed, taken).await;
        assert!(refused.is_err(), "{deed:?}");
        assert_eq!(objects.state(&world).await, before, "{deed:?}");
        assert_eq!(events().await.len(), recorded, "{deed:?}");

        let event = AuditEvent {
            detail: format!("{deed:?}"),
            ..new_event(AuditKind::GrantRevoked, &alice())
        };
        objects.done(&world, deed, event).await.unwrap();
        assert_ne!(objects.state(&world).await, before, "{deed:?}");
        let mut after = events().await;
        assert_eq!(after.len(), recorded + 1, "{deed:?}");
        after.retain(|it| it.detail == format!("{deed:?}"));
        assert_eq!(after[0].did, Some(alice()), "{deed:?}");
    }
}

async fn what_was_not_there_to_be_done_is_not_recorded(world: World) {
    let objects = Objects::new(&world).await;
    for deed in DEEDS {
        let event = || new_event(AuditKind::GrantRevoked, &alice());
        objects.done(&world, deed, event()).await.unwrap();
        let recorded = world.storage.audit_events(100).await.unwrap().len();
        objects.done(&world, deed, event()).await.unwrap();
        let again = world.storage.audit_events(100).await.unwrap().len();
        assert_eq!(again, recorded, "{deed:?}");
    }
}

async fn no_more_events_are_read_than_asked_for(world: World) {
    for n in 0..3 {
        let event = AuditEvent {
            id: new_id(),
            at: NOW + n * SECOND,
            kind: AuditKind::SignedIn,
            did: None,
            actor: None,
            client_id: None,
            detail: n.to_string(),
        };
        world.storage.record(&event).await.unwrap();
    }

    let events = world.storage.audit_events(2).await.unwrap();

    assert_eq!(
        events
            .iter()
            .map(|it| it.detail.as_str())
            .collect::<Vec<_>>(),
        ["2", "1"]
    );
}
