//! A few seconds of every operation against one server of ours: does all of it work?

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::load::{self, Target};
use crate::process::{Kind, Servers};
use crate::workload::{Pace, PathShape, Workload};

/// Mix, sessions, pace and paths of each load.
const LOADS: [(&str, usize, Pace, PathShape); 5] = [
    ("get", 16, Pace::Outstanding(16), PathShape::Short),
    ("set", 16, Pace::Outstanding(16), PathShape::Short),
    ("50/50", 16, Pace::Outstanding(4), PathShape::Deep),
    ("get=4,exists=4,set=4,create=4,delete=4,sync=1", 8, Pace::Outstanding(4), PathShape::Deep),
    ("90/10", 8, Pace::PerSecond(1_000), PathShape::Short),
];

/// Runs `binary` in `directory` and all loads against it; prints their outcomes.
///
/// # Errors
/// When the server does not start, or any request was not answered as it should be.
pub fn run(binary: &Path, directory: &Path) -> Result<()> {
    let kind = Kind::Ours(binary.to_owned());
    let servers = Servers::start(&kind, 1, directory, None)?;
    let target =
        Target { servers: servers.addresses(), processes: servers.processes(), read_back: true };
    let mut failures = Vec::new();
    for (mix, sessions, pace, paths) in LOADS {
        let outcome = load::run(
            &Workload {
                mix: mix.parse()?,
                sessions,
                pace,
                value_bytes: 100,
                keys: 1_000,
                paths,
                warm_up: Duration::from_millis(100),
                measured: Duration::from_millis(500),
            },
            &target,
        )?;
        println!("{outcome}\n");
        failures.extend(outcome.failure().map(|failure| format!("{mix}: {failure}")));
    }
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}
