//! The machine a figure was measured on.

use anyhow::{Context as _, Result};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Machine {
    cores: usize,
    memory: String,
    cpu: String,
}

pub(crate) fn describe() -> Result<Machine> {
    let kib: u64 = field("/proc/meminfo", "MemTotal")?
        .trim_end_matches(" kB")
        .parse()?;
    Ok(Machine {
        cores: std::thread::available_parallelism()?.get(),
        memory: format!("{} GiB", (kib + 512 * 1024) / (1024 * 1024)),
        // Not every architecture names its processor there.
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|_| std::env::consts::ARCH.into()),
    })
}

/// The first `name: value` of a file under `/proc`.
pub(crate) fn field(file: &str, name: &str) -> Result<String> {
    std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {file}"))?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .with_context(|| format!("{file} has no {name}"))
}
