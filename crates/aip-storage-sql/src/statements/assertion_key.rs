//! The keys of devices that client assertions are signed for.

use aip_storage::StorageError;
use aip_storage::assertion_key::{
    ASSERTION_KEY_RENEWED_FOR, AssertingDevice, AssertionKey, AssertionKeys,
};
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, sql};

/// How many are forgotten at once where there are too many.
const BATCH: u32 = 100;

#[async_trait]
impl AssertionKeys for Store {
    async fn use_assertion_key(
        &self,
        device: &AssertingDevice,
        max: u32,
    ) -> Result<AssertionKey, StorageError> {
        let AssertingDevice {
            client_id,
            jkt,
            client_key_id,
            now,
        } = device;
        let renewed_since = *now - ASSERTION_KEY_RENEWED_FOR;
        let known = sql("UPDATE assertion_keys
             SET used_at = CASE WHEN created_at > $4 THEN $3 ELSE used_at END
             WHERE client_id = $1 AND jkt = $2 RETURNING client_id, client_key_id")
        .bind((client_id, jkt, now, &renewed_since))
        .one(self.writer(), read_key)
        .await?;
        if let Some(known) = known {
            return Ok(AssertionKey::Known(known));
        }
        // Of two that ask for the first time with one key, the later one gets what the earlier one has. The
        // client is locked, so that one that is being deleted is waited for, and is none.
        let stored = sql(concat!(
            "INSERT INTO assertion_keys (client_id, jkt, client_key_id, created_at, used_at)
             SELECT id, $2, $3, $4, $4 FROM clients WHERE id = $1",
            for_share!(),
            " ON CONFLICT (client_id, jkt) DO UPDATE SET used_at = excluded.used_at
             RETURNING client_id, client_key_id"
        ))
        .bind((client_id, jkt, client_key_id, now))
        .one(self.writer(), read_key)
        .await?;
        let Some(stored) = stored else {
            return Ok(AssertionKey::NoClient);
        };
        sql("DELETE FROM assertion_keys WHERE client_id = $1 AND jkt IN
                 (SELECT jkt FROM assertion_keys WHERE client_id = $1 AND jkt <> $2
                  ORDER BY (used_at > created_at) DESC, used_at DESC, jkt LIMIT $4 OFFSET $3)")
        .bind((client_id, jkt, &max.saturating_sub(1), &BATCH))
        .execute(self.writer())
        .await?;
        Ok(if stored == *client_key_id {
            AssertionKey::New
        } else {
            AssertionKey::Known(stored)
        })
    }

    async fn forget_assertion_keys(&self, client_key_id: &str) -> Result<u64, StorageError> {
        sql("DELETE FROM assertion_keys WHERE client_key_id = $1")
            .bind(&client_key_id.to_owned())
            .execute(self.writer())
            .await
    }
}

fn read_key(row: &Row) -> Result<String, StorageError> {
    Fields::of("assertion_keys", "client_id", row)?.get("client_key_id")
}
