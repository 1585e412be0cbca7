//! `aip keys rekey`: everything at rest under the master key in use. It can be stopped and run
//! again at any time, beside servers that run.

use aip_base::SystemRng;
use aip_config::LoadedConfig;
use aip_keys::Sealed;
use aip_storage::operations::SealedColumn;
use anyhow::anyhow;
use serde::Serialize;
use strum::IntoEnumIterator as _;

use crate::failure::Failure;
use crate::output::{Format, Row, say};
use crate::rekeying::{Resealed, check_keys, reseal, reseal_check};
use crate::runtime::{Runtime, master_keys};

/// After so many values it is said how far it is.
const NEWS: u64 = 10_000;

#[derive(Serialize)]
struct Shown {
    table: &'static str,
    column: &'static str,
    sealed_again: u64,
    unreadable: u64,
}

impl Row for Shown {
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
    let mut rows = Vec::new();
    for column in SealedColumn::iter() {
        let all = storage.count_sealed(column, Sealed::PREFIX).await?;
        let done = storage.count_sealed(column, &sealer.prefix()).await?;
        let left = all.saturating_sub(done);
        let mut told = 0;
        let progress = |so_far: &Resealed| {
            if so_far.done / NEWS > told {
                told = so_far.done / NEWS;
                say(&news(so_far, left));
            }
        };
        let done = reseal(storage, &sealer, &SystemRng, column, progress).await?;
        rows.push(Shown {
            table: column.table(),
            column: column.column(),
            sealed_again: done.done,
            unreadable: done.unreadable,
        });
    }
    reseal_check(storage, &sealer, &SystemRng).await?;
    format.list(&rows)?;
    let unreadable: u64 = rows.iter().map(|row| row.unreadable).sum();
    if unreadable > 0 {
        return Err(anyhow!(
            "{unreadable} value(s) open with none of the master keys and stay as they are: put the \
             key back that they were sealed with, and run this again"
        )
        .into());
    }
    say(&format!(
        "Everything is sealed with {}. `aip keys list` shows keys that nothing needs any more.",
        master.primary()
    ));
    Ok(())
}

fn news(so_far: &Resealed, left: u64) -> String {
    let (table, column) = (so_far.column.table(), so_far.column.column());
    format!("{table}.{column}: {} of {left}", so_far.done)
}
