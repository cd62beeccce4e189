//! Seeds: whole ensembles stay correct and recover, whatever breaks.
//!
//! `SIM_SEEDS=n` runs another number of them, `SIM_FROM=n` others.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sim::{Options, Summary, Violation};

/// Seeds in a run of the tests.
const SEEDS: u64 = 1000;

/// Seeds that have failed, each with what they found.
const FOUND: [(u64, &str); 20] = [
    (21, "unsynced data of a killed process was built on, and lost to a power cut"),
    (
        36,
        "the answer to a sync overtook the commit behind it, and reads saw a later write of their session",
    ),
    (38, "unsynced data of a killed process was built on, and lost to a power cut"),
    (40, "reads saw a later write of their own session"),
    (281, "unsynced data of a killed process was built on, and lost to a power cut"),
    (286, "unsynced data of a killed process was built on, and lost to a power cut"),
    (352, "the recovered history jumped over a gap that its length limit had made"),
    (355, "unsynced data of a killed process was built on, and lost to a power cut"),
    (448, "the recovered history jumped over a gap that its length limit had made"),
    (567, "a server that had adopted a history had no vote, since its leader was gone by then"),
    (755, "the recovered history jumped over a gap that its length limit had made"),
    (1130, "a server that had adopted a history had no vote, since its leader was gone by then"),
    (
        1350,
        "events for a client that comes back: one for each of its lists (the checker was wrong)",
    ),
    (1708, "the recovered history jumped over a gap that its length limit had made"),
    (1763, "a server that had adopted a history had no vote, since its leader was gone by then"),
    (1825, "the recovered history jumped over a gap that its length limit had made"),
    (
        3212,
        "servers that were trusted again in the middle of an election kept a vote that nobody counts",
    ),
    (
        1692,
        "a learner whose history begins with a snapshot was told to cut what the snapshot holds",
    ),
    (
        3633,
        "servers that were trusted again in the middle of an election kept a vote that nobody counts",
    ),
    (
        6419,
        "a learner whose history begins with a snapshot was told to cut what the snapshot holds",
    ),
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn explain(seed: u64, violation: &Violation) -> String {
    format!("seed {seed}: {violation}\n  replay: make sim SEED={seed}")
}

/// Runs seeds on two threads.
fn run_all(from: u64, count: u64) -> (Vec<String>, Summary) {
    let next = AtomicU64::new(from);
    let work = || {
        let (mut failures, mut sum) = (Vec::new(), Summary::default());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                return (failures, sum);
            }
            match sim::run(seed, Options::default()) {
                Ok(summary) => {
                    sum.steps += summary.steps;
                    sum.virtual_us += summary.virtual_us;
                    sum.committed += summary.committed;
                    sum.faults += summary.faults;
                    sum.answers += summary.answers;
                }
                Err(violation) => failures.push(explain(seed, &violation)),
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let (mut failures, mut sum) = work();
        let (more, others) = other.join().unwrap();
        failures.extend(more);
        sum.steps += others.steps;
        sum.virtual_us += others.virtual_us;
        sum.committed += others.committed;
        sum.faults += others.faults;
        sum.answers += others.answers;
        (failures, sum)
    })
}

#[test]
fn ensembles_stay_correct_and_recover_whatever_breaks() {
    let (from, count) = (number("SIM_FROM", 0), number("SIM_SEEDS", SEEDS));
    let start = Instant::now();
    let (failures, sum) = run_all(from, count);
    let (took, virtual_s) = (start.elapsed().as_secs_f64(), sum.virtual_us as f64 / 1e6);
    println!(
        "{count} seeds in {took:.1} s: {} steps ({:.0} per second), {} faults, {} transactions, {} answers, \
         {virtual_s:.0} s of virtual time ({:.0} times real)",
        sum.steps,
        sum.steps as f64 / took,
        sum.faults,
        sum.committed,
        sum.answers,
        virtual_s / took,
    );
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(sum.faults > 0 && sum.committed > count, "the seeds must leave room for progress");
}

#[test]
fn every_seed_that_ever_failed_stays_fixed() {
    for (seed, found) in FOUND {
        if let Err(violation) = sim::run(seed, Options::default()) {
            panic!("{}\n  it once found: {found}", explain(seed, &violation));
        }
    }
}

#[test]
fn a_seed_is_the_same_world_every_time() {
    for seed in 0..10 {
        let first = sim::run(seed, Options::default());
        assert_eq!(first, sim::run(seed, Options::default()), "seed {seed}");
    }
}
