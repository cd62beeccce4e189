//! Random schedules: crashes, cuts, resets, slow disks and delays by seed, then healing and a demand for progress.

use std::collections::BTreeSet;

use bytes::Bytes;
use zab::{Input, ServerId};

use crate::cluster::{Cluster, Event};

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

struct Run {
    cluster: Cluster,
    random: Random,
    ids: Vec<ServerId>,
    proposed: u64,
    /// One fault in so many steps; each seed has its own mood.
    fault_in: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let voters = [3, 3, 5, 4, 1][random.below(5) as usize];
        let observers = random.below(2);
        let history_bytes_max = [0, 64, 1 << 20][random.below(3) as usize];
        let fault_in = [50, 200, 1000][random.below(3) as usize];
        let cluster =
            Cluster::new(voters, observers, |config| config.history_bytes_max = history_bytes_max);
        let ids = cluster.servers.keys().copied().collect();
        Self { cluster, random, ids, proposed: 0, fault_in }
    }

    fn any(&mut self) -> ServerId {
        let position = self.random.below(self.ids.len() as u64) as usize;
        self.ids[position]
    }

    fn step(&mut self) {
        if self.random.one_in(self.fault_in) {
            self.fault();
        }
        if self.random.one_in(8) {
            self.propose();
        }
        let events = self.cluster.events();
        if events.is_empty() || self.random.one_in(20) {
            self.pass_time();
            return;
        }
        let event = events[self.random.below(events.len() as u64) as usize];
        // A slow disk now and then.
        if !matches!(event, Event::Disk(_)) || !self.random.one_in(3) {
            self.cluster.happen(event);
        }
    }

    fn pass_time(&mut self) {
        let now = self.cluster.now;
        let wake = self.cluster.next_wake().unwrap_or(now.plus(1000));
        self.cluster.now =
            if self.random.one_in(4) { now.plus(self.random.below(3000)) } else { now.max(wake) };
        self.cluster.tick();
    }

    fn propose(&mut self) {
        let id = self.any();
        self.proposed += 1;
        let payload = Bytes::from(format!("s{id} number {}", self.proposed));
        self.cluster.propose(id, payload);
    }

    fn fault(&mut self) {
        let (a, b) = (self.any(), self.any());
        match self.random.below(8) {
            0 | 1 => self.crash(a),
            2 | 3 => {
                for id in self.ids.clone() {
                    self.start(id);
                }
            }
            4 => self.cluster.cut(a, b),
            5 => self.cluster.heal(),
            6 => self.cluster.reset(a, b),
            _ => match self.random.below(4) {
                3 => self.crash_leader_with_a_tail(),
                0 => self.cluster.handle(a, Input::HandOff),
                1 => self.cluster.server(a).disk.held = true,
                _ => {
                    for id in self.ids.clone() {
                        if self.random.one_in(3) {
                            self.crash(id);
                        }
                    }
                }
            },
        }
        if self.random.one_in(2) {
            self.cluster.server(a).disk.held = false;
        }
    }

    fn crash(&mut self, id: ServerId) {
        if self.cluster.servers[&id].peer.is_some() {
            let waiting = self.cluster.servers[&id].disk.queue.len() as u64;
            let survives = self.random.below(waiting + 1) as usize;
            self.cluster.crash(id, survives);
        }
    }

    /// The leader logs what nobody else gets.
    fn crash_leader_with_a_tail(&mut self) {
        let Some(leader) = self.cluster.leader() else { return };
        for id in self.ids.clone() {
            self.cluster.cut(leader, id);
        }
        for _ in 0..self.random.below(4) {
            self.proposed += 1;
            let payload = Bytes::from(format!("tail {}", self.proposed));
            self.cluster.propose(leader, payload);
        }
        self.crash(leader);
        self.cluster.heal();
    }

    fn start(&mut self, id: ServerId) {
        if self.cluster.servers[&id].peer.is_none() {
            self.cluster.start(id, false);
        }
    }

    /// After all faults are over the ensemble must serve, commit, and agree.
    fn demand_progress(&mut self) {
        self.cluster.heal();
        for id in self.ids.clone() {
            self.cluster.server(id).disk.held = false;
            self.start(id);
        }
        // Longer than the longest election back-off.
        let end = self.cluster.now.plus(130_000);
        while self.cluster.now < end && !self.all_serve() {
            self.cluster.run(1000);
        }
        assert!(self.all_serve(), "not all servers serve after the faults are over");
        let leader = self.cluster.leader().expect("someone leads");
        let zxid = self.cluster.propose(leader, Bytes::from_static(b"the last")).expect("leads");
        self.cluster.run(3000);
        for (id, server) in &self.cluster.servers {
            let last = server.state.last().map(|(zxid, _)| *zxid);
            assert_eq!(last, Some(zxid), "s{id} lacks the last transaction");
            assert_eq!(server.state, self.cluster.ghost.committed, "s{id} has another history");
            assert_eq!(server.disk.history, server.state, "s{id} has another history on disk");
        }
    }

    fn all_serve(&self) -> bool {
        self.ids.iter().all(|id| self.cluster.serves(*id))
            && self.cluster.leader().is_some_and(|leader| {
                let peer = self.cluster.servers[&leader].peer.as_ref();
                peer.is_some_and(|peer| peer.next_zxid().is_some())
            })
    }
}

fn run(seed: u64, live: bool) -> (usize, BTreeSet<String>) {
    let mut run = Run::new(seed);
    run.cluster.live = live;
    run.cluster.show_notifications = live;
    for id in run.ids.clone() {
        run.start(id);
    }
    for _ in 0..3000 {
        run.step();
    }
    run.demand_progress();
    (run.cluster.ghost.committed.len(), run.cluster.kinds_sent)
}

/// `SEED=n` replays one seed and prints what happened; `SEEDS=n` runs more of them.
#[test]
fn whatever_happens_committed_transactions_stay_and_the_ensemble_recovers() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(400),
    };
    let mut committed = 0;
    let mut kinds_sent = BTreeSet::new();
    let one = number("SEED").is_some();
    for seed in seeds {
        let result = std::panic::catch_unwind(|| run(seed, number("SEED").is_some()));
        match result {
            Ok((count, sent)) => {
                committed += count;
                kinds_sent.extend(sent);
            }
            Err(panic) => {
                println!("failed: SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{committed} transactions committed");
    assert!(committed > 0, "the schedules must leave room for progress");
    let kinds = "AckEpoch Ack Commit Diff FollowerInfo Inform LeaderInfo NewLeader ObserverInfo Ping Propose Snap Trunc UpToDate";
    for kind in kinds.split(' ') {
        assert!(one || kinds_sent.contains(kind), "no schedule led to a {kind}");
    }
}
