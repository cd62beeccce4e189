//! Several runs as one figure each.

use super::{Cell, Run};
use crate::cpu::CpuUse;

/// From this share of a processor on, the generator may have been the bottleneck.
const GENERATOR_LIMIT: f64 = 0.95;

/// The medians of a cell's runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Operations a second.
    pub rate: f64,
    /// The slowest and the fastest run, in operations a second.
    pub rates: (f64, f64),
    /// Median latency, in µs.
    pub p50_us: f64,
    /// 99th percentile of latency, in µs.
    pub p99_us: f64,
    /// 99.9th percentile of latency, in µs.
    pub p999_us: f64,
    /// CPU time of all servers for one operation, in µs.
    pub cpu_us: f64,
    /// Acknowledged writes read back, all runs together.
    pub read_back: u64,
    /// True when any run was disturbed.
    pub disturbed: bool,
    /// True when the generator was near its own bound in any run.
    pub generator_bound: bool,
}

impl Summary {
    /// `None` when the cell failed or has no run.
    #[must_use]
    pub fn of(cell: &Cell) -> Option<Self> {
        if cell.failure.is_some() || cell.runs.is_empty() {
            return None;
        }
        let runs = &cell.runs;
        let sorted = |of: fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median = |of| {
            let values = sorted(of);
            let middle = values.len() / 2;
            if values.len() % 2 == 1 {
                values[middle]
            } else {
                f64::midpoint(values[middle - 1], values[middle])
            }
        };
        let rates = sorted(|run| run.outcome.rate);
        let checked = |run: &Run| run.outcome.verification.as_ref().map_or(0, |it| it.checked);
        Some(Self {
            rate: median(|run| run.outcome.rate),
            rates: (rates[0], rates[rates.len() - 1]),
            p50_us: median(|run| run.outcome.latency.p50_us),
            p99_us: median(|run| run.outcome.latency.p99_us),
            p999_us: median(|run| run.outcome.latency.p999_us),
            cpu_us: median(|run| run.outcome.server_us_per_operation),
            read_back: runs.iter().map(checked).sum(),
            disturbed: runs.iter().any(|run| run.disturbed),
            generator_bound: runs
                .iter()
                .any(|run| run.outcome.generator_share() >= GENERATOR_LIMIT),
        })
    }
}

/// One run for the log of a comparison.
#[must_use]
pub fn one_line(run: &Run) -> String {
    let outcome = &run.outcome;
    format!(
        "{:>9.0}/s p50 {:>7.0} µs p99 {:>7.0} µs, server {:>6.2} µs/op, {}{}",
        outcome.rate,
        outcome.latency.p50_us,
        outcome.latency.p99_us,
        outcome.server_us_per_operation,
        cpu_line(&outcome.cpu),
        if run.disturbed { " DISTURBED" } else { "" },
    )
}

/// What disturbed a run.
#[must_use]
pub fn cpu_line(cpu: &CpuUse) -> String {
    format!("steal {:.1} %, others {:.1} %", cpu.steal * 100.0, cpu.foreign * 100.0)
}
