//! What the process takes of the machine, as Linux tells it (proc(5)). Elsewhere there is nothing
//! to tell.

use std::fs;

/// Ticks of a second in `/proc/PID/stat`: part of Linux's interface to programs, on every
/// architecture that Rust knows.
const TICKS_PER_SECOND: f64 = 100.0;

/// Records it anew.
pub(crate) fn record() {
    if let Some(bytes) = resident_bytes() {
        metrics::gauge!("aip_process_resident_bytes").set(bytes);
    }
    if let Some(seconds) = cpu_seconds() {
        metrics::gauge!("aip_process_cpu_seconds").set(seconds);
    }
    if let Some(files) = open_files() {
        metrics::gauge!("aip_process_open_files").set(files);
    }
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may hold anything; the first field there is number 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn open_files() -> Option<f64> {
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    // Less the one that is open to read them.
    Some(f64::from(u32::try_from(files).ok()?.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_what_the_process_takes() {
        let megabyte = 1024.0 * 1024.0;
        let resident = resident_bytes().unwrap();
        assert!(
            resident > megabyte && resident < 4096.0 * megabyte,
            "{resident}"
        );
        assert!(cpu_seconds().unwrap() < 3600.0);
        let before = open_files().unwrap();
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(open_files().unwrap() > before - 1.0);
        drop(file);
    }
}
