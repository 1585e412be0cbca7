//! The audit stream.

use aip_storage::audit::{AuditEvent, AuditKind};
use strum::IntoEnumIterator as _;

use crate::world::{NOW, SECOND, World, alice, bob, new_id};

super::on_both_engines!(
    every_kind_of_event_is_read_back_newest_first,
    no_more_events_are_read_than_asked_for,
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
