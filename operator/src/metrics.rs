//! The operator's own metrics.

use std::time::Duration;

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::crd::ZabClusterStatus;
use crate::crd::status::RolloutPhase;

/// Rollout phases as label values.
const PHASES: [(RolloutPhase, &str); 4] = [
    (RolloutPhase::Complete, "complete"),
    (RolloutPhase::Rolling, "rolling"),
    (RolloutPhase::Paused, "paused"),
    (RolloutPhase::Halted, "halted"),
];

/// All series of the operator.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: HistogramVec,
    reconcile_errors: IntCounterVec,
    steps: IntCounterVec,
    lease_held: IntGauge,
    clusters: ClusterMetrics,
}

/// Series about one resource each.
#[derive(Clone)]
struct ClusterMetrics {
    scrape_failures: IntCounterVec,
    elections: IntCounterVec,
    voters: IntGaugeVec,
    voters_up: IntGaugeVec,
    quorum_healthy: GaugeVec,
    zone_failure_tolerant: GaugeVec,
    rollout: IntGaugeVec,
}

/// Labels of series about one resource.
const OF_CLUSTER: [&str; 2] = ["namespace", "name"];

impl ClusterMetrics {
    fn new(registry: &Registry) -> Self {
        let truth = |name: &str, help: &str| {
            registered(registry, GaugeVec::new(Opts::new(name, help), &OF_CLUSTER))
        };
        Self {
            scrape_failures: counter(
                registry,
                "zab_operator_scrape_failures_total",
                "Servers that did not answer when asked for their metrics.",
                &OF_CLUSTER,
            ),
            elections: counter(
                registry,
                "zab_operator_rollout_elections_total",
                "Elections during rollouts.",
                &OF_CLUSTER,
            ),
            voters: gauge(
                registry,
                "zab_operator_cluster_voters",
                "Voters asked for.",
                &OF_CLUSTER,
            ),
            voters_up: gauge(
                registry,
                "zab_operator_cluster_voters_up",
                "Voters that serve clients in step with the leader.",
                &OF_CLUSTER,
            ),
            quorum_healthy: truth(
                "zab_operator_cluster_quorum_healthy",
                "Whether a quorum serves: 1, 0, or NaN when not known.",
            ),
            zone_failure_tolerant: truth(
                "zab_operator_cluster_zone_failure_tolerant",
                "Whether any one zone may be lost now: 1, 0, or NaN when not known.",
            ),
            rollout: gauge(
                registry,
                "zab_operator_cluster_rollout",
                "Where the rollout stands: 1 for the current phase.",
                &["namespace", "name", "phase"],
            ),
        }
    }
}

impl Metrics {
    /// Registers all series.
    pub fn new() -> Self {
        let registry = Registry::new();
        let build = Opts::new("zab_operator_build_info", "Version of the operator.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        registered(&registry, Gauge::with_opts(build)).set(1.0);
        Self {
            reconciles: registered(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "zab_operator_reconcile_duration_seconds",
                        "Time of a pass over one resource.",
                    ),
                    &["result"],
                ),
            ),
            reconcile_errors: counter(
                &registry,
                "zab_operator_reconcile_errors_total",
                "Passes that failed, by the stage that did.",
                &["stage"],
            ),
            steps: counter(
                &registry,
                "zab_operator_steps_total",
                "Writes to the API server, by kind and result.",
                &["step", "result"],
            ),
            lease_held: registered(
                &registry,
                IntGauge::new("zab_operator_lease_held", "Whether this process holds the lease."),
            ),
            clusters: ClusterMetrics::new(&registry),
            registry,
        }
    }

    /// The page.
    ///
    /// # Errors
    /// When a series cannot be written as text.
    pub fn page(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Notes a pass.
    pub fn reconciled(&self, took: Duration, failed_stage: Option<&str>) {
        let result = if failed_stage.is_some() { "error" } else { "ok" };
        self.reconciles.with_label_values(&[result]).observe(took.as_secs_f64());
        if let Some(stage) = failed_stage {
            self.reconcile_errors.with_label_values(&[stage]).inc();
        }
    }

    /// Notes a write.
    pub fn step(&self, kind: &str, result: &str) {
        self.steps.with_label_values(&[kind, result]).inc();
    }

    /// Notes a server that did not answer.
    pub fn scrape_failed(&self, namespace: &str, name: &str) {
        self.clusters.scrape_failures.with_label_values(&[namespace, name]).inc();
    }

    /// Notes whether the lease is held.
    pub fn lease_held(&self, held: bool) {
        self.lease_held.set(i64::from(held));
    }

    /// Shows the status of a resource.
    pub fn show(
        &self,
        (namespace, name): (&str, &str),
        voters: i32,
        before: &ZabClusterStatus,
        after: &ZabClusterStatus,
    ) {
        let labels = &[namespace, name];
        self.clusters.voters.with_label_values(labels).set(i64::from(voters));
        self.clusters.voters_up.with_label_values(labels).set(i64::from(after.ready_replicas));
        let known = |type_: &str| {
            let status = after.conditions.iter().find(|condition| condition.type_ == type_);
            match status.map(|condition| condition.status.as_str()) {
                Some("True") => 1.0,
                Some("False") => 0.0,
                _ => f64::NAN,
            }
        };
        self.clusters.quorum_healthy.with_label_values(labels).set(known("QuorumHealthy"));
        self.clusters
            .zone_failure_tolerant
            .with_label_values(labels)
            .set(known("ZoneFailureTolerant"));
        if let Some(rollout) = &after.rollout {
            for (phase, label) in PHASES {
                let series = self.clusters.rollout.with_label_values(&[namespace, name, label]);
                series.set(i64::from(phase == rollout.phase));
            }
            let counted = before.rollout.as_ref().filter(|old| old.target == rollout.target);
            let more = rollout.elections - counted.map_or(0, |old| old.elections);
            let elections = self.clusters.elections.with_label_values(labels);
            elections.inc_by(u64::try_from(more).unwrap_or(0));
        }
    }

    /// Forgets a resource that is gone, so that its series end.
    pub fn forget(&self, namespace: &str, name: &str) {
        let labels = &[namespace, name];
        // A series that never existed cannot be removed: nothing to do then.
        let _ = self.clusters.voters.remove_label_values(labels);
        let _ = self.clusters.voters_up.remove_label_values(labels);
        let _ = self.clusters.quorum_healthy.remove_label_values(labels);
        let _ = self.clusters.zone_failure_tolerant.remove_label_values(labels);
        let _ = self.clusters.elections.remove_label_values(labels);
        let _ = self.clusters.scrape_failures.remove_label_values(labels);
        for (_, phase) in PHASES {
            let _ = self.clusters.rollout.remove_label_values(&[namespace, name, phase]);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    series: prometheus::Result<C>,
) -> C {
    let series = series.expect("the series are named well");
    registry.register(Box::new(series.clone())).expect("each series is registered once");
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_the_page_is_described_and_ends_with_its_resource() {
        let metrics = Metrics::new();
        let status = ZabClusterStatus {
            rollout: Some(crate::crd::status::RolloutStatus::default()),
            ..ZabClusterStatus::default()
        };
        metrics.show(("ns", "x"), 3, &ZabClusterStatus::default(), &status);
        metrics.scrape_failed("ns", "x");
        let page = metrics.page().unwrap();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(page.contains(&format!("# HELP {name} ")), "{line}");
            assert!(page.contains(&format!("# TYPE {name} ")), "{line}");
        }
        assert!(page.contains("name=\"x\""));
        metrics.forget("ns", "x");
        assert!(!metrics.page().unwrap().contains("name=\"x\""));
    }
}
