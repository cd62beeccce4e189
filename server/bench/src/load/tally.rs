//! Counts and latencies of a run.

use std::collections::BTreeMap;

use crate::cpu::CpuUse;
use crate::latency::Latencies;
use crate::report::{Kind, Load, Outcome};
use crate::workload::{Operation, Workload};

/// The measured part.
pub(super) struct Window {
    pub(super) seconds: f64,
    pub(super) cpu: CpuUse,
}

/// Counts and latencies.
#[derive(Default)]
pub(super) struct Tally {
    kinds: [Latencies; Operation::ALL.len()],
    errors: BTreeMap<i32, u64>,
    pub(super) lost_sessions: u64,
    pub(super) unanswered: u64,
}

impl Tally {
    pub(super) fn count(&mut self, operation: Operation, err: i32, latency_ns: Option<u64>) {
        if err != 0 {
            *self.errors.entry(err).or_default() += 1;
        } else if let Some(latency_ns) = latency_ns {
            self.kinds[operation as usize].record(latency_ns);
        }
    }

    pub(super) fn outcome(self, workload: &Workload, window: &Window) -> Outcome {
        let mut all = Latencies::default();
        let mut kinds = Vec::new();
        for operation in Operation::ALL {
            let latencies = &self.kinds[operation as usize];
            if latencies.count() > 0 {
                all.add(latencies);
                kinds.push(Kind {
                    operation,
                    operations: latencies.count(),
                    latency: latencies.summary(),
                });
            }
        }
        let operations = all.count();
        let per_operation = |ns: u64| ns as f64 / 1e3 / operations.max(1) as f64;
        Outcome {
            load: Load::from(workload),
            seconds: window.seconds,
            operations,
            rate: operations as f64 / window.seconds,
            latency: all.summary(),
            kinds,
            errors: self.errors,
            lost_sessions: self.lost_sessions,
            unanswered: self.unanswered,
            cpu: window.cpu,
            server_us_per_operation: per_operation(window.cpu.servers_ns),
            generator_us_per_operation: per_operation(window.cpu.generator_ns),
            verification: None,
        }
    }
}
