//! Phases 1 to 3 on the leader: win a quorum for a new epoch, give everyone our history, then propose and commit.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::core::{Core, EPOCH_MAX, SaveId, Transition, close, send};
use crate::discovery::{Discovery, StateSummary};
use crate::ensemble::ServerId;
use crate::io::{LearnerStatus, LinkId, Output, Phase, Standing};
use crate::learners::{Learners, counts};
use crate::message::Message;
use crate::progress::{self, AckVerdict, Progress};
use crate::synchronization::{SyncPlan, plan_sync, send_history};
use crate::vote::Vote;
use crate::zxid::{Epoch, Epochs, Millis, Zxid};

/// The last counter of an epoch that is used; the next proposal needs a new epoch (ZOOKEEPER-1277).
const COUNTER_MAX: u32 = 0xffff_fffe;

/// What a bad packet is answered with: the reason why the link is closed.
type Step = Result<Option<Transition>, String>;

/// Where the leader is with its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for a quorum of FOLLOWERINFO.
    Gathering,
    /// Its own promise to the new epoch is on its way to the disk.
    Promising { save: SaveId },
    /// LEADERINFO is sent; waits for a quorum of ACKEPOCH.
    AwaitingPromises,
    /// Waits until its own log is durable and in the state machine.
    Settling { save: SaveId },
    /// NEWLEADER is sent; waits for a quorum of its ACKs, ours being the save of `currentEpoch`.
    Synchronizing { save: SaveId },
    /// Established.
    Broadcast,
}

/// A server that leads or tries to.
#[derive(Debug)]
pub(crate) struct Leading {
    learners: Learners,
    discovery: Discovery,
    stage: Stage,
    stage_since: Millis,
    /// The new epoch; meaningless while gathering.
    epoch: Epoch,
    /// Our history when we were elected.
    summary: StateSummary,
    /// Beats come every half tick; every other one is a tick.
    beat_at: Millis,
    beats: u64,
    /// Where the log ended at recent beats, oldest first: tells how old an unacked proposal is.
    ends: VecDeque<(Millis, Zxid)>,
    /// Leadership is being given away; until when the outstanding proposals may take.
    leaving: Option<Millis>,
}

impl Leading {
    pub(crate) fn start(
        core: &mut Core,
        early_links: BTreeMap<LinkId, Option<Message>>,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> (Self, Option<Transition>) {
        let mut leading = Self {
            learners: Learners::default(),
            discovery: Discovery::default(),
            stage: Stage::Gathering,
            stage_since: now,
            epoch: Epoch(0),
            summary: StateSummary { current: core.epochs.current, last: core.log.last() },
            beat_at: now.plus(half_tick_ms(core)),
            beats: 0,
            ends: VecDeque::new(),
            leaving: None,
        };
        leading.discovery.on_info(core.id(), core.epochs.accepted);
        leading.announce(core, outputs);
        for link in early_links.keys() {
            leading.learners.add_stranger(*link, now);
        }
        for (link, message) in early_links {
            if let Some(message) = message
                && let Some(transition) = leading.on_message(core, now, link, message, outputs)
            {
                return (leading, Some(transition));
            }
        }
        let transition = leading.advance(core, now, outputs);
        (leading, transition)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.stage {
            Stage::Gathering | Stage::Promising { .. } | Stage::AwaitingPromises => {
                Phase::Discovery
            }
            Stage::Settling { .. } | Stage::Synchronizing { .. } => Phase::Synchronization,
            Stage::Broadcast => Phase::Broadcast,
        }
    }

    pub(crate) fn learner_status(&self) -> Vec<LearnerStatus> {
        self.learners.status()
    }

    pub(crate) fn wake_at(&self) -> Millis {
        self.leaving.map_or(self.beat_at, |at| at.min(self.beat_at))
    }

    /// Whether leadership is being given away, so that an answer is owed.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Ends all that this role has open.
    pub(crate) fn leave(&mut self, why: &str, outputs: &mut Vec<Output>) {
        self.learners.drop_all(why, outputs);
    }

    fn enter(&mut self, stage: Stage, now: Millis) {
        self.stage = stage;
        self.stage_since = now;
    }

    /// Tells the voters that are not with us that we lead; they may still look.
    fn announce(&self, core: &Core, outputs: &mut Vec<Output>) {
        for voter in core.config.ensemble.voters() {
            if *voter != core.id() && !self.learners.contains(*voter) {
                let notification = core.settled_notification();
                outputs.push(Output::Notify { to: *voter, notification });
            }
        }
    }

    pub(crate) fn on_link_accepted(&mut self, now: Millis, link: LinkId) {
        self.learners.add_stranger(link, now);
    }

    pub(crate) fn on_link_down(&mut self, link: LinkId) {
        if let Some(id) = self.learners.forget_link(link)
            && self.stage == Stage::Gathering
        {
            self.discovery.forget(id);
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
        if let Some(progress) = self.learners.at_link(link) {
            progress.heard = now;
            let id = progress.id;
            match self.step(core, now, id, link, message, outputs) {
                Ok(transition) => return transition,
                Err(why) => self.learners.drop_learner(id, &why, outputs),
            }
        } else if self.learners.take_stranger(link) {
            match self.on_learner_info(core, now, link, message, outputs) {
                Ok(transition) => return transition,
                Err(why) => close(link, why, outputs),
            }
        }
        None
    }

    fn on_learner_info(
        &mut self,
        core: &mut Core,
        now: Millis,
        link: LinkId,
        message: Message,
        outputs: &mut Vec<Output>,
    ) -> Step {
        let Message::LearnerInfo { id, membership, accepted, config_version } = message else {
            return Err("the first packet must be FOLLOWERINFO or OBSERVERINFO".to_string());
        };
        if id == core.id() {
            return Err(format!("a learner claims our own id {id}"));
        }
        if accepted >= EPOCH_MAX {
            return Err(format!("the accepted epoch {accepted} of learner {id} is out of range"));
        }
        if config_version > core.config.config_version {
            return Err(format!(
                "learner {id} knows configuration {config_version}, we only {}",
                core.config.config_version
            ));
        }
        let progress = Progress::new(id, link, membership, accepted, now);
        let voter = counts(core, &progress);
        if self.stage != Stage::Gathering && accepted > self.epoch {
            if voter {
                // It can never follow this epoch. A new one lets it in; without that, the ensemble is one short.
                close(link, format!("promised to epoch {accepted}, beyond ours"), outputs);
                return Ok(Some(Transition::Look));
            }
            return Err(format!("learner {id} promised to epoch {accepted}, beyond ours"));
        }
        self.learners.add(progress, outputs);
        match self.stage {
            Stage::Gathering if voter => self.discovery.on_info(id, accepted),
            Stage::Gathering | Stage::Promising { .. } => {}
            _ => self.send_leader_info(now, outputs),
        }
        Ok(self.advance(core, now, outputs))
    }

    /// Sends LEADERINFO to all that wait for it.
    fn send_leader_info(&mut self, now: Millis, outputs: &mut Vec<Output>) {
        for progress in self.learners.iter_mut() {
            if progress.stage == progress::Stage::Informed {
                send(progress.link, Message::LeaderInfo { epoch: self.epoch }, outputs);
                progress.enter(progress::Stage::Promising, now);
            }
        }
    }

    fn step(
        &mut self,
        core: &mut Core,
        now: Millis,
        id: ServerId,
        link: LinkId,
        message: Message,
        outputs: &mut Vec<Output>,
    ) -> Step {
        match message {
            Message::AckEpoch { current, last } => {
                self.on_ack_epoch(core, now, link, current, last)?;
            }
            Message::Ack { zxid } => {
                self.on_ack(core, now, link, zxid)?;
                if self.is_late(core, zxid) {
                    return Ok(None);
                }
            }
            Message::Ping { .. } => return Ok(None),
            Message::LearnerInfo { .. } => {
                return Err(format!("learner {id} introduced itself twice"));
            }
            _ => return Err(format!("learner {id} sent a packet that only leaders send")),
        }
        Ok(self.advance(core, now, outputs))
    }

    fn on_ack_epoch(
        &mut self,
        core: &Core,
        now: Millis,
        link: LinkId,
        current: Option<Epoch>,
        last: Zxid,
    ) -> Result<(), String> {
        let Some(progress) = self.learners.at_link(link) else {
            return Ok(());
        };
        if progress.stage != progress::Stage::Promising {
            return Err("ACKEPOCH out of order".to_string());
        }
        let id = progress.id;
        // Before everything: what a Java server without a database says.
        if last >= Zxid::ZERO && last.epoch() > self.epoch {
            return Err(format!(
                "the log of learner {id} ends at {last}, beyond epoch {}",
                self.epoch
            ));
        }
        if let Some(current) = current {
            let theirs = StateSummary { current, last };
            if current > self.epoch
                || (self.stage == Stage::AwaitingPromises && theirs.is_ahead_of(self.summary))
            {
                return Err(format!(
                    "learner {id} is ahead of us: epoch {current}, last {last}; we: epoch {}, last {}",
                    self.summary.current, self.summary.last
                ));
            }
            if counts(core, progress) {
                self.discovery.on_ack(id);
            }
        } else if counts(core, progress) && progress.accepted == self.epoch {
            // It had promised before it came. (A server that lost its data has not, and never counts here.)
            self.discovery.on_withheld(id);
        }
        let committed = core.log.committed();
        progress.enter(progress::Stage::Promised { last, committed }, now);
        Ok(())
    }

    /// Whether nothing can come of an ACK any more: others had it before. Every second one of three servers is.
    fn is_late(&self, core: &Core, zxid: Zxid) -> bool {
        self.stage == Stage::Broadcast
            && self.leaving.is_none()
            && zxid.counter() != 0
            && zxid <= core.log.committed()
    }

    fn on_ack(&mut self, core: &Core, now: Millis, link: LinkId, zxid: Zxid) -> Result<(), String> {
        let epoch = self.epoch;
        let Some(progress) = self.learners.at_link(link) else {
            return Ok(());
        };
        if !progress.is_forwarding() {
            return Err("ACK out of order".to_string());
        }
        if zxid.counter() == 0 {
            if progress.stage == progress::Stage::Syncing {
                if zxid != epoch.start() {
                    return Err(format!("ACK of NEWLEADER names {zxid}, not epoch {epoch}"));
                }
                progress.enter(progress::Stage::Synced, now);
            }
            // The other one is that of UPTODATE.
            return Ok(());
        }
        match progress.on_ack(zxid, epoch, core.log.last()) {
            AckVerdict::Advanced | AckVerdict::Ignored => Ok(()),
            AckVerdict::Skipped { expected } => {
                Err(format!("ACK of {zxid} while {expected} is not acked"))
            }
        }
    }

    /// Does all that has become possible.
    pub(crate) fn advance(
        &mut self,
        core: &mut Core,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        loop {
            let before = self.stage;
            match before {
                Stage::Gathering => self.try_promise(core, now, outputs),
                Stage::Promising { save } if core.is_saved(save) => {
                    self.enter(Stage::AwaitingPromises, now);
                    self.send_leader_info(now, outputs);
                    self.discovery.on_ack(core.id());
                }
                Stage::AwaitingPromises
                    if self.discovery.is_acknowledged(&core.config.ensemble) =>
                {
                    let epochs = Epochs { current: self.epoch, ..core.epochs };
                    let save = core.save_epochs(epochs, outputs);
                    self.enter(Stage::Settling { save }, now);
                }
                Stage::Settling { save } if core.log.is_settled() => {
                    // Our whole log is the initial history of the epoch. A snapshot for a learner needs it in the
                    // tree before it is committed; should we fail, the truncation that follows rebuilds the tree.
                    core.log.deliver(core.log.last(), outputs);
                    self.enter(Stage::Synchronizing { save }, now);
                }
                Stage::Synchronizing { save } => {
                    self.synchronize_promised(core, now, outputs);
                    if self.learners.is_synced_quorum(core, core.is_saved(save)) {
                        self.establish(core, now, outputs);
                    }
                }
                Stage::Broadcast => {
                    self.send_up_to_date(now, outputs);
                    self.commit(core, outputs);
                    self.synchronize_promised(core, now, outputs);
                    return self.try_leave(core, now, outputs);
                }
                Stage::Promising { .. } | Stage::AwaitingPromises | Stage::Settling { .. } => {}
            }
            if self.stage == before {
                return None;
            }
        }
    }

    fn try_promise(&mut self, core: &mut Core, now: Millis, outputs: &mut Vec<Output>) {
        if let Some(epoch) = self.discovery.new_epoch(&core.config.ensemble) {
            self.epoch = epoch;
            let save = core.save_epochs(Epochs { accepted: epoch, ..core.epochs }, outputs);
            self.enter(Stage::Promising { save }, now);
        }
    }

    /// A quorum has adopted our history: it is committed, and we serve.
    fn establish(&mut self, core: &mut Core, now: Millis, outputs: &mut Vec<Output>) {
        core.log.commit(core.log.last());
        core.vote.epoch = self.epoch;
        self.enter(Stage::Broadcast, now);
        core.become_standing(Standing::Leading { epoch: self.epoch }, outputs);
    }

    fn synchronize_promised(&mut self, core: &Core, now: Millis, outputs: &mut Vec<Output>) {
        let committed = match self.stage {
            Stage::Broadcast => core.log.committed(),
            _ => core.log.last(),
        };
        for progress in self.learners.iter_mut() {
            if let progress::Stage::Promised { last, committed: counted } = progress.stage {
                let plan = plan_sync(&core.log, committed, last);
                if plan == SyncPlan::Snap && core.log.delivered() < counted {
                    // Our own disk lags behind what is committed. A snapshot of now would take from the learner's disk
                    // what it may have been counted for, and give it back only afterwards.
                    continue;
                }
                send_history(core, committed, self.epoch, progress, plan, outputs);
                progress.acked = committed;
                progress.enter(progress::Stage::Syncing, now);
            }
        }
    }

    fn send_up_to_date(&mut self, now: Millis, outputs: &mut Vec<Output>) {
        for progress in self.learners.iter_mut() {
            if progress.stage == progress::Stage::Synced {
                send(progress.link, Message::UpToDate, outputs);
                progress.enter(progress::Stage::UpToDate, now);
            }
        }
    }

    /// Commits, in order, what a majority of voters has on disk.
    fn commit(&mut self, core: &mut Core, outputs: &mut Vec<Output>) {
        let committed = core.log.committed();
        if committed < core.log.last() {
            let acked = self.learners.quorum_acked(core, core.log.durable());
            let mut end = committed;
            for entry in core.log.entries_after(committed).take_while(|e| e.zxid <= acked) {
                assert!(entry.zxid.follows(end), "commit of {} after {end}", entry.zxid);
                end = entry.zxid;
                self.learners.send_commit(entry.zxid, &entry.payload, outputs);
            }
            core.log.commit(end);
        }
        core.log.deliver_committed(outputs);
    }

    /// The zxid of the next proposal, if there may be one.
    pub(crate) fn next_zxid(&self, core: &Core) -> Option<Zxid> {
        if self.stage != Stage::Broadcast || self.leaving.is_some() {
            return None;
        }
        let last = core.log.last();
        let counter = if last.epoch() == self.epoch { last.counter() } else { 0 };
        (counter < COUNTER_MAX).then(|| Zxid::new(self.epoch, counter + 1))
    }

    /// Sends a proposal before it is on our own disk: disks work in parallel.
    pub(crate) fn propose(
        &mut self,
        core: &mut Core,
        payload: Bytes,
        outputs: &mut Vec<Output>,
    ) -> Zxid {
        let zxid = self.next_zxid(core).expect("only a leader in broadcast proposes");
        self.learners.send_proposal(zxid, &payload, outputs);
        core.log.append(zxid, payload, outputs);
        zxid
    }

    /// We are asked to leave. False when there is no leadership to give away.
    pub(crate) fn on_hand_off(&mut self, core: &Core, now: Millis) -> bool {
        if self.stage != Stage::Broadcast {
            return false;
        }
        self.leaving.get_or_insert(now.plus(core.config.sync_limit_ms()));
        true
    }

    /// Steps down when the zxids are used up, or for an heir when all that was proposed is committed.
    fn try_leave(
        &mut self,
        core: &Core,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        let done = core.log.committed() == core.log.last();
        if let Some(until) = self.leaving
            && (done || now >= until)
        {
            if let Some(transition) = self.hand_over(core) {
                return Some(transition);
            }
            self.leaving = None;
            outputs.push(Output::HandedOff);
        }
        let last = core.log.last();
        if done && last.epoch() == self.epoch && last.counter() >= COUNTER_MAX {
            return Some(Transition::Look);
        }
        None
    }

    /// Gives leadership to the best synced voter, if there is one.
    fn hand_over(&self, core: &Core) -> Option<Transition> {
        let heir = self.learners.heir(core)?;
        let vote = Vote { epoch: self.epoch, zxid: heir.acked, leader: heir.id };
        Some(Transition::HandOver(vote))
    }

    pub(crate) fn on_tick(
        &mut self,
        core: &mut Core,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        if now >= self.beat_at {
            self.beat_at = now.plus(half_tick_ms(core));
            self.beats += 1;
            if let Some(transition) = self.on_beat(core, now, outputs) {
                return Some(transition);
            }
        }
        self.advance(core, now, outputs)
    }

    fn on_beat(
        &mut self,
        core: &mut Core,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        let (init_ms, sync_ms) = (core.config.init_limit_ms(), core.config.sync_limit_ms());
        self.learners.drop_silent_strangers(now, init_ms, outputs);
        let mut overdue = None;
        while let Some((at, end)) = self.ends.front().copied()
            && now.since(at) > sync_ms
        {
            overdue = Some((at, end));
            self.ends.pop_front();
        }
        self.learners.drop_laggards(now, init_ms, sync_ms, overdue, outputs);
        if self.stage != Stage::Broadcast {
            // A promise that was lost on its way cannot be given again for the same epoch.
            let is_spent = self.stage == Stage::AwaitingPromises
                && self.discovery.is_spent(&core.config.ensemble);
            let limit_ms = if is_spent { core.config.tick_ms } else { init_ms };
            if now.since(self.stage_since) > limit_ms {
                return Some(Transition::Look);
            }
        } else {
            if overdue.is_some_and(|(_, end)| core.log.durable() < end) {
                // Our own disk does not keep up: a leader that cannot log must not lead, nor be elected again.
                return Some(self.hand_over(core).unwrap_or(Transition::Look));
            }
            if self.beats.is_multiple_of(2) && !self.learners.is_synced_quorum(core, true) {
                return Some(Transition::Look);
            }
        }
        if self.beats.is_multiple_of(2) {
            self.announce(core, outputs);
        }
        self.ends.push_back((now, core.log.last()));
        self.learners.send_pings(core.log.last(), outputs);
        None
    }
}

fn half_tick_ms(core: &Core) -> u64 {
    (core.config.tick_ms / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::ensemble::{Ensemble, Membership};
    use crate::io::{AppendId, Recovered};

    /// The only voter, leading epoch 2 in broadcast, with a log that ends at `last`.
    fn leader(last: Zxid) -> (Core, Leading) {
        let config = Config {
            id: ServerId(1),
            ensemble: Ensemble::new([(ServerId(1), Membership::Voter)]),
            config_version: 0,
            config_text: Bytes::new(),
            tick_ms: 1000,
            init_limit_ticks: 10,
            sync_limit_ticks: 5,
            finalize_wait_ms: 200,
            history_bytes_max: 1000,
        };
        let epochs = Epochs { accepted: Epoch(2), current: Epoch(2) };
        let recovered = Recovered { epochs, last, recent: Vec::new(), trusted: true };
        let mut core = Core::new(config, recovered);
        core.log.commit(last);
        let (mut leading, transition) =
            Leading::start(&mut core, BTreeMap::new(), Millis(0), &mut Vec::new());
        assert_eq!(transition, None);
        leading.epoch = Epoch(2);
        leading.stage = Stage::Broadcast;
        (core, leading)
    }

    #[test]
    fn when_the_counter_is_used_up_the_leader_commits_what_it_has_and_forces_an_election() {
        let (mut core, mut leading) = leader(Zxid::new(Epoch(2), COUNTER_MAX - 1));
        let mut outputs = Vec::new();
        let zxid = leading.propose(&mut core, Bytes::new(), &mut outputs);
        assert_eq!(zxid, Zxid::new(Epoch(2), COUNTER_MAX));
        assert_eq!(leading.next_zxid(&core), None);
        assert_eq!(leading.advance(&mut core, Millis(1), &mut outputs), None);
        core.log.on_durable(AppendId(1));
        let transition = leading.advance(&mut core, Millis(2), &mut outputs);
        assert_eq!(transition, Some(Transition::Look));
        assert_eq!(core.log.delivered(), zxid);
    }

    #[test]
    fn the_first_zxid_of_an_epoch_has_counter_one() {
        let (core, leading) = leader(Zxid::new(Epoch(1), 7));
        assert_eq!(leading.next_zxid(&core), Some(Zxid::new(Epoch(2), 1)));
    }
}
