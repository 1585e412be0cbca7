//! The key set in the database: [`SigningKeySets`](aip_storage::signing_keys::SigningKeySets).

use aip_keys::Sealed;
use aip_storage::StorageError;
use aip_storage::signing_keys::{KEY_SET_ROW, SigningKeySets, StoredKeySet};
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, sql};

#[async_trait]
impl SigningKeySets for Store {
    async fn signing_key_set(&self) -> Result<Option<StoredKeySet>, StorageError> {
        sql("SELECT id, generation, sealed FROM signing_key_sets")
            .one(self.reader(), read)
            .await
    }

    async fn begin_signing_key_set(&self, sealed: &Sealed) -> Result<bool, StorageError> {
        let written = sql(
            "INSERT INTO signing_key_sets (id, generation, sealed) VALUES ($1, 1, $2)
             ON CONFLICT (id) DO NOTHING",
        )
        .bind((&KEY_SET_ROW.to_owned(), sealed))
        .execute(self.writer())
        .await?;
        Ok(written == 1)
    }

    async fn replace_signing_key_set(
        &self,
        generation: u64,
        sealed: &Sealed,
    ) -> Result<bool, StorageError> {
        let written = sql(
            "UPDATE signing_key_sets SET generation = generation + 1, sealed = $2
             WHERE generation = $1",
        )
        .bind((&generation, sealed))
        .execute(self.writer())
        .await?;
        Ok(written == 1)
    }
}

fn read(row: &Row) -> Result<StoredKeySet, StorageError> {
    let fields = Fields::of("signing_key_sets", "id", row)?;
    Ok(StoredKeySet {
        generation: fields.get("generation")?,
        sealed: fields.get("sealed")?,
    })
}
