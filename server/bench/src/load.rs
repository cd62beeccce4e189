//! The load itself: one thread, one epoll loop, all sessions.

mod chooser;
mod tally;

mod driver;

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::prepare;
use crate::report::Outcome;
use crate::requests::Requests;
use crate::workload::Workload;
use driver::Driver;

/// Who is asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// The servers; sessions are spread over them.
    pub servers: Vec<SocketAddr>,
    /// Their process ids on this machine, as far as known, for their CPU time.
    pub processes: Vec<u32>,
    /// Whether to read acknowledged writes back in the end.
    pub read_back: bool,
}

/// Makes the znodes, runs the load, reads back and tidies up.
///
/// # Errors
/// When the load could not be run or a server broke the protocol. Replies with an error, lost
/// connections and lost writes are no such error: see [`Outcome::failure`].
pub fn run(workload: &Workload, target: &Target) -> Result<Outcome> {
    workload.check()?;
    let first = *target.servers.first().context("no server is named")?;
    let run = run_number();
    let requests = Requests::new(workload, run);
    prepare::make_keys(first, workload, &requests)?;
    prepare::sync(&target.servers)?;

    let mut driver = Driver::connect(workload, &target.servers, &requests)?;
    let window = driver.drive(&target.processes)?;
    driver.close()?;
    let (tally, ledger) = (driver.tally, driver.ledger);

    let servers = &target.servers;
    let verification = if target.read_back {
        let shape = workload.paths;
        Some(prepare::read_back(servers, run, shape, &ledger, &requests)?)
    } else {
        None
    };
    prepare::delete_created(first, run, &ledger)?;
    Ok(Outcome { verification, ..tally.outcome(workload, &window) })
}

/// Tells the created znodes of this run from those of earlier ones.
fn run_number() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    // A number that comes again after seven weeks does.
    (ms & u128::from(u32::MAX)) as u32
}
