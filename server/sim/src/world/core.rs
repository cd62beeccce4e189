//! The core of a simulated server: a batch of inputs goes in, and its outputs are carried out in the order of
//! `core_loop` of the server.

use replica::shard::Micros;
use replica::{Input, Now, Output, PeerMessage, Report, ShardOutput};
use zab::{LinkId, Message, Millis, Standing, Zxid};

use super::World;
use crate::check::{digests, name};
use crate::host::HostEvent;
use crate::log_worker::LogTask;
use crate::network::{Packet, tree_to_bytes};
use crate::planted::Planted;
use crate::profile::MS;

impl World {
    /// Handles a batch of inputs, then carries out what came of it, until nothing more comes.
    pub(super) fn inputs(&mut self, host: usize, mut batch: Vec<Input>) {
        loop {
            let it = &mut self.hosts[host];
            let wall_ms = it.wall_ms + (self.now / MS).cast_signed();
            let Some(process) = &mut it.process else { return };
            let now = Now { monotonic: process.monotonic(self.now), wall_ms };
            let mut outputs = std::mem::take(&mut process.outputs);
            // Where in the outputs the tree was rebuilt, and to which zxid.
            let mut restored = Vec::new();
            for mut input in batch.drain(..) {
                self.check.on_heard(host, now.monotonic, &input);
                if self.planted == Some(Planted::SessionsUnheard) {
                    forget_sessions(&mut input);
                }
                match &input {
                    Input::Truncated { tree: Some(tree), .. } => {
                        restored.push((outputs.len(), Zxid(tree.last_zxid())));
                    }
                    Input::Truncated { tree: None, .. } => {
                        restored.push((outputs.len(), Zxid(process.tree.read().last_zxid())));
                    }
                    Input::SnapshotInstalled { zxid } => restored.push((outputs.len(), *zxid)),
                    _ => {}
                }
                process.replica.handle(now, input, &mut outputs);
            }
            let for_shard = self.carry_out(host, &mut outputs, &restored);
            let Some(process) = &mut self.hosts[host].process else { return };
            process.outputs = outputs;
            let tree = process.tree.read();
            for output in for_shard {
                process.shard.on_core(Micros(self.now), &tree, output);
            }
            assert!(process.shard.may_read(&tree), "the only shard has heard of every change");
            let (last, status) = (Zxid(tree.last_zxid()), process.replica.status());
            self.check.on_tree(host, last, || digests(&tree));
            drop(tree);
            if !self.profile.is_standalone {
                self.check.on_status(host, &status);
            }
            batch = self.settle_shard(host);
            if batch.is_empty() {
                break;
            }
        }
        self.rearm(host);
    }

    /// Sets the timer when it is due earlier than before.
    fn rearm(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else { return };
        let Some(Millis(wake_at)) = process.replica.wake_at() else { return };
        let at = (process.started_at + wake_at * MS).max(self.now + 5);
        if process.timer_at.is_none_or(|timer_at| at < timer_at) {
            process.timer_at = Some(at);
            self.schedule_host(at, host, HostEvent::Timer(at));
        }
    }

    fn carry_out(
        &mut self,
        host: usize,
        outputs: &mut Vec<Output>,
        restored: &[(usize, Zxid)],
    ) -> Vec<ShardOutput> {
        let mut restored = restored.iter().copied().peekable();
        let mut log_tasks = Vec::new();
        let mut for_shard = Vec::new();
        for (position, output) in outputs.drain(..).enumerate() {
            while let Some((_, last)) = restored.next_if(|(at, _)| *at <= position) {
                self.check.on_restored(host, last);
            }
            match output {
                Output::Shard(output) => {
                    if let ShardOutput::Applied { zxid, .. } = &output {
                        self.check.on_applied(host, *zxid);
                    }
                    for_shard.push(output);
                }
                output => self.carry_out_one(host, output, &mut log_tasks),
            }
        }
        for (_, last) in restored {
            self.check.on_restored(host, last);
        }
        self.submit(host, &mut log_tasks);
        for_shard
    }

    fn submit(&mut self, host: usize, log_tasks: &mut Vec<LogTask>) {
        if log_tasks.is_empty() {
            return;
        }
        for task in log_tasks.iter() {
            match (task, self.planted) {
                (LogTask::Append { append, .. }, Some(Planted::AckBeforeFsync)) => {
                    self.report(host, Input::Durable { append: *append });
                }
                (LogTask::SaveEpochs(epochs), Some(Planted::EpochReportedEarly)) => {
                    self.report(host, Input::EpochsSaved { epochs: *epochs });
                }
                _ => {}
            }
        }
        if let Some(process) = &mut self.hosts[host].process {
            process.log.submit(log_tasks);
        }
        self.schedule_log(host);
    }

    fn carry_out_one(&mut self, host: usize, output: Output, log_tasks: &mut Vec<LogTask>) {
        match output {
            Output::Notify { to, notification } => {
                self.notify(host, to.0 as usize - 1, notification);
            }
            Output::Dial { link, leader } => self.dial(host, link, leader.0 as usize - 1),
            Output::Send { link, message } => self.send(host, link, message),
            Output::SendSnapshot { link, to, tree } => {
                let node = self.check.servers[host].in_tree();
                if self.check.histories.zxid(node) != to || tree.last_zxid() != to.0 {
                    let what = format!("{} sends a tree that is not as of {to}", name(host));
                    self.check.fail("Snapshot", what);
                }
                self.trace.line(self.now, || format!("{} sends SNAP {to}", name(host)));
                let bytes = tree_to_bytes(tree);
                self.trace.mix_bytes(&bytes);
                self.send_packet(host, link, Packet::Snapshot { to, bytes, node });
            }
            Output::Close { link, why } => self.close(host, link, &why),
            Output::Append { append, zxid, payload } => {
                self.check.on_append(host, zxid, &payload);
                self.trace.mix(&[zxid.0.cast_unsigned()]);
                self.trace.mix_bytes(&payload);
                self.trace.line(self.now, || format!("{} appends {zxid}", name(host)));
                log_tasks.push(LogTask::Append { append, zxid, payload });
            }
            Output::SaveEpochs { epochs } => {
                self.check.on_save_epochs(host, epochs);
                self.trace.line(self.now, || format!("{} saves {epochs:?}", name(host)));
                log_tasks.push(LogTask::SaveEpochs(epochs));
            }
            Output::Truncate { after, rebuild } => {
                self.check.on_truncate(host, after);
                self.trace.line(self.now, || {
                    format!("{} truncates after {after}, {rebuild:?}", name(host))
                });
                log_tasks.push(LogTask::Truncate { after, rebuild });
            }
            Output::InstallSnapshot { zxid, tree } => {
                self.check.on_install(host, zxid);
                self.trace.line(self.now, || format!("{} installs {zxid}", name(host)));
                log_tasks.push(LogTask::InstallSnapshot { zxid, tree });
            }
            Output::TakeSnapshot { tree, .. } => log_tasks.push(LogTask::TakeSnapshot { tree }),
            Output::Report(report) => self.told(host, &report),
            Output::HandedOff => {
                let at = self.after((0, 50 * MS));
                if self.hosts[host].process.as_ref().is_some_and(|it| it.is_leaving) {
                    self.schedule_host(at, host, HostEvent::Leave);
                }
            }
            Output::Shard(_) => {}
        }
    }

    fn told(&mut self, host: usize, report: &Report) {
        self.trace.line(self.now, || format!("{}: {report:?}", name(host)));
        if let Report::Became(standing) = report {
            if let Some(process) = &mut self.hosts[host].process {
                process.standing = *standing;
            }
            self.check.on_standing(host, *standing);
        }
        let Some(process) = &self.hosts[host].process else { return };
        let now = process.monotonic(self.now);
        match report {
            Report::Became(Standing::Leading { .. }) => self.check.on_leading(host, now),
            Report::SessionExpired { session } => {
                let timeout_ms = self.profile.session_timeout_ms.unsigned_abs().into();
                self.check.on_expired(host, now, *session, timeout_ms);
            }
            Report::Became(_) => {}
        }
    }

    fn send(&mut self, host: usize, link: LinkId, message: PeerMessage) {
        if let PeerMessage::Zab(message) = &message {
            if !matches!(message, Message::Ping { .. }) {
                self.trace.line(self.now, || {
                    let to = self.far_end(host, link).map_or("nobody".to_owned(), name);
                    format!("{} → {to}: {}", name(host), shown(message))
                });
            }
            match message {
                Message::Ack { zxid } => self.check.on_ack(host, link, *zxid),
                Message::Propose { zxid, .. }
                    if self.planted == Some(Planted::CommitWithoutMajority) =>
                {
                    self.forge_ack(host, link, *zxid);
                }
                _ => {}
            }
        }
        self.send_packet(host, link, Packet::Message(message));
    }

    /// Planted: a proposal counts as acknowledged by whom it is sent to.
    fn forge_ack(&mut self, host: usize, link: LinkId, zxid: Zxid) {
        let standing = self.hosts[host].process.as_ref().map(|it| it.standing);
        if matches!(standing, Some(Standing::Leading { epoch }) if epoch == zxid.epoch()) {
            let message = PeerMessage::Zab(Message::Ack { zxid });
            self.report(host, Input::Message { link, message });
        }
    }
}

/// Planted: nothing is heard of sessions.
fn forget_sessions(input: &mut Input) {
    match input {
        Input::Touched { sessions } => sessions.clear(),
        Input::Message { message: PeerMessage::Zab(Message::Ping { sessions, .. }), .. } => {
            sessions.clear();
        }
        _ => {}
    }
}

/// A packet for the trace: without its payload.
fn shown(message: &Message) -> String {
    match message {
        Message::Propose { zxid, .. } => format!("Propose {zxid}"),
        Message::Inform { zxid, .. } => format!("Inform {zxid}"),
        other => format!("{other:?}"),
    }
}
