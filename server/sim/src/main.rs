//! `zab-sim`: runs seeds and says which fail, or one with its trace.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sim::{Options, Show};

/// Simulates ensembles from seeds and checks that nothing acknowledged is lost, whatever breaks.
#[derive(Debug, Parser)]
#[command(name = "zab-sim", version)]
struct Arguments {
    /// Run this seed alone and print what happens, one line per event.
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    runs: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => run_one(seed),
        None => run_many(&arguments),
    }
}

fn run_one(seed: u64) -> ExitCode {
    let start = Instant::now();
    match sim::run(seed, Options { show: Show::Lines, ..Options::default() }) {
        Ok(summary) => {
            println!("seed {seed} is fine: {summary:?}");
            println!("{:.1} s", start.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn run_many(arguments: &Arguments) -> ExitCode {
    // A panic in the production code is a finding like any other: told in one line. Unless it ends the process.
    if cfg!(panic = "unwind") {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let start = Instant::now();
    let (mut failed, mut steps, mut virtual_us, mut committed) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut slowest, mut recovery_us_max) = ((0.0, 0), (0, 0));
    for seed in arguments.from..arguments.from + arguments.runs {
        let begun = Instant::now();
        match sim::run(seed, Options::default()) {
            Ok(summary) => {
                steps += summary.steps;
                virtual_us += summary.virtual_us;
                committed += summary.committed;
                recovery_us_max = recovery_us_max.max((summary.recovery_us, seed));
            }
            Err(violation) => {
                failed += 1;
                println!("seed {seed}: {violation}\n  replay: make sim SEED={seed}");
                if !arguments.keep_going {
                    break;
                }
            }
        }
        let took = begun.elapsed().as_secs_f64();
        if took > slowest.0 {
            slowest = (took, seed);
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "{failed} failed; {steps} steps ({:.0} per second), {committed} transactions, {:.0} s of virtual time \
         ({:.0} times real), in {took:.1} s",
        steps as f64 / took,
        virtual_us as f64 / 1e6,
        virtual_us as f64 / 1e6 / took,
    );
    println!(
        "slowest seed {} ({:.1} s); slowest recovery {:.1} s (seed {})",
        slowest.1,
        slowest.0,
        recovery_us_max.0 as f64 / 1e6,
        recovery_us_max.1,
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
