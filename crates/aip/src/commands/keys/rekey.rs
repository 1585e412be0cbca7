//! `aip keys rekey`: everything at rest under the master key in use. It can be stopped and run
//! again at any time, beside servers that run. It is done when it has looked at everything once more
//! and has found nothing to seal.

use aip_base::SystemRng;
use aip_config::LoadedConfig;
use aip_keys::Sealed;
use aip_storage::operations::SealedColumn;
use aip_storage::{Storage, StorageError};
use anyhow::anyhow;
use serde::Serialize;
use strum::IntoEnumIterator as _;

use crate::failure::Failure;
use crate::output::{Format, Row, print_status};
use crate::progress::{Progress, Unit};
use crate::rekeying::{ResealCounts, check_keys, reseal, reseal_check};
use crate::runtime::{Runtime, master_keys};

/// How often everything is looked at before it gives up. If every process has the keys in use, the
/// second round finds nothing.
const MAX_ROUNDS: u32 = 10;

#[derive(Serialize)]
struct ColumnCounts {
    table: &'static str,
    column: &'static str,
    sealed_again: u64,
    unreadable: u64,
}

impl ColumnCounts {
    fn nothing(column: SealedColumn) -> Self {
        Self {
            table: column.table(),
            column: column.column(),
            sealed_again: 0,
            unreadable: 0,
        }
    }
}

impl Row for ColumnCounts {
    const COLUMNS: &'static [&'static str] = &["table", "column", "sealed again", "unreadable"];
    const NONE: &'static str = "Nothing is sealed.";

    fn cells(&self) -> Vec<String> {
        vec![
            self.table.to_owned(),
            self.column.to_owned(),
            self.sealed_again.to_string(),
            self.unreadable.to_string(),
        ]
    }
}

pub(super) async fn rekey(
    runtime: &Runtime,
    loaded: &LoadedConfig,
    format: Format,
) -> Result<(), Failure> {
    let storage = &*runtime.storage;
    let master = master_keys(&runtime.data_dir, loaded)?;
    check_keys(storage, &master, &SystemRng).await?;
    let sealer = master.sealer();
    let total = values_to_seal(storage, &sealer.prefix()).await?;
    let mut progress = Progress::begin("sealing again", Unit::Values, total, loaded);
    let mut rows: Vec<ColumnCounts> = SealedColumn::iter().map(ColumnCounts::nothing).collect();
    let mut before = 0;
    let mut round = 1;
    // A process that still has older keys writes with them, also in columns that were looked at already.
    let left = loop {
        let (mut found, mut unreadable) = (0, 0);
        for (row, column) in rows.iter_mut().zip(SealedColumn::iter()) {
            let tell = |so_far: &ResealCounts| progress.update(before + so_far.looked_at);
            let done = reseal(storage, &sealer, &SystemRng, column, tell).await?;
            before += done.looked_at;
            found += done.looked_at - done.unreadable;
            unreadable += done.unreadable;
            row.sealed_again += done.done;
            row.unreadable = done.unreadable;
        }
        if found == 0 || round == MAX_ROUNDS {
            break found;
        }
        round += 1;
        // The next round meets these again.
        before -= unreadable;
    };
    progress.end(before);
    reseal_check(storage, &sealer, &SystemRng).await?;
    format.list(&rows)?;
    if left > 0 {
        return Err(anyhow!(
            "in the last of {MAX_ROUNDS} rounds {left} value(s) were sealed with another key than {}: \
             a server or an import has older master keys; give it these (`kill -HUP`, or start it \
             again), and run this again",
            master.primary()
        )
        .into());
    }
    let unreadable: u64 = rows.iter().map(|row| row.unreadable).sum();
    if unreadable > 0 {
        return Err(anyhow!(
            "{unreadable} value(s) open with none of the master keys and stay as they are: put the \
             key back that they were sealed with, and run this again"
        )
        .into());
    }
    print_status(&format!(
        "Everything is sealed with {}. `aip keys list` shows keys that nothing needs any more.",
        master.primary()
    ));
    Ok(())
}

/// How many values are sealed with other keys than the one that `prefix` names.
async fn values_to_seal(storage: &dyn Storage, prefix: &str) -> Result<u64, StorageError> {
    let mut number = 0;
    for column in SealedColumn::iter() {
        let all = storage.count_sealed(column, Sealed::PREFIX).await?;
        let done = storage.count_sealed(column, prefix).await?;
        number += all.saturating_sub(done);
    }
    Ok(number)
}
