//! Faults of the protocol itself, put in on purpose: a simulator that cannot fail proves nothing.
//!
//! They sit between the production code and the fake world, which is where a mistake in either would show.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A transaction is reported durable as soon as it is given to the log.
    AckBeforeFsync,
    /// A leader takes a proposal for acknowledged by everyone it was sent to.
    CommitWithoutMajority,
    /// The current epoch is written before the history it vouches for.
    EpochBeforeHistory,
    /// A log is not cut when the leader says so.
    TruncSkipped,
    /// A server that restarts forgets to which epoch it has promised: nothing keeps an old leader out.
    ForgottenPromise,
    /// Epochs are reported saved as soon as they are given to the log.
    EpochReportedEarly,
    /// A snapshot of the leader is taken over in memory only (ZOOKEEPER-3642).
    SnapshotNotPersisted,
    /// The tree is kept when what it holds is cut from the log (ZOOKEEPER-2845, 5094).
    TreeNotRebuilt,
    /// A server that lost its disk votes as if it never had one.
    WipedVotes,
    /// The leader hears of no session.
    SessionsUnheard,
    /// The leader hears of every session all the time.
    SessionsImmortal,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeFsync,
        Self::CommitWithoutMajority,
        Self::EpochBeforeHistory,
        Self::TruncSkipped,
        Self::ForgottenPromise,
        Self::EpochReportedEarly,
        Self::SnapshotNotPersisted,
        Self::TreeNotRebuilt,
        Self::WipedVotes,
        Self::SessionsUnheard,
        Self::SessionsImmortal,
    ];
}
