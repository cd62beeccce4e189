//! Phases 1 to 3 on a learner, follower or observer: promise, adopt the leader's history, then log, ack and deliver.
//!
//! Order on the disk: history, then `currentEpoch`, then ACK of NEWLEADER (ZOOKEEPER-3911, 4643, 4646). Proposals that
//! the leader has not committed when they arrive during synchronization are kept aside, out of the log, until UPTODATE
//! (ZOOKEEPER-4394); their ACKs come after those of NEWLEADER and UPTODATE (ZOOKEEPER-4685).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::core::{Core, EPOCH_MAX, SaveId, Transition, close, send};
use crate::ensemble::ServerId;
use crate::io::{LinkId, Output, Phase, Standing};
use crate::message::Message;
use crate::zxid::{Epoch, Epochs, Millis, Zxid};

/// How often a leader is dialed before it is given up, and the pause between.
const DIALS_MAX: u32 = 5;
const DIAL_PAUSE_MS: u64 = 100;

/// The end of a log that has nothing in common with any other: what a Java server without a database says.
const NO_HISTORY: Zxid = Zxid(-1);

/// What a bad packet is answered with: the reason why the link is closed.
type Step = Result<(), String>;

/// Where a learner is with its leader.
#[derive(Debug)]
enum Stage {
    /// A dial failed; the next one is due.
    Pausing { until: Millis },
    /// The link is not up yet.
    Dialing,
    /// FOLLOWERINFO or OBSERVERINFO is sent.
    AwaitingEpoch,
    /// The promise is on its way to the disk.
    Promising { save: SaveId, count_us: CountUs },
    /// ACKEPOCH is sent: DIFF, TRUNC or SNAP must come.
    AwaitingPlan,
    /// History arrives.
    Receiving { kept: VecDeque<Kept> },
    /// NEWLEADER is here, the history and the epoch are on their way to the disk.
    Adopting { save: SaveId, kept: VecDeque<Kept>, up_to_date: UpToDate },
    /// NEWLEADER is acked.
    Adopted { kept: VecDeque<Kept> },
    /// Up to date. `acked` is the end of what needs no ack any more.
    Broadcast { acked: Zxid },
}

/// Whether the leader may count our promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountUs {
    Yes,
    /// We promised before, or our database cannot be trusted.
    No,
}

/// Whether UPTODATE came before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpToDate {
    Awaited,
    Came,
}

/// A proposal that is not in the log yet.
#[derive(Debug)]
struct Kept {
    zxid: Zxid,
    payload: Bytes,
    committed: bool,
}

/// A server with a leader.
#[derive(Debug)]
pub(crate) struct Following {
    leader: ServerId,
    link: LinkId,
    dials: u32,
    stage: Stage,
    epoch: Epoch,
    since: Millis,
    heard: Millis,
    /// TRUNC asked for what our log cannot do: only a snapshot helps, one that holds all we were to keep.
    needs_snapshot: Option<Zxid>,
}

impl Following {
    pub(crate) fn start(
        core: &mut Core,
        leader: ServerId,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Self {
        let link = core.next_link();
        outputs.push(Output::Dial { link, leader });
        Self {
            leader,
            link,
            dials: 1,
            stage: Stage::Dialing,
            epoch: Epoch(0),
            since: now,
            heard: now,
            needs_snapshot: None,
        }
    }

    pub(crate) fn leader(&self) -> ServerId {
        self.leader
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.stage {
            Stage::Pausing { .. }
            | Stage::Dialing
            | Stage::AwaitingEpoch
            | Stage::Promising { .. } => Phase::Discovery,
            Stage::AwaitingPlan
            | Stage::Receiving { .. }
            | Stage::Adopting { .. }
            | Stage::Adopted { .. } => Phase::Synchronization,
            Stage::Broadcast { .. } => Phase::Broadcast,
        }
    }

    /// When this learner gives its leader up, or dials again.
    pub(crate) fn wake_at(&self, core: &Core) -> Millis {
        let deadline = self.deadline(core);
        match self.stage {
            Stage::Pausing { until } => until.min(deadline),
            _ => deadline,
        }
    }

    fn deadline(&self, core: &Core) -> Millis {
        match self.stage {
            Stage::Broadcast { .. } => self.heard.plus(core.config.sync_limit_ms()),
            Stage::Pausing { .. } | Stage::Dialing => self.since.plus(core.config.init_limit_ms()),
            // Discovery and a long history may take their time, one after the other.
            _ => self.heard.plus(core.config.init_limit_ms()),
        }
    }

    pub(crate) fn on_tick(
        &mut self,
        core: &mut Core,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        if now >= self.deadline(core) {
            self.leave("the leader was silent for too long", outputs);
            return Some(Transition::Look);
        }
        if matches!(self.stage, Stage::Pausing { until } if now >= until) {
            self.link = core.next_link();
            self.dials += 1;
            self.stage = Stage::Dialing;
            outputs.push(Output::Dial { link: self.link, leader: self.leader });
        }
        None
    }

    /// Closes the link, if there is one.
    fn leave(&self, why: &str, outputs: &mut Vec<Output>) {
        if !matches!(self.stage, Stage::Pausing { .. }) {
            close(self.link, why, outputs);
        }
    }

    pub(crate) fn on_link_dialed(
        &mut self,
        core: &Core,
        now: Millis,
        link: LinkId,
        outputs: &mut Vec<Output>,
    ) {
        if link != self.link || !matches!(self.stage, Stage::Dialing) {
            return;
        }
        self.heard = now;
        self.stage = Stage::AwaitingEpoch;
        let info = Message::LearnerInfo {
            id: core.id(),
            membership: core.membership(),
            accepted: core.epochs.accepted,
            config_version: core.config.config_version,
        };
        send(link, info, outputs);
    }

    pub(crate) fn on_link_down(&mut self, now: Millis, link: LinkId) -> Option<Transition> {
        if link != self.link {
            return None;
        }
        match self.stage {
            // The leader may not know yet that it is one.
            Stage::Dialing | Stage::AwaitingEpoch if self.dials < DIALS_MAX => {
                self.stage = Stage::Pausing { until: now.plus(DIAL_PAUSE_MS) };
                None
            }
            Stage::Pausing { .. } => None,
            _ => Some(Transition::Look),
        }
    }

    pub(crate) fn on_message(
        &mut self,
        core: &mut Core,
        now: Millis,
        link: LinkId,
        message: Message,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        if link != self.link || matches!(self.stage, Stage::Dialing | Stage::Pausing { .. }) {
            return None;
        }
        self.heard = now;
        match self.step(core, message, outputs) {
            Ok(()) => None,
            Err(why) => {
                close(link, why, outputs);
                Some(Transition::Look)
            }
        }
    }

    fn step(&mut self, core: &mut Core, message: Message, outputs: &mut Vec<Output>) -> Step {
        match message {
            Message::LeaderInfo { epoch } => self.on_leader_info(core, epoch, outputs),
            Message::Diff { .. } if self.needs_snapshot.is_some() => {
                Err("DIFF in answer to a learner that needs a snapshot".to_string())
            }
            Message::Diff { .. } => self.on_plan(),
            Message::Trunc { to } => self.on_trunc(core, to, outputs),
            Message::Snap { to } => self.on_snap(core, to, outputs),
            Message::Propose { zxid, payload } => self.on_propose(core, zxid, payload, outputs),
            Message::Commit { zxid } => self.on_commit(core, zxid, outputs),
            Message::Inform { zxid, payload } => {
                self.on_propose(core, zxid, payload, outputs)?;
                self.on_commit(core, zxid, outputs)
            }
            Message::NewLeader { epoch, .. } => self.on_new_leader(core, epoch, outputs),
            Message::UpToDate => self.on_up_to_date(core, outputs),
            Message::Ping { zxid, .. } => {
                // Before the ACK of NEWLEADER a Java leader would take any other packet for a broken handshake.
                if matches!(self.stage, Stage::Adopted { .. } | Stage::Broadcast { .. }) {
                    send(self.link, Message::Ping { zxid, sessions: Bytes::new() }, outputs);
                }
                Ok(())
            }
            Message::LearnerInfo { .. } | Message::AckEpoch { .. } | Message::Ack { .. } => {
                Err("the leader sent a packet that only learners send".to_string())
            }
        }
    }

    fn on_leader_info(&mut self, core: &mut Core, epoch: Epoch, outputs: &mut Vec<Output>) -> Step {
        if !matches!(self.stage, Stage::AwaitingEpoch) {
            return Err("LEADERINFO out of order".to_string());
        }
        let accepted = core.epochs.accepted;
        if epoch < accepted {
            return Err(format!("the leader's epoch {epoch} is below the promised {accepted}"));
        }
        if epoch > EPOCH_MAX {
            return Err(format!("the leader's epoch {epoch} is out of range"));
        }
        self.epoch = epoch;
        let (save, count_us) = if epoch > accepted {
            let epochs = Epochs { accepted: epoch, ..core.epochs };
            let count_us = if core.trusted { CountUs::Yes } else { CountUs::No };
            (core.save_epochs(epochs, outputs), count_us)
        } else {
            (core.save_last(), CountUs::No)
        };
        self.stage = Stage::Promising { save, count_us };
        self.advance(core, outputs);
        Ok(())
    }

    fn on_plan(&mut self) -> Step {
        if !matches!(self.stage, Stage::AwaitingPlan) {
            return Err("DIFF, TRUNC or SNAP out of order".to_string());
        }
        self.stage = Stage::Receiving { kept: VecDeque::new() };
        Ok(())
    }

    fn on_trunc(&mut self, core: &mut Core, to: Zxid, outputs: &mut Vec<Output>) -> Step {
        self.on_plan()?;
        let (last, committed) = (core.log.last(), core.log.committed());
        if to > last || to < committed || to < Zxid::ZERO {
            return Err(format!(
                "TRUNC to {to} while our log is committed to {committed} and ends at {last}"
            ));
        }
        if to == last {
            return Ok(());
        }
        if core.log.newest_up_to(to) != Some(to) {
            if self.needs_snapshot.is_some() {
                return Err("TRUNC in answer to a learner that needs a snapshot".to_string());
            }
            // Our history begins with a snapshot of what is to be cut away: a leader sent it that never got so far as to
            // commit it. We come back at once to the same leader, which has our promise, and ask for everything.
            self.needs_snapshot = Some(to);
            close(self.link, format!("our log cannot be cut to {to}"), outputs);
            self.stage = Stage::Pausing { until: self.heard.plus(DIAL_PAUSE_MS) };
            return Ok(());
        }
        core.log.truncate(to, outputs);
        Ok(())
    }

    fn on_snap(&mut self, core: &mut Core, to: Zxid, outputs: &mut Vec<Output>) -> Step {
        self.on_plan()?;
        let committed = core.log.committed();
        if to < committed || to.epoch() > self.epoch || to < Zxid::ZERO {
            return Err(format!("SNAP of {to} while our log is committed to {committed}"));
        }
        if let Some(kept) = self.needs_snapshot
            && to < kept
        {
            // What we have up to there may be committed because we have it.
            return Err(format!("SNAP of {to} in place of a log that was to be kept to {kept}"));
        }
        core.log.install(to, outputs);
        Ok(())
    }

    fn on_propose(
        &mut self,
        core: &mut Core,
        zxid: Zxid,
        payload: Bytes,
        outputs: &mut Vec<Output>,
    ) -> Step {
        let kept = match &mut self.stage {
            Stage::Receiving { kept } | Stage::Adopting { kept, .. } | Stage::Adopted { kept } => {
                Some(kept)
            }
            Stage::Broadcast { .. } => None,
            _ => return Err("PROPOSAL out of order".to_string()),
        };
        let end =
            kept.as_ref().and_then(|kept| kept.back()).map_or(core.log.last(), |last| last.zxid);
        if zxid <= end {
            // We have it: a leader starts forwarding at or below the target of its SNAP.
            return Ok(());
        }
        if !zxid.follows(end) || zxid.counter() == 0 || zxid.epoch() > self.epoch {
            return Err(format!("PROPOSAL {zxid} after {end}: a gap"));
        }
        match kept {
            Some(kept) => kept.push_back(Kept { zxid, payload, committed: false }),
            None => core.log.append(zxid, payload, outputs),
        }
        Ok(())
    }

    fn on_commit(&mut self, core: &mut Core, zxid: Zxid, outputs: &mut Vec<Output>) -> Step {
        match &mut self.stage {
            Stage::Receiving { kept } => {
                if zxid <= core.log.last() {
                    return Ok(());
                }
                match kept.pop_front() {
                    Some(head) if head.zxid == zxid => {
                        core.log.append(zxid, head.payload, outputs);
                        Ok(())
                    }
                    _ => Err(format!("COMMIT {zxid} is not of the oldest proposal")),
                }
            }
            Stage::Adopting { kept, .. } | Stage::Adopted { kept } => {
                if zxid <= core.log.last() {
                    return Ok(());
                }
                match kept.iter_mut().find(|kept| !kept.committed) {
                    Some(head) if head.zxid == zxid => {
                        head.committed = true;
                        Ok(())
                    }
                    _ => Err(format!("COMMIT {zxid} is not of the oldest proposal")),
                }
            }
            Stage::Broadcast { .. } => {
                let committed = core.log.committed();
                if zxid <= committed {
                    return Ok(());
                }
                if core.log.first_after(committed) != Some(zxid) {
                    return Err(format!("COMMIT {zxid} is not next after {committed}"));
                }
                core.log.commit(zxid);
                core.log.deliver_committed(outputs);
                Ok(())
            }
            _ => Err("COMMIT out of order".to_string()),
        }
    }

    fn on_new_leader(&mut self, core: &mut Core, epoch: Epoch, outputs: &mut Vec<Output>) -> Step {
        let Stage::Receiving { kept } = &mut self.stage else {
            return Err("NEWLEADER out of order".to_string());
        };
        if epoch != self.epoch {
            return Err(format!("NEWLEADER of epoch {epoch} after LEADERINFO of {}", self.epoch));
        }
        let kept = std::mem::take(kept);
        let epochs = Epochs { current: epoch, ..core.epochs };
        let save = core.save_epochs(epochs, outputs);
        self.stage = Stage::Adopting { save, kept, up_to_date: UpToDate::Awaited };
        Ok(())
    }

    fn on_up_to_date(&mut self, core: &mut Core, outputs: &mut Vec<Output>) -> Step {
        match &mut self.stage {
            Stage::Adopting { up_to_date, .. } => {
                *up_to_date = UpToDate::Came;
                Ok(())
            }
            Stage::Adopted { kept } => {
                let kept = std::mem::take(kept);
                self.serve(core, kept, outputs);
                Ok(())
            }
            _ => Err("UPTODATE out of order".to_string()),
        }
    }

    /// The store reported something: what waited for it may go on.
    pub(crate) fn advance(&mut self, core: &mut Core, outputs: &mut Vec<Output>) {
        match &mut self.stage {
            Stage::Promising { save, count_us } if core.is_saved(*save) => {
                let current = (*count_us == CountUs::Yes).then_some(core.epochs.current);
                // A promise that counts tells the truth. This one does not count, and asks for a snapshot.
                let asks = self.needs_snapshot.is_some() && current.is_none();
                let last = if asks { NO_HISTORY } else { core.log.last() };
                let message = Message::AckEpoch { current, last };
                self.stage = Stage::AwaitingPlan;
                send(self.link, message, outputs);
            }
            Stage::Adopting { save, kept, up_to_date }
                if core.is_saved(*save) && core.log.is_settled() =>
            {
                core.trusted = true;
                send(self.link, Message::Ack { zxid: self.epoch.start() }, outputs);
                let kept = std::mem::take(kept);
                if *up_to_date == UpToDate::Came {
                    self.serve(core, kept, outputs);
                } else {
                    self.stage = Stage::Adopted { kept };
                }
            }
            Stage::Broadcast { acked } => {
                let durable = core.log.durable();
                if core.config.ensemble.is_voter(core.config.id) {
                    for entry in core.log.entries_after(*acked) {
                        if entry.zxid > durable {
                            break;
                        }
                        send(self.link, Message::Ack { zxid: entry.zxid }, outputs);
                    }
                }
                *acked = durable;
                core.log.deliver_committed(outputs);
            }
            _ => {}
        }
    }

    /// UPTODATE: what we adopted is committed, what we kept aside goes to the log.
    fn serve(&mut self, core: &mut Core, kept: VecDeque<Kept>, outputs: &mut Vec<Output>) {
        send(self.link, Message::Ack { zxid: self.epoch.start() }, outputs);
        let adopted = core.log.last();
        core.log.commit(adopted);
        core.log.deliver_committed(outputs);
        core.vote.epoch = self.epoch;
        self.stage = Stage::Broadcast { acked: adopted };
        core.become_standing(
            Standing::Following {
                leader: self.leader,
                epoch: self.epoch,
                membership: core.membership(),
            },
            outputs,
        );
        for Kept { zxid, payload, committed } in kept {
            core.log.append(zxid, payload, outputs);
            if committed {
                core.log.commit(zxid);
            }
        }
    }
}
