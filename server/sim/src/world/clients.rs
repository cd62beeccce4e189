//! Clients and their connections, at both ends.

use std::net::{IpAddr, Ipv4Addr};

use bytes::{Buf, Bytes, BytesMut};
use jute::response::ConnectResponse;
use jute::{Decode, frame};
use replica::shard::Micros;
use replica::{ConnectionId, Input};

use super::servers::End as Stop;
use super::{Event, Phase, World};
use crate::check::Heard;
use crate::client::{ClientEvent, Request, State};
use crate::host::{ClientEnd, HostEvent};
use crate::profile::{MS, SECOND};
use crate::trace::Time;

/// The longest frame taken.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// The servers' end.
impl World {
    pub(super) fn accept_client(&mut self, host: usize, client: usize, attempt: u32) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let connection = ConnectionId(process.connections);
        process.connections += 1;
        process.clients.insert(connection, ClientEnd { client, attempt, input: BytesMut::new() });
        process.shard.open(connection, IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    pub(super) fn client_bytes(&mut self, host: usize, client: usize, attempt: u32, bytes: &[u8]) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(connection) = process.connection_of(client, attempt) else { return };
        if let Some(end) = process.clients.get_mut(&connection) {
            end.input.extend_from_slice(bytes);
        }
        self.receive(host, connection);
        let inputs = self.settle_shard(host);
        self.inputs(host, inputs);
    }

    /// Has the shard take the frames that have come.
    fn receive(&mut self, host: usize, connection: ConnectionId) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(end) = process.clients.get_mut(&connection) else { return };
        let tree = process.tree.read();
        let received = process.shard.receive(Micros(self.now), &tree, connection, &mut end.input);
        drop(tree);
        match received {
            Ok(()) => self.flush(host, connection),
            Err(fault) => {
                self.trace.line(self.now, || format!("client {}: {}", end_of(host), fault.0));
                self.flush(host, connection);
                self.hang_up_client(host, connection);
            }
        }
    }

    /// Writes out what a connection has, and closes it if it is to be closed.
    fn flush(&mut self, host: usize, connection: ConnectionId) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(end) = process.clients.get(&connection) else { return };
        let (client, attempt) = (end.client, end.attempt);
        let bytes = process.shard.output(connection).map(std::mem::take).unwrap_or_default();
        let is_closing = process.shard.is_closing(connection);
        if !bytes.is_empty() {
            self.trace.mix_bytes(&bytes);
            self.send_to_client(client, attempt, ClientEvent::Bytes(bytes.freeze()));
        }
        if is_closing {
            self.hang_up_client(host, connection);
        }
    }

    fn hang_up_client(&mut self, host: usize, connection: ConnectionId) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(end) = process.clients.remove(&connection) else { return };
        process.shard.closed(connection);
        self.send_to_client(end.client, end.attempt, ClientEvent::Closed);
    }

    pub(super) fn client_gone(&mut self, host: usize, client: usize, attempt: u32) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(connection) = process.connection_of(client, attempt) else { return };
        process.clients.remove(&connection);
        process.shard.closed(connection);
        let inputs = self.settle_shard(host);
        self.inputs(host, inputs);
    }

    /// Writes out what the shard has for its connections; what it has for the core.
    pub(super) fn settle_shard(&mut self, host: usize) -> Vec<Input> {
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Vec::new() };
            let woken = process.shard.take_woken();
            if woken.is_empty() {
                return process.shard.take_for_core();
            }
            for connection in woken {
                // There may be room now for frames that wait.
                self.receive(host, connection);
            }
        }
    }

    /// The connections of a process that has ended.
    pub(super) fn clients_of_stopped(&mut self, host: usize, end: Stop) {
        for client in 0..self.clients.len() {
            let it = &self.clients[client];
            if it.host == host && it.state != State::Disconnected {
                let attempt = it.attempt;
                let at = match end {
                    Stop::Killed => self.after(self.profile.delay_us),
                    Stop::PowerCut => self.after((MS, SECOND)),
                };
                let at = at.max(self.clients[client].from_server_at);
                self.clients[client].from_server_at = at;
                let event = ClientEvent::Closed;
                self.schedule(at, Event::Client { client, attempt, event });
            }
        }
    }

    fn send_to_client(&mut self, client: usize, attempt: u32, event: ClientEvent) {
        if self.clients[client].attempt != attempt {
            return;
        }
        let at = self.after(self.profile.delay_us);
        let it = &mut self.clients[client];
        it.from_server_at = it.from_server_at.max(at);
        let at = it.from_server_at;
        self.schedule(at, Event::Client { client, attempt, event });
    }
}

fn end_of(host: usize) -> String {
    format!("at {}", crate::check::name(host))
}

/// The clients' end.
impl World {
    pub(super) fn client_event(&mut self, client: usize, attempt: u32, event: ClientEvent) {
        if self.clients[client].attempt != attempt {
            return;
        }
        match event {
            ClientEvent::Wake => self.client_wakes(client),
            ClientEvent::Bytes(bytes) => self.client_hears(client, &bytes),
            ClientEvent::Closed => self.client_disconnects(client),
            ClientEvent::Watchdog => self.client_watches_out(client),
        }
    }

    fn client_wakes(&mut self, client: usize) {
        match self.clients[client].state {
            State::Disconnected => self.client_dials(client),
            State::Connecting => {}
            State::Ready => {
                if self.clients[client].sent.is_empty() && self.phase != Phase::Quiet {
                    self.client_asks(client);
                }
                self.client_sleeps(client, self.profile.think_us);
            }
        }
    }

    fn client_sleeps(&mut self, client: usize, pause: (Time, Time)) {
        let at = self.after(pause);
        let attempt = self.clients[client].attempt;
        self.schedule(at, Event::Client { client, attempt, event: ClientEvent::Wake });
    }

    fn client_dials(&mut self, client: usize) {
        let host = self.random.below(self.hosts.len() as u64) as usize;
        let timeout_ms = self.profile.session_timeout_ms;
        let now = self.now;
        let it = &mut self.clients[client];
        it.attempt += 1;
        it.host = host;
        it.state = State::Connecting;
        it.sent.clear();
        it.input.clear();
        it.heard_at = now;
        (it.to_server_at, it.from_server_at) = (now, now);
        let attempt = it.attempt;
        let mut bytes = BytesMut::new();
        it.connect_frame(timeout_ms, &mut bytes);
        if self.hosts[host].process.is_none() {
            return self.send_to_client(client, attempt, ClientEvent::Closed);
        }
        self.send_to_server(client, HostEvent::Accept { client, attempt });
        self.send_to_server(client, HostEvent::Bytes { client, attempt, bytes: bytes.freeze() });
        self.client_watchdog(client);
    }

    fn send_to_server(&mut self, client: usize, event: HostEvent) {
        let at = self.after(self.profile.delay_us);
        let it = &mut self.clients[client];
        it.to_server_at = it.to_server_at.max(at);
        let (at, host) = (it.to_server_at, it.host);
        self.schedule_host(at, host, event);
    }

    fn client_asks(&mut self, client: usize) {
        let acknowledged = self.acknowledged;
        let it = &mut self.clients[client];
        let count = it.random.within((1, self.profile.pipeline_max));
        let mut bytes = BytesMut::new();
        for _ in 0..count {
            let request = it.draw(client);
            let is_last = request == Request::Close;
            it.ask(request, acknowledged, &mut bytes);
            if is_last {
                break;
            }
        }
        self.client_sends(client, bytes.freeze());
    }

    pub(super) fn client_sends(&mut self, client: usize, bytes: Bytes) {
        let attempt = self.clients[client].attempt;
        self.send_to_server(client, HostEvent::Bytes { client, attempt, bytes });
    }

    fn client_watchdog(&mut self, client: usize) {
        let attempt = self.clients[client].attempt;
        let at = self.now + self.profile.session_timeout_ms.unsigned_abs() as u64 * MS / 4;
        self.schedule(at, Event::Client { client, attempt, event: ClientEvent::Watchdog });
    }

    /// Pings when there is silence, and goes elsewhere when there is too much of it.
    fn client_watches_out(&mut self, client: usize) {
        let timeout_us = self.profile.session_timeout_ms.unsigned_abs() as u64 * MS;
        let it = &mut self.clients[client];
        if it.state == State::Disconnected {
            return;
        }
        if self.now - it.heard_at > timeout_us * 2 / 3 {
            return self.client_hangs_up(client);
        }
        if it.state == State::Ready && it.sent.is_empty() {
            let mut bytes = BytesMut::new();
            it.ask(Request::Ping, 0, &mut bytes);
            self.client_sends(client, bytes.freeze());
        }
        self.client_watchdog(client);
    }

    /// Ends a connection from the client's side.
    pub(super) fn client_hangs_up(&mut self, client: usize) {
        let attempt = self.clients[client].attempt;
        self.send_to_server(client, HostEvent::Gone { client, attempt });
        self.client_disconnects(client);
    }

    fn client_disconnects(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.attempt += 1;
        it.state = State::Disconnected;
        it.sent.clear();
        self.client_sleeps(client, (MS, 200 * MS));
    }

    fn client_hears(&mut self, client: usize, bytes: &[u8]) {
        let it = &mut self.clients[client];
        it.heard_at = self.now;
        it.input.extend_from_slice(bytes);
        let attempt = it.attempt;
        loop {
            let it = &mut self.clients[client];
            if it.attempt != attempt {
                return;
            }
            match frame::take(&mut it.input, FRAME_BYTES_MAX) {
                Ok(Some(answer)) if it.state == State::Connecting => {
                    self.client_connected(client, &answer);
                }
                Ok(Some(answer)) => self.client_answered(client, answer.chunk()),
                Ok(None) => return,
                Err(error) => return self.check.fail("Wire", error.to_string()),
            }
        }
    }

    fn client_connected(&mut self, client: usize, answer: &[u8]) {
        let response = match ConnectResponse::decode_all(answer) {
            Ok(response) => response,
            Err(error) => return self.check.fail("Wire", error.to_string()),
        };
        let it = &mut self.clients[client];
        if response.timeout_ms <= 0 {
            it.forget_session();
            return self.client_disconnects(client);
        }
        let password = response.password.and_then(|it| it.try_into().ok()).unwrap_or_default();
        let session = (response.session_id, password);
        if it.session.is_some_and(|old| old != session) {
            return self
                .check
                .fail("SessionResumed", format!("client {client} got another session"));
        }
        it.session = Some(session);
        it.state = State::Ready;
        if !it.watches.is_empty() {
            it.is_rearming = true;
            let mut bytes = BytesMut::new();
            it.ask(Request::SetWatches, 0, &mut bytes);
            self.client_sends(client, bytes.freeze());
        }
        self.client_sleeps(client, self.profile.think_us);
    }
}

impl World {
    fn client_answered(&mut self, client: usize, answer: &[u8]) {
        let heard = self.check.on_answer(client, &mut self.clients[client], answer);
        self.answers += 1;
        match heard {
            Heard::Acknowledged { zxid } => {
                self.acknowledged = self.acknowledged.max(zxid);
                if self.phase != Phase::Safety {
                    self.clients[client].acknowledged_since_heal += 1;
                }
            }
            Heard::Closed | Heard::Expired => {
                self.clients[client].forget_session();
                self.client_hangs_up(client);
            }
            Heard::Other => {}
        }
    }
}
