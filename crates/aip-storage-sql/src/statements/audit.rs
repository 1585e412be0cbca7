//! The audit stream.

use aip_storage::StorageError;
use aip_storage::audit::{Audit, AuditEvent};
use async_trait::async_trait;

use super::sql::{Fields, Row, readable, sql};
use super::{Driver, Store};
use crate::sql::Executor;

#[async_trait]
impl Audit for Store {
    async fn record(&self, event: &AuditEvent) -> Result<(), StorageError> {
        insert_event(self.writer(), event).await
    }

    async fn audit_events(&self, limit: u32) -> Result<Vec<AuditEvent>, StorageError> {
        let rows = sql(
            "SELECT id, at, kind, did, actor, client_id, detail FROM audit_events
             ORDER BY at DESC, id DESC LIMIT $1",
        )
        .bind(&limit)
        .all(self.reader())
        .await?;
        Ok(readable(&rows, read_event))
    }
}

/// Appends an event, in the transaction of what it tells of or on its own.
pub(super) async fn insert_event(
    on: impl Executor<Driver>,
    event: &AuditEvent,
) -> Result<(), StorageError> {
    sql(
        "INSERT INTO audit_events (id, at, kind, did, actor, client_id, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&event.id)
    .bind(&event.at)
    .bind(&event.kind)
    .bind(&event.did)
    .bind(&event.actor)
    .bind(&event.client_id)
    .bind(&event.detail)
    .execute(on)
    .await?;
    Ok(())
}

pub(super) fn read_event(row: &Row) -> Result<AuditEvent, StorageError> {
    let fields = Fields::of("audit_events", "id", row)?;
    Ok(AuditEvent {
        id: fields.get("id")?,
        at: fields.get("at")?,
        kind: fields.get("kind")?,
        did: fields.get("did")?,
        actor: fields.get("actor")?,
        client_id: fields.get("client_id")?,
        detail: fields.get("detail")?,
    })
}
