//! Ours and Apache ZooKeeper side by side: the same loads in turns, on the same machine and disk.
//!
//! One server has the first processor for itself and the generator the last one; an ensemble of
//! three shares all processors with the generator. All contenders of a table run at the same
//! time, but only one is under load. A run in which the machine was disturbed is repeated.

pub mod machine;
pub mod plan;
pub mod summary;

pub mod markdown;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cpu;
use crate::load::{self, Target};
use crate::process::{Kind, Servers};
use crate::report::Outcome;
use machine::Machine;
use plan::{Group, Row};

/// A run is disturbed when the host took more than this share of the machine …
const STEAL_LIMIT: f64 = 0.05;

/// … or other processes on it did.
const FOREIGN_LIMIT: f64 = 0.10;

/// Between two runs: what the last one left behind, such as a snapshot, ends or shows.
const PAUSE: Duration = Duration::from_millis(500);

/// What to compare, and how long.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The contenders for one server.
    pub one: Vec<Kind>,
    /// The contenders for three servers.
    pub three: Vec<Kind>,
    /// Runs of each row and contender.
    pub rounds: usize,
    /// The measured part of each run.
    pub measured: Duration,
    /// Load on a server in Java before the first run of each group of rows.
    pub java_warm_up: Duration,
    /// How often a disturbed run is repeated.
    pub repeats: usize,
    /// Only rows whose name contains this.
    pub only: Option<String>,
    /// Where the servers keep their data.
    pub directory: PathBuf,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// Runs of each row and contender.
    pub rounds: usize,
    /// The measured part of each run, in seconds.
    pub seconds: f64,
    /// Load on a server in Java before the first run of each group of rows, in seconds.
    pub java_warm_up_seconds: f64,
    /// The rows of one server.
    pub one: Vec<RowResult>,
    /// The rows of three servers.
    pub three: Vec<RowResult>,
}

/// A row with what each contender did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowResult {
    /// As in the table.
    pub name: String,
    /// False when the rate was given.
    pub measures_rate: bool,
    /// In the order of the contenders.
    pub cells: Vec<Cell>,
}

/// The runs of one contender in one row.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// The contender's name.
    pub contender: String,
    /// Its runs.
    pub runs: Vec<Run>,
    /// Why there are no more runs.
    pub failure: Option<String>,
}

/// One run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// What it showed.
    pub outcome: Outcome,
    /// True when the machine was disturbed to the last repetition.
    pub disturbed: bool,
}

impl Results {
    /// True when a row of any contender failed.
    #[must_use]
    pub fn has_failure(&self) -> bool {
        let cells = self.one.iter().chain(&self.three).flat_map(|row| &row.cells);
        cells.into_iter().any(|cell| cell.failure.is_some())
    }
}

impl Comparison {
    /// Runs everything; progress goes to standard error.
    pub fn run(&self) -> Result<Results> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        let cpus = cpu::allowed()?;
        let first = cpus.first().copied();
        let last = *cpus.last().context("there is a processor")?;
        let one = self.selected(plan::one_server());
        let three = self.selected(plan::three_servers());

        cpu::pin_to(last)?;
        let one = self.table("one server", &self.one, 1, first, &one);
        cpu::spread_over(&cpus)?;
        let three = self.table("three servers", &self.three, 3, None, &three);
        Ok(Results {
            machine: Machine::look(&self.directory)?,
            rounds: self.rounds,
            seconds: self.measured.as_secs_f64(),
            java_warm_up_seconds: self.java_warm_up.as_secs_f64(),
            one: one?,
            three: three?,
        })
    }

    fn selected(&self, groups: Vec<Group>) -> Vec<Group> {
        let wanted = |row: &Row| self.only.as_ref().is_none_or(|only| row.name.contains(only));
        groups
            .into_iter()
            .map(|group| Group { rows: group.rows.into_iter().filter(wanted).collect() })
            .filter(|group| !group.rows.is_empty())
            .collect()
    }

    fn table(
        &self,
        title: &str,
        kinds: &[Kind],
        count: u8,
        cpu: Option<usize>,
        groups: &[Group],
    ) -> Result<Vec<RowResult>> {
        let mut results = Vec::new();
        if kinds.is_empty() || groups.is_empty() {
            return Ok(results);
        }
        let mut contenders = Vec::new();
        for kind in kinds {
            eprintln!("{title}: starting {}", kind.name());
            let folder = format!("{count}-{}", kind.name().replace(' ', "-").to_lowercase());
            let servers = Servers::start(kind, count, &self.directory.join(folder), cpu);
            if let Err(error) = &servers {
                eprintln!("{title}: {} does not run: {error:#}", kind.name());
            }
            contenders.push(Contender {
                kind,
                servers: servers.map_err(|error| format!("does not run: {error:#}")),
            });
        }
        for group in groups {
            for contender in contenders.iter().filter(|one| one.kind.needs_warm_up()) {
                eprintln!("{title}: warming {} up", contender.kind.name());
                // A failure shows again when it is measured.
                let _ = contender.run(&group.rows[0], self.java_warm_up);
            }
            for row in &group.rows {
                results.push(self.row(title, row, &contenders));
            }
        }
        Ok(results)
    }

    /// All rounds of one row, the contenders in turns.
    fn row(&self, title: &str, row: &Row, contenders: &[Contender<'_>]) -> RowResult {
        let mut cells: Vec<_> = contenders.iter().map(Contender::cell).collect();
        for round in 1..=self.rounds {
            for (contender, cell) in contenders.iter().zip(&mut cells) {
                if cell.failure.is_some() {
                    continue;
                }
                let run = contender.run_undisturbed(row, self.measured, self.repeats);
                let shown = match &run {
                    Ok(run) => summary::one_line(run),
                    Err(failure) => format!("failed: {failure}"),
                };
                eprintln!(
                    "{title}: {} round {round}/{} {:<10} {shown}",
                    row.name, self.rounds, cell.contender
                );
                match run {
                    Ok(run) => cell.runs.push(run),
                    Err(failure) => cell.failure = Some(failure),
                }
            }
        }
        RowResult { name: row.name.clone(), measures_rate: row.measures_rate(), cells }
    }
}

struct Contender<'a> {
    kind: &'a Kind,
    servers: Result<Servers, String>,
}

impl Contender<'_> {
    fn cell(&self) -> Cell {
        Cell {
            contender: self.kind.name().to_owned(),
            runs: Vec::new(),
            failure: self.servers.as_ref().err().cloned(),
        }
    }

    fn run(&self, row: &Row, measured: Duration) -> Result<Outcome, String> {
        let servers = self.servers.as_ref().map_err(Clone::clone)?;
        let target = Target {
            servers: servers.addresses(),
            processes: servers.processes(),
            read_back: true,
        };
        let outcome = load::run(&row.workload(measured), &target);
        let outcome = outcome.map_err(|error| format!("{error:#}"))?;
        match outcome.failure() {
            Some(failure) => Err(failure),
            None => Ok(outcome),
        }
    }

    fn run_undisturbed(
        &self,
        row: &Row,
        measured: Duration,
        mut repeats: usize,
    ) -> Result<Run, String> {
        loop {
            thread::sleep(PAUSE);
            let outcome = self.run(row, measured)?;
            let disturbed = outcome.cpu.steal > STEAL_LIMIT || outcome.cpu.foreign > FOREIGN_LIMIT;
            if !disturbed || repeats == 0 {
                return Ok(Run { outcome, disturbed });
            }
            repeats -= 1;
            eprintln!("  disturbed, again: {}", summary::cpu_line(&outcome.cpu));
        }
    }
}
