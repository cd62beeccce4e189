//! What lies between the servers: connections that keep order and break, and cuts in one direction or both.
//!
//! Quorum links are reliable and in order until they break. A cut loses nothing by itself: what is sent waits, as TCP
//! would send it again, until the cut heals or an end gives up. On election connections only the newest message matters;
//! older ones may be dropped, and the last one is sent again on a new connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;
use replica::PeerMessage;
use tree::snapshot::{Fed, Progress, TreeReader, TreeWriter};
use tree::{DataTree, FrozenTree};
use zab::{LinkId, Notification, Zxid};

use crate::history::NodeId;
use crate::trace::Time;

/// What travels over a quorum link.
#[derive(Debug)]
pub(crate) enum Packet {
    Message(PeerMessage),
    /// A tree as bytes, and the history it stands for.
    Snapshot {
        to: Zxid,
        bytes: BytesMut,
        node: NodeId,
    },
    /// The other end is closed.
    End,
}

/// One end of a quorum link.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: usize,
    pub(crate) incarnation: u32,
    pub(crate) link: LinkId,
    pub(crate) is_open: bool,
}

/// The way to one end.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub(crate) queue: VecDeque<Packet>,
    /// Arrivals that are in the event queue.
    pub(crate) scheduled: usize,
    last_at: Time,
}

/// A quorum link: the end that dialed first.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    /// The ways *to* the ends.
    pub(crate) ways: [Way; 2],
}

/// The way of election messages to one host from another.
#[derive(Debug, Default)]
pub(crate) struct ElectionWay {
    pub(crate) queue: VecDeque<Notification>,
    pub(crate) last: Option<Notification>,
    pub(crate) scheduled: usize,
    last_at: Time,
}

/// The election connection of two hosts, the lower one first.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    pub(crate) is_connected: bool,
    pub(crate) is_dialing: bool,
    /// Counts connections and their ends.
    pub(crate) generation: u32,
    /// The ways *to* the hosts, the lower one first.
    pub(crate) ways: [ElectionWay; 2],
}

/// All links.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) connections: Vec<Connection>,
    pub(crate) pairs: BTreeMap<(usize, usize), Pair>,
    /// Cuts from one host to another, with the time they heal.
    cuts: BTreeMap<(usize, usize), Time>,
}

/// The key of a pair.
pub(crate) fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Way {
    /// When something sent now, and under way for `delay`, arrives: never before what was sent earlier.
    pub(crate) fn arrival(&mut self, now: Time, delay: Time) -> Time {
        self.scheduled += 1;
        self.last_at = self.last_at.max(now + delay);
        self.last_at
    }
}

impl ElectionWay {
    /// As [`Way::arrival`].
    pub(crate) fn arrival(&mut self, now: Time, delay: Time) -> Time {
        self.scheduled += 1;
        self.last_at = self.last_at.max(now + delay);
        self.last_at
    }
}

impl Network {
    pub(crate) fn new(hosts: usize) -> Self {
        let mut network = Self::default();
        for low in 0..hosts {
            for high in low + 1..hosts {
                network.pairs.insert((low, high), Pair::default());
            }
        }
        network
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize, until: Time) {
        let heals_at = self.cuts.entry((from, to)).or_insert(until);
        *heals_at = until.max(*heals_at);
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    pub(crate) fn is_cut_either_way(&self, a: usize, b: usize) -> bool {
        self.is_cut(a, b) || self.is_cut(b, a)
    }

    /// Lets all cuts end no later than `at`.
    pub(crate) fn end_cuts_at(&mut self, at: Time) {
        for until in self.cuts.values_mut() {
            *until = at.min(*until);
        }
    }

    /// Removes the cuts that have lasted until `now`; the directions that are open again.
    pub(crate) fn heal(&mut self, now: Time) -> BTreeSet<(usize, usize)> {
        let (over, left) =
            std::mem::take(&mut self.cuts).into_iter().partition(|(_, at)| *at <= now);
        self.cuts = left;
        let over: BTreeMap<_, _> = over;
        over.into_keys().collect()
    }

    /// The links between two hosts that are open at either end.
    pub(crate) fn links_between(&self, a: usize, b: usize) -> Vec<usize> {
        let between = |connection: &Connection| {
            let [dialer, acceptor] = &connection.ends;
            pair(dialer.host, acceptor.host) == pair(a, b) && (dialer.is_open || acceptor.is_open)
        };
        let all = self.connections.iter().enumerate();
        all.filter(|(_, it)| between(it)).map(|(index, _)| index).collect()
    }

    /// The links with an open end.
    pub(crate) fn open_links(&self) -> Vec<usize> {
        let is_open = |it: &Connection| it.ends[0].is_open || it.ends[1].is_open;
        let all = self.connections.iter().enumerate();
        all.filter(|(_, it)| is_open(it)).map(|(index, _)| index).collect()
    }
}

/// A tree as it goes over the wire.
pub(crate) fn tree_to_bytes(tree: FrozenTree) -> BytesMut {
    let mut writer = TreeWriter::new(tree);
    let mut bytes = BytesMut::new();
    while writer.next_chunk(bytes.len() + 512, &mut bytes) == Progress::More {}
    bytes
}

/// The tree that came in pieces of `piece_bytes`.
pub(crate) fn tree_from_bytes(
    bytes: &[u8],
    to: Zxid,
    piece_bytes: usize,
) -> Result<DataTree, String> {
    let mut reader = TreeReader::new(0);
    for piece in bytes.chunks(piece_bytes) {
        if let Fed::Done { .. } = reader.feed(piece).map_err(|error| error.to_string())? {
            return reader.finish(to.0).map_err(|error| error.to_string());
        }
    }
    Err("the tree ends too early".to_owned())
}
