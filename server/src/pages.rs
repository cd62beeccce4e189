//! Gathers what the pages show from all parts of the server.

mod recovery;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use replica::Replica;
use zab::{Epochs, Phase, ServerId, Standing, Zxid};

use crate::clients::shard_loop::ShardCounters;
use crate::config::Config;
use crate::core_loop::CoreHandle;
use crate::housekeeping::Housekeeping;
use crate::log_thread::{LogCounters, LogThread};
use crate::pages::recovery::Recovery;
use crate::server::Shards;
use crate::status::{
    Heartbeat, Role, ServerStatus, Serving, StorageStatus, Traffic, Transactions, TreeStatus,
};

/// Where the numbers come from.
pub struct Pages {
    config: Rc<Config>,
    server: ServerId,
    core: CoreHandle,
    recovery: Recovery,
    parts: RefCell<Option<Parts>>,
    started: Instant,
    heartbeat: Heartbeat,
    rejected: Rc<Cell<u64>>,
}

/// What there is once the data are read.
struct Parts {
    log: Arc<LogCounters>,
    housekeeping: Housekeeping,
    shards: Vec<Arc<ShardCounters>>,
}

impl Pages {
    /// Pages of a server that reads its data.
    #[must_use]
    pub fn new(config: Rc<Config>, server: ServerId, core: CoreHandle) -> Rc<Self> {
        Rc::new(Self {
            recovery: Recovery::ahead(&config.process),
            config,
            server,
            core,
            parts: RefCell::new(None),
            started: Instant::now(),
            heartbeat: Heartbeat::new(),
            rejected: Rc::new(Cell::new(0)),
        })
    }

    /// The data are read: from now on there are numbers to show.
    pub fn recovered(&self, log: &LogThread, housekeeping: Housekeeping, shards: &Shards) {
        let (log, shards) = (log.counters(), shards.counters.clone());
        *self.parts.borrow_mut() = Some(Parts { log, housekeeping, shards });
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
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        let parts = self.parts.borrow();
        let status = parts
            .as_ref()
            .and_then(|parts| self.core.inspect(|replica| self.of_replica(replica, parts)));
        status.unwrap_or_else(|| self.recovering())
    }

    /// A server that reads its data: it lives, but is nobody yet.
    fn recovering(&self) -> ServerStatus {
        let standalone = self.config.cluster.is_standalone();
        ServerStatus {
            server: self.server,
            role: if standalone { Role::Standalone } else { Role::Looking },
            phase: Phase::Election,
            leader: None,
            serving: Serving::No("it is reading its data".to_owned()),
            epochs: Epochs::default(),
            last_logged: Zxid::ZERO,
            last_durable: Zxid::ZERO,
            last_committed: Zxid::ZERO,
            config_version: self.config.cluster.version,
            voters: self.voters(),
            learners: Vec::new(),
            elections: 0,
            election_ms: 0,
            uptime: self.started.elapsed(),
            recovery_progress: self.recovery.ratio(),
            heartbeat_age: self.heartbeat.age(),
            tree: TreeStatus::default(),
            traffic: Traffic::default(),
            clients: Vec::new(),
            storage: StorageStatus::default(),
            transactions: Transactions::default(),
        }
    }

    fn voters(&self) -> Vec<ServerId> {
        match self.config.cluster.is_standalone() {
            true => Vec::new(),
            false => self.config.cluster.voters().collect(),
        }
    }

    fn of_replica(&self, replica: &Replica, parts: &Parts) -> ServerStatus {
        let zab = replica.status();
        let standalone = self.config.cluster.is_standalone();
        let traffic = Traffic {
            sessions_expired: replica.counters().sessions_expired,
            ..self.traffic(parts)
        };
        let serving = match zab.standing {
            Standing::Looking => Serving::No(why_looking(zab.phase).to_owned()),
            Standing::Leading { .. } | Standing::Following { .. } => Serving::Yes,
        };
        let role = match (standalone, zab.standing) {
            (true, _) => Role::Standalone,
            (false, standing) => Role::of(standing),
        };
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
            voters: self.voters(),
            learners: zab.learners,
            elections: zab.elections,
            election_ms: zab.election_ms,
            uptime: self.started.elapsed(),
            recovery_progress: 1.0,
            heartbeat_age: self.heartbeat.age(),
            tree: Self::tree(replica, parts),
            traffic,
            clients: parts.shards.iter().flat_map(|it| it.clients.lock().clone()).collect(),
            storage: Self::storage(parts),
            transactions: Transactions {
                proposed: replica.counters().proposed,
                committed: replica.counters().applied,
                snapshots_sent: replica.counters().snapshots_sent,
                diffs_sent: replica.counters().diffs_sent,
                sizes: None,
            },
        }
    }

    fn tree(replica: &Replica, parts: &Parts) -> TreeStatus {
        let tree = replica.tree().read();
        TreeStatus {
            znodes: tree.node_count() as u64,
            ephemerals: tree.ephemeral_count() as u64,
            data_bytes: tree.data_size(),
            sessions: tree.sessions().len() as u64,
            watches: parts.shards.iter().map(|it| it.watches.load(Ordering::Relaxed)).sum(),
        }
    }

    fn traffic(&self, parts: &Parts) -> Traffic {
        let mut traffic =
            Traffic { connections_rejected: self.rejected.get(), ..Traffic::default() };
        for shard in &parts.shards {
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

    fn storage(parts: &Parts) -> StorageStatus {
        let snapshots = parts.housekeeping.counters();
        StorageStatus {
            fsync: parts.log.sync.lock().clone(),
            snapshot: snapshots.written.lock().clone(),
            snapshot_failures: snapshots.failures.load(Ordering::Relaxed),
            log_bytes: parts.log.bytes.load(Ordering::Relaxed),
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
