//! What is shown of accounts: [`Accounts`](aip_storage::account::Accounts).

use aip_atproto::Did;
use aip_storage::StorageError;
use aip_storage::account::{Account, Accounts};
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, sql};

#[async_trait]
impl Accounts for Store {
    async fn put_account(&self, account: &Account) -> Result<(), StorageError> {
        sql("INSERT INTO accounts (did, handle, pds, proven_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (did) DO UPDATE SET
                 handle = excluded.handle,
                 pds = excluded.pds,
                 proven_at = excluded.proven_at")
        .bind(&account.did)
        .bind(&account.handle)
        .bind(&account.pds)
        .bind(&account.proven_at)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn account(&self, did: &Did) -> Result<Option<Account>, StorageError> {
        sql("SELECT did, handle, pds, proven_at
             FROM accounts WHERE did = $1")
        .bind(did)
        .one(self.reader(), read_account)
        .await
    }
}

fn read_account(row: &Row) -> Result<Account, StorageError> {
    let fields = Fields::of("accounts", "did", row)?;
    Ok(Account {
        did: fields.get("did")?,
        handle: fields.get("handle")?,
        pds: fields.get("pds")?,
        proven_at: fields.get("proven_at")?,
    })
}
