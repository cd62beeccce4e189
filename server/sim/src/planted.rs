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
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AckBeforeFsync,
        Self::CommitWithoutMajority,
        Self::EpochBeforeHistory,
        Self::TruncSkipped,
        Self::ForgottenPromise,
    ];
}
