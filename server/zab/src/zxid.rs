//! Zxids and epochs: the two numbers Zab orders everything by.
//!
//! A zxid is 64 bits: the epoch of the leader that proposed the transaction in the high half, a counter in the low half.
//! Apache ZooKeeper treats it as a signed long; so do we, which costs nothing below epoch 2^31.

use std::fmt;

/// Milliseconds on a monotonic clock that the caller owns. Only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// This instant moved `duration_ms` into the future.
    #[must_use]
    pub fn plus(self, duration_ms: u64) -> Self {
        Self(self.0.saturating_add(duration_ms))
    }

    /// Milliseconds since `earlier`; 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The number of one leader's term. 0 = no leader was ever established.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The zxid that stands for the start of this epoch (counter 0): the zxid of NEWLEADER and of its ACK.
    #[must_use]
    pub fn start(self) -> Zxid {
        Zxid(i64::from(self.0) << 32)
    }

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("fewer than 2^32 leaders in the life of an ensemble"))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The two epochs a server must remember across a crash (Zab paper, f.p and f.a).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epochs {
    /// The last epoch this server promised to (it accepted a LEADERINFO for it): `acceptedEpoch`.
    pub accepted: Epoch,
    /// The last epoch whose leader's history this server adopted (it acked NEWLEADER): `currentEpoch`.
    pub current: Epoch,
}

/// The identity of a transaction: epoch and counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Self = Self(0);

    /// From its two halves.
    #[must_use]
    pub fn new(epoch: Epoch, counter: u32) -> Self {
        Self(epoch.start().0 | i64::from(counter))
    }

    /// The epoch in the high half.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The counter in the low half.
    #[must_use]
    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The zxid after this one. Inside an epoch zxids are contiguous.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Whether a log may go on with this zxid after `before`: the next counter of the same epoch, or the first of a
    /// later one. (Standalone servers count on through the low half.)
    #[must_use]
    pub fn follows(self, before: Self) -> bool {
        self == before.next() || (self.epoch() > before.epoch() && self.counter() == 1)
    }
}

/// `epoch:counter`, as in the scripts.
impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch(), self.counter())
    }
}
