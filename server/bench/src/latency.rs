//! Latencies as a histogram, and the few numbers of it that are reported.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The shortest latency told apart, in ns.
const SHORTEST_NS: u64 = 1_000;

/// The longest latency told apart, in ns; longer ones count as this.
const LONGEST_NS: u64 = 120_000_000_000;

/// Significant decimal digits of a recorded latency.
const PRECISION_DIGITS: u8 = 3;

/// Latencies of one kind of operation.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, PRECISION_DIGITS)
            .expect("the bounds and the precision are constants that fit");
        Self { histogram }
    }
}

impl Latencies {
    /// Records one latency.
    pub fn record(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns);
    }

    /// Adds the latencies of `other`.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all histograms have the same bounds");
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The numbers of the report.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |q: f64| us(self.histogram.value_at_quantile(q));
        LatencySummary {
            mean_us: self.histogram.mean() / 1e3,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: us(self.histogram.max()),
        }
    }
}

/// Latencies in µs; all 0 when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it all")]
#[serde(rename_all = "camelCase")]
pub struct LatencySummary {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_recorded_to_three_digits() {
        let mut low = Latencies::default();
        (1..=900).for_each(|us| low.record(us * 1_000));
        let mut all = Latencies::default();
        (901..=1_000).for_each(|us| all.record(us * 1_000));
        all.add(&low);
        let summary = all.summary();
        assert_eq!(all.count(), 1_000);
        for (found, expected) in [
            (summary.p50_us, 500.0),
            (summary.p99_us, 990.0),
            (summary.p999_us, 999.0),
            (summary.max_us, 1_000.0),
        ] {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} {expected}");
        }
    }

    #[test]
    fn a_latency_beyond_the_bounds_counts_as_the_longest() {
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX);
        assert!(latencies.summary().max_us > 1.19e8);
    }
}
