//! A request on its way: from whoever holds a client to the task behind it, and the answer back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::task::{Context, Poll};

use bytes::Bytes;
use jute::OpCode;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Session;
use crate::error::{Error, Result};
use crate::watches::Kind;

/// A request on its way.
pub(crate) struct Call {
    pub(crate) op: OpCode,
    pub(crate) body: Bytes,
    /// The watch that a successful answer arms.
    pub(crate) watch: Option<(Kind, String)>,
    pub(crate) answer: oneshot::Sender<Result<Reply>>,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The last zxid the server had applied.
    pub zxid: i64,
    /// The response record.
    pub body: Bytes,
}

/// The answer to a request that has been started, as a future. Dropping it changes nothing for the
/// request.
#[derive(Debug)]
#[must_use = "the request has been started; its outcome is here"]
pub struct Answer {
    answered: oneshot::Receiver<Result<Reply>>,
    shared: Arc<Shared>,
}

impl Future for Answer {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answered).poll(context).map(|answer| {
            // Without an answer the call met a task that had ended, or was ending.
            answer.unwrap_or_else(|_| match &*self.shared.session.borrow() {
                State::Over(error) => Err(error.clone()),
                _ => Err(Error::ConnectionLoss),
            })
        })
    }
}

/// Hands a request to the task.
pub(crate) fn start(
    calls: &mpsc::UnboundedSender<Call>,
    shared: &Arc<Shared>,
    op: OpCode,
    body: Bytes,
    watch: Option<(Kind, String)>,
) -> Answer {
    let (answer, answered) = oneshot::channel();
    // When the task is gone, so is `answer`, and the future says why.
    let _ = calls.send(Call { op, body, watch, answer });
    Answer { answered, shared: Arc::clone(shared) }
}

/// What the task tells those who hold a client.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) last_zxid: AtomicI64,
    /// The session as last taken by a server; set again at every reconnect.
    pub(crate) session: watch::Sender<State>,
}

/// How the client stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not connected; the last attempt ended with this.
    Connecting(String),
    Connected(Session),
    /// For ever.
    Over(Error),
}
