//! The machine a figure was measured on (proc(5)).

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One tick of the times in `/proc`: `USER_HZ` is 100 on every Linux.
pub const TICK: Duration = Duration::from_millis(10);

/// What figures are noted with.
#[derive(Debug, Serialize)]
pub struct Machine {
    cores: usize,
    memory: String,
    cpu: String,
}

/// Describes this machine.
pub fn describe() -> Result<Machine> {
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

/// The time that all processors together spent on anything at all so far.
pub fn busy() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    busy_of(&stat).context("/proc/stat is not as expected")
}

fn busy_of(stat: &str) -> Option<Duration> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let mut ticks = Vec::new();
    for field in line.split_ascii_whitespace() {
        ticks.push(field.parse::<u32>().ok()?);
    }
    // user nice system (idle iowait) irq softirq steal; the rest is counted in user already.
    let busy = ticks.get(..3)?.iter().chain(ticks.get(5..8)?);
    Some(TICK * busy.sum::<u32>())
}

/// The first `name: value` of a file under `/proc`.
pub fn field(file: &str, name: &str) -> Result<String> {
    std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {file}"))?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .with_context(|| format!("{file} has no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_being_busy() {
        let stat = "cpu  1 2 3 1000 1000 4 5 6 7 8\ncpu0 9 9 9 9\n";
        assert_eq!(busy_of(stat), Some(TICK * 21));
        assert_eq!(busy_of("cpu 1 2 3"), None);
    }
}
