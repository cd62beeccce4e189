//! The tables of `docs/benchmarks.md`.

use std::fmt::Write as _;

use super::summary::Summary;
use super::{Results, RowResult};

/// The whole page.
#[must_use]
pub fn page(results: &Results) -> String {
    let mut page = String::new();
    page.push_str("# Benchmarks\n\n");
    page.push_str(&introduction(results));
    if !results.one.is_empty() {
        page.push_str("\n## One server\n\nThe server has one processor for itself, the load generator another.\n\n");
        page.push_str(&table(&results.one));
    }
    if !results.three.is_empty() {
        page.push_str("\n## Three servers\n\nThree servers and the load generator share all processors; sessions are spread over the servers. \
             CPU time is that of the three together.\n\n");
        page.push_str(&table(&results.three));
    }
    page.push_str(&notes(results));
    page
}

fn introduction(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "zab {} and Apache ZooKeeper {} side by side, written by `make bench`.\n\
         \n\
         - Machine: {} × {}, {} MiB of memory, Linux {}, {}. Figures of another machine differ; ratios less so.\n\
         - Java: {}, G1, a heap of 1 GiB for one server and of 512 MiB each for three; {} s of load before the first run of a group of rows.\n\
         - Both sync every write to the same disk before it is acknowledged. Values have 100 bytes; 10 000 znodes are read and set.\n\
         - *Sessions × outstanding*: 64×16 means 64 connections with 16 requests in flight on each. A row with an offered rate sends at fixed times, \
         and its latency counts from the time at which a request should have been sent.\n\
         - Figures are the medians of {} runs of {} s; the contenders take turns. In brackets: the slowest and the fastest run.\n\
         - CPU is the time of the server processes, user and system, for one operation: the figure that noise moves least.\n",
        machine.ours,
        machine.zookeeper,
        machine.processors,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        machine.disk,
        machine.java,
        results.java_warm_up_seconds,
        results.rounds,
        results.seconds,
    )
}

fn table(rows: &[RowResult]) -> String {
    let mut text = String::from(
        "| load | zab ops/s | Java ops/s | ratio | zab p50 / p99 / p99.9 | Java p50 / p99 / p99.9 | zab CPU/op | Java CPU/op | ratio |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let (ours, java) = (ours(row), best_java(row));
        let ratio = |of: fn(&Summary) -> f64, better: fn(f64, f64) -> f64| match (ours, java) {
            (Some(ours), Some((_, java))) => times(better(of(&ours), of(&java))),
            _ => "–".to_owned(),
        };
        let rates = if row.measures_rate {
            ratio(|it| it.rate, |ours, java| ours / java)
        } else {
            "–".to_owned()
        };
        let java_summary = java.map(|(_, summary)| summary);
        let tuned = java.is_some_and(|(name, _)| name == "Java tuned");
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {}{} | {rates} | {} | {} | {} | {} | {} |",
            row.name,
            rate(ours),
            rate(java_summary),
            if tuned { " tuned" } else { "" },
            latencies(ours),
            latencies(java_summary),
            cpu(ours),
            cpu(java_summary),
            ratio(|it| it.cpu_us, |ours, java| java / ours),
        );
    }
    text
}

fn notes(results: &Results) -> String {
    let cells: Vec<_> = results
        .one
        .iter()
        .chain(&results.three)
        .flat_map(|row| row.cells.iter().map(move |cell| (&row.name, cell)))
        .collect();
    let summaries: Vec<_> = cells.iter().filter_map(|(_, cell)| Summary::of(cell)).collect();
    let read_back: u64 = summaries.iter().map(|summary| summary.read_back).sum();
    let mut text = format!(
        "\nAfter each run with writes a sample of the acknowledged ones is read back from every server: {read_back} in all{}.\n",
        if results.has_failure() { "" } else { ", none missing or different" }
    );
    if cells.iter().any(|(_, cell)| cell.contender == "Java tuned") {
        text.push_str(
            "\nJava with three servers is the better of its defaults and of `commitProcessor.maxReadBatchSize=200`, \
             `commitProcessor.maxCommitBatchSize=200`, `digest.enabled=false` (*tuned*).\n",
        );
    }
    if summaries.iter().any(|summary| summary.generator_bound) {
        text.push_str("\n`>` The load generator used up its processor: the server can do more.\n");
    }
    if summaries.iter().any(|summary| summary.disturbed) {
        text.push_str(
            "\n`~` The machine was disturbed in a run (its host took more than 5 % of it, or other processes more than 10 %) \
             and was so to the last repetition of it.\n",
        );
    }
    for (row, cell) in cells {
        if let Some(failure) = &cell.failure {
            let _ = write!(text, "\n**{row}, {}: failed.** {failure}\n", cell.contender);
        }
    }
    text
}

fn ours(row: &RowResult) -> Option<Summary> {
    let cell = row.cells.iter().find(|cell| cell.contender == "zab")?;
    Summary::of(cell)
}

fn best_java(row: &RowResult) -> Option<(&str, Summary)> {
    row.cells
        .iter()
        .filter(|cell| cell.contender != "zab")
        .filter_map(|cell| Some((cell.contender.as_str(), Summary::of(cell)?)))
        .max_by(|(_, one), (_, other)| one.rate.total_cmp(&other.rate))
}

fn rate(summary: Option<Summary>) -> String {
    let Some(summary) = summary else {
        return "–".to_owned();
    };
    let mark = match (summary.generator_bound, summary.disturbed) {
        (true, true) => ">~",
        (true, false) => ">",
        (false, true) => "~",
        (false, false) => "",
    };
    let (low, high) = summary.rates;
    let [rate, low, high] = [summary.rate, low, high].map(thousands);
    format!("{mark}{rate} ({low}–{high})")
}

fn latencies(summary: Option<Summary>) -> String {
    let Some(it) = summary else {
        return "–".to_owned();
    };
    [it.p50_us, it.p99_us, it.p999_us].map(duration).join(" / ")
}

fn cpu(summary: Option<Summary>) -> String {
    summary.map_or_else(|| "–".to_owned(), |it| format!("{:.2} µs", it.cpu_us))
}

fn times(ratio: f64) -> String {
    let digits = if ratio < 9.95 { 1 } else { 0 };
    format!("**{ratio:.digits$}×**")
}

fn thousands(rate: f64) -> String {
    if rate < 9_950.0 {
        format!("{:.2} k", rate / 1e3)
    } else if rate < 99_500.0 {
        format!("{:.1} k", rate / 1e3)
    } else {
        format!("{:.0} k", rate / 1e3)
    }
}

fn duration(us: f64) -> String {
    if us < 999.5 {
        format!("{us:.0} µs")
    } else if us < 9_995.0 {
        format!("{:.2} ms", us / 1e3)
    } else {
        format!("{:.1} ms", us / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use super::*;
    use crate::compare::machine::Machine;
    use crate::compare::{Cell, Run};
    use crate::cpu::CpuUse;
    use crate::latency::LatencySummary;
    use crate::prepare::Verification;
    use crate::report::{Load, Outcome};
    use crate::workload::PathShape;

    fn run(rate: f64, p50_us: f64, cpu_us: f64) -> Run {
        Run {
            outcome: Outcome {
                load: Load {
                    mix: "set".to_owned(),
                    sessions: 64,
                    outstanding: Some(16),
                    offered_per_second: None,
                    value_bytes: 100,
                    keys: 10,
                    paths: PathShape::Short,
                },
                seconds: 1.0,
                operations: rate as u64,
                rate,
                latency: LatencySummary {
                    p50_us,
                    p99_us: p50_us * 2.0,
                    p999_us: p50_us * 10.0,
                    ..LatencySummary::default()
                },
                kinds: Vec::new(),
                errors: BTreeMap::new(),
                lost_sessions: 0,
                unanswered: 0,
                cpu: CpuUse::default(),
                server_us_per_operation: cpu_us,
                generator_us_per_operation: 0.5,
                verification: Some(Verification { checked: 100, ..Verification::default() }),
            },
            disturbed: false,
        }
    }

    fn cell(contender: &str, runs: Vec<Run>) -> Cell {
        Cell { contender: contender.to_owned(), runs, failure: None }
    }

    #[test]
    fn a_row_shows_medians_the_better_java_and_what_failed() {
        let mut disturbed = run(500_000.0, 600.0, 1.5);
        disturbed.disturbed = true;
        disturbed.outcome.cpu.generator_ns = 990_000_000;
        let ours = vec![disturbed, run(400_000.0, 700.0, 2.0), run(450_000.0, 650.0, 1.75)];
        let results = Results {
            machine: Machine::default(),
            rounds: 3,
            seconds: 1.0,
            java_warm_up_seconds: 20.0,
            one: vec![RowResult {
                name: "set 64×16".to_owned(),
                measures_rate: true,
                cells: vec![
                    cell("zab", ours),
                    cell("Java", vec![run(40_000.0, 20_000.0, 21.0)]),
                    cell("Java tuned", vec![run(45_000.0, 18_000.0, 20.0)]),
                ],
            }],
            three: vec![RowResult {
                name: "read 48×16".to_owned(),
                measures_rate: true,
                cells: vec![
                    Cell {
                        failure: Some("3 connections were lost".to_owned()),
                        ..cell("zab", Vec::new())
                    },
                    cell("Java", vec![run(60_000.0, 900.0, 29.0), run(62_000.0, 940.0, 30.0)]),
                ],
            }],
        };
        let page = page(&results);
        let (_, tables) = page.split_once("## One server").unwrap();
        expect![[r#"


            The server has one processor for itself, the load generator another.

            | load | zab ops/s | Java ops/s | ratio | zab p50 / p99 / p99.9 | Java p50 / p99 / p99.9 | zab CPU/op | Java CPU/op | ratio |
            |---|---|---|---|---|---|---|---|---|
            | set 64×16 | >~450 k (400 k–500 k) | 45.0 k (45.0 k–45.0 k) tuned | **10×** | 650 µs / 1.30 ms / 6.50 ms | 18.0 ms / 36.0 ms / 180.0 ms | 1.75 µs | 20.00 µs | **11×** |

            ## Three servers

            Three servers and the load generator share all processors; sessions are spread over the servers. CPU time is that of the three together.

            | load | zab ops/s | Java ops/s | ratio | zab p50 / p99 / p99.9 | Java p50 / p99 / p99.9 | zab CPU/op | Java CPU/op | ratio |
            |---|---|---|---|---|---|---|---|---|
            | read 48×16 | – | 61.0 k (60.0 k–62.0 k) | – | – | 920 µs / 1.84 ms / 9.20 ms | – | 29.50 µs | – |

            After each run with writes a sample of the acknowledged ones is read back from every server: 700 in all.

            Java with three servers is the better of its defaults and of `commitProcessor.maxReadBatchSize=200`, `commitProcessor.maxCommitBatchSize=200`, `digest.enabled=false` (*tuned*).

            `>` The load generator used up its processor: the server can do more.

            `~` The machine was disturbed in a run (its host took more than 5 % of it, or other processes more than 10 %) and was so to the last repetition of it.

            **read 48×16, zab: failed.** 3 connections were lost
        "#]]
        .assert_eq(tables);
    }
}
