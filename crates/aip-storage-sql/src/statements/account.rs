//! What is shown of accounts: [`Accounts`](aip_storage::account::Accounts).

use aip_atproto::Did;
use aip_storage::StorageError;
use aip_storage::account::{Account, Accounts, Email};
use async_trait::async_trait;

use super::Store;
use super::sql::{Fields, Row, sql};

#[async_trait]
impl Accounts for Store {
    async fn put_account(&self, account: &Account) -> Result<(), StorageError> {
        sql(
            "INSERT INTO accounts (did, handle, pds, email, email_confirmed, proven_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (did) DO UPDATE SET
                 handle = excluded.handle,
                 pds = excluded.pds,
                 email = COALESCE(excluded.email, accounts.email),
                 email_confirmed = COALESCE(excluded.email_confirmed, accounts.email_confirmed),
                 proven_at = excluded.proven_at",
        )
        .bind(&account.did)
        .bind(&account.handle)
        .bind(&account.pds)
        .bind(&account.email.as_ref().map(|email| email.address.clone()))
        .bind(&account.email.as_ref().map(|email| email.confirmed))
        .bind(&account.proven_at)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    async fn account(&self, did: &Did) -> Result<Option<Account>, StorageError> {
        let row = sql("SELECT did, handle, pds, email, email_confirmed, proven_at
             FROM accounts WHERE did = $1")
        .bind(did)
        .first(self.reader())
        .await?;
        row.as_ref().map(read_account).transpose()
    }
}

fn read_account(row: &Row) -> Result<Account, StorageError> {
    let fields = Fields::of("accounts", "did", row)?;
    let email = match (fields.get("email")?, fields.get("email_confirmed")?) {
        (Some(address), Some(confirmed)) => Some(Email { address, confirmed }),
        (None, None) => None,
        _ => {
            return Err(fields.inconsistent("an e-mail address and its confirmation come together"));
        }
    };
    Ok(Account {
        did: fields.get("did")?,
        handle: fields.get("handle")?,
        pds: fields.get("pds")?,
        email,
        proven_at: fields.get("proven_at")?,
    })
}
