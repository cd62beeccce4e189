//! Gathers what the pages show from all parts of the server.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use replica::Replica;
use zab::{Phase, Standing};

use crate::clients::shard_loop::ShardCounters;
use crate::config::Config;
use crate::core_loop::CoreHandle;
use crate::housekeeping::Housekeeping;
use crate::log_thread::{LogCounters, LogThread};
use crate::server::Shards;
use crate::status::{
    Heartbeat, Role, ServerStatus, Serving, StorageStatus, Traffic, Transactions, TreeStatus,
};

/// Where the numbers come from.
pub struct Pages {
    config: Rc<Config>,
    core: CoreHandle,
    log: Arc<LogCounters>,
    housekeeping: Housekeeping,
    shards: Vec<Arc<ShardCounters>>,
    started: Instant,
    heartbeat: Heartbeat,
    rejected: Rc<Cell<u64>>,
}

impl Pages {
    /// Pages of a server that is starting.
    #[must_use]
    pub fn new(
        config: Rc<Config>,
        core: CoreHandle,
        log: &LogThread,
        housekeeping: Housekeeping,
        shards: &Shards,
        started: Instant,
    ) -> Rc<Self> {
        Rc::new(Self {
            config,
            core,
            log: log.counters(),
            housekeeping,
            shards: shards.counters.clone(),
            started,
            heartbeat: Heartbeat::new(),
            rejected: Rc::new(Cell::new(0)),
        })
    }

    /// What the core loop beats.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// The count of connections turned away.
    #[must_use]
    pub fn rejected(&self) -> Rc<Cell<u64>> {
        self.rejected.clone()
    }

    /// Everything, as it is now.
    ///
    /// # Panics
    /// Before the core is started.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        let traffic = self.traffic();
        let status = self.core.inspect(|replica, _, _| self.of_replica(replica, traffic));
        status.expect("pages are served after the core is started")
    }

    fn of_replica(&self, replica: &Replica, traffic: Traffic) -> ServerStatus {
        let zab = replica.status();
        let standalone = self.config.cluster.is_standalone();
        let traffic = Traffic { sessions_expired: replica.counters().sessions_expired, ..traffic };
        let serving = match zab.standing {
            Standing::Looking => Serving::No(why_looking(zab.phase).to_owned()),
            Standing::Leading { .. } | Standing::Following { .. } => Serving::Yes,
        };
        let role = match (standalone, zab.standing) {
            (true, _) => Role::Standalone,
            (false, standing) => Role::of(standing),
        };
        let voters = if standalone { Vec::new() } else { self.config.cluster.voters().collect() };
        ServerStatus {
            server: zab.id,
            role,
            phase: zab.phase,
            leader: if standalone { None } else { zab.leader },
            serving,
            epochs: zab.epochs,
            last_logged: zab.last_logged,
            last_durable: zab.last_durable,
            last_committed: zab.last_committed,
            config_version: self.config.cluster.version,
            voters,
            learners: zab.learners,
            elections: zab.elections,
            election_ms: zab.election_ms,
            uptime: self.started.elapsed(),
            // The pages are served when recovery is over.
            recovery_progress: 1.0,
            heartbeat_age: self.heartbeat.age(),
            tree: self.tree(replica),
            traffic,
            clients: Vec::new(),
            storage: self.storage(),
            transactions: Transactions {
                proposed: replica.counters().proposed,
                committed: replica.counters().applied,
                snapshots_sent: replica.counters().snapshots_sent,
                diffs_sent: replica.counters().diffs_sent,
                sizes: None,
            },
        }
    }

    fn tree(&self, replica: &Replica) -> TreeStatus {
        let tree = replica.tree().read();
        TreeStatus {
            znodes: tree.node_count() as u64,
            ephemerals: tree.ephemeral_count() as u64,
            data_bytes: tree.data_size(),
            sessions: tree.sessions().len() as u64,
            watches: self.shards.iter().map(|it| it.watches.load(Ordering::Relaxed)).sum(),
        }
    }

    fn traffic(&self) -> Traffic {
        let mut traffic =
            Traffic { connections_rejected: self.rejected.get(), ..Traffic::default() };
        for shard in &self.shards {
            traffic.connections += shard.connections.load(Ordering::Relaxed);
            traffic.packets_received += shard.received.load(Ordering::Relaxed);
            traffic.packets_sent += shard.sent.load(Ordering::Relaxed);
            traffic.bytes_received += shard.bytes_received.load(Ordering::Relaxed);
            traffic.bytes_sent += shard.bytes_sent.load(Ordering::Relaxed);
            traffic.outstanding += shard.outstanding.load(Ordering::Relaxed);
            traffic.latency.merge(&shard.latency.lock());
        }
        traffic
    }

    fn storage(&self) -> StorageStatus {
        StorageStatus {
            fsync: self.log.sync.lock().clone(),
            snapshot: self.housekeeping.counters().written.lock().clone(),
            log_bytes: self.log.bytes.load(Ordering::Relaxed),
        }
    }
}

fn why_looking(phase: Phase) -> &'static str {
    match phase {
        Phase::Election => "no leader is known, an election is on",
        Phase::Discovery => "the leader is being agreed on",
        Phase::Synchronization | Phase::Broadcast => "it is being synchronized with the leader",
    }
}
