//! What a run has shown, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::cpu::CpuUse;
use crate::latency::LatencySummary;
use crate::plain_client::error_name;
use crate::prepare::Verification;
use crate::workload::{Operation, Pace, PathShape, Workload};

/// The outcome of one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What was asked.
    pub load: Load,
    /// Length of the measured part, in seconds.
    pub seconds: f64,
    /// Replies without an error in the measured part.
    pub operations: u64,
    /// Operations a second.
    pub rate: f64,
    /// Latencies of all operations.
    pub latency: LatencySummary,
    /// Operations and latencies of each kind.
    pub kinds: Vec<Kind>,
    /// Replies with an error, warm-up included, by the error's number.
    pub errors: BTreeMap<i32, u64>,
    /// Sessions whose connection ended before the run did.
    pub lost_sessions: u64,
    /// Requests that were never answered.
    pub unanswered: u64,
    /// CPU time of the measured part.
    pub cpu: CpuUse,
    /// CPU time of the servers for one operation, in µs; 0 when their processes are not known.
    pub server_us_per_operation: f64,
    /// CPU time of the generator for one operation, in µs.
    pub generator_us_per_operation: f64,
    /// What reading back has shown, when it was asked for.
    pub verification: Option<Verification>,
}

/// The workload as reported.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Operations and their shares.
    pub mix: String,
    /// Sessions over all servers.
    pub sessions: usize,
    /// Requests in flight for each session, in a closed loop.
    pub outstanding: Option<usize>,
    /// Requests offered a second, in an open loop.
    pub offered_per_second: Option<u32>,
    /// Size of the values, in bytes.
    pub value_bytes: usize,
    /// Number of znodes.
    pub keys: u32,
    /// The form of their paths.
    pub paths: PathShape,
}

impl From<&Workload> for Load {
    fn from(workload: &Workload) -> Self {
        let (outstanding, offered_per_second) = match workload.pace {
            Pace::Outstanding(count) => (Some(count), None),
            Pace::PerSecond(rate) => (None, Some(rate)),
        };
        Self {
            mix: workload.mix.to_string(),
            sessions: workload.sessions,
            outstanding,
            offered_per_second,
            value_bytes: workload.value_bytes,
            keys: workload.keys,
            paths: workload.paths,
        }
    }
}

/// One kind of operation in an outcome.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// Which.
    pub operation: Operation,
    /// Replies without an error.
    pub operations: u64,
    /// Their latencies.
    pub latency: LatencySummary,
}

impl Outcome {
    /// What makes the figures untrue, in words; `None` when every request was answered as it
    /// should be.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let mut causes: Vec<String> = self
            .errors
            .iter()
            .map(|(&err, count)| format!("{count} × {}", error_name(err)))
            .collect();
        if self.lost_sessions > 0 {
            causes.push(format!("{} connections were lost", self.lost_sessions));
        }
        if self.unanswered > 0 {
            causes.push(format!("{} requests were not answered", self.unanswered));
        }
        if self.operations == 0 {
            causes.push("no operation was completed".to_owned());
        }
        if let Some(verification) = self.verification.as_ref().filter(|found| found.wrong > 0) {
            causes.push(format!(
                "{} of {} acknowledged writes are not there as acknowledged ({})",
                verification.wrong,
                verification.checked,
                verification.examples.join("; ")
            ));
        }
        (!causes.is_empty()).then(|| causes.join(", "))
    }

    /// Share of one processor that the generator used: near 1, it is the generator that was
    /// measured, not the server.
    #[must_use]
    pub fn generator_share(&self) -> f64 {
        self.cpu.generator_ns as f64 / (self.seconds * 1e9)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = &self.load;
        let pace = match (load.outstanding, load.offered_per_second) {
            (Some(count), _) => format!(" × {count} outstanding"),
            (None, Some(rate)) => format!(", {rate}/s offered"),
            (None, None) => String::new(),
        };
        writeln!(
            f,
            "{}: {} sessions{pace}, {}-byte values, {} keys",
            load.mix, load.sessions, load.value_bytes, load.keys
        )?;
        writeln!(
            f,
            "  {:<10} {:>12} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "", "operations", "per second", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "max µs"
        )?;
        let mut line = |name: &str, operations: u64, latency: &LatencySummary| {
            let mut text =
                format!("  {name:<10} {operations:>12} {:>12.0}", operations as f64 / self.seconds);
            for us in
                [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us]
            {
                // Writing to a string cannot fail.
                let _ = write!(text, " {us:>10.0}");
            }
            writeln!(f, "{text}")
        };
        if self.kinds.len() > 1 {
            for kind in &self.kinds {
                line(kind.operation.name(), kind.operations, &kind.latency)?;
            }
        }
        line("all", self.operations, &self.latency)?;
        writeln!(
            f,
            "  CPU: server {:.2} µs/op, generator {:.2} µs/op ({:.0} % of a processor); \
             steal {:.1} %, others {:.1} % of the machine",
            self.server_us_per_operation,
            self.generator_us_per_operation,
            self.generator_share() * 100.0,
            self.cpu.steal * 100.0,
            self.cpu.foreign * 100.0,
        )?;
        if let Some(verification) = &self.verification {
            writeln!(
                f,
                "  read back: {} acknowledged writes, {} wrong",
                verification.checked, verification.wrong
            )?;
        }
        match self.failure() {
            Some(failure) => write!(f, "  FAILED: {failure}"),
            None => write!(f, "  every request was answered, in order, without an error"),
        }
    }
}
