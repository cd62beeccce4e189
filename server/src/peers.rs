//! The other servers of the ensemble: connections for elections, and links between leader and learners.

pub mod net;
pub mod wire;

pub mod election_links;

mod quorum_link;
pub mod quorum_links;

#[cfg(test)]
mod testing;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

use replica::Output;
use zab::ServerId;

use crate::config::Config;
use crate::core_sink::CoreSink;
use crate::peers::election_links::ElectionLinks;
use crate::peers::quorum_links::{Limits, QuorumLinks};

/// The longest field of a packet besides transactions: a PING names every session heard of, 12 bytes each, and this is
/// room for five million of them.
const PACKET_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Everything that leads to other servers.
#[derive(Clone)]
pub struct Peers {
    election: ElectionLinks,
    quorum: QuorumLinks,
}

impl Peers {
    /// Listens on both ports and starts to reach the other members. Within a `LocalSet`.
    ///
    /// # Errors
    /// When a port cannot be bound; names the address.
    ///
    /// # Panics
    /// When `id` is not a member.
    pub async fn start(config: &Config, id: ServerId, sink: impl CoreSink) -> io::Result<Self> {
        let (cluster, process) = (&config.cluster, &config.process);
        let own = cluster.members.get(&id).expect("the configuration has our own line");
        let (listen, tries) = (process.quorum_listen, process.bind_tries_max);
        let election_port = net::listen(&own.election_address(), listen, tries).await?;
        let quorum_port = net::listen(&own.quorum_address(), listen, tries).await?;
        let connect_timeout = Duration::from_millis(process.connect_timeout_ms);
        let ticks = |ticks| Duration::from_millis(cluster.tick_ms.saturating_mul(ticks));
        let election = election_links::Settings {
            me: id,
            members: cluster.members.clone(),
            config_text: cluster.text(),
            connect_timeout,
        };
        let quorum = quorum_links::Settings {
            members: cluster.members.clone(),
            connect_timeout,
            dial_limit: ticks(match cluster.connect_limit_ticks {
                0 => cluster.init_limit_ticks,
                limit => limit,
            }),
            limits: Limits {
                silence_limit: ticks(cluster.init_limit_ticks.max(cluster.sync_limit_ticks)),
                queue_bytes_max: process.link_queue_bytes_max,
                packet_bytes_max: PACKET_BYTES_MAX.max(2 * process.frame_bytes_max),
                hash_seed: RandomState::new().hash_one(id.0),
            },
        };
        Ok(Self {
            election: ElectionLinks::start(election, election_port, sink.clone()),
            quorum: QuorumLinks::start(quorum, quorum_port, sink),
        })
    }

    /// Carries out an output that concerns other servers. Never waits.
    ///
    /// # Panics
    /// For any other output.
    pub fn carry_out(&self, output: Output) {
        match output {
            Output::Notify { to, notification } => self.election.notify(to, &notification),
            Output::Dial { link, leader } => self.quorum.dial(link, leader),
            Output::Send { link, message } => self.quorum.send(link, &message),
            Output::SendSnapshot { link, to, tree } => self.quorum.send_snapshot(link, to, tree),
            Output::Close { link, why } => self.quorum.close(link, &why),
            other => panic!("{other:?} does not concern other servers"),
        }
    }
}
