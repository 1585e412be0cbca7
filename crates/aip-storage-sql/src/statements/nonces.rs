//! The newest `DPoP` nonce of each server, as given to any replica.

use aip_atproto::Origin;
use aip_storage::StorageError;
use aip_storage::nonces::{ReceivedNonce, ServerRole, SharedNonces};
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, sql};

#[async_trait]
impl SharedNonces for Store {
    async fn newest_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
    ) -> Result<Option<ReceivedNonce>, StorageError> {
        let read = |row: &Row| {
            let fields = Fields::of("nonces", "origin", row)?;
            Ok(ReceivedNonce {
                nonce: fields.get("nonce")?,
                at: fields.get("given_at")?,
            })
        };
        sql("SELECT origin, nonce, given_at FROM nonces WHERE role = $1 AND origin = $2")
            .bind((&role.as_str().to_owned(), origin))
            .one(self.reader(), read)
            .await
    }

    async fn offer_nonce(
        &self,
        role: ServerRole,
        origin: &Origin,
        given: &ReceivedNonce,
    ) -> Result<(), StorageError> {
        sql(
            "INSERT INTO nonces (role, origin, nonce, given_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (role, origin) DO UPDATE SET
                 nonce = excluded.nonce, given_at = excluded.given_at
             WHERE nonces.given_at < excluded.given_at",
        )
        .bind((&role.as_str().to_owned(), origin, &given.nonce, &given.at))
        .execute(self.unfenced())
        .await?;
        Ok(())
    }
}
