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
        "\nAfter each run with writes a sample of the acknowledged ones is read back from every server: {read_back} in all, none missing or different.\n"
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
             and was so again when the run was repeated.\n",
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
