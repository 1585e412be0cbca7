//! What is sealed in the database: whether this process has the keys for it, and sealing it again
//! with the newest one.

use aip_base::Rng;
use aip_keys::{Aad, MasterKeys, SealError, Sealed, Sealer};
use aip_storage::operations::{KeyCheck, SealedColumn, SealedValue};
use aip_storage::{Storage, StorageError};
use secrecy::ExposeSecret as _;
use strum::IntoEnumIterator as _;

/// What is sealed and hashed for the check of the keys. It is no secret.
const CHECK_TEXT: &str = "aip key check";
const CHECK_CONTEXT: Aad<'static> = Aad {
    table: "key_checks",
    column: "sealed",
    row: "database",
};
/// Values that one transaction seals again: few, so that nobody waits for it.
const BATCH_VALUES: u32 = 100;

/// These are not the keys of this database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyCheckError {
    /// Another master key.
    #[error(
        "these master keys do not open this database ({0}): put back the master-keys.json \
         (AIP_MASTER_KEYS) that it was made with, or name another database; nothing was changed"
    )]
    MasterKey(SealError),
    /// The same master key with another pepper.
    #[error(
        "the `token_pepper` of these master keys is not the one that this database was made with: \
         no token and no secret of an app would be recognised; put back the old master-keys.json \
         (AIP_MASTER_KEYS); nothing was changed"
    )]
    Pepper,
    /// The database does not answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Refuses master keys that a database was not made with. A database without a check gets one,
/// after a try on what it holds.
pub(crate) async fn check_keys(
    storage: &dyn Storage,
    keys: &MasterKeys,
    rng: &dyn Rng,
) -> Result<(), KeyCheckError> {
    try_keys(storage, keys).await?;
    if storage.key_check().await?.is_some() {
        return Ok(());
    }
    let check = KeyCheck {
        sealed: keys
            .sealer()
            .seal(rng, CHECK_TEXT.as_bytes(), CHECK_CONTEXT)
            .map_err(KeyCheckError::MasterKey)?,
        pepper: keys.token_hasher().hash(CHECK_TEXT),
    };
    if storage.begin_key_check(&check).await? {
        return Ok(());
    }
    // Another process was first, perhaps with other keys.
    try_keys(storage, keys).await
}

/// [`check_keys`] without leaving anything.
pub(crate) async fn try_keys(
    storage: &dyn Storage,
    keys: &MasterKeys,
) -> Result<(), KeyCheckError> {
    let sealer = keys.sealer();
    let Some(check) = storage.key_check().await? else {
        return try_on_sealed_values(storage, &sealer).await;
    };
    open(&sealer, &check.sealed, CHECK_CONTEXT)?;
    // The text is known to all, so how long the comparison takes tells nothing.
    if keys.token_hasher().hash(CHECK_TEXT).as_bytes() == check.pepper.as_bytes() {
        Ok(())
    } else {
        Err(KeyCheckError::Pepper)
    }
}

/// Refuses keys that open nothing of what there is. One value that does not open may be damaged.
async fn try_on_sealed_values(storage: &dyn Storage, sealer: &Sealer) -> Result<(), KeyCheckError> {
    let mut refused = Ok(());
    for column in SealedColumn::iter() {
        if let Some(value) = storage.sample_sealed_value(column).await? {
            match open(sealer, &value.sealed, column.place(&value.row)) {
                Ok(()) => return Ok(()),
                Err(error) => refused = Err(error),
            }
        }
    }
    refused
}

fn open(sealer: &Sealer, value: &Sealed, place: Aad<'_>) -> Result<(), KeyCheckError> {
    sealer
        .open(value, place)
        .map(drop)
        .map_err(KeyCheckError::MasterKey)
}

/// What became of the values of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResealCounts {
    /// All that were sealed otherwise, also those that a server has written anew meanwhile.
    pub(crate) looked_at: u64,
    /// Sealed again.
    pub(crate) done: u64,
    /// Do not open with any key there is. They stay as they are.
    pub(crate) unreadable: u64,
}

/// Seals every value of `column` with the primary key that was sealed with another one.
///
/// What is done is done: stopped half-way and run again, it goes on with the rest. A server that
/// runs meanwhile is not in the way: a value that it writes is its own affair.
pub(crate) async fn reseal(
    storage: &dyn Storage,
    sealer: &Sealer,
    rng: &dyn Rng,
    column: SealedColumn,
    mut progress: impl FnMut(&ResealCounts),
) -> Result<ResealCounts, StorageError> {
    let prefix = sealer.prefix();
    let mut so_far = ResealCounts {
        looked_at: 0,
        done: 0,
        unreadable: 0,
    };
    let mut after = String::new();
    loop {
        let batch = storage
            .sealed_with_other_keys(column, &prefix, &after, BATCH_VALUES)
            .await?;
        let Some(last) = batch.last() else {
            return Ok(so_far);
        };
        after.clone_from(&last.row);
        so_far.looked_at += u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let fresh: Vec<(SealedValue, Sealed)> = batch
            .into_iter()
            .filter_map(|old| match reseal_value(sealer, rng, column, &old) {
                Ok(fresh) => Some((old, fresh)),
                Err(error) => {
                    so_far.unreadable += 1;
                    let (table, column) = (column.table(), column.column());
                    tracing::warn!(table, column, row = old.row, %error, "re-encryption of a row failed");
                    None
                }
            })
            .collect();
        so_far.done += storage.reseal(column, &fresh).await?;
        progress(&so_far);
    }
}

/// Seals the check of the keys with the primary key.
pub(crate) async fn reseal_check(
    storage: &dyn Storage,
    sealer: &Sealer,
    rng: &dyn Rng,
) -> Result<(), KeyCheckError> {
    let Some(check) = storage.key_check().await? else {
        return Ok(());
    };
    if !check.sealed.as_str().starts_with(&sealer.prefix()) {
        let fresh = sealer
            .seal(rng, CHECK_TEXT.as_bytes(), CHECK_CONTEXT)
            .map_err(KeyCheckError::MasterKey)?;
        storage.renew_key_check(&check.sealed, &fresh).await?;
    }
    Ok(())
}

fn reseal_value(
    sealer: &Sealer,
    rng: &dyn Rng,
    column: SealedColumn,
    old: &SealedValue,
) -> Result<Sealed, SealError> {
    let place = column.place(&old.row);
    let plain = sealer.open(&old.sealed, place)?;
    sealer.seal(rng, plain.expose_secret(), place)
}

/// How many values are sealed with the master key `kid`, the check of the keys among them.
pub(crate) async fn sealed_with(storage: &dyn Storage, kid: &str) -> Result<u64, StorageError> {
    let prefix = Sealed::prefix_of(kid);
    let mut number = 0;
    for column in SealedColumn::iter() {
        number += storage.count_sealed(column, &prefix).await?;
    }
    let check = storage.key_check().await?;
    let checks = check.is_some_and(|it| it.sealed.as_str().starts_with(&prefix));
    Ok(number + u64::from(checks))
}
