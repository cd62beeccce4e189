//! A picture of the running server, taken for people and monitors: plain numbers, no logic depends on them.
//!
//! The core loop fills a [`ServerStatus`] whenever a page is asked for; `admin` and `metrics` turn it into text.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use zab::{Epochs, LearnerStatus, Membership, Phase, ServerId, Standing, Zxid};

/// All that the pages show.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    /// This server; 0 when standalone.
    pub server: ServerId,
    /// What it is.
    pub role: Role,
    /// Where it is in the protocol; `Broadcast` when standalone.
    pub phase: Phase,
    /// The leader, if one is known; itself when it leads, `None` when standalone.
    pub leader: Option<ServerId>,
    /// Whether it serves clients.
    pub serving: Serving,
    /// The epoch files.
    pub epochs: Epochs,
    /// The last zxid in the log.
    pub last_logged: Zxid,
    /// The last zxid on stable storage.
    pub last_durable: Zxid,
    /// The last zxid applied.
    pub last_committed: Zxid,
    /// The version of the configuration in force.
    pub config_version: i64,
    /// The voters of that configuration, in order; empty when standalone.
    pub voters: Vec<ServerId>,
    /// On a leader: the learners connected to it.
    pub learners: Vec<LearnerStatus>,
    /// Elections this process took part in.
    pub elections: u64,
    /// How long the last finished one took.
    pub election_ms: u64,
    /// How long this process has been running.
    pub uptime: Duration,
    /// How much of snapshot and log has been read since the start, an estimate: 0 to 1, and 1 only when all is.
    pub recovery_progress: f64,
    /// How long ago the core loop last went round: see [`Heartbeat`].
    pub heartbeat_age: Duration,
    /// The data.
    pub tree: TreeStatus,
    /// The clients.
    pub traffic: Traffic,
    /// One line per client connection, for `stat`.
    pub clients: Vec<ClientLine>,
    /// The disk.
    pub storage: StorageStatus,
    /// The transactions.
    pub transactions: Transactions,
}

/// What a server is, in the words of ZooKeeper's `Mode:` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Has no leader.
    Looking,
    /// Leads, or is about to (then it does not serve yet).
    Leader,
    /// Follows with a vote, or is about to.
    Follower,
    /// Follows without a vote, or is about to.
    Observer,
    /// Alone by configuration.
    Standalone,
}

impl Role {
    /// The role of an ensemble member in this standing.
    #[must_use]
    pub fn of(standing: Standing) -> Self {
        match standing {
            Standing::Looking => Self::Looking,
            Standing::Leading { .. } => Self::Leader,
            Standing::Following { membership: Membership::Voter, .. } => Self::Follower,
            Standing::Following { membership: Membership::Observer, .. } => Self::Observer,
        }
    }

    /// Its name on the wire and on the pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::Standalone => "standalone",
        }
    }
}

/// Whether clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Yes, with a known leader (or standalone).
    Yes,
    /// No, and why: the rest of a sentence that begins with "not serving: ".
    No(String),
}

/// Numbers of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeStatus {
    /// Znodes, those of `/zookeeper` included.
    pub znodes: u64,
    /// Ephemeral ones among them.
    pub ephemerals: u64,
    /// Bytes of paths and data.
    pub data_bytes: u64,
    /// Sessions that are alive.
    pub sessions: u64,
    /// Watches set by clients of this server.
    pub watches: u64,
}

/// Numbers of the client connections since the start, summed over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections open now.
    pub connections: u64,
    /// Connections turned away because of a limit.
    pub connections_rejected: u64,
    /// Requests received, pings included.
    pub packets_received: u64,
    /// Replies and events sent.
    pub packets_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Requests received and not yet answered.
    pub outstanding: u64,
    /// From the arrival of a request to its answer.
    pub latency: Timing,
    /// Sessions this server, as leader, expired.
    pub sessions_expired: u64,
}

/// Numbers of one client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLine {
    /// Its address.
    pub address: SocketAddr,
    /// Requests not yet answered.
    pub queued: u64,
    /// Requests received.
    pub received: u64,
    /// Replies and events sent.
    pub sent: u64,
}

/// Numbers of the log and the snapshots since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageStatus {
    /// Syncs of the log.
    pub fsync: Timing,
    /// Snapshots written.
    pub snapshot: Timing,
    /// Snapshots that could not be written.
    pub snapshot_failures: u64,
    /// Bytes appended to the log.
    pub log_bytes: u64,
}

/// Numbers of the transactions since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    /// Proposed by this server as leader.
    pub proposed: u64,
    /// Applied.
    pub committed: u64,
    /// Learners brought up to date by DIFF.
    pub diffs_sent: u64,
    /// Learners brought up to date by SNAP.
    pub snapshots_sent: u64,
    /// Sizes of the proposals of this leader.
    pub sizes: Option<ProposalSizes>,
}

/// Bytes of proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposalSizes {
    /// The latest.
    pub last: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

/// How often something happened and how long it took: sum, extremes, and a histogram in steps of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    count: u64,
    sum: Duration,
    min: Duration,
    max: Duration,
    buckets: [u64; Self::BUCKETS],
}

impl Timing {
    /// Buckets of the histogram. The first holds up to 32 µs, each next one up to twice as much, the last but one
    /// up to 34 s, the last all the rest.
    pub const BUCKETS: usize = 22;

    /// Adds one measurement.
    pub fn record(&mut self, duration: Duration) {
        self.record_many(duration, 1);
    }

    /// Adds `count` measurements of about the same length, such as the requests of one batch.
    pub fn record_many(&mut self, duration: Duration, count: u64) {
        if count == 0 {
            return;
        }
        self.min = if self.count == 0 { duration } else { self.min.min(duration) };
        self.max = self.max.max(duration);
        self.sum += duration * u32::try_from(count).unwrap_or(u32::MAX);
        self.count += count;
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = (0..Self::BUCKETS - 1).find(|bucket| micros <= Self::bound_micros(*bucket));
        self.buckets[bucket.unwrap_or(Self::BUCKETS - 1)] += count;
    }

    /// Adds all that `other` measured, such as another shard.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
    }

    /// Measurements.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Milliseconds of all measurements together.
    #[must_use]
    pub fn sum_ms(&self) -> f64 {
        self.sum.as_secs_f64() * 1000.0
    }

    /// Whole milliseconds of the shortest; 0 without any.
    #[must_use]
    pub fn min_ms(&self) -> u64 {
        whole_ms(self.min)
    }

    /// Whole milliseconds of the longest; 0 without any.
    #[must_use]
    pub fn max_ms(&self) -> u64 {
        whole_ms(self.max)
    }

    /// Milliseconds on average, rounded to four places as Java does; 0 without any.
    #[must_use]
    pub fn average_ms(&self) -> f64 {
        let average = if self.count == 0 { 0.0 } else { self.sum_ms() / self.count as f64 };
        (average * 10_000.0).round() / 10_000.0
    }

    /// The histogram: upper bounds in seconds, and how many measurements are at or below each. What is longer than
    /// the last bound shows only in [`Self::count`].
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut below = 0;
        (0..Self::BUCKETS - 1).map(move |bucket| {
            below += self.buckets[bucket];
            (Self::bound_micros(bucket) as f64 / 1e6, below)
        })
    }

    fn bound_micros(bucket: usize) -> u64 {
        32 << bucket
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The moment the core loop last went round, for `/livez`.
#[derive(Clone, Debug)]
pub struct Heartbeat(Rc<Cell<Instant>>);

impl Heartbeat {
    /// A first beat, now.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::new(Cell::new(Instant::now())))
    }

    /// The loop went round.
    pub fn beat(&self) {
        self.0.set(Instant::now());
    }

    /// Time since the last beat.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.0.get().elapsed()
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

/// What this binary is.
pub mod build {
    /// The version of the package.
    pub const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// The commit it was built from, when the builder said so (`ZAB_REVISION`).
    pub const REVISION: &str = match option_env!("ZAB_REVISION") {
        Some(revision) => revision,
        None => "unknown",
    };

    /// When it was built, when the builder said so (`ZAB_BUILD_DATE`, as `MM/DD/YYYY HH:MM UTC`).
    const DATE: &str = match option_env!("ZAB_BUILD_DATE") {
        Some(date) => date,
        None => "01/01/1970 00:00 UTC",
    };

    /// The version line that ZooKeeper's tools parse: the release whose protocol is spoken comes first, and the date
    /// stands in the form that older monitors know.
    #[must_use]
    pub fn zookeeper_version() -> String {
        format!("3.9.5-zab-{VERSION}-{REVISION}, built on {DATE}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A leader of three, one of whose followers is still synchronizing and one is down.
    pub(crate) fn leader() -> ServerStatus {
        let learner = |id, synced, acked| LearnerStatus {
            id: ServerId(id),
            membership: Membership::Voter,
            synced,
            acked,
        };
        let mut latency = Timing::default();
        latency.record(Duration::from_micros(400));
        latency.record(Duration::from_millis(9));
        let mut fsync = Timing::default();
        fsync.record(Duration::from_micros(1500));
        let zxid = |counter| Zxid::new(zab::Epoch(2), counter);
        ServerStatus {
            server: ServerId(3),
            role: Role::Leader,
            phase: Phase::Broadcast,
            leader: Some(ServerId(3)),
            serving: Serving::Yes,
            epochs: Epochs { accepted: zab::Epoch(2), current: zab::Epoch(2) },
            last_logged: zxid(0x79),
            last_durable: zxid(0x78),
            last_committed: zxid(0x77),
            config_version: 0,
            voters: vec![ServerId(1), ServerId(2), ServerId(3), ServerId(4)],
            learners: vec![learner(1, true, zxid(0x77)), learner(2, false, Zxid(7))],
            elections: 1,
            election_ms: 212,
            uptime: Duration::from_millis(61_500),
            recovery_progress: 1.0,
            heartbeat_age: Duration::from_millis(3),
            tree: TreeStatus { znodes: 6, ephemerals: 1, data_bytes: 321, sessions: 2, watches: 4 },
            traffic: Traffic {
                connections: 1,
                packets_received: 20,
                packets_sent: 22,
                outstanding: 3,
                latency,
                ..Traffic::default()
            },
            clients: vec![ClientLine {
                address: "127.0.0.1:5000".parse().unwrap(),
                queued: 3,
                received: 20,
                sent: 22,
            }],
            storage: StorageStatus { fsync, ..StorageStatus::default() },
            transactions: Transactions {
                proposed: 121,
                committed: 119,
                sizes: Some(ProposalSizes { last: 48, min: 32, max: 150 }),
                ..Transactions::default()
            },
        }
    }

    /// A server between leaders.
    pub(crate) fn looking() -> ServerStatus {
        ServerStatus {
            role: Role::Looking,
            phase: Phase::Election,
            leader: None,
            serving: Serving::No("no leader is known, an election is on".to_owned()),
            learners: Vec::new(),
            ..leader()
        }
    }

    #[test]
    fn a_timing_knows_its_extremes_and_its_histogram() {
        let mut timing = Timing::default();
        assert_eq!((timing.min_ms(), timing.average_ms()), (0, 0.0));
        timing.record(Duration::from_millis(3));
        let mut other = Timing::default();
        other.record_many(Duration::from_micros(20), 2);
        other.record(Duration::from_secs(60));
        timing.merge(&other);
        assert_eq!((timing.count(), timing.min_ms(), timing.max_ms()), (4, 0, 60_000));
        assert_eq!(timing.average_ms(), 15_000.76);
        let buckets: Vec<_> = timing.cumulative().collect();
        assert_eq!(buckets[0], (0.000_032, 2));
        assert_eq!(buckets[6], (0.002_048, 2));
        assert_eq!(buckets[7], (0.004_096, 3));
        assert_eq!(buckets.last().unwrap().1, 3);
    }
}
