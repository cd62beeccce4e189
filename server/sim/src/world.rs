//! The world: events in order of time, a clock that jumps from one to the next, and everything that happens.
//!
//! Nothing here knows the protocol. Production code decides; the world carries its outputs out as the server's own shell
//! does, only later, in another order, or not at all.

mod clients;
mod core;
mod faults;
mod links;
mod servers;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use replica::Mode;
use zab::{Ensemble, Membership, ServerId};

use crate::check::Check;
use crate::client::{Client, ClientEvent};
use crate::disk::SimDisk;
use crate::host::{Host, HostEvent};
use crate::network::Network;
use crate::planted::Planted;
use crate::profile::Profile;
use crate::random::Random;
use crate::trace::{Show, Time, Trace};

/// Seed of all hash tables: it never shows in any output.
const HASH_SEED: u64 = 7;

/// Milliseconds since 1970 when the world begins.
const WALL_MS: i64 = 1_700_000_000_000;

/// All that can happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// To a process, unless it has ended.
    Host { host: usize, incarnation: u32, event: HostEvent },
    /// A host starts its process.
    Start { host: usize, incarnation: u32 },
    /// A paused host goes on.
    Resume { host: usize, incarnation: u32 },
    /// A dialed link reaches the other host.
    Dial { connection: usize },
    /// A packet reaches an end of a link.
    Packet { connection: usize, side: usize },
    /// An end of a link gives up, unless the way is free again.
    LinkTimeout { connection: usize, side: usize, reason: Broken },
    /// An election message arrives at the lower (0) or higher (1) host of a pair.
    Election { pair: (usize, usize), side: usize, generation: u32 },
    /// A pair dials again.
    ElectionDial { pair: (usize, usize) },
    /// A pair gives its connection up, unless the way is free again.
    ElectionTimeout { pair: (usize, usize), generation: u32 },
    /// Cuts end.
    Heal,
    /// The next fault strikes.
    Fault,
    /// Something happens to a client.
    Client { client: usize, attempt: u32, event: ClientEvent },
}

/// Why an end of a link gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The way was cut.
    Cut,
    /// The other end is gone or the link was reset.
    Gone,
}

#[derive(Debug)]
struct Scheduled {
    at: Time,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// What the world is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults strike; nothing wrong may happen.
    Safety,
    /// All is well again; something good must happen.
    Liveness,
    /// Clients ask nothing more.
    Quiet,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) steps: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    random: Random,
    pub(crate) profile: Profile,
    planted: Option<Planted>,
    pub(crate) trace: Trace,
    network: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) clients: Vec<Client>,
    pub(crate) check: Check,
    pub(crate) phase: Phase,
    /// The newest zxid any client was told its write got.
    acknowledged: i64,
    /// Reads and writes answered.
    pub(crate) answers: u64,
    /// Faults that struck.
    pub(crate) faults: u64,
}

impl World {
    pub(crate) fn new(mut random: Random, planted: Option<Planted>, show: Show) -> Self {
        let profile = Profile::draw(&mut random);
        let members: Vec<_> = (1..=profile.voters + profile.observers)
            .map(|id| {
                let votes = id <= profile.voters;
                let membership = if votes { Membership::Voter } else { Membership::Observer };
                (ServerId(id), membership)
            })
            .collect();
        let are_voters: Vec<_> = members.iter().map(|it| it.1 == Membership::Voter).collect();
        let ensemble = Ensemble::new(members.iter().copied());
        let hosts: Vec<_> =
            members.iter().map(|(id, _)| new_host(*id, &ensemble, &profile, &mut random)).collect();
        let clients = (0..profile.clients).map(|_| Client::new(random.fork())).collect();
        let mut world = Self {
            now: 0,
            steps: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            network: Network::new(hosts.len()),
            check: Check::new(&are_voters, HASH_SEED),
            random,
            profile,
            planted,
            trace: Trace::new(show),
            hosts,
            clients,
            phase: Phase::Safety,
            acknowledged: 0,
            answers: 0,
            faults: 0,
        };
        world.trace.line(0, || format!("{:?}", world.profile));
        world.begin();
        world
    }

    fn begin(&mut self) {
        for host in 0..self.hosts.len() {
            let at = self.random.below(50_000);
            self.schedule(at, Event::Start { host, incarnation: 0 });
        }
        for client in 0..self.clients.len() {
            let at = self.random.below(500_000);
            self.schedule(at, Event::Client { client, attempt: 0, event: ClientEvent::Wake });
        }
        let at = self.random.below(2 * self.profile.fault_every_us);
        self.schedule(at, Event::Fault);
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        let scheduled = Scheduled { at: at.max(self.now), sequence: self.sequence, event };
        self.queue.push(Reverse(scheduled));
    }

    /// An event for the present process of a host.
    fn schedule_host(&mut self, at: Time, host: usize, event: HostEvent) {
        let incarnation = self.hosts[host].incarnation;
        self.schedule(at, Event::Host { host, incarnation, event });
    }

    fn after(&mut self, delay: (Time, Time)) -> Time {
        self.now + self.random.within(delay)
    }

    /// Runs until `end`, or until something is wrong.
    pub(crate) fn run_until(&mut self, end: Time) {
        while self.check.violation().is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at <= end => self.step(),
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    fn step(&mut self) {
        let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else {
            return;
        };
        self.now = at;
        self.check.now = at;
        self.steps += 1;
        self.trace.mix(&[at, kind(&event)]);
        match event {
            Event::Host { host, incarnation, event } => self.host_event(host, incarnation, event),
            Event::Start { host, incarnation } => {
                if self.hosts[host].incarnation == incarnation {
                    self.start(host);
                }
            }
            Event::Resume { host, incarnation } => self.resume(host, incarnation),
            Event::Dial { connection } => self.dialed(connection),
            Event::Packet { connection, side } => self.packet(connection, side),
            Event::LinkTimeout { connection, side, reason } => {
                self.link_timeout(connection, side, reason);
            }
            Event::Election { pair, side, generation } => self.election(pair, side, generation),
            Event::ElectionDial { pair } => self.election_dial(pair),
            Event::ElectionTimeout { pair, generation } => self.election_timeout(pair, generation),
            Event::Heal => self.heal_due(),
            Event::Fault => self.fault(),
            Event::Client { client, attempt, event } => self.client_event(client, attempt, event),
        }
    }
}

fn new_host(id: ServerId, ensemble: &Ensemble, profile: &Profile, random: &mut Random) -> Host {
    let zab = zab::Config {
        id,
        ensemble: ensemble.clone(),
        config_version: 0,
        config_text: bytes::Bytes::new(),
        tick_ms: profile.tick_ms,
        init_limit_ticks: profile.init_limit_ticks,
        sync_limit_ticks: profile.sync_limit_ticks,
        finalize_wait_ms: 200,
        history_bytes_max: profile.history_bytes_max,
    };
    Host {
        config: replica::Config {
            zab,
            mode: if profile.is_standalone { Mode::Standalone } else { Mode::Ensemble },
            session_timeout_ms_min: 1_000,
            session_timeout_ms_max: 20_000,
            snapshot_txns: profile.snapshot_txns,
            snapshot_gap_ms_min: 0,
        },
        disk: SimDisk::default(),
        process: None,
        incarnation: 0,
        is_paused: false,
        inbox: std::collections::VecDeque::new(),
        is_founded: false,
        slow_until: 0,
        wall_ms: WALL_MS + random.below(2_000).cast_signed() - 1_000,
    }
}

/// A number for the hash of the trace.
fn kind(event: &Event) -> u64 {
    match event {
        Event::Host { host, incarnation, .. } => {
            (*host as u64) << 32 | u64::from(*incarnation) << 8 | 1
        }
        Event::Start { host, .. } => (*host as u64) << 8 | 2,
        Event::Resume { host, .. } => (*host as u64) << 8 | 3,
        Event::Dial { connection } => (*connection as u64) << 8 | 4,
        Event::Packet { connection, side } => ((*connection * 2 + side) as u64) << 8 | 5,
        Event::LinkTimeout { connection, side, .. } => ((*connection * 2 + side) as u64) << 8 | 6,
        Event::Election { pair, side, .. } => ((pair.0 * 64 + pair.1 * 2 + side) as u64) << 8 | 7,
        Event::ElectionDial { pair } => ((pair.0 * 64 + pair.1) as u64) << 8 | 8,
        Event::ElectionTimeout { pair, .. } => ((pair.0 * 64 + pair.1) as u64) << 8 | 9,
        Event::Heal => 10,
        Event::Fault => 11,
        Event::Client { client, attempt, .. } => {
            (*client as u64) << 40 | u64::from(*attempt) << 8 | 12
        }
    }
}
