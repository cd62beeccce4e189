//! What a server's core is told about itself.

/// Settings of one replica; Zab's own are in `zab`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Settings of the consensus core.
    pub zab: zab::Config,
    /// Alone by configuration, or a member of an ensemble.
    pub mode: Mode,
    /// The shortest session timeout granted, in milliseconds.
    pub session_timeout_ms_min: i32,
    /// The longest session timeout granted, in milliseconds.
    pub session_timeout_ms_max: i32,
    /// Transactions between two snapshots, at least 2. Each server waits for a number of its own between half of it
    /// and all of it, so that they do not all write a snapshot at once.
    pub snapshot_txns: u32,
    /// Milliseconds that lie between two snapshots at least. A fast disk passes `snapshot_txns` several times per
    /// second; writing the tree that often would cost more than it saves at the next start.
    pub snapshot_gap_ms_min: u64,
}

/// Alone, or one of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Java's standalone mode: no elections and no epochs.
    Standalone,
    /// A member of `zab.ensemble`, even if it is the only one.
    Ensemble,
}

impl Config {
    /// The timeout a client gets that asks for `asked_ms`.
    #[must_use]
    pub fn session_timeout_ms(&self, asked_ms: i32) -> i32 {
        asked_ms.clamp(self.session_timeout_ms_min, self.session_timeout_ms_max)
    }
}
