//! What the operating system says of this process. Read from `/proc`; a number that cannot be read is left out.

use std::fs;

/// Numbers of this process, each absent when the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStats {
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// How many may be open.
    pub open_files_max: Option<u64>,
    /// Bytes of memory in use (resident set).
    pub resident_bytes: Option<u64>,
    /// Seconds of processor time used, user and system.
    pub cpu_seconds: Option<f64>,
}

impl ProcessStats {
    /// Reads them now.
    #[must_use]
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            open_files: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            open_files_max: number_after(&limits, "Max open files"),
            resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1024),
            cpu_seconds: cpu_seconds(&stat),
        }
    }
}

/// Bytes that this process has read so far, from whatever; absent when the system does not tell.
#[must_use]
pub fn bytes_read() -> Option<u64> {
    number_after(&fs::read_to_string("/proc/self/io").ok()?, "rchar:")
}

/// The first number of the line that begins with `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `/proc/self/stat`, counted behind the command, which may hold blanks. Linux counts in
/// hundredths of a second on every architecture.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_files_memory_and_time() {
        let stats = ProcessStats::read();
        assert!(stats.open_files.unwrap() > 2);
        assert!(stats.open_files_max.unwrap() > 2);
        assert!(stats.resident_bytes.unwrap() > 100_000);
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }
}
