//! CPU time from /proc: of the servers, of this thread, and of everybody else on the machine.

use std::fs;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// CPU time of processes and of the machine at one moment; only differences mean something.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTimes {
    servers_ns: u64,
    generator_ns: u64,
    machine: MachineTicks,
}

/// The first line of `/proc/stat`, all processors together, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct MachineTicks {
    busy: u64,
    stolen: u64,
    all: u64,
}

/// What a stretch of time cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuUse {
    /// CPU time of the server processes, all their threads, user and system, in ns.
    pub servers_ns: u64,
    /// CPU time of the thread that makes the load, in ns.
    pub generator_ns: u64,
    /// Share of the machine's time that its host gave to others, 0 to 1.
    pub steal: f64,
    /// Share of the machine's time used by other processes on it, 0 to 1.
    pub foreign: f64,
}

impl CpuTimes {
    /// Reads the clocks; `servers` are process ids. Called by the thread that makes the load.
    pub fn now(servers: &[u32]) -> Result<Self> {
        let tick_ns = tick_ns();
        let mut servers_ns = 0;
        for id in servers {
            let stat = read(&format!("/proc/{id}/stat"))?;
            let ticks = process_ticks(&stat)
                .with_context(|| format!("/proc/{id}/stat: expected 52 fields, found `{stat}`"))?;
            servers_ns += ticks * tick_ns;
        }
        let stat = read("/proc/stat")?;
        let machine = machine_ticks(&stat)
            .with_context(|| format!("/proc/stat: expected a `cpu` line, found `{stat}`"))?;
        let generator = clock_gettime(ClockId::ThreadCPUTime);
        let generator_ns = u64::try_from(
            i128::from(generator.tv_sec) * 1_000_000_000 + i128::from(generator.tv_nsec),
        )
        .context("the thread's CPU clock is negative")?;
        Ok(Self { servers_ns, generator_ns, machine })
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> CpuUse {
        let servers_ns = self.servers_ns.saturating_sub(earlier.servers_ns);
        let generator_ns = self.generator_ns.saturating_sub(earlier.generator_ns);
        let ticks = |of: fn(&MachineTicks) -> u64| of(&self.machine) - of(&earlier.machine);
        let all_ns = (ticks(|ticks| ticks.all) * tick_ns()).max(1) as f64;
        let busy_ns = ticks(|ticks| ticks.busy) * tick_ns();
        let foreign_ns = busy_ns.saturating_sub(servers_ns + generator_ns);
        CpuUse {
            servers_ns,
            generator_ns,
            steal: (ticks(|ticks| ticks.stolen) * tick_ns()) as f64 / all_ns,
            foreign: foreign_ns as f64 / all_ns,
        }
    }
}

/// Lets the calling thread, and what it starts from now on, run on processor `cpu` only.
pub fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on processor {cpu}"))
}

/// The processors the calling thread may run on, in order.
pub fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Lets the calling thread run on all of `cpus`.
pub fn spread_over(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on processors {cpus:?}"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

fn tick_ns() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second()
}

/// utime + stime of a `/proc/<pid>/stat` line. The name in parentheses may hold anything.
fn process_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The `cpu` line: user, nice, system, idle, iowait, irq, softirq, steal.
fn machine_ticks(stat: &str) -> Option<MachineTicks> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let fields: Vec<u64> =
        line.split_ascii_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    let &[user, nice, system, idle, wait, irq, softirq, stolen, ..] = &fields[..] else {
        return None;
    };
    let busy = user + nice + system;
    Some(MachineTicks { busy, stolen, all: busy + idle + wait + irq + softirq + stolen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticks_of_a_process_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 14 0 5";
        assert_eq!(process_ticks(stat), Some(200));
        assert_eq!(process_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn the_machines_time_is_told_apart() {
        let stat = "cpu  100 20 30 400 50 6 7 80 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        let expected = MachineTicks { busy: 150, stolen: 80, all: 693 };
        assert_eq!(machine_ticks(stat), Some(expected));
        assert_eq!(machine_ticks("cpu  1 2 3\n"), None);
    }

    #[test]
    fn work_of_this_thread_is_the_generators_and_not_foreign() {
        let before = CpuTimes::now(&[]).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(50);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        let used = CpuTimes::now(&[std::process::id()]).unwrap().since(&before);
        assert!(used.generator_ns > 1_000_000, "{used:?}");
        assert!(used.steal <= 1.0 && used.foreign <= 1.0, "{used:?}");
    }
}
