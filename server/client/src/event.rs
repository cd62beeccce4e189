//! What a client hears without having asked.

use jute::event::EventType;

/// Something happened to the session or to a watched znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server has taken the session.
    Connected {
        /// Which one, as configured.
        server: String,
        /// The session.
        session_id: i64,
    },
    /// The connection is gone; another is being tried unless the session is over.
    Disconnected,
    /// The session is over.
    Expired,
    /// A one-shot watch has fired.
    Watch {
        /// What happened.
        event: EventType,
        /// To which znode.
        path: String,
        /// In which transaction; -1 when found out after a reconnect.
        zxid: i64,
    },
}
