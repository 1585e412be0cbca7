//! Spending a refresh token in one statement: one round trip and one commit for the verb that
//! apps call most. SQLite has no `WITH … UPDATE`, and no round trips to save.

use aip_storage::StorageError;
use aip_storage::grant::{Grant, Rotation};

use super::PgStorage;
use super::statements::grant_row::{grant_columns, read_grant};
use super::statements::sql::sql;
use super::statements::tokens::{bind_spending, spend_refresh_token};

/// Spends the token and stores what follows it. `None`: it could not be spent, nothing changed.
pub(super) async fn spend(
    store: &PgStorage,
    rotation: &Rotation,
) -> Result<Option<Grant>, StorageError> {
    let statement = sql(concat!(
        "WITH spent AS (",
        spend_refresh_token!(),
        "), successor AS (
             INSERT INTO refresh_tokens (hash, grant_id, client_id, issued_at, expires_at)
             SELECT $1, grant_id, $4, $2, $8 FROM spent WHERE $7
         ), access AS (
             INSERT INTO access_tokens
                 (hash, grant_id, client_id, scope, issued_at, expires_at, dpop_jkt, audience)
             SELECT $9, grant_id, $4, $10, $2, $11, $5, $12 FROM spent
         )
         SELECT ",
        grant_columns!(),
        " FROM grants g JOIN spent ON g.id = spent.grant_id"
    ));
    let tokens = &rotation.tokens;
    bind_spending(statement, rotation)
        .bind(&tokens.access)
        .bind(&tokens.access_scope)
        .bind(&tokens.access_expires_at)
        .bind(&tokens.access_audience)
        .one(store.writer(), read_grant)
        .await
}
