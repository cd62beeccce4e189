//! The links between a leader and its learners: dialed by learners, accepted on the quorum port.
//!
//! A link is FIFO and reports its end exactly once, unless the core closed it itself. What is to be sent gathers in a
//! queue and leaves with one write per wake of the writer. The queue is bounded: a learner that does not keep up is
//! cut off with a reason, as it would otherwise take the leader's memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use replica::{Input, PeerMessage};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tree::FrozenTree;
use zab::{LinkId, ServerId, Zxid};

use crate::config::Member;
use crate::core_sink::CoreSink;
use crate::peers::net::{self, Backoff};
pub use crate::peers::quorum_link::{Deliver, Limits};
use crate::peers::quorum_link::{Link, serve};
use crate::peers::wire::FarEnd;

/// Tries to reach a leader, as Java does.
const DIAL_TRIES: u32 = 5;

/// Links at a time. An ensemble has at most 255 members; the rest leaves room for links that are about to end.
const LINKS_MAX: usize = 1024;

/// What the links need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All members, to find leaders by id.
    pub members: BTreeMap<ServerId, Member>,
    /// How long one connection attempt may take.
    pub connect_timeout: Duration,
    /// How long all attempts of one dial may take together (`initLimit` or `connectToLearnerMasterLimit`).
    pub dial_limit: Duration,
    /// What every link must keep to.
    pub limits: Limits,
}

/// All links of this server. Cheap to clone.
#[derive(Clone)]
pub struct QuorumLinks {
    shared: Rc<Shared>,
}

struct Shared {
    settings: Settings,
    deliver: Deliver,
    links: RefCell<BTreeMap<LinkId, Rc<Link>>>,
    /// Links accepted so far. Their number is their id, below those of the core's own links.
    accepted: Cell<u64>,
}

impl QuorumLinks {
    /// Starts to accept on `listener`. Within a `LocalSet`.
    pub fn start(settings: Settings, listener: TcpListener, sink: impl CoreSink) -> Self {
        let shared = Rc::new(Shared {
            settings,
            deliver: Box::new(move |inputs| sink.inputs(inputs)),
            links: RefCell::default(),
            accepted: Cell::new(0),
        });
        spawn_local(accept(Rc::clone(&shared), listener));
        Self { shared }
    }

    /// Connects to `leader`; answered by `LinkDialed` or `LinkDown`.
    ///
    /// # Panics
    /// When `link` is below [`LinkId::DIALED`], where the ids of accepted links are.
    pub fn dial(&self, link: LinkId, leader: ServerId) {
        assert!(link >= LinkId::DIALED, "ids below are for accepted links");
        let link = Rc::new(Link::new(link, FarEnd::Leader));
        self.shared.links.borrow_mut().insert(link.id, Rc::clone(&link));
        let shared = Rc::clone(&self.shared);
        spawn_local(async move {
            match reach(&shared, &link, leader).await {
                Ok(stream) => {
                    tracing::info!(server = %leader, "connected to the leader");
                    run(shared, link, stream, |link| Input::LinkDialed { link }).await;
                }
                Err(error) => {
                    tracing::info!(server = %leader, %error, "cannot connect to the leader");
                    shared.down(&link);
                }
            }
        });
    }

    /// Sends a message. Nothing happens when the link is gone: its end was or will be reported.
    pub fn send(&self, link: LinkId, message: &PeerMessage) {
        if let Some(link) = self.shared.links.borrow().get(&link) {
            link.push_message(message, self.shared.settings.limits.queue_bytes_max);
        }
    }

    /// Sends SNAP, the tree, and its end mark. What is sent later follows behind.
    pub fn send_snapshot(&self, link: LinkId, to: Zxid, tree: FrozenTree) {
        if let Some(link) = self.shared.links.borrow().get(&link) {
            link.push_snapshot(to, tree);
        }
    }

    /// Closes a link after what was sent on it. Its end is not reported.
    pub fn close(&self, link: LinkId, why: &str) {
        if let Some(link) = self.shared.links.borrow_mut().remove(&link) {
            tracing::info!(from = %link.peer(), reason = why, "closing a quorum link");
            link.close();
        }
    }
}

impl Shared {
    /// Tells the core that a link is gone, unless the core closed it.
    fn down(&self, link: &Link) {
        if self.links.borrow_mut().remove(&link.id).is_some() {
            (self.deliver)(&mut vec![Input::LinkDown { link: link.id }]);
        }
    }
}

/// Accepts learners for ever.
async fn accept(shared: Rc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) if shared.links.borrow().len() >= LINKS_MAX => {
                tracing::warn!(%from, links = LINKS_MAX, "quorum connection refused: too many links");
                drop(stream);
            }
            Ok((stream, from)) => {
                shared.accepted.set(shared.accepted.get() + 1);
                let id = LinkId(shared.accepted.get());
                tracing::info!(%from, link = id.0, "quorum connection accepted");
                let link = Rc::new(Link::new(id, FarEnd::Learner));
                shared.links.borrow_mut().insert(id, Rc::clone(&link));
                let shared = Rc::clone(&shared);
                spawn_local(run(shared, link, stream, |link| Input::LinkAccepted { link }));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept quorum connections");
                sleep(Backoff::FIRST).await;
            }
        }
    }
}

/// Reports a new link, serves it to its end, and reports the end.
async fn run(shared: Rc<Shared>, link: Rc<Link>, stream: TcpStream, born: fn(LinkId) -> Input) {
    if link.is_closed() {
        return;
    }
    let end = match net::prepare(&stream, shared.settings.limits.silence_limit) {
        Ok(()) => {
            link.connected(&stream);
            (shared.deliver)(&mut vec![born(link.id)]);
            serve(&link, stream, &shared.settings.limits, &shared.deliver).await
        }
        Err(error) => error,
    };
    if !link.is_closed() {
        tracing::info!(from = %link.peer(), reason = %end, "a quorum link ended");
    }
    shared.down(&link);
}

/// Connects to a leader, whose name is resolved for every try.
async fn reach(shared: &Shared, link: &Link, leader: ServerId) -> io::Result<TcpStream> {
    let settings = &shared.settings;
    let Some(member) = settings.members.get(&leader) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is not in the configuration"));
    };
    let address = member.quorum_address();
    let deadline = Instant::now() + settings.dial_limit;
    let mut backoff = Backoff::new();
    let mut tries = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let attempt = net::dial(&address, settings.connect_timeout.min(left));
        let outcome = tokio::select! {
            outcome = attempt => outcome,
            () = link.closed() => return Err(io::ErrorKind::Interrupted.into()),
        };
        tries += 1;
        match outcome {
            Err(error) if tries < DIAL_TRIES && Instant::now() < deadline => {
                tracing::debug!(server = %leader, %error, "cannot connect to the leader yet");
                sleep(backoff.next_pause()).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
#[path = "quorum_links_tests.rs"]
mod tests;
