//! Connections between servers: dialing, sending, breaking, healing.

use replica::Input;
use zab::{LinkId, Notification};

use super::servers::End as Stop;
use super::{Broken, Event, World};
use crate::check::name;
use crate::host::HostEvent;
use crate::network::{Connection, End, Packet, Way, pair};
use crate::profile::{MS, SECOND};
use crate::trace::Time;

/// Quorum links.
impl World {
    /// How long an end waits for signs of life before it gives a connection up.
    fn silence_us(&self) -> Time {
        self.profile.tick_ms * self.profile.sync_limit_ticks * MS
    }

    pub(super) fn far_end(&self, host: usize, link: LinkId) -> Option<usize> {
        let (connection, side) = *self.hosts[host].process.as_ref()?.links.get(&link)?;
        Some(self.network.connections[connection].ends[1 - side].host)
    }

    pub(super) fn dial(&mut self, host: usize, link: LinkId, leader: usize) {
        let connection = self.network.connections.len();
        let incarnation = self.hosts[host].incarnation;
        let dialer = End { host, incarnation, link, is_open: true };
        let (host_there, incarnation) = (leader, self.hosts[leader].incarnation);
        // Numbered by the acceptor when it accepts.
        let acceptor = End { host: host_there, incarnation, link: LinkId(0), is_open: false };
        let ways = [Way::default(), Way::default()];
        self.network.connections.push(Connection { ends: [dialer, acceptor], ways });
        if let Some(process) = &mut self.hosts[host].process {
            process.links.insert(link, (connection, 0));
        }
        let at = self.after(self.profile.delay_us);
        self.schedule(at, Event::Dial { connection });
    }

    pub(super) fn dialed(&mut self, connection: usize) {
        let [dialer, acceptor] = &self.network.connections[connection].ends;
        let (from, to) = (dialer.host, acceptor.host);
        if !dialer.is_open {
            return;
        }
        let is_cut = self.network.is_cut_either_way(from, to);
        if is_cut || self.hosts[to].process.is_none() {
            // Refused at once, or no answer at all.
            let at = self.after(if is_cut { (100 * MS, SECOND) } else { self.profile.delay_us });
            let reason = Broken::Gone;
            return self.schedule(at, Event::LinkTimeout { connection, side: 0, reason });
        }
        let incarnation = self.hosts[to].incarnation;
        let Some(process) = &mut self.hosts[to].process else { return };
        let link = LinkId(process.links_accepted);
        process.links_accepted += 1;
        process.links.insert(link, (connection, 1));
        let ends = &mut self.network.connections[connection].ends;
        ends[1] = End { host: to, incarnation, link, is_open: true };
        let dialed = ends[0].link;
        self.trace.line(self.now, || format!("{} is connected to {}", name(from), name(to)));
        self.schedule_host(self.now, to, HostEvent::Input(Input::LinkAccepted { link }));
        let delay = self.random.within(self.profile.delay_us);
        // Nothing the acceptor sends may come before the news that the link is up.
        let way = &mut self.network.connections[connection].ways[0];
        let at = way.arrival(self.now, delay);
        way.scheduled -= 1;
        self.schedule_host(at, from, HostEvent::Input(Input::LinkDialed { link: dialed }));
    }

    /// Sends on a link, if it is still there.
    pub(super) fn send_packet(&mut self, host: usize, link: LinkId, packet: Packet) {
        let Some(process) = &self.hosts[host].process else { return };
        let Some((connection, side)) = process.links.get(&link).copied() else { return };
        self.send_on(connection, 1 - side, packet);
    }

    fn send_on(&mut self, connection: usize, to_side: usize, packet: Packet) {
        let delay = self.random.within(self.profile.delay_us);
        let way = &mut self.network.connections[connection].ways[to_side];
        way.queue.push_back(packet);
        let at = way.arrival(self.now, delay);
        self.schedule(at, Event::Packet { connection, side: to_side });
    }

    pub(super) fn packet(&mut self, connection: usize, side: usize) {
        let it = &mut self.network.connections[connection];
        it.ways[side].scheduled -= 1;
        let (from, to) = (it.ends[1 - side].host, it.ends[side].host);
        if self.network.is_cut(from, to) {
            return;
        }
        let it = &mut self.network.connections[connection];
        let Some(packet) = it.ways[side].queue.pop_front() else { return };
        let end = &it.ends[side];
        let (host, link, incarnation) = (end.host, end.link, end.incarnation);
        if !end.is_open || self.hosts[host].incarnation != incarnation {
            return;
        }
        let event = match packet {
            Packet::Message(message) => HostEvent::Input(Input::Message { link, message }),
            Packet::Snapshot { to, bytes, node } => HostEvent::Snapshot { link, to, bytes, node },
            Packet::End => return self.down(connection, side),
        };
        self.host_event(host, incarnation, event);
    }

    /// An end learns that its link is gone.
    fn down(&mut self, connection: usize, side: usize) {
        let end = &mut self.network.connections[connection].ends[side];
        if !std::mem::replace(&mut end.is_open, false) {
            return;
        }
        let (host, link, incarnation) = (end.host, end.link, end.incarnation);
        let it = &mut self.hosts[host];
        if let Some(process) = it.process.as_mut().filter(|_| it.incarnation == incarnation) {
            process.links.remove(&link);
        }
        self.trace.line(self.now, || format!("{}: link {} is down", name(host), link.0));
        self.host_event(host, incarnation, HostEvent::Input(Input::LinkDown { link }));
    }

    /// The core closes a link: the other end learns of it behind what was sent.
    pub(super) fn close(&mut self, host: usize, link: LinkId, why: &str) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some((connection, side)) = process.links.remove(&link) else { return };
        self.trace.line(self.now, || format!("{} closes link {}: {why}", name(host), link.0));
        self.network.connections[connection].ends[side].is_open = false;
        self.send_on(connection, 1 - side, Packet::End);
    }

    pub(super) fn link_timeout(&mut self, connection: usize, side: usize, reason: Broken) {
        let it = &mut self.network.connections[connection];
        let (a, b) = (it.ends[0].host, it.ends[1].host);
        if reason == Broken::Cut && !self.network.is_cut_either_way(a, b) {
            return;
        }
        let it = &mut self.network.connections[connection];
        if it.ends[side].is_open {
            it.ways[side].queue.clear();
            self.down(connection, side);
            self.send_on(connection, 1 - side, Packet::End);
        }
    }

    /// Breaks a link: both ends learn of it, each in its own time, and what was under way is lost.
    pub(super) fn reset_link(&mut self, connection: usize) {
        for side in 0..2 {
            self.network.connections[connection].ways[side].queue.clear();
            let at = self.after((0, 20 * MS));
            self.schedule(at, Event::LinkTimeout { connection, side, reason: Broken::Gone });
        }
    }

    /// The connections of a process that has ended.
    pub(super) fn links_of_stopped(&mut self, host: usize, end: Stop) {
        for connection in self.network.open_links() {
            for side in 0..2 {
                let it = &mut self.network.connections[connection].ends[side];
                if it.host != host || !it.is_open {
                    continue;
                }
                it.is_open = false;
                match end {
                    Stop::Killed => self.send_on(connection, 1 - side, Packet::End),
                    Stop::PowerCut => {
                        let at = self.now + self.random.below(self.silence_us());
                        let (side, reason) = (1 - side, Broken::Gone);
                        self.schedule(at, Event::LinkTimeout { connection, side, reason });
                    }
                }
            }
        }
        self.election_host_stopped(host);
    }

    /// Nothing gets from one host to another until a time.
    pub(super) fn cut(&mut self, from: usize, to: usize, until: Time) {
        self.trace.line(self.now, || format!("{} cannot reach {}", name(from), name(to)));
        self.network.cut(from, to, until);
        self.schedule(until, Event::Heal);
        for connection in self.network.links_between(from, to) {
            for side in 0..2 {
                // An end that has nothing to send may never notice.
                if self.random.one_in(4) {
                    continue;
                }
                let at = self.now + self.random.below(2 * self.silence_us());
                let reason = Broken::Cut;
                self.schedule(at, Event::LinkTimeout { connection, side, reason });
            }
        }
        let pair = pair(from, to);
        let generation = self.network.pairs[&pair].generation;
        let at = self.now + self.random.below(SECOND);
        self.schedule(at, Event::ElectionTimeout { pair, generation });
    }

    /// Ends the cuts that are due; what waited goes on.
    pub(super) fn heal_due(&mut self) {
        for (from, to) in self.network.heal(self.now) {
            self.trace.line(self.now, || format!("{} can reach {} again", name(from), name(to)));
            for connection in 0..self.network.connections.len() {
                for side in 0..2 {
                    let it = &self.network.connections[connection];
                    let waiting = it.ways[side].queue.len().saturating_sub(it.ways[side].scheduled);
                    if it.ends[side].host == to && it.ends[1 - side].host == from {
                        for _ in 0..waiting {
                            let delay = self.random.within(self.profile.delay_us);
                            let way = &mut self.network.connections[connection].ways[side];
                            let at = way.arrival(self.now, delay);
                            self.schedule(at, Event::Packet { connection, side });
                        }
                    }
                }
            }
            self.election_healed(from, to);
        }
    }

    /// Ends all cuts.
    pub(super) fn heal_all(&mut self) {
        self.network.end_cuts_at(self.now);
        self.heal_due();
    }
}

/// Election connections.
impl World {
    pub(super) fn notify(&mut self, from: usize, to: usize, notification: Notification) {
        self.trace.line(self.now, || {
            let Notification { state, vote, round } = &notification;
            let vote = format!("{}:{}:s{}", vote.epoch, vote.zxid, vote.leader);
            format!("{} ⇢ {}: {state:?} {vote} round {round}", name(from), name(to))
        });
        let key = pair(from, to);
        let side = usize::from(to > from);
        let drops_older = self.random.one_in(8);
        let delay = self.random.within(self.profile.delay_us);
        let now = self.now;
        let Some(pair) = self.network.pairs.get_mut(&key) else { return };
        let way = &mut pair.ways[side];
        way.last = Some(notification.clone());
        if !pair.is_connected {
            return self.dial_pair(key, (0, 20 * MS));
        }
        match way.queue.back_mut() {
            Some(unsent) if drops_older => *unsent = notification,
            _ => {
                way.queue.push_back(notification);
                let at = way.arrival(now, delay);
                let generation = pair.generation;
                self.schedule(at, Event::Election { pair: key, side, generation });
            }
        }
    }

    pub(super) fn election(&mut self, key: (usize, usize), side: usize, generation: u32) {
        let hosts = [key.0, key.1];
        let (from, to) = (hosts[1 - side], hosts[side]);
        let is_cut = self.network.is_cut(from, to);
        let Some(pair) = self.network.pairs.get_mut(&key) else { return };
        if pair.generation != generation {
            return;
        }
        let way = &mut pair.ways[side];
        way.scheduled -= 1;
        if is_cut {
            return;
        }
        if let Some(notification) = way.queue.pop_front() {
            let from = self.hosts[from].config.zab.id;
            let incarnation = self.hosts[to].incarnation;
            let input = Input::Notification { from, notification };
            self.host_event(to, incarnation, HostEvent::Input(input));
        }
    }

    fn dial_pair(&mut self, key: (usize, usize), delay: (Time, Time)) {
        let at = self.after(delay);
        let Some(pair) = self.network.pairs.get_mut(&key) else { return };
        if !pair.is_connected && !pair.is_dialing {
            pair.is_dialing = true;
            self.schedule(at, Event::ElectionDial { pair: key });
        }
    }

    pub(super) fn election_dial(&mut self, key: (usize, usize)) {
        let is_cut = self.network.is_cut_either_way(key.0, key.1);
        let both_run = self.hosts[key.0].process.is_some() && self.hosts[key.1].process.is_some();
        let delays =
            [self.random.within(self.profile.delay_us), self.random.within(self.profile.delay_us)];
        let now = self.now;
        let Some(pair) = self.network.pairs.get_mut(&key) else { return };
        pair.is_dialing = false;
        if !both_run || pair.is_connected {
            return;
        }
        if is_cut {
            return self.dial_pair(key, (100 * MS, 2 * SECOND));
        }
        pair.is_connected = true;
        pair.generation += 1;
        let generation = pair.generation;
        let mut arrivals = Vec::new();
        for (side, way) in pair.ways.iter_mut().enumerate() {
            way.queue.clear();
            way.scheduled = 0;
            // The last message is sent again.
            if let Some(last) = way.last.clone() {
                way.queue.push_back(last);
                arrivals.push((way.arrival(now, delays[side]), side));
            }
        }
        for (at, side) in arrivals {
            self.schedule(at, Event::Election { pair: key, side, generation });
        }
    }

    pub(super) fn election_timeout(&mut self, key: (usize, usize), generation: u32) {
        let is_cut = self.network.is_cut_either_way(key.0, key.1);
        let Some(pair) = self.network.pairs.get_mut(&key) else { return };
        if is_cut && pair.generation == generation && pair.is_connected {
            pair.is_connected = false;
            pair.generation += 1;
            self.dial_pair(key, (100 * MS, 2 * SECOND));
        }
    }

    fn election_healed(&mut self, from: usize, to: usize) {
        let key = pair(from, to);
        let side = usize::from(to > from);
        let delay = self.random.within(self.profile.delay_us);
        let now = self.now;
        let Some(pair) = self.network.pairs.get_mut(&key) else { return };
        if !pair.is_connected {
            return;
        }
        let (generation, way) = (pair.generation, &mut pair.ways[side]);
        let waiting = way.queue.len().saturating_sub(way.scheduled);
        let arrivals: Vec<_> = (0..waiting).map(|_| way.arrival(now, delay)).collect();
        for at in arrivals {
            self.schedule(at, Event::Election { pair: key, side, generation });
        }
    }

    pub(super) fn election_host_started(&mut self, host: usize) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.dial_pair(pair(host, other), (0, 50 * MS));
        }
    }

    fn election_host_stopped(&mut self, host: usize) {
        for (key, pair) in &mut self.network.pairs {
            if key.0 != host && key.1 != host {
                continue;
            }
            pair.is_connected = false;
            pair.generation += 1;
            for way in &mut pair.ways {
                way.queue.clear();
                way.scheduled = 0;
            }
            // What the process had to say is forgotten with it.
            let to_other = usize::from(key.0 == host);
            pair.ways[to_other].last = None;
        }
    }
}
