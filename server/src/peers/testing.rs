//! A sink that remembers, for the tests of the links.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use replica::{Input, PeerMessage};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use zab::{Epoch, LinkId, Membership, Message, Notification, PeerState, ServerId, Vote, Zxid};

use crate::config::Member;
use crate::core_sink::CoreSink;

/// How long anything in a test may take: far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything the core would have heard.
#[derive(Clone, Default)]
pub(super) struct Heard {
    inputs: Rc<RefCell<Vec<Input>>>,
    more: Rc<Notify>,
}

impl CoreSink for Heard {
    fn inputs(&self, inputs: &mut Vec<Input>) {
        self.inputs.borrow_mut().append(inputs);
        self.more.notify_one();
    }
}

impl Heard {
    /// The next input, in order.
    pub(super) async fn next(&self) -> Input {
        loop {
            if !self.inputs.borrow().is_empty() {
                return self.inputs.borrow_mut().remove(0);
            }
            self.more.notified().await;
        }
    }

    /// The next input, which must be a notification: its sender and round.
    pub(super) async fn notification(&self) -> (u64, u64) {
        match self.next().await {
            Input::Notification { from, notification } => (from.0, notification.round),
            other => panic!("{other:?}"),
        }
    }

    /// The next input, which must be a message on `link`.
    pub(super) async fn message(&self, on: LinkId) -> PeerMessage {
        match self.next().await {
            Input::Message { link, message } if link == on => message,
            other => panic!("{other:?}"),
        }
    }

    /// The zxid of the next input, which must be a COMMIT on `link`.
    pub(super) async fn commit(&self, on: LinkId) -> i64 {
        match self.message(on).await {
            PeerMessage::Zab(Message::Commit { zxid }) => zxid.0,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inputs.borrow().is_empty()
    }
}

/// Runs a test on a runtime like the server's, and fails it when it hangs.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(PATIENCE, test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, test);
}

/// A member on the loopback interface.
pub(super) fn member(quorum_port: u16, election_port: u16) -> Member {
    Member {
        host: "127.0.0.1".to_owned(),
        quorum_port,
        election_port,
        membership: Membership::Voter,
        client: None,
    }
}

/// A notification, told apart by its round.
pub(super) fn notification(round: u64) -> Notification {
    let vote = Vote { epoch: Epoch(1), zxid: Zxid(7), leader: ServerId(2) };
    Notification { state: PeerState::Looking, vote, round }
}

/// A COMMIT, told apart by its zxid.
pub(super) fn commit(zxid: i64) -> PeerMessage {
    PeerMessage::Zab(Message::Commit { zxid: Zxid(zxid) })
}
