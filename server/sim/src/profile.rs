//! From a seed to a world: how many servers, how fast, and which faults strike how often.
//!
//! Every seed switches each class of faults on or off by itself ("swarm"): some mistakes only show when something does
//! *not* happen for long enough.

use crate::random::Random;
use crate::trace::Time;

pub(crate) const MS: Time = 1_000;
pub(crate) const SECOND: Time = 1_000_000;

/// The classes of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process dies; its disk stays as it is.
    Kill,
    /// A host loses its power, and what was not synced.
    PowerCut,
    /// Several hosts, or all, lose power at once.
    PowerCutMany,
    /// The power fails within one of the next operations on a disk.
    PowerCutInDisk,
    /// A process dies within one of the next operations on its disk.
    KillInDisk,
    /// A sync fails.
    DiskError,
    /// Syncs take long for a while.
    SlowDisk,
    /// A host does nothing for a while.
    Pause,
    /// Two hosts cannot reach each other for a while.
    Cut,
    /// One host cannot reach another for a while, but hears it.
    OneWayCut,
    /// One host can reach nobody for a while.
    Isolate,
    /// A connection between two servers breaks.
    ResetLink,
    /// A client loses its connection.
    ResetClient,
    /// A server is asked to leave.
    HandOff,
    /// A disk is replaced by an empty one.
    Wipe,
}

const ALL: [Fault; 15] = [
    Fault::Kill,
    Fault::PowerCut,
    Fault::PowerCutMany,
    Fault::PowerCutInDisk,
    Fault::KillInDisk,
    Fault::DiskError,
    Fault::SlowDisk,
    Fault::Pause,
    Fault::Cut,
    Fault::OneWayCut,
    Fault::Isolate,
    Fault::ResetLink,
    Fault::ResetClient,
    Fault::HandOff,
    Fault::Wipe,
];

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Servers that vote.
    pub voters: u64,
    /// Servers that only learn.
    pub observers: u64,
    /// One server without an ensemble.
    pub is_standalone: bool,
    /// As in `zoo.cfg`, in milliseconds.
    pub tick_ms: u64,
    /// As in `zoo.cfg`.
    pub init_limit_ticks: u64,
    /// As in `zoo.cfg`.
    pub sync_limit_ticks: u64,
    /// Bytes of history a server keeps in memory.
    pub history_bytes_max: usize,
    /// Transactions between two snapshots.
    pub snapshot_txns: u32,
    /// Bytes of a log file.
    pub segment_bytes: u64,
    /// Time from one host to another, from the least to the most, in microseconds.
    pub delay_us: (Time, Time),
    /// Time of a sync, in microseconds.
    pub sync_us: (Time, Time),
    /// Clients.
    pub clients: usize,
    /// Requests a client sends without waiting.
    pub pipeline_max: u64,
    /// Pause of a client between two rounds, in microseconds.
    pub think_us: (Time, Time),
    /// Session timeout the clients ask for, in milliseconds.
    pub session_timeout_ms: i32,
    /// Length of the safety phase, in microseconds.
    pub safety_us: Time,
    /// Average time between two faults, in microseconds.
    pub fault_every_us: Time,
    /// How long hosts stay down and links cut, in microseconds.
    pub outage_us: (Time, Time),
    /// The classes of faults that strike.
    pub faults: Vec<Fault>,
}

impl Profile {
    /// The world of a seed.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let voters = random.pick(&[1, 3, 3, 3, 3, 3, 5, 5]);
        let is_standalone = voters == 1 && random.one_in(2);
        let observers = if is_standalone { 0 } else { u64::from(random.one_in(4)) };
        let mut faults: Vec<Fault> = ALL.into_iter().filter(|_| random.one_in(2)).collect();
        if is_standalone {
            let applies = |fault: &Fault| !matches!(fault, Fault::Wipe | Fault::HandOff);
            faults.retain(applies);
        }
        Self {
            voters,
            observers,
            is_standalone,
            tick_ms: random.pick(&[100, 200, 500]),
            init_limit_ticks: random.pick(&[5, 10]),
            sync_limit_ticks: random.pick(&[2, 5]),
            history_bytes_max: random.pick(&[0, 600, 4_000, 1 << 20]),
            snapshot_txns: random.pick(&[4, 20, 100, 1_000_000]),
            segment_bytes: random.pick(&[2 << 10, 8 << 10, 32 << 10]),
            delay_us: random.pick(&[(50, 200), (100, 2 * MS), (MS, 30 * MS)]),
            sync_us: random.pick(&[(100, 400), (200, 5 * MS), (MS, 40 * MS)]),
            clients: random.within((1, 5)) as usize,
            pipeline_max: random.pick(&[1, 4, 10]),
            think_us: random.pick(&[(0, 20 * MS), (10 * MS, 200 * MS)]),
            session_timeout_ms: random.pick(&[2_000, 6_000]),
            safety_us: random.within((5, 20)) * SECOND,
            fault_every_us: random.pick(&[150 * MS, 400 * MS, 1500 * MS]),
            outage_us: random.pick(&[(5 * MS, 500 * MS), (100 * MS, 3 * SECOND)]),
            faults,
        }
    }
}
