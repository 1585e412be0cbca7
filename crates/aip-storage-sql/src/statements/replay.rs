//! The replay guard.

use aip_base::Timestamp;
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::replay::{Claim, Replays};
use async_trait::async_trait;

use super::Store;
use super::sql::sql;

#[async_trait]
impl Replays for Store {
    async fn claim_once(&self, key: &TokenHash, until: Timestamp) -> Result<Claim, StorageError> {
        let claimed = sql(
            "INSERT INTO replays (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING",
        )
        .bind((key, &until))
        .execute(self.writer())
        .await?;
        Ok(if claimed == 1 {
            Claim::Fresh
        } else {
            Claim::Seen
        })
    }
}
