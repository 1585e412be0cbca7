//! The access tokens of clients themselves.

use aip_base::Timestamp;
use aip_keys::TokenHash;
use aip_storage::StorageError;
use aip_storage::client::ClientId;
use aip_storage::client_token::{ClientToken, ClientTokens};
use aip_storage::resource_uri::ResourceList;
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, sql};

#[async_trait]
impl ClientTokens for Store {
    async fn put_client_token(
        &self,
        hash: &TokenHash,
        token: &ClientToken,
    ) -> Result<(), StorageError> {
        sql(
            "INSERT INTO client_tokens (hash, client_id, scope, dpop_jkt, issued_at, expires_at, audience)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(hash)
        .bind(&token.client_id)
        .bind(&token.scope)
        .bind(&token.dpop_jkt)
        .bind(&token.issued_at)
        .bind(&token.expires_at)
        .bind(&token.audience.if_any())
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn client_token(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<ClientToken>, StorageError> {
        let read = |row: &Row| {
            let fields = Fields::of("client_tokens", "client_id", row)?;
            let audience: Option<ResourceList> = fields.get("audience")?;
            Ok(ClientToken {
                client_id: fields.get("client_id")?,
                scope: fields.get("scope")?,
                audience: audience.unwrap_or_default(),
                dpop_jkt: fields.get("dpop_jkt")?,
                issued_at: fields.get("issued_at")?,
                expires_at: fields.get("expires_at")?,
            })
        };
        // A client that was deleted and registered anew is another one.
        sql(
            "SELECT t.client_id, t.scope, t.audience, t.dpop_jkt, t.issued_at, t.expires_at
             FROM client_tokens t JOIN clients c ON c.id = t.client_id
             WHERE t.hash = $1 AND t.expires_at > $2 AND c.created_at <= t.issued_at",
        )
        .bind((hash, &now))
        .one(self.reader(), read)
        .await
    }

    async fn revoke_client_token(
        &self,
        hash: &TokenHash,
        client: &ClientId,
    ) -> Result<bool, StorageError> {
        let deleted = sql("DELETE FROM client_tokens WHERE hash = $1 AND client_id = $2")
            .bind((hash, client))
            .execute(self.writer())
            .await?;
        Ok(deleted == 1)
    }
}
