//! A model of the servers: who runs, who votes, who leads, and which writes each volume holds.
//!
//! A write is a number. It is acknowledged when a majority of voters holds it, as in the protocol;
//! a leader that is elected without an acknowledged write has lost it, which the model notices.

use std::collections::{BTreeMap, BTreeSet};

use zab_operator::crd::status::{Position, Role};
use zab_operator::exposition::ServerReport;
use zab_operator::quorum::{ServerId, majority};

/// Seconds until a server that joined a leader is synchronized.
const SYNC_SECONDS: i64 = 2;

/// A server process.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) id: ServerId,
    /// Whether its vote counts: it had a database when it started, or was permitted to make one,
    /// or has been synchronized since.
    pub(crate) votes: bool,
    /// When it joined the leader.
    joined: Option<i64>,
}

impl Server {
    pub(crate) fn start(id: ServerId, votes: bool) -> Self {
        Self { id, votes, joined: None }
    }
}

/// All servers of an ensemble, and the writes their volumes hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Servers {
    pub(crate) voters: usize,
    /// Running servers by pod name.
    pub(crate) running: BTreeMap<String, Server>,
    /// Writes held by each pod's volume; absent is an empty database.
    pub(crate) data: BTreeMap<String, u64>,
    /// The pod that leads.
    pub(crate) leader: Option<String>,
    pub(crate) epoch: i64,
    /// The highest write that a client was told is safe.
    pub(crate) acknowledged: u64,
    /// What should never happen, if it did.
    pub(crate) lost: Option<String>,
}

impl Servers {
    /// One second: elect if nobody leads a majority, synchronize, write.
    pub(crate) fn second(&mut self, now: i64) {
        let voting: Vec<String> = self
            .running
            .iter()
            .filter(|(_, server)| server.votes)
            .map(|(pod, _)| pod.clone())
            .collect();
        if voting.len() < majority(self.voters) {
            self.leader = None;
            self.running.values_mut().for_each(|server| server.joined = None);
            return;
        }
        if self.leader.as_ref().is_none_or(|leader| !self.running.contains_key(leader)) {
            self.elect(&voting);
        }
        for (pod, server) in &mut self.running {
            let joined = *server.joined.get_or_insert(now);
            if self.leader.as_ref() == Some(pod) || now - joined >= SYNC_SECONDS {
                server.votes = true;
            }
        }
        let synced = self.synced(now);
        if synced.len() >= majority(self.voters) {
            self.acknowledged += 1;
            for (pod, server) in &self.running {
                if synced.contains(&server.id) {
                    self.data.insert(pod.clone(), self.acknowledged);
                }
            }
        }
    }

    fn elect(&mut self, voting: &[String]) {
        let holds = |pod: &String| self.data.get(pod).copied().unwrap_or(0);
        let best = voting.iter().max_by_key(|pod| (holds(pod), self.running[*pod].id)).unwrap();
        if holds(best) < self.acknowledged {
            self.lost = Some(format!(
                "{best} leads with writes to {}, but {} was acknowledged",
                holds(best),
                self.acknowledged
            ));
        }
        self.leader = Some(best.clone());
        self.epoch += 1;
        self.running.values_mut().for_each(|server| server.joined = None);
    }

    /// Voters that are in step with the leader.
    pub(crate) fn synced(&self, now: i64) -> BTreeSet<ServerId> {
        let Some(leader) = &self.leader else { return BTreeSet::new() };
        self.running
            .iter()
            .filter(|(pod, server)| {
                *pod == leader || server.joined.is_some_and(|at| now - at >= SYNC_SECONDS)
            })
            .map(|(_, server)| server.id)
            .collect()
    }

    /// Ends a process. A leader that is asked to hands over first; one that is killed does not.
    pub(crate) fn stop(&mut self, pod: &str) {
        self.running.remove(pod);
    }

    /// Ends the leader's term without a reason.
    pub(crate) fn depose(&mut self) {
        self.leader = None;
    }

    /// Forgets the last writes everywhere, which is the worst that can happen.
    pub(crate) fn lose_writes(&mut self, number: u64) {
        self.acknowledged -= number;
        for writes in self.data.values_mut() {
            *writes = self.acknowledged;
        }
    }

    /// Whether the server of `pod` serves clients.
    pub(crate) fn serves(&self, pod: &str, now: i64) -> bool {
        self.running.get(pod).is_some_and(|server| self.synced(now).contains(&server.id))
    }

    /// What the server of `pod` says of itself.
    pub(crate) fn report(&self, pod: &str, now: i64) -> Option<ServerReport> {
        let server = self.running.get(pod)?;
        let leads = self.leader.as_deref() == Some(pod);
        let leader = self.leader.as_ref().and_then(|leader| self.running.get(leader));
        Some(ServerReport {
            id: server.id,
            role: match (leads, leader) {
                (true, _) => Role::Leader,
                (false, Some(_)) => Role::Follower,
                (false, None) => Role::Looking,
            },
            leader: leader.map(|leader| leader.id),
            epoch: if leader.is_some() { self.epoch } else { 0 },
            config_version: 0,
            committed: Position {
                epoch: 1,
                counter: self.data.get(pod).map_or(0, |writes| i64::try_from(*writes).unwrap()),
            },
            serving: self.serves(pod, now),
            synced: if leads { self.synced(now) } else { BTreeSet::new() },
            lag: BTreeMap::new(),
            recovery_progress: 1.0,
            version: Some("1.0".to_owned()),
        })
    }
}
