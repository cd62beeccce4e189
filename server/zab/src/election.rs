//! Phase 0, fast leader election: servers exchange votes until a quorum wants the same leader.
//!
//! Safety does not rest on it (discovery and synchronization see to that); it finds, quickly, the server with the
//! most complete history. Rules, those of Apache ZooKeeper unless marked:
//! - a vote is better by (epoch, zxid, id); a better one is adopted and passed on;
//! - a higher round makes all votes of lower rounds void; a sender that lags is told the current vote;
//! - a quorum for the current vote decides, after a short wait for better votes of voters not heard yet. Ours: when
//!   every voter agrees there is nobody left to wait for;
//! - a settled ensemble is joined when a quorum of voters follows or leads the same leader in the same epoch and the
//!   leader itself says that it leads. Rounds and zxids of settled votes are not compared (ZOOKEEPER-1805, 1818);
//! - a server with an untrusted empty database votes with zxid -1, which nobody counts, and only joins what is settled;
//! - ours: whoever is heard for the first time in a round is answered, since it may have dropped what we sent while it
//!   was still settled. So an election among servers that are all there needs no timer.

use std::collections::BTreeMap;

use crate::core::{Core, Transition, close};
use crate::ensemble::{Membership, ServerId};
use crate::io::{LinkId, Output};
use crate::message::{Message, Notification, PeerState};
use crate::vote::Vote;
use crate::zxid::{Millis, Zxid};

const RESEND_MS_MIN: u64 = 200;
const RESEND_MS_MAX: u64 = 60_000;

/// How long after our last vote the word of a leader makes us ask its followers anew.
const ASK_AGAIN_MS: u64 = 1_000;

/// Rounds are counted one by one; a peer that names a higher one is broken, and must not make ours overflow.
const ROUND_MAX: u64 = 1 << 62;

/// Links accepted before we know whether we lead; more than the largest ensemble has servers.
const EARLY_LINKS_MAX: usize = 256;

/// A server without a leader.
#[derive(Debug)]
pub(crate) struct Looking {
    proposal: Vote,
    /// The vote we begin each round with: our own, or that for our heir.
    initial: Vote,
    /// Votes of this round, ours included.
    received: BTreeMap<ServerId, Notification>,
    /// What servers said last that follow or lead, of whatever round.
    settled: BTreeMap<ServerId, Notification>,
    /// When a quorum for the proposal becomes the decision.
    finalize_at: Option<Millis>,
    resend_at: Millis,
    resend_ms: u64,
    /// When all were last told our vote.
    told_at: Millis,
    since: Millis,
    /// Links accepted meanwhile, with the first message of each: learners that were quicker than we are.
    early_links: BTreeMap<LinkId, Option<Message>>,
}

impl Looking {
    /// Begins a new round, for ourselves or for `heir`.
    pub(crate) fn start(
        core: &mut Core,
        heir: Option<Vote>,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> (Self, Option<Transition>) {
        // An observer takes part in whatever round the voters are in.
        core.round = if core.membership() == Membership::Voter { core.round + 1 } else { 0 };
        core.elections += 1;
        let initial = heir.unwrap_or_else(|| core.own_vote());
        let mut looking = Self {
            proposal: initial,
            initial,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            finalize_at: None,
            resend_at: now.plus(RESEND_MS_MIN),
            resend_ms: RESEND_MS_MIN,
            told_at: now,
            since: now,
            early_links: BTreeMap::new(),
        };
        looking.broadcast(core, now, outputs);
        let transition = looking.evaluate(core, now);
        (looking, transition)
    }

    pub(crate) fn wake_at(&self) -> Millis {
        self.finalize_at.map_or(self.resend_at, |at| at.min(self.resend_at))
    }

    /// How long this election has taken.
    pub(crate) fn elapsed_ms(&self, now: Millis) -> u64 {
        now.since(self.since)
    }

    /// The links that came early: for the leader we have become, or to be closed.
    pub(crate) fn into_early_links(self) -> BTreeMap<LinkId, Option<Message>> {
        self.early_links
    }

    pub(crate) fn on_tick(
        &mut self,
        core: &mut Core,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        if now >= self.resend_at {
            self.resend_ms = (self.resend_ms * 2).min(RESEND_MS_MAX);
            self.resend_at = now.plus(self.resend_ms);
            self.broadcast(core, now, outputs);
        }
        self.evaluate(core, now)
    }

    pub(crate) fn on_notification(
        &mut self,
        core: &mut Core,
        now: Millis,
        from: ServerId,
        notification: Notification,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        if from == core.id() || notification.round > ROUND_MAX {
            return None;
        }
        if !core.config.ensemble.is_voter(from) {
            // No vote to count, but it must learn how things stand.
            if notification.state == PeerState::Looking {
                self.answer(core, from, outputs);
            }
            return None;
        }
        if !core.config.ensemble.is_voter(notification.vote.leader) {
            // A vote for a stranger: an untrusted voter still names itself, so this is another configuration.
            return None;
        }
        match notification.state {
            PeerState::Looking => self.on_looking(core, now, from, notification, outputs),
            PeerState::Following | PeerState::Leading => {
                self.on_settled(core, now, from, notification, outputs)
            }
            PeerState::Observing => None,
        }
    }

    fn on_looking(
        &mut self,
        core: &mut Core,
        now: Millis,
        from: ServerId,
        notification: Notification,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        self.settled.remove(&from);
        let vote = notification.vote;
        if vote.zxid < Zxid::ZERO {
            return None;
        }
        if !core.trusted {
            return None;
        }
        if notification.round < core.round {
            self.answer(core, from, outputs);
            return None;
        }
        let mut changed = false;
        if notification.round > core.round {
            core.round = notification.round;
            self.received.clear();
            self.proposal = self.initial;
            changed = true;
        }
        if vote > self.proposal && self.is_eligible(core, vote.leader) {
            self.proposal = vote;
            changed = true;
        }
        let first = self.received.insert(from, notification).is_none();
        if changed {
            self.finalize_at = None;
            self.resend_ms = RESEND_MS_MIN;
            self.resend_at = now.plus(RESEND_MS_MIN);
            self.broadcast(core, now, outputs);
        } else if first {
            self.answer(core, from, outputs);
        }
        self.evaluate(core, now)
    }

    fn on_settled(
        &mut self,
        core: &mut Core,
        now: Millis,
        from: ServerId,
        notification: Notification,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        if notification.round == core.round {
            self.received.insert(from, notification.clone());
        }
        let leads = notification.state == PeerState::Leading;
        let news = self.settled.insert(from, notification.clone()) != Some(notification.clone());
        if let Some(transition) = self.join_settled(core, &notification) {
            return Some(transition);
        }
        if leads && (news || now.since(self.told_at) >= ASK_AGAIN_MS) {
            // There is a leader, but who follows it? Those who do answer at once. (A leader speaks up every tick for
            // those who do not follow it: after a partition nobody waits for a back-off of minutes.)
            self.resend_ms = RESEND_MS_MIN;
            self.resend_at = now.plus(RESEND_MS_MIN);
            self.broadcast(core, now, outputs);
        }
        self.evaluate(core, now)
    }

    /// Joins the leader that `notification` names when a quorum is settled on it and it says itself that it leads.
    fn join_settled(&self, core: &mut Core, notification: &Notification) -> Option<Transition> {
        let agrees = |other: &Notification| {
            other.vote.leader == notification.vote.leader
                && other.vote.epoch == notification.vote.epoch
        };
        let followers: Vec<ServerId> =
            self.settled.iter().filter(|(_, other)| agrees(other)).map(|(id, _)| *id).collect();
        let leader = notification.vote.leader;
        if leader == core.id() {
            // They chose us in this very round and were quicker to see it.
            if notification.round != core.round || !core.may_vote() || core.awaits_successor() {
                return None;
            }
            let with_us: Vec<ServerId> = followers
                .into_iter()
                .filter(|id| self.settled.get(id).is_some_and(|other| other.round == core.round))
                .chain([leader])
                .collect();
            if self.proposal.leader != leader || !core.config.ensemble.is_quorum(&with_us) {
                return None;
            }
            core.vote = self.proposal;
            return Some(Transition::Lead);
        }
        let leads = self
            .settled
            .get(&leader)
            .is_some_and(|other| other.state == PeerState::Leading && agrees(other));
        if !leads || !core.config.ensemble.is_quorum(&followers) {
            return None;
        }
        core.round = notification.round;
        core.vote = notification.vote;
        Some(Transition::Follow(leader))
    }

    /// Whether a quorum wants what we want, and for long enough.
    fn evaluate(&mut self, core: &mut Core, now: Millis) -> Option<Transition> {
        let agree: Vec<ServerId> = self
            .received
            .iter()
            .filter(|(_, other)| match other.state {
                PeerState::Looking => other.vote == self.proposal,
                PeerState::Following | PeerState::Leading | PeerState::Observing => {
                    other.vote.leader == self.proposal.leader
                        && other.vote.epoch == self.proposal.epoch
                }
            })
            .map(|(id, _)| *id)
            .chain(core.may_vote().then_some(core.id()))
            .collect();
        if !core.trusted || !core.config.ensemble.is_quorum(&agree) {
            self.finalize_at = None;
            return None;
        }
        let unanimous = core.config.ensemble.voters().iter().all(|voter| agree.contains(voter));
        let finalize_at = *self.finalize_at.get_or_insert(now.plus(core.config.finalize_wait_ms));
        if !unanimous && now < finalize_at {
            return None;
        }
        core.vote = self.proposal;
        if self.proposal.leader == core.id() {
            Some(Transition::Lead)
        } else {
            Some(Transition::Follow(self.proposal.leader))
        }
    }

    /// Whether we would vote for `leader`: for anyone but ourselves when we are about to leave.
    fn is_eligible(&self, core: &Core, leader: ServerId) -> bool {
        leader != core.id() || !core.awaits_successor()
    }

    fn notification(&self, core: &Core) -> Notification {
        Notification { state: PeerState::Looking, vote: self.proposal, round: core.round }
    }

    /// Tells one server how we vote. An observer does not answer: voters answer it, and the two would never stop.
    fn answer(&self, core: &Core, to: ServerId, outputs: &mut Vec<Output>) {
        if core.membership() == Membership::Voter {
            self.notify(core, to, outputs);
        }
    }

    fn notify(&self, core: &Core, to: ServerId, outputs: &mut Vec<Output>) {
        outputs.push(Output::Notify { to, notification: self.notification(core) });
    }

    fn broadcast(&mut self, core: &Core, now: Millis, outputs: &mut Vec<Output>) {
        self.told_at = now;
        for voter in core.config.ensemble.voters() {
            if *voter != core.id() {
                self.notify(core, *voter, outputs);
            }
        }
    }

    pub(crate) fn on_link_accepted(&mut self, link: LinkId, outputs: &mut Vec<Output>) {
        if self.early_links.len() < EARLY_LINKS_MAX {
            self.early_links.insert(link, None);
        } else {
            close(link, "too many links while no leader is known", outputs);
        }
    }

    pub(crate) fn on_link_down(&mut self, link: LinkId) {
        self.early_links.remove(&link);
    }

    pub(crate) fn on_message(&mut self, link: LinkId, message: Message, outputs: &mut Vec<Output>) {
        match self.early_links.get_mut(&link) {
            Some(slot @ None) => *slot = Some(message),
            Some(Some(_)) => {
                self.early_links.remove(&link);
                close(link, "a learner must wait for LEADERINFO after its first packet", outputs);
            }
            None => {}
        }
    }
}
