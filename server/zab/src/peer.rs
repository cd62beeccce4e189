//! A peer: one server's part in the ensemble, as the sequence of its roles.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::config::Config;
use crate::core::{Asked, Core, Transition, close};
use crate::election::Looking;
use crate::ensemble::ServerId;
use crate::following::Following;
use crate::io::{Input, LinkId, Output, Phase, Recovered, Standing, Status};
use crate::leading::Leading;
use crate::message::{Message, Notification, PeerState};
use crate::vote::Vote;
use crate::zxid::{Epochs, Millis, Zxid};

/// One server's part in Zab. See the crate documentation for the protocol and [`crate::io`] for the contract.
#[derive(Debug)]
pub struct Peer {
    core: Core,
    role: Role,
}

/// What a peer is doing. A transition consumes the old role: nothing of it can leak into the next.
#[derive(Debug)]
enum Role {
    Standalone,
    Looking(Looking),
    Following(Following),
    Leading(Box<Leading>),
}

impl Peer {
    /// A member of an ensemble. It goes LOOKING at once; the only voter of an ensemble elects itself right here.
    #[must_use]
    pub fn new(
        config: Config,
        recovered: Recovered,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Self {
        let mut core = Core::new(config, recovered);
        let (looking, transition) = Looking::start(&mut core, None, now, outputs);
        let mut peer = Self { core, role: Role::Looking(looking) };
        peer.follow(transition, now, outputs);
        peer
    }

    /// A server without an ensemble: no leaders, no network. The next zxid is the last plus one (after 2^32 of them it is
    /// one of the next epoch), and a transaction is committed when it is durable. Serves at once: `Became(Leading { epoch of the last zxid })`.
    #[must_use]
    pub fn standalone(config: Config, recovered: Recovered, outputs: &mut Vec<Output>) -> Self {
        let mut core = Core::new(config, recovered);
        core.log.commit(core.log.last());
        let epoch = core.log.last().epoch();
        core.become_standing(Standing::Leading { epoch }, outputs);
        Self { core, role: Role::Standalone }
    }

    /// Takes one input and says what must be done about it. Total, synchronous, never fails.
    ///
    /// # Panics
    /// When the caller breaks the contract (reports storage that was not asked for) or an invariant is broken: going
    /// on would endanger data. No message from the network leads there.
    pub fn handle(&mut self, now: Millis, input: Input, outputs: &mut Vec<Output>) {
        let transition = match input {
            Input::Tick => self.on_tick(now, outputs),
            Input::Notification { from, notification } => {
                self.on_notification(now, from, notification, outputs)
            }
            Input::LinkAccepted { link } => {
                self.on_link_accepted(now, link, outputs);
                None
            }
            Input::LinkDialed { link } => {
                self.on_link_dialed(now, link, outputs);
                None
            }
            Input::LinkDown { link } => self.on_link_down(now, link),
            Input::Message { link, message } => self.on_message(now, link, message, outputs),
            Input::Durable { append } => {
                self.core.log.on_durable(append);
                self.advance(now, outputs)
            }
            Input::EpochsSaved { epochs } => {
                let was_trusted = self.core.trusted;
                self.core.on_epochs_saved(epochs);
                if self.core.trusted && !was_trusted && matches!(self.role, Role::Looking(_)) {
                    // Its vote has weight from now on: it asks anew, with a vote that says what it has.
                    Some(Transition::Look)
                } else {
                    self.advance(now, outputs)
                }
            }
            Input::Truncated { .. } | Input::SnapshotInstalled { .. } => {
                self.core.log.on_restored();
                self.advance(now, outputs)
            }
            Input::HandOff => self.on_hand_off(now, outputs),
        };
        self.follow(transition, now, outputs);
        if matches!(self.core.standing(), Standing::Following { .. }) {
            self.core.finish_hand_off(outputs);
        }
    }

    /// When the next `Input::Tick` is due, if time alone can change anything.
    #[must_use]
    pub fn wake_at(&self) -> Option<Millis> {
        let role = match &self.role {
            Role::Standalone => None,
            Role::Looking(looking) => Some(looking.wake_at()),
            Role::Following(following) => Some(following.wake_at(&self.core)),
            Role::Leading(leading) => Some(leading.wake_at()),
        };
        role.into_iter().chain(self.core.hand_off_deadline()).min()
    }

    /// The zxid the next proposal gets. `None` unless this peer leads in broadcast, keeps leading, and has zxids left.
    #[must_use]
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.role {
            Role::Standalone => Some(self.core.log.last().next()),
            Role::Looking(_) | Role::Following(_) => None,
            Role::Leading(leading) => leading.next_zxid(&self.core),
        }
    }

    /// The last zxid known to be committed; delivered as soon as it is durable here.
    #[must_use]
    pub fn committed(&self) -> Zxid {
        self.core.log.committed()
    }

    /// The end of the log, committed or not: whatever is proposed from now on comes after it.
    #[must_use]
    pub fn last_logged(&self) -> Zxid {
        self.core.log.last()
    }

    /// Proposes a transaction under [`Peer::next_zxid`], which is returned.
    ///
    /// # Panics
    /// When `next_zxid` is `None`.
    pub fn propose(&mut self, _now: Millis, payload: Bytes, outputs: &mut Vec<Output>) -> Zxid {
        match &mut self.role {
            Role::Standalone => {
                let core = &mut self.core;
                let zxid = core.log.last().next();
                if zxid.epoch() > core.epochs.accepted {
                    // The counter has run over. No store takes a transaction of an epoch that was not accepted.
                    let epoch = zxid.epoch();
                    core.save_epochs(Epochs { accepted: epoch, current: epoch }, outputs);
                }
                core.log.append(zxid, payload, outputs);
                zxid
            }
            Role::Leading(leading) => leading.propose(&mut self.core, payload, outputs),
            Role::Looking(_) | Role::Following(_) => panic!("only a leader in broadcast proposes"),
        }
    }

    /// What it is, for people and metrics.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = &self.core;
        let (phase, leader, learners) = match &self.role {
            Role::Standalone => (Phase::Broadcast, Some(core.id()), Vec::new()),
            Role::Looking(_) => (Phase::Election, None, Vec::new()),
            Role::Following(following) => (following.phase(), Some(following.leader()), Vec::new()),
            Role::Leading(leading) => (leading.phase(), Some(core.id()), leading.learner_status()),
        };
        Status {
            id: core.id(),
            phase,
            standing: core.standing(),
            leader,
            epochs: core.epochs,
            last_logged: core.log.last(),
            last_durable: core.log.durable(),
            last_committed: core.log.delivered(),
            learners,
            elections: core.elections,
            election_ms: core.election_ms,
        }
    }

    fn on_tick(&mut self, now: Millis, outputs: &mut Vec<Output>) -> Option<Transition> {
        if self.core.hand_off_deadline().is_some_and(|at| now >= at) {
            self.core.finish_hand_off(outputs);
            if matches!(self.role, Role::Looking(_)) {
                // Nobody took over: stand for election again like everyone else.
                return Some(Transition::Look);
            }
        }
        match &mut self.role {
            Role::Standalone => None,
            Role::Looking(looking) => looking.on_tick(&mut self.core, now, outputs),
            Role::Following(following) => following.on_tick(&mut self.core, now, outputs),
            Role::Leading(leading) => leading.on_tick(&mut self.core, now, outputs),
        }
    }

    fn on_notification(
        &mut self,
        now: Millis,
        from: ServerId,
        notification: Notification,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        let core = &mut self.core;
        let leads = notification.state == PeerState::Leading && notification.vote.leader == from;
        if leads && from != core.id() && notification.round >= core.round {
            core.finish_hand_off(outputs);
        }
        match &mut self.role {
            Role::Standalone => None,
            Role::Looking(looking) => {
                looking.on_notification(core, now, from, notification, outputs)
            }
            Role::Following(_) | Role::Leading(_) => {
                core.answer_as_settled(from, &notification, outputs);
                None
            }
        }
    }

    fn on_link_accepted(&mut self, now: Millis, link: LinkId, outputs: &mut Vec<Output>) {
        match &mut self.role {
            Role::Standalone | Role::Following(_) => close(link, "not leading", outputs),
            Role::Looking(looking) => looking.on_link_accepted(link, outputs),
            Role::Leading(leading) => leading.on_link_accepted(now, link),
        }
    }

    fn on_link_dialed(&mut self, now: Millis, link: LinkId, outputs: &mut Vec<Output>) {
        if let Role::Following(following) = &mut self.role {
            following.on_link_dialed(&self.core, now, link, outputs);
        }
    }

    fn on_link_down(&mut self, now: Millis, link: LinkId) -> Option<Transition> {
        match &mut self.role {
            Role::Standalone => None,
            Role::Looking(looking) => {
                looking.on_link_down(link);
                None
            }
            Role::Following(following) => following.on_link_down(now, link),
            Role::Leading(leading) => {
                leading.on_link_down(link);
                None
            }
        }
    }

    fn on_message(
        &mut self,
        now: Millis,
        link: LinkId,
        message: Message,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        match &mut self.role {
            Role::Standalone => None,
            Role::Looking(looking) => {
                looking.on_message(link, message, outputs);
                None
            }
            Role::Following(following) => {
                following.on_message(&mut self.core, now, link, message, outputs)
            }
            Role::Leading(leading) => {
                leading.on_message(&mut self.core, now, link, message, outputs)
            }
        }
    }

    fn on_hand_off(&mut self, now: Millis, outputs: &mut Vec<Output>) -> Option<Transition> {
        if let Role::Leading(leading) = &mut self.role
            && leading.on_hand_off(&self.core, now)
        {
            return leading.advance(&mut self.core, now, outputs);
        }
        self.core.on_hand_off(outputs);
        None
    }

    /// The store reported something.
    fn advance(&mut self, now: Millis, outputs: &mut Vec<Output>) -> Option<Transition> {
        match &mut self.role {
            Role::Standalone => {
                self.core.log.commit(self.core.log.durable());
                self.core.log.deliver_committed(outputs);
                None
            }
            Role::Looking(_) => None,
            Role::Following(following) => {
                following.advance(&mut self.core, outputs);
                None
            }
            Role::Leading(leading) => leading.advance(&mut self.core, now, outputs),
        }
    }

    /// Changes roles until one stays.
    fn follow(
        &mut self,
        mut transition: Option<Transition>,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) {
        while let Some(next) = transition {
            let role = std::mem::replace(&mut self.role, Role::Standalone);
            transition = match next {
                Transition::Look => self.look(role, None, now, outputs),
                Transition::HandOver(heir) => self.look(role, Some(heir), now, outputs),
                Transition::Lead => {
                    let links = self.end_election(role, now);
                    let (leading, next) = Leading::start(&mut self.core, links, now, outputs);
                    self.role = Role::Leading(Box::new(leading));
                    next
                }
                Transition::Follow(leader) => {
                    for link in self.end_election(role, now).into_keys() {
                        close(link, "not leading", outputs);
                    }
                    let following = Following::start(&mut self.core, leader, now, outputs);
                    self.role = Role::Following(following);
                    None
                }
            };
        }
    }

    fn look(
        &mut self,
        role: Role,
        heir: Option<Vote>,
        now: Millis,
        outputs: &mut Vec<Output>,
    ) -> Option<Transition> {
        self.core.become_standing(Standing::Looking, outputs);
        match role {
            Role::Leading(mut leading) => {
                leading.leave("not leading any more", outputs);
                match (heir.is_some(), leading.is_leaving()) {
                    (true, true) => self.core.await_successor(now, Asked::ByInput),
                    (true, false) => self.core.await_successor(now, Asked::ByNobody),
                    (false, true) => outputs.push(Output::HandedOff),
                    (false, false) => {}
                }
            }
            Role::Looking(looking) => {
                for link in looking.into_early_links().into_keys() {
                    close(link, "the election starts anew", outputs);
                }
            }
            Role::Following(_) | Role::Standalone => {}
        }
        let (looking, transition) = Looking::start(&mut self.core, heir, now, outputs);
        self.role = Role::Looking(looking);
        transition
    }

    fn end_election(&mut self, role: Role, now: Millis) -> BTreeMap<LinkId, Option<Message>> {
        let Role::Looking(looking) = role else {
            return BTreeMap::new();
        };
        self.core.election_ms = looking.elapsed_ms(now);
        looking.into_early_links()
    }
}
