//! What must hold after every step, whatever happens to servers, disks, links and clients.
//!
//! The checks are named as in the specifications of Zab. They stand on *ghosts*: what an outside observer knows of every
//! server, kept beside it and never shown to it. Each check looks only at what the last step changed, so it is cheap
//! enough to run after every one.

mod answers;
mod disk;
mod model;
mod protocol;
mod sessions;

pub(crate) use answers::Heard;
pub(crate) use disk::DiskGhost;
pub(crate) use model::{Committed, Kind, Model, Seen, digests};

use std::collections::{BTreeMap, VecDeque};

use replica::SessionId;
use zab::{Epoch, LinkId, Millis, Zxid};

use crate::history::{EMPTY, Histories, NodeId};
use crate::trace::{Time, Violation};

/// What is known of one server.
#[derive(Debug, Default)]
pub(crate) struct ServerGhost {
    pub(crate) is_voter: bool,
    /// Its log as its core believes it to be; position *i* holds the history of *i* + 1 transactions.
    chain: Vec<NodeId>,
    /// How many transactions of the log are in its tree.
    applied: usize,
    /// Truncations and installations under way.
    restoring: usize,
    /// The history of the tree it received by SNAP last.
    pub(crate) incoming: NodeId,
    /// The histories of the trees its log thread is to install.
    installing: VecDeque<NodeId>,
    pub(crate) disk: DiskGhost,
    /// It lost its disk and has not adopted a leader's history since.
    pub(crate) is_untrusted: bool,
    is_serving: bool,
    /// The epoch it leads, in phase 2 or 3.
    leads: Option<Epoch>,
    /// The last proposal it acknowledged on each link.
    acked: BTreeMap<LinkId, Zxid>,
    /// When its process was last told of each session, on the clock of the process.
    heard: BTreeMap<SessionId, Millis>,
    /// When it began to lead.
    leads_since: Millis,
}

impl ServerGhost {
    /// The end of its log.
    fn tip(&self) -> NodeId {
        self.chain.last().copied().unwrap_or(EMPTY)
    }

    /// What its tree holds.
    pub(crate) fn in_tree(&self) -> NodeId {
        self.applied.checked_sub(1).map_or(EMPTY, |position| self.chain[position])
    }
}

/// All ghosts, and the first thing that went wrong.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) histories: Histories,
    pub(crate) servers: Vec<ServerGhost>,
    /// Every transaction that any serving server applied, in order.
    committed: Vec<NodeId>,
    majority: usize,
    leaders: BTreeMap<Epoch, usize>,
    pub(crate) model: Model,
    pub(crate) now: Time,
    violation: Option<Violation>,
}

impl Check {
    pub(crate) fn new(are_voters: &[bool], hash_seed: u64) -> Self {
        let servers = are_voters
            .iter()
            .map(|is_voter| ServerGhost { is_voter: *is_voter, ..Default::default() });
        Self {
            histories: Histories::new(),
            servers: servers.collect(),
            committed: Vec::new(),
            majority: are_voters.iter().filter(|it| **it).count() / 2 + 1,
            leaders: BTreeMap::new(),
            model: Model::new(hash_seed),
            now: 0,
            violation: None,
        }
    }

    /// The first violation is the one to look at.
    pub(crate) fn fail(&mut self, check: &'static str, what: impl Into<String>) {
        if self.violation.is_none() {
            let what = what.into();
            self.violation = Some(Violation { check, what, at_us: self.now });
        }
    }

    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The newest committed history.
    pub(crate) fn committed(&self) -> NodeId {
        self.committed.last().copied().unwrap_or(EMPTY)
    }

    pub(crate) fn committed_len(&self) -> usize {
        self.committed.len()
    }

    /// How many servers at the moment have no data of their own to vouch for.
    pub(crate) fn untrusted_voters(&self) -> usize {
        self.servers.iter().filter(|it| it.is_voter && it.is_untrusted).count()
    }
}

/// How servers are called in traces and violations.
pub(crate) fn name(host: usize) -> String {
    format!("s{}", host + 1)
}
