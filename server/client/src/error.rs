//! What can become of a request besides its answer.

use jute::{DecodeError, ErrorCode};

/// The result of everything a client does.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server answered with an error; nothing was changed.
    #[error("the server answered {0}")]
    Zookeeper(ErrorCode),
    /// A multi failed at its operation `at` (counted from 0); nothing was changed.
    #[error("operation {at} of the multi failed: {code}")]
    MultiFailed {
        /// The operation that failed.
        at: usize,
        /// Its error.
        code: ErrorCode,
    },
    /// The connection broke before the answer came. A write may or may not have been done; it is
    /// never sent again by the client.
    #[error("connection lost before the answer came")]
    ConnectionLoss,
    /// The session is gone, and its ephemeral znodes with it. This client is of no more use.
    #[error("the session expired")]
    SessionExpired,
    /// The session was closed by this client.
    #[error("the session was closed")]
    Closed,
    /// No server took the session in time.
    #[error("no session within {waited_ms} ms from {servers}: {last}")]
    NotConnected {
        /// The servers tried, comma-separated.
        servers: String,
        /// How long was tried.
        waited_ms: u64,
        /// What the last attempt ended with.
        last: String,
    },
    /// The server sent what this client cannot read.
    #[error("unreadable answer: {0}")]
    Unreadable(#[from] DecodeError),
    /// The server answered with an error number that ZooKeeper does not have.
    #[error("the server answered the unknown error {0}")]
    UnknownCode(i32),
}

impl Error {
    /// The error behind the `err` field of an answer; `None` for 0.
    pub(crate) fn from_wire(err: i32) -> Option<Self> {
        match ErrorCode::from_code(err) {
            None if err == 0 => None,
            None => Some(Self::UnknownCode(err)),
            Some(ErrorCode::SessionExpired) => Some(Self::SessionExpired),
            Some(code) => Some(Self::Zookeeper(code)),
        }
    }
}
