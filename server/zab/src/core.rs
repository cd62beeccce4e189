//! What a peer keeps through all its roles: settings, epochs, the log, the election round.

use std::collections::VecDeque;

use crate::config::Config;
use crate::ensemble::{Membership, ServerId};
use crate::io::{LinkId, Output, Recovered, Standing};
use crate::log_view::LogView;
use crate::message::{Message, Notification, PeerState};
use crate::vote::Vote;
use crate::zxid::{Epoch, Epochs, Millis, Zxid};

/// Epochs are 32 bits and zxids signed on the Java side: a peer that names a higher one is broken.
pub(crate) const EPOCH_MAX: Epoch = Epoch(0x7fff_fffe);

/// How long a server that gave leadership away waits for another leader to show up.
const HAND_OFF_WAIT_MS: u64 = 2_000;

/// The number of an epoch save, counting from 1. Saves are confirmed in order, so a number says which one is meant
/// when the same epochs are saved twice (an earlier confirmation does not vouch for the history before the later).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SaveId(u64);

/// Why a role ends and what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Look for a leader.
    Look,
    /// Look for a leader and want this one: leadership is given away.
    HandOver(Vote),
    /// The election said: us.
    Lead,
    /// The election said: this one.
    Follow(ServerId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) log: LogView,
    /// As they were last given to the store.
    pub(crate) epochs: Epochs,
    /// False until this server's database holds what a quorum holds: it has no weight in elections until then.
    pub(crate) trusted: bool,
    /// The election round (logical clock).
    pub(crate) round: u64,
    /// The vote a settled server answers with.
    pub(crate) vote: Vote,
    pub(crate) elections: u64,
    pub(crate) election_ms: u64,
    standing: Standing,
    saves_pending: VecDeque<Epochs>,
    saves_asked: u64,
    links_dialed: u64,
    /// Leadership was given away and no successor was seen yet.
    hand_off: Option<PendingHandOff>,
}

impl Core {
    pub(crate) fn new(config: Config, recovered: Recovered) -> Self {
        let epochs = recovered.epochs;
        assert!(epochs.current <= epochs.accepted, "current epoch beyond the accepted one");
        let trusted = recovered.trusted;
        let log = LogView::new(recovered, config.history_bytes_max);
        let vote = Vote { epoch: Epoch(0), zxid: Zxid(-1), leader: config.id };
        Self {
            config,
            log,
            epochs,
            trusted,
            round: 0,
            vote,
            elections: 0,
            election_ms: 0,
            standing: Standing::Looking,
            saves_pending: VecDeque::new(),
            saves_asked: 0,
            links_dialed: 0,
            hand_off: None,
        }
    }

    pub(crate) fn id(&self) -> ServerId {
        self.config.id
    }

    /// Our own part; a server that the configuration does not name learns like an observer.
    pub(crate) fn membership(&self) -> Membership {
        if self.config.ensemble.is_voter(self.config.id) {
            Membership::Voter
        } else {
            Membership::Observer
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    pub(crate) fn become_standing(&mut self, standing: Standing, outputs: &mut Vec<Output>) {
        if self.standing != standing {
            self.standing = standing;
            outputs.push(Output::Became(standing));
        }
    }

    /// Has both epoch files written; the answer is awaited with [`Core::is_saved`].
    pub(crate) fn save_epochs(&mut self, epochs: Epochs, outputs: &mut Vec<Output>) -> SaveId {
        assert!(
            epochs.accepted >= self.epochs.accepted && epochs.current >= self.epochs.current,
            "epochs never go back: {:?} after {:?}",
            epochs,
            self.epochs
        );
        assert!(epochs.current <= epochs.accepted, "current epoch beyond the accepted one");
        self.epochs = epochs;
        self.saves_pending.push_back(epochs);
        self.saves_asked += 1;
        outputs.push(Output::SaveEpochs { epochs });
        SaveId(self.saves_asked)
    }

    pub(crate) fn on_epochs_saved(&mut self, epochs: Epochs) {
        let expected = self.saves_pending.pop_front();
        assert_eq!(expected, Some(epochs), "the store must confirm epochs in order");
        // The leader's history is on the disk before the epoch that vouches for it, whatever became of that leader.
        self.trusted |= epochs.current > Epoch(0);
    }

    pub(crate) fn is_saved(&self, save: SaveId) -> bool {
        save.0 <= self.saves_asked - self.saves_pending.len() as u64
    }

    /// The newest save asked for.
    pub(crate) fn save_last(&self) -> SaveId {
        SaveId(self.saves_asked)
    }

    /// The id of the next link we dial.
    pub(crate) fn next_link(&mut self) -> LinkId {
        let link = LinkId(LinkId::DIALED.0 + self.links_dialed);
        self.links_dialed += 1;
        link
    }

    /// The vote a round begins with: for ourselves. Without a trustworthy database, without a vote, or when we are
    /// about to leave, it is one that nobody follows and every other one is better than.
    pub(crate) fn own_vote(&self) -> Vote {
        if self.may_vote() && !self.awaits_successor() {
            Vote { epoch: self.epochs.current, zxid: self.log.last(), leader: self.id() }
        } else {
            Vote { epoch: Epoch(0), zxid: Zxid(-1), leader: self.id() }
        }
    }

    /// Whether our vote has weight.
    pub(crate) fn may_vote(&self) -> bool {
        self.trusted && self.membership() == Membership::Voter
    }

    /// What a settled server answers to those who look for a leader.
    pub(crate) fn settled_notification(&self) -> Notification {
        let state = match (self.vote.leader == self.id(), self.membership()) {
            (true, _) => PeerState::Leading,
            (false, Membership::Voter) => PeerState::Following,
            (false, Membership::Observer) => PeerState::Observing,
        };
        Notification { state, vote: self.vote, round: self.round }
    }

    /// Answers an election notification as a settled server: whoever looks is told, nobody is joined. An observer is
    /// silent: its word does not count, and voters answer a non-voter, so the two would never stop.
    pub(crate) fn answer_as_settled(
        &self,
        from: ServerId,
        notification: &Notification,
        outputs: &mut Vec<Output>,
    ) {
        let looks = notification.state == PeerState::Looking;
        if looks && from != self.id() && self.membership() == Membership::Voter {
            outputs.push(Output::Notify { to: from, notification: self.settled_notification() });
        }
    }

    /// Leadership was given away: someone else should lead soon.
    pub(crate) fn await_successor(&mut self, now: Millis, asked: Asked) {
        self.hand_off = Some(PendingHandOff { until: now.plus(HAND_OFF_WAIT_MS), asked });
    }

    /// Whether we gave leadership away and saw no successor yet: we do not stand for election.
    pub(crate) fn awaits_successor(&self) -> bool {
        self.hand_off.is_some()
    }

    pub(crate) fn hand_off_deadline(&self) -> Option<Millis> {
        self.hand_off.as_ref().map(|hand_off| hand_off.until)
    }

    /// Someone else leads, or nobody did for too long.
    pub(crate) fn finish_hand_off(&mut self, outputs: &mut Vec<Output>) {
        if self.hand_off.take().is_some_and(|hand_off| hand_off.asked == Asked::ByInput) {
            outputs.push(Output::HandedOff);
        }
    }

    /// We are asked to leave without leading: at once, unless leadership is on its way to another.
    pub(crate) fn on_hand_off(&mut self, outputs: &mut Vec<Output>) {
        match &mut self.hand_off {
            Some(hand_off) => hand_off.asked = Asked::ByInput,
            None => outputs.push(Output::HandedOff),
        }
    }
}

/// Who wanted leadership to be given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `Input::HandOff`: an answer is owed.
    ByInput,
    /// Nobody: the leader itself is not fit.
    ByNobody,
}

#[derive(Debug)]
struct PendingHandOff {
    until: Millis,
    asked: Asked,
}

/// Shorthand for the most frequent output.
pub(crate) fn send(link: LinkId, message: Message, outputs: &mut Vec<Output>) {
    outputs.push(Output::Send { link, message });
}

/// Shorthand for giving up a link.
pub(crate) fn close(link: LinkId, why: impl Into<String>, outputs: &mut Vec<Output>) {
    outputs.push(Output::Close { link, why: why.into() });
}
