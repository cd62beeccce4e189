//! The Prometheus page: ZooKeeper's names, so that existing dashboards work, and `zab_*` series the operator acts on.
//!
//! Built anew from a [`ServerStatus`] for every scrape; nothing is counted here. ZooKeeper's names keep no rules of
//! Prometheus: its counters do not end in `_total` and its gauges may end in `_count`. The former are declared as
//! gauges, the latter as untyped, so that `promtool check metrics` has nothing to say and the names stay.

use std::fmt::Write as _;

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary,
};
use zab::{Membership, ServerId};

use crate::admin::four_letter;
use crate::process_stats::ProcessStats;
use crate::status::{Role, ServerStatus, Serving, Timing, build};

/// The media type of [`page`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The page as text.
#[must_use]
pub fn page(status: &ServerStatus, process: &ProcessStats) -> String {
    let mut families = own(status);
    families.extend(replication(status));
    families.extend(process_families(process));
    families.extend(timings(status));
    let mut text = TextEncoder::new()
        .encode_to_string(&families)
        .expect("every family has a name and a metric");
    legacy(status, process, &mut text);
    text
}

/// What this server is and does.
fn own(status: &ServerStatus) -> Vec<MetricFamily> {
    let build =
        vec![("version", build::VERSION.to_owned()), ("revision", build::REVISION.to_owned())];
    let role = vec![("role", status.role.name().to_owned())];
    let transactions = &status.transactions;
    let mut families = vec![
        labelled(
            "zab_build_info",
            "What this binary is; the value is always 1.",
            vec![(build, 1.0)],
        ),
        labelled(
            "zab_role",
            "The role of this server: leader, follower, observer, looking or standalone; the value is always 1.",
            vec![(role, 1.0)],
        ),
        counter("zab_elections_total", "Elections this process took part in.", status.elections),
        counter("zab_transactions_total", "Transactions applied.", transactions.committed),
        counter("zab_proposals_total", "Transactions proposed as leader.", transactions.proposed),
        counter("zab_log_bytes_total", "Bytes appended to the log.", status.storage.log_bytes),
        counter(
            "zab_snapshot_failures_total",
            "Snapshots that could not be written; the log then keeps what they would hold.",
            status.storage.snapshot_failures,
        ),
    ];
    families.extend(own_gauges(status).map(|(name, help, value)| gauge(name, help, value)));
    families
}

/// Name, help and value of the gauges without labels.
fn own_gauges(status: &ServerStatus) -> [(&'static str, &'static str, f64); 10] {
    let committed = status.last_committed;
    let serving = status.serving == Serving::Yes;
    let leader = status.leader.map_or(0, |leader| leader.0);
    [
        (
            "zab_server_id",
            "The id of this server (myid), 0 when standalone.",
            status.server.0 as f64,
        ),
        ("zab_leader_id", "The id of the leader this server knows, 0 for none.", leader as f64),
        ("zab_serving", "Whether clients are served: 1 or 0.", f64::from(u8::from(serving))),
        (
            "zab_epoch",
            "The last epoch whose history this server adopted (currentEpoch).",
            status.epochs.current.0.into(),
        ),
        (
            "zab_accepted_epoch",
            "The last epoch this server promised to (acceptedEpoch).",
            status.epochs.accepted.0.into(),
        ),
        (
            "zab_committed_epoch",
            "The epoch of the last applied transaction.",
            committed.epoch().0.into(),
        ),
        // Not `_counter`: promtool reads that as the type of the metric.
        (
            "zab_committed_index",
            "The counter of the last applied transaction within its epoch.",
            committed.counter().into(),
        ),
        (
            "zab_config_version",
            "The version of the configuration in force.",
            status.config_version as f64,
        ),
        (
            "zab_recovery_progress_ratio",
            "How much of snapshot and log has been read since the start, 0 to 1; 1 only when all has.",
            status.recovery_progress,
        ),
        (
            "zab_election_duration_seconds",
            "How long the last election took.",
            status.election_ms as f64 / 1000.0,
        ),
    ]
}

/// On the leader, every voter, whether it is connected or not.
fn replication(status: &ServerStatus) -> Vec<MetricFamily> {
    if status.role != Role::Leader {
        return Vec::new();
    }
    let (mut synced, mut lag) = (Vec::new(), Vec::new());
    for id in &status.voters {
        let label = || vec![("id", id.to_string())];
        let behind = voter_lag(status, *id);
        synced.push((label(), if voter_is_synced(status, *id) { 1.0 } else { 0.0 }));
        lag.extend(behind.map(|behind| (label(), behind as f64)));
    }
    let mut families = vec![labelled(
        "zab_voter_synced",
        "Whether the voter has acked NEWLEADER of this epoch and is connected: 1 or 0.",
        synced,
    )];
    if !lag.is_empty() {
        families.push(labelled(
            "zab_voter_lag_transactions",
            "Transactions the leader has proposed and the voter has not acked; absent while it is not connected.",
            lag,
        ));
    }
    families
}

/// Whether the voter has adopted this epoch; the leader itself has.
pub(crate) fn voter_is_synced(status: &ServerStatus, id: ServerId) -> bool {
    let is_synced = |it: &zab::LearnerStatus| it.id == id && it.synced;
    id == status.server || status.learners.iter().any(is_synced)
}

/// Proposals the voter has not acked; `None` when it is not connected. A voter that is still in an older epoch lacks
/// at least all of this one.
pub(crate) fn voter_lag(status: &ServerStatus, id: ServerId) -> Option<u64> {
    let acked = if id == status.server {
        status.last_durable
    } else {
        let voter = |it: &&zab::LearnerStatus| it.id == id && it.membership == Membership::Voter;
        status.learners.iter().find(voter)?.acked
    };
    let proposed = status.last_logged;
    let known = if acked.epoch() == proposed.epoch() { acked.counter() } else { 0 };
    Some(u64::from(proposed.counter().saturating_sub(known)))
}

/// Durations as histograms, and under the names of ZooKeeper as summaries without quantiles.
fn timings(status: &ServerStatus) -> Vec<MetricFamily> {
    let (storage, latency) = (&status.storage, &status.traffic.latency);
    vec![
        histogram(
            "zab_request_duration_seconds",
            "From the arrival of a client's request to its answer.",
            latency,
        ),
        histogram("zab_fsync_duration_seconds", "Syncs of the log.", &storage.fsync),
        histogram("zab_snapshot_duration_seconds", "Snapshots written.", &storage.snapshot),
        summary("fsynctime", "Milliseconds of the syncs of the log.", &storage.fsync),
        summary("snapshottime", "Milliseconds of the snapshots written.", &storage.snapshot),
    ]
}

/// The usual series of every process.
fn process_families(process: &ProcessStats) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    let mut add = |name, help, value: Option<u64>| {
        families.extend(value.map(|value| gauge(name, help, value as f64)));
    };
    add("process_open_fds", "Open file descriptors.", process.open_files);
    add("process_max_fds", "How many file descriptors may be open.", process.open_files_max);
    add("process_resident_memory_bytes", "Memory in use.", process.resident_bytes);
    families.extend(process.cpu_seconds.map(|seconds| {
        let mut metric = Metric::default();
        metric.set_counter(counted(seconds));
        let help = "Processor time used, user and system.";
        family("process_cpu_seconds_total", help, MetricType::COUNTER, vec![metric])
    }));
    families
}

/// ZooKeeper's plain numbers. The crate cannot write untyped series, so these lines are written here.
fn legacy(status: &ServerStatus, process: &ProcessStats, text: &mut String) {
    let mut line = |name: &str, value: f64| {
        let kind = if name.ends_with("_count") { "untyped" } else { "gauge" };
        write!(
            text,
            "# HELP {name} As in Apache ZooKeeper.\n# TYPE {name} {kind}\n{name} {value}\n"
        )
        .expect("a String takes all");
    };
    for (name, value) in four_letter::counts(status) {
        line(name, value as f64);
    }
    line("avg_latency", status.traffic.latency.average_ms());
    let files = [
        ("open_file_descriptor_count", process.open_files),
        ("max_file_descriptor_count", process.open_files_max),
    ];
    for (name, value) in files {
        if let Some(value) = value {
            line(name, value as f64);
        }
    }
    // ZooKeeper's manual has an alert on it.
    line("election_time_count", four_letter::elections_finished(status) as f64);
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    labelled(name, help, vec![(Vec::new(), value)])
}

/// One gauge for each set of labels.
fn labelled(
    name: &str,
    help: &str,
    series: Vec<(Vec<(&'static str, String)>, f64)>,
) -> MetricFamily {
    let metrics = series.into_iter().map(|(labels, value)| {
        let pair = |(name, value): (&str, String)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value);
            pair
        };
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(labels.into_iter().map(pair).collect());
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

fn counted(value: f64) -> Counter {
    let mut counter = Counter::default();
    counter.set_value(value);
    counter
}

fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    let mut metric = Metric::default();
    metric.set_counter(counted(value as f64));
    family(name, help, MetricType::COUNTER, vec![metric])
}

fn histogram(name: &str, help: &str, timing: &Timing) -> MetricFamily {
    let buckets = timing.cumulative().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(timing.count());
    histogram.set_sample_sum(timing.sum_ms() / 1000.0);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}

fn summary(name: &str, help: &str, timing: &Timing) -> MetricFamily {
    let mut summary = Summary::default();
    summary.set_sample_count(timing.count());
    summary.set_sample_sum(timing.sum_ms());
    let mut metric = Metric::default();
    metric.set_summary(summary);
    family(name, help, MetricType::SUMMARY, vec![metric])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::status::tests::{leader, looking};

    fn lines(status: &ServerStatus) -> BTreeSet<String> {
        page(status, &ProcessStats::read()).lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_leader_tells_the_operator_who_is_synced() {
        let lines = lines(&leader());
        for line in [
            "zab_role{role=\"leader\"} 1",
            "zab_server_id 3",
            "zab_leader_id 3",
            "zab_serving 1",
            "zab_epoch 2",
            "zab_committed_epoch 2",
            "zab_committed_index 119",
            "zab_config_version 0",
            "zab_recovery_progress_ratio 1",
            "zab_voter_synced{id=\"1\"} 1",
            "zab_voter_synced{id=\"2\"} 0",
            "zab_voter_synced{id=\"3\"} 1",
            "zab_voter_synced{id=\"4\"} 0",
            "zab_voter_lag_transactions{id=\"1\"} 2",
            "zab_voter_lag_transactions{id=\"2\"} 121",
            "zab_voter_lag_transactions{id=\"3\"} 1",
            "znode_count 7",
            "election_time_count 1",
            "zab_snapshot_failures_total 0",
            "quorum_size 4",
            "fsynctime_count 1",
            "fsynctime_sum 1.5",
            "zab_fsync_duration_seconds_bucket{le=\"0.001024\"} 0",
            "zab_fsync_duration_seconds_bucket{le=\"0.002048\"} 1",
        ] {
            assert!(lines.contains(line), "{line}\n{lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("zab_voter_lag_transactions{id=\"4\"")));
    }

    #[test]
    fn a_server_without_leader_says_so() {
        let lines = lines(&looking());
        for line in ["zab_role{role=\"looking\"} 1", "zab_leader_id 0", "zab_serving 0"] {
            assert!(lines.contains(line), "{line}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("zab_voter_synced")));
        assert_eq!(lines.iter().filter(|line| line.starts_with("zab_role{")).count(), 1);
    }

    #[test]
    fn every_series_has_a_help_and_a_type() {
        let text = page(&leader(), &ProcessStats::read());
        let named = |what: &str| -> BTreeSet<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(what));
            lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
        };
        let (helps, types) = (named("# HELP "), named("# TYPE "));
        assert_eq!(helps, types);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(types.contains(name) || types.contains(stem.unwrap_or(name)), "{line}");
        }
    }

    /// The project's own check of the pages runs promtool; where it is installed, this shows a mistake earlier.
    #[test]
    fn promtool_has_nothing_to_say() {
        let tool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut tool) = tool else { return };
        let text = page(&leader(), &ProcessStats::read());
        tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = tool.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
