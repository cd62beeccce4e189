//! The life of a simulated server: start, events, the log thread in the order of `log_thread` of the server, the end.

use std::sync::Arc;

use replica::shard::Limits;
use replica::{Input, Now, PeerMessage, Replica, SessionId, Shard, ShardId};
use store::{Empty, Options, Store};
use tree::SharedTree;
use zab::{Millis, Standing};

use super::{Event, HASH_SEED, Phase, World};
use crate::check::name;
use crate::disk::SimDisk;
use crate::host::{HostEvent, Process};
use crate::log_worker::{Done, LogWorker};
use crate::network::tree_from_bytes;
use crate::planted::Planted;
use crate::profile::{MS, SECOND};
use crate::trace::Time;

/// Bounds of a connection; small, so that they are met.
const LIMITS: Limits =
    Limits { frame_bytes_max: 1 << 20, pending_len_max: 8, output_bytes_max: 1 << 20 };

/// More ticks than this in one millisecond: the core asks for the time in vain.
const TICKS_MAX: u32 = 100;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process alone: the disk stays as it is, and the system closes its connections.
    Killed,
    /// With the whole host: what was not synced is torn, and nobody is told.
    PowerCut,
}

impl World {
    fn options(&self, host: usize) -> Options {
        Options {
            segment_bytes: self.profile.segment_bytes,
            history_bytes: self.profile.history_bytes_max,
            empty: match self.planted {
                Some(Planted::WipedVotes) => Empty::IsNew,
                _ if self.hosts[host].is_founded => Empty::IsSuspect,
                _ => Empty::IsNew,
            },
            hash_seed: HASH_SEED,
        }
    }

    /// Starts a process on what its disk holds.
    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        let (disk, options) = (self.hosts[host].disk.clone(), self.options(host));
        let (store, recovered) = match Store::open(Arc::new(disk), options) {
            Ok(opened) => opened,
            Err(error) => return self.storage_failed(host, &error),
        };
        self.hosts[host].is_founded = true;
        self.trace.mix(&[recovered.last.0.cast_unsigned()]);
        self.trace.line(self.now, || {
            let (last, epochs) = (recovered.last, recovered.epochs);
            let trusted = if recovered.trusted { "" } else { ", untrusted" };
            format!("{} starts with {last}, {epochs:?}{trusted}", name(host))
        });
        self.check.on_recovered(host, recovered.last, &recovered.recent, recovered.epochs);
        let mut epochs = recovered.epochs;
        if self.planted == Some(Planted::ForgottenPromise) {
            epochs.accepted = epochs.current;
        }
        let replayed_txns = recovered.report.transactions_replayed;
        let history = zab::Recovered {
            epochs,
            last: recovered.last,
            recent: recovered.recent,
            trusted: recovered.trusted,
        };
        let tree = SharedTree::new(recovered.tree);
        let wall_ms = self.hosts[host].wall_ms + (self.now / MS).cast_signed();
        let now = Now { monotonic: Millis(0), wall_ms };
        let mut outputs = Vec::new();
        let config = self.hosts[host].config.clone();
        let recovered = replica::Recovered { history, tree: tree.clone(), replayed_txns };
        let replica = Replica::new(config, recovered, now, &mut outputs);
        self.hosts[host].process = Some(Process {
            replica,
            shard: Shard::new(ShardId(0), LIMITS, None),
            tree,
            log: LogWorker::new(host, store, self.planted),
            outputs,
            standing: Standing::Looking,
            started_at: self.now,
            timer_at: None,
            ticks: (Millis(0), 0),
            last_report_at: self.now,
            links: std::collections::BTreeMap::new(),
            links_accepted: 0,
            clients: std::collections::BTreeMap::new(),
            connections: 0,
            snapshot: None,
            is_leaving: false,
        });
        self.election_host_started(host);
        self.schedule_host(self.now, host, HostEvent::PrepareSegment);
        self.schedule_host(self.now, host, HostEvent::ReportTouched);
        self.inputs(host, Vec::new());
    }

    /// A process ends, with or without its host.
    pub(crate) fn stop(&mut self, host: usize, end: End) {
        self.trace.line(self.now, || format!("{} {end:?}", name(host)));
        let it = &mut self.hosts[host];
        it.process = None;
        it.incarnation += 1;
        it.is_paused = false;
        it.inbox.clear();
        if end == End::PowerCut {
            it.disk = it.disk.after_power_cut(&mut self.random);
        }
        self.links_of_stopped(host, end);
        self.clients_of_stopped(host, end);
        self.check.on_stopped(host);
        let at = match self.phase {
            Phase::Safety => self.after(self.profile.outage_us),
            Phase::Liveness | Phase::Quiet => self.now + SECOND,
        };
        let incarnation = self.hosts[host].incarnation;
        self.schedule(at, Event::Start { host, incarnation });
    }

    /// The store could not do something: the process stops, as in production. Only the world may be the reason.
    fn storage_failed(&mut self, host: usize, error: &store::Error) {
        self.trace.line(self.now, || format!("{}: {error}", name(host)));
        if self.hosts[host].disk.is_dark() {
            self.stop(host, End::PowerCut);
        } else if self.hosts[host].disk.has_failed() {
            self.hosts[host].disk.mend();
            self.stop(host, End::Killed);
        } else {
            self.check.fail("Storage", format!("{}: {error}", name(host)));
        }
    }
}

/// Events of a process.
impl World {
    pub(super) fn host_event(&mut self, host: usize, incarnation: u32, event: HostEvent) {
        let it = &mut self.hosts[host];
        if it.incarnation != incarnation || it.process.is_none() {
            return;
        }
        if it.is_paused {
            it.inbox.push_back(event);
        } else {
            self.process_event(host, event);
        }
    }

    /// A paused host goes on with all that came in meanwhile.
    pub(super) fn resume(&mut self, host: usize, incarnation: u32) {
        if self.hosts[host].incarnation != incarnation || !self.hosts[host].is_paused {
            return;
        }
        self.trace.line(self.now, || format!("{} goes on", name(host)));
        self.hosts[host].is_paused = false;
        let inbox = std::mem::take(&mut self.hosts[host].inbox);
        // What the core was to get comes in one batch, as it does behind a full queue.
        let mut batch = Vec::new();
        for event in inbox {
            match event {
                HostEvent::Input(input) => batch.push(input),
                event => {
                    self.inputs(host, std::mem::take(&mut batch));
                    self.host_event(host, incarnation, event);
                }
            }
        }
        if self.hosts[host].incarnation == incarnation {
            self.inputs(host, batch);
        }
    }

    fn process_event(&mut self, host: usize, event: HostEvent) {
        match event {
            HostEvent::Input(input) => self.inputs(host, vec![input]),
            HostEvent::Snapshot { link, to, bytes, node } => {
                let piece_bytes = 1 + self.random.below(700) as usize;
                match tree_from_bytes(&bytes, to, piece_bytes) {
                    Ok(tree) => {
                        self.check.servers[host].incoming = node;
                        let message = PeerMessage::Snapshot { to, tree: Box::new(tree) };
                        self.inputs(host, vec![Input::Message { link, message }]);
                    }
                    Err(what) => self.check.fail("Snapshot", what),
                }
            }
            HostEvent::Timer(at) => self.timer(host, at),
            HostEvent::LogStep => self.log_step(host),
            HostEvent::SnapshotWritten => self.write_snapshot(host),
            HostEvent::PrepareSegment => {
                let maintenance = self.hosts[host].process.as_ref().map(|it| &it.log.maintenance);
                if let Some(Err(error)) = maintenance.map(|it| it.prepare_segment()) {
                    self.housekeeping_failed(host, &error);
                }
            }
            HostEvent::ReportTouched => {
                let touched =
                    self.hosts[host].process.as_mut().and_then(|it| it.shard.take_touched());
                let touched = match self.planted {
                    Some(Planted::SessionsImmortal) => Some(self.all_sessions(host)),
                    _ => touched,
                };
                self.inputs(host, touched.into_iter().collect());
                let at = self.now + self.profile.tick_ms * MS / 4;
                self.schedule_host(at, host, HostEvent::ReportTouched);
            }
            HostEvent::Accept { client, attempt } => self.accept_client(host, client, attempt),
            HostEvent::Bytes { client, attempt, bytes } => {
                self.client_bytes(host, client, attempt, &bytes);
            }
            HostEvent::Gone { client, attempt } => self.client_gone(host, client, attempt),
            HostEvent::Leave => self.leave(host),
        }
    }

    fn timer(&mut self, host: usize, at: Time) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.timer_at != Some(at) {
            return;
        }
        process.timer_at = None;
        let now = process.monotonic(self.now);
        process.ticks = if process.ticks.0 == now { (now, process.ticks.1 + 1) } else { (now, 0) };
        if process.ticks.1 > TICKS_MAX {
            let what = format!("{} asks for ticks in vain at {} ms", name(host), now.0);
            return self.check.fail("TimeMustPass", what);
        }
        self.inputs(host, vec![Input::Tick]);
    }

    fn log_step(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else { return };
        process.log.is_scheduled = false;
        let done = match process.log.step(&mut self.check) {
            Ok(done) => done,
            Err(error) => return self.storage_failed(host, &error),
        };
        if process.log.has_rolled() {
            let at = self.after((MS, 20 * MS));
            self.schedule_host(at, host, HostEvent::PrepareSegment);
        }
        match done {
            Done::Report(input) => self.report(host, input),
            Done::Snapshot(snapshot) => {
                if let Some(process) = &mut self.hosts[host].process {
                    process.snapshot = Some(snapshot);
                }
                let at = self.after((MS, SECOND));
                self.schedule_host(at, host, HostEvent::SnapshotWritten);
            }
            Done::Silent => {}
        }
        self.schedule_log(host);
        if self.random.one_in(100) {
            self.check_image(host);
        }
    }

    /// Starts a copy from what is certain to be on the disk.
    pub(crate) fn check_image(&mut self, host: usize) {
        let image: SimDisk = self.hosts[host].disk.durable_image();
        match Store::open(Arc::new(image), self.options(host)) {
            Ok((_, recovered)) => self.check.check_durable_image(host, recovered.last),
            Err(error) => {
                let what = format!("{} could not start without power: {error}", name(host));
                self.check.fail("DurableImage", what);
            }
        }
    }

    /// Planted: all sessions as heard of.
    fn all_sessions(&self, host: usize) -> Input {
        let tree = self.hosts[host].process.as_ref().map(|it| it.tree.read());
        let sessions = tree.iter().flat_map(|it| it.sessions()).map(|(id, _)| SessionId(id));
        Input::Touched { sessions: sessions.collect() }
    }

    /// The snapshot thread writes; between two of its writes the log thread may take steps.
    fn write_snapshot(&mut self, host: usize) {
        let Self { hosts, check, random, .. } = self;
        let Some(process) = &mut hosts[host].process else { return };
        let Some(snapshot) = process.snapshot.take() else { return };
        let mut done = Vec::new();
        let written = snapshot.write(&mut |_| {
            if process.log.has_work() && done.last().is_none_or(Result::is_ok) && random.one_in(4) {
                done.push(process.log.step(check));
            }
        });
        let removed = process.log.maintenance.remove_old(3);
        process.log.is_writing = false;
        for done in done {
            match done {
                Ok(Done::Report(input)) => self.report(host, input),
                Ok(Done::Snapshot(_)) => unreachable!("one is being written"),
                Ok(Done::Silent) => {}
                Err(error) => return self.storage_failed(host, &error),
            }
        }
        for error in [written.err(), removed.err()].into_iter().flatten() {
            self.housekeeping_failed(host, &error);
        }
    }

    /// What nobody waits for may fail, as in production; unless it is the end of the process.
    fn housekeeping_failed(&mut self, host: usize, error: &store::Error) {
        if self.hosts[host].process.is_none() {
            return;
        }
        if self.hosts[host].disk.has_failed_sync() {
            self.trace.line(self.now, || format!("{}: {error}", name(host)));
            self.hosts[host].disk.mend();
        } else {
            self.storage_failed(host, error);
        }
    }

    /// The log thread tells the core something.
    pub(super) fn report(&mut self, host: usize, input: Input) {
        let at = self.after((20, 200));
        let Some(process) = &mut self.hosts[host].process else { return };
        process.last_report_at = process.last_report_at.max(at);
        let at = process.last_report_at;
        self.schedule_host(at, host, HostEvent::Input(input));
    }

    /// Has the log thread take its next step, if there is work.
    pub(super) fn schedule_log(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        let Some(process) = &mut it.process else { return };
        if process.log.is_scheduled || !process.log.has_work() {
            return;
        }
        process.log.is_scheduled = true;
        let slow = self.now < it.slow_until;
        let took = self.random.within(self.profile.sync_us);
        let at = self.now + if slow { took * 100 } else { took };
        self.schedule_host(at, host, HostEvent::LogStep);
    }

    /// Leadership is given away: the log is finished, then the process ends.
    fn leave(&mut self, host: usize) {
        while let Some(process) = &mut self.hosts[host].process {
            if !process.log.has_work() {
                break;
            }
            if let Err(error) = process.log.step(&mut self.check) {
                return self.storage_failed(host, &error);
            }
        }
        self.stop(host, End::Killed);
    }
}
