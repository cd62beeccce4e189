//! A folder for one test, kept when the test fails, and ports for its servers.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// A folder below the system's temporary one; removed when dropped, unless the test fails.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the folder. `name` must differ between tests of one process.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("zab-{name}-{}", std::process::id()));
        // A former process may have had the same id.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(Self { path: path.canonicalize()? })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_logs(&self.path);
            eprintln!("the servers' folders are kept in {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Prints the ends of the servers' logs in a folder and those right below it.
fn show_logs(folder: &Path) {
    let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in below.chain([folder.to_owned()]) {
        if let Ok(log) = fs::read_to_string(folder.join("server.log")) {
            eprintln!("--- {}\n{}", folder.display(), last_lines(&log, 40));
        }
    }
}

/// The first port given out: above what systems use.
const FIRST_PORT: u32 = 12_000;
/// Linux gives ports from 32768 on to outgoing connections; one of those would be in the way of a server that starts
/// again.
const PORTS: u32 = 20_000;

/// `count` loopback TCP ports that are free now. No port is given out twice by a process.
///
/// # Errors
/// When hardly any port is free.
pub fn ports(count: usize) -> Result<Vec<u16>> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time start far from each other.
    let start = std::process::id().wrapping_mul(977);
    let mut ports = Vec::new();
    while ports.len() < count {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        if given >= PORTS {
            bail!("no {count} ports are free between {FIRST_PORT} and {}", FIRST_PORT + PORTS);
        }
        let port = u16::try_from(FIRST_PORT + start.wrapping_add(given) % PORTS)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    Ok(ports)
}

/// The end of a log, for an error.
#[must_use]
pub fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
