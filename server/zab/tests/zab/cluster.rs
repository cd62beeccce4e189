//! A cluster in one thread: links are FIFO queues, time is a number, every step is somebody's choice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use zab::{
    Config, Ensemble, Input, LinkId, Membership, Message, Millis, Notification, Output, Peer,
    ServerId, Standing,
};

use crate::check::Ghost;
use crate::disk::{Disk, History, Operation};
use crate::trace;

/// One server: its process, if it runs, and its disk.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) peer: Option<Peer>,
    /// Played by the script: accepts links, and what it is sent is only traced.
    pub(crate) fake: bool,
    pub(crate) disk: Disk,
    /// The state machine: all that was applied.
    pub(crate) state: History,
    standing: Standing,
    /// The tree that came with the last SNAP.
    tree: History,
    /// Truncations and installations the state machine waits for.
    restoring: usize,
    link_accepted: u64,
}

/// One end of a connection.
pub(crate) type End = (ServerId, LinkId);

/// What travels over a connection.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Message(Message),
    /// SNAP with its tree.
    Snap(Message, History),
    /// The far end is gone.
    Down,
}

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Notification(ServerId, ServerId),
    Dial(usize),
    Packet(End),
    Disk(ServerId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) now: Millis,
    pub(crate) servers: BTreeMap<ServerId, Server>,
    pub(crate) ghost: Ghost,
    pub(crate) trace: Vec<String>,
    pub(crate) show_notifications: bool,
    pub(crate) show_pings: bool,
    /// Print the trace as it grows: how a failed seed is looked at.
    pub(crate) live: bool,
    /// Whether what peers say is true, so that the ghost's history is one.
    pub(crate) trusting: bool,
    /// The kinds of packets sent.
    pub(crate) kinds_sent: BTreeSet<String>,
    notifications: BTreeMap<(ServerId, ServerId), VecDeque<Notification>>,
    dials: Vec<(End, ServerId)>,
    /// Which end talks to which.
    far_ends: BTreeMap<End, End>,
    /// Packets under way to an end.
    packets: BTreeMap<End, VecDeque<Packet>>,
    /// Pairs of servers that cannot hear each other; what is sent waits.
    cuts: BTreeSet<(ServerId, ServerId)>,
}

fn pair(a: ServerId, b: ServerId) -> (ServerId, ServerId) {
    (a.min(b), a.max(b))
}

impl Cluster {
    /// Servers 1.. of which the first are voters, the rest observers; none is started.
    pub(crate) fn new(voters: u64, observers: u64, edit: impl Fn(&mut Config)) -> Self {
        let members = (1..=voters + observers).map(|id| {
            let membership = if id <= voters { Membership::Voter } else { Membership::Observer };
            (ServerId(id), membership)
        });
        let ensemble = Ensemble::new(members);
        let mut cluster = Self {
            now: Millis(0),
            servers: BTreeMap::new(),
            ghost: Ghost::default(),
            trace: Vec::new(),
            show_notifications: false,
            show_pings: false,
            live: false,
            trusting: true,
            kinds_sent: BTreeSet::new(),
            notifications: BTreeMap::new(),
            dials: Vec::new(),
            far_ends: BTreeMap::new(),
            packets: BTreeMap::new(),
            cuts: BTreeSet::new(),
        };
        for (id, _) in ensemble.members() {
            let mut config = Config {
                id,
                ensemble: ensemble.clone(),
                config_version: 0,
                config_text: Bytes::new(),
                tick_ms: 1000,
                init_limit_ticks: 10,
                sync_limit_ticks: 5,
                finalize_wait_ms: 200,
                history_bytes_max: 1 << 20,
            };
            edit(&mut config);
            let server = Server {
                config,
                peer: None,
                fake: false,
                disk: Disk { trusted: true, ..Disk::default() },
                state: History::new(),
                standing: Standing::Looking,
                tree: History::new(),
                restoring: 0,
                link_accepted: 0,
            };
            cluster.servers.insert(id, server);
        }
        cluster
    }

    pub(crate) fn server(&mut self, id: ServerId) -> &mut Server {
        self.servers.get_mut(&id).unwrap_or_else(|| panic!("there is no s{id}"))
    }

    /// Starts a server on what its disk holds.
    pub(crate) fn start(&mut self, id: ServerId, standalone: bool) {
        let now = self.now;
        let server = self.server(id);
        assert!(server.peer.is_none(), "s{id} runs already");
        let recovered = server.disk.recover();
        server.state = server.disk.history.clone();
        server.standing = Standing::Looking;
        server.restoring = 0;
        let mut outputs = Vec::new();
        let config = server.config.clone();
        server.peer = Some(if standalone {
            Peer::standalone(config, recovered, &mut outputs)
        } else {
            Peer::new(config, recovered, now, &mut outputs)
        });
        self.carry_out(id, outputs);
    }

    /// Ends a server's process; of what was not durable, the first `survives` operations are.
    pub(crate) fn crash(&mut self, id: ServerId, survives: usize) {
        let server = self.server(id);
        for _ in 0..survives {
            server.disk.sync_one();
        }
        server.disk.queue.clear();
        server.peer = None;
        server.state.clear();
        server.standing = Standing::Looking;
        self.notifications.retain(|(from, to), _| *from != id && *to != id);
        self.dials.retain(|((dialer, _), _)| *dialer != id);
        let ends: Vec<End> = self.far_ends.keys().copied().filter(|end| end.0 == id).collect();
        for end in ends {
            self.hang_up(end);
        }
    }

    /// Runs one input and carries out what comes of it.
    pub(crate) fn handle(&mut self, id: ServerId, input: Input) {
        let now = self.now;
        let peer = self.servers.get_mut(&id).and_then(|server| server.peer.as_mut());
        let Some(peer) = peer else {
            return;
        };
        let mut outputs = Vec::new();
        peer.handle(now, input, &mut outputs);
        self.carry_out(id, outputs);
    }

    /// Proposes on a leader.
    pub(crate) fn propose(&mut self, id: ServerId, payload: Bytes) -> Option<zab::Zxid> {
        let now = self.now;
        let peer = self.server(id).peer.as_mut()?;
        let expected = peer.next_zxid()?;
        let mut outputs = Vec::new();
        let zxid = peer.propose(now, payload, &mut outputs);
        assert_eq!(zxid, expected);
        self.carry_out(id, outputs);
        Some(zxid)
    }

    fn carry_out(&mut self, id: ServerId, outputs: Vec<Output>) {
        for output in outputs {
            self.note(id, &output);
            match output {
                Output::Notify { to, notification } => {
                    if !self.cuts.contains(&pair(id, to)) {
                        self.notifications.entry((id, to)).or_default().push_back(notification);
                    }
                }
                Output::Dial { link, leader } => self.dials.push(((id, link), leader)),
                Output::Send { link, message } => self.send(id, link, message),
                Output::Close { link, .. } => self.hang_up((id, link)),
                Output::Append { append, zxid, payload } => {
                    self.store(id, Operation::Append { append, zxid, payload });
                }
                Output::SaveEpochs { epochs } => self.store(id, Operation::SaveEpochs { epochs }),
                Output::Truncate { after } => {
                    let (server, majority) = (&self.servers[&id], self.majority());
                    let copies = |zxid| copies(&self.servers, zxid);
                    let history = &server.disk.history;
                    self.ghost.on_truncate(id, history, after, copies, majority);
                    self.server(id).restoring += 1;
                    self.store(id, Operation::Truncate { after });
                }
                Output::InstallSnapshot { zxid } => {
                    // What comes behind the snapshot is on the disk only afterwards.
                    let (server, majority) = (&self.servers[&id], self.majority());
                    let copies = |zxid| copies(&self.servers, zxid);
                    self.ghost.on_truncate(id, &server.disk.history, zxid, copies, majority);
                    let tree = self.server(id).tree.clone();
                    self.server(id).restoring += 1;
                    self.store(id, Operation::Install { zxid, tree });
                }
                Output::Deliver { zxid, payload } => self.deliver(id, zxid, payload),
                Output::Became(standing) => self.became(id, standing),
                Output::HandedOff => {}
            }
        }
    }

    fn note(&mut self, id: ServerId, output: &Output) {
        let shown = match output {
            Output::Notify { .. } => self.show_notifications,
            Output::Send { message: Message::Ping { .. }, .. } => self.show_pings,
            _ => true,
        };
        if shown {
            let other = match output {
                Output::Send { link, .. } | Output::Close { link, .. } => {
                    self.far_ends.get(&(id, *link)).map(|end| end.0)
                }
                _ => None,
            };
            let line = trace::line(id, output, other);
            if self.live {
                println!("{:>7} {line}", self.now.0);
            } else {
                self.trace.push(line);
            }
        }
    }

    fn store(&mut self, id: ServerId, operation: Operation) {
        self.server(id).disk.queue.push_back(operation);
    }

    fn send(&mut self, id: ServerId, link: LinkId, message: Message) {
        let Some(far) = self.far_ends.get(&(id, link)).copied() else {
            return;
        };
        let text = trace::message_text(&message);
        let kind = text.split(' ').next().unwrap_or_default();
        if !self.kinds_sent.contains(kind) {
            self.kinds_sent.insert(kind.to_string());
        }
        let packet = match message {
            Message::Snap { .. } => Packet::Snap(message, self.servers[&id].state.clone()),
            message => Packet::Message(message),
        };
        self.packets.entry(far).or_default().push_back(packet);
    }

    /// Ends a connection at one end; the other learns of it after what was sent before.
    fn hang_up(&mut self, end: End) {
        self.packets.remove(&end);
        if let Some(far) = self.far_ends.remove(&end) {
            self.packets.entry(far).or_default().push_back(Packet::Down);
        }
        self.dials.retain(|(dialer, _)| *dialer != end);
    }

    fn deliver(&mut self, id: ServerId, zxid: zab::Zxid, payload: Bytes) {
        let server = self.server(id);
        assert_eq!(server.restoring, 0, "s{id} delivers {zxid} into a tree that is being rebuilt");
        let last = server.state.last().map_or(zab::Zxid::ZERO, |(zxid, _)| *zxid);
        assert!(zxid.follows(last), "s{id} delivers {zxid} after {last}");
        server.state.push((zxid, payload));
        if server.standing != Standing::Looking && self.trusting {
            self.check_served(id);
        }
    }

    fn became(&mut self, id: ServerId, standing: Standing) {
        self.server(id).standing = standing;
        if !self.trusting {
            return;
        }
        if let Standing::Leading { epoch } = standing
            && epoch > zab::Epoch(0)
        {
            let majority = self.majority();
            let adopted =
                voters(&self.servers).filter(|server| server.disk.epochs.current >= epoch).count();
            let state = &self.servers[&id].state;
            self.ghost.on_leader(id, epoch, state, adopted, majority);
        }
        if standing != Standing::Looking {
            let (server, majority) = (&self.servers[&id], self.majority());
            let copies = |zxid| copies(&self.servers, zxid);
            self.ghost.on_began_to_serve(id, &server.state, copies, majority);
        }
    }

    fn check_served(&mut self, id: ServerId) {
        let (server, majority) = (&self.servers[&id], self.majority());
        let copies = |zxid| copies(&self.servers, zxid);
        self.ghost.on_served(id, &server.state, copies, majority);
    }

    /// How many disks must hold what is served. What a server played by the script holds nobody knows.
    fn majority(&self) -> usize {
        if self.servers.values().any(|server| server.fake) {
            return 0;
        }
        let (_, server) = self.servers.first_key_value().expect("a cluster has servers");
        server.config.ensemble.majority_len()
    }

    /// All that can happen next, in a fixed order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for ((from, to), queue) in &self.notifications {
            if !queue.is_empty() && !self.cuts.contains(&pair(*from, *to)) {
                events.push(Event::Notification(*from, *to));
            }
        }
        events.extend((0..self.dials.len()).map(Event::Dial));
        for (end, queue) in &self.packets {
            let cut =
                self.far_ends.get(end).is_some_and(|far| self.cuts.contains(&pair(end.0, far.0)));
            if !queue.is_empty() && !cut {
                events.push(Event::Packet(*end));
            }
        }
        for (id, server) in &self.servers {
            if !server.disk.queue.is_empty() && !server.disk.held && server.peer.is_some() {
                events.push(Event::Disk(*id));
            }
        }
        events
    }

    /// Makes one of `events` happen.
    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Notification(from, to) => {
                let queue = self.notifications.entry((from, to)).or_default();
                if let Some(notification) = queue.pop_front() {
                    self.handle(to, Input::Notification { from, notification });
                }
            }
            Event::Dial(position) => {
                let (end, leader) = self.dials.remove(position);
                self.connect(end, leader);
            }
            Event::Packet(end) => {
                let packet = self.packets.get_mut(&end).and_then(VecDeque::pop_front);
                self.receive(end, packet);
            }
            Event::Disk(id) => self.sync_one(id),
        }
    }

    fn connect(&mut self, end: End, leader: ServerId) {
        let (id, link) = end;
        let runs = |server: &Server| server.peer.is_some() || server.fake;
        let reachable =
            self.servers.get(&leader).is_some_and(runs) && !self.cuts.contains(&pair(id, leader));
        if !reachable {
            self.handle(id, Input::LinkDown { link });
            return;
        }
        let accepting = self.server(leader);
        accepting.link_accepted += 1;
        let accepted = LinkId(accepting.link_accepted);
        let far = (leader, accepted);
        self.far_ends.insert(end, far);
        self.far_ends.insert(far, end);
        self.handle(leader, Input::LinkAccepted { link: accepted });
        self.handle(id, Input::LinkDialed { link });
    }

    fn receive(&mut self, end: End, packet: Option<Packet>) {
        let (id, link) = end;
        match packet {
            None => {}
            Some(Packet::Message(message)) => self.handle(id, Input::Message { link, message }),
            Some(Packet::Snap(message, tree)) => {
                self.server(id).tree = tree;
                self.handle(id, Input::Message { link, message });
            }
            Some(Packet::Down) => {
                self.packets.remove(&end);
                self.far_ends.remove(&end);
                self.handle(id, Input::LinkDown { link });
            }
        }
    }

    /// A server that the script plays dials `to`.
    pub(crate) fn fake_dial(&mut self, from: ServerId, to: ServerId) {
        let server = self.server(from);
        server.link_accepted += 1;
        let end = (from, LinkId(server.link_accepted));
        self.connect(end, to);
    }

    /// A server that the script plays sends on its newest link with `to`.
    pub(crate) fn fake_send(
        &mut self,
        from: ServerId,
        to: ServerId,
        message: Message,
        tree: History,
    ) {
        let links = self.far_ends.iter().filter(|(end, far)| end.0 == from && far.0 == to);
        let far = *links.max_by_key(|(end, _)| end.1).expect("they have a link").1;
        let packet = match message {
            Message::Snap { .. } => Packet::Snap(message, tree),
            message => Packet::Message(message),
        };
        self.packets.entry(far).or_default().push_back(packet);
    }

    /// A server that the script plays sends an election notification.
    pub(crate) fn fake_notify(&mut self, from: ServerId, to: ServerId, notification: Notification) {
        self.notifications.entry((from, to)).or_default().push_back(notification);
    }

    /// The links a server has.
    pub(crate) fn links_of(&self, id: ServerId) -> Vec<LinkId> {
        self.far_ends.keys().filter(|end| end.0 == id).map(|end| end.1).collect()
    }

    /// Makes a server's oldest storage operation durable.
    pub(crate) fn sync_one(&mut self, id: ServerId) {
        let server = self.server(id);
        let Some(input) = server.disk.sync_one() else {
            return;
        };
        match &input {
            Input::Truncated { after } => {
                server.state.retain(|(zxid, _)| zxid <= after);
                server.restoring -= 1;
            }
            Input::SnapshotInstalled { .. } => {
                server.state = server.disk.history.clone();
                server.restoring -= 1;
            }
            _ => {}
        }
        self.handle(id, input);
    }

    /// Lets everything happen that can, in order, without letting time pass.
    pub(crate) fn stabilize(&mut self) {
        for _ in 0..100_000 {
            let Some(event) = self.events().first().copied() else {
                return;
            };
            self.happen(event);
        }
        panic!("the cluster does not come to rest: {:?}", self.events());
    }

    /// Lets time pass, and everything happen meanwhile.
    pub(crate) fn run(&mut self, duration_ms: u64) {
        let end = self.now.plus(duration_ms);
        self.stabilize();
        while let Some(next) = self.next_wake().filter(|at| *at <= end) {
            self.now = self.now.max(next);
            self.tick();
            self.stabilize();
        }
        self.now = end;
    }

    /// The next deadline of any server.
    pub(crate) fn next_wake(&self) -> Option<Millis> {
        self.servers.values().filter_map(|server| server.peer.as_ref()?.wake_at()).min()
    }

    /// Wakes the servers whose deadline has come.
    pub(crate) fn tick(&mut self) {
        let ids: Vec<ServerId> = self.servers.keys().copied().collect();
        for id in ids {
            let now = self.now;
            let due = |peer: &Option<Peer>| {
                peer.as_ref().and_then(Peer::wake_at).is_some_and(|at| at <= now)
            };
            if due(&self.server(id).peer) {
                self.handle(id, Input::Tick);
                assert!(!due(&self.server(id).peer), "s{id} wants to be woken in the past");
            }
        }
    }

    /// Cuts two servers off from each other: nothing arrives, nobody is told.
    pub(crate) fn cut(&mut self, a: ServerId, b: ServerId) {
        self.cuts.insert(pair(a, b));
        self.notifications.remove(&(a, b));
        self.notifications.remove(&(b, a));
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Breaks all connections between two servers: both are told.
    pub(crate) fn reset(&mut self, a: ServerId, b: ServerId) {
        let ends: Vec<End> = self
            .far_ends
            .iter()
            .filter(|(end, far)| pair(end.0, far.0) == pair(a, b))
            .map(|(end, _)| *end)
            .collect();
        for end in ends {
            self.far_ends.remove(&end);
            let queue = self.packets.entry(end).or_default();
            queue.clear();
            queue.push_back(Packet::Down);
        }
    }

    /// The established leader of the highest epoch.
    pub(crate) fn leader(&self) -> Option<ServerId> {
        self.servers
            .iter()
            .filter_map(|(id, server)| match server.standing {
                Standing::Leading { epoch } if server.peer.is_some() => Some((epoch, *id)),
                _ => None,
            })
            .max()
            .map(|(_, id)| id)
    }

    /// Whether a server serves clients.
    pub(crate) fn serves(&self, id: ServerId) -> bool {
        self.servers[&id].standing != Standing::Looking
    }
}

fn voters(servers: &BTreeMap<ServerId, Server>) -> impl Iterator<Item = &Server> {
    servers.values().filter(|server| server.config.ensemble.is_voter(server.config.id))
}

/// How many voters have a transaction on disk.
fn copies(servers: &BTreeMap<ServerId, Server>, zxid: zab::Zxid) -> usize {
    let holds = |server: &&Server| {
        server.disk.history.binary_search_by_key(&zxid, |(known, _)| *known).is_ok()
    };
    voters(servers).filter(holds).count()
}
