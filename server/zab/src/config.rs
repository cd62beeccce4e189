//! What a peer is told about itself, its ensemble and its patience.

use bytes::Bytes;

use crate::ensemble::{Ensemble, ServerId};

/// Settings of one peer. Times come from `zoo.cfg`.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server.
    pub id: ServerId,
    /// The ensemble under the configuration in force.
    pub ensemble: Ensemble,
    /// Version of that configuration; 0 until the first reconfiguration.
    pub config_version: i64,
    /// The configuration as text, sent with NEWLEADER; opaque here.
    pub config_text: Bytes,
    /// Length of a tick in milliseconds (`tickTime`), at least 1.
    pub tick_ms: u64,
    /// Ticks a learner may take to connect and synchronize (`initLimit`), at least 1.
    pub init_limit_ticks: u64,
    /// Ticks without a sign of life after which a link counts as lost (`syncLimit`), at least 1.
    pub sync_limit_ticks: u64,
    /// Milliseconds an election waits for a better vote once a quorum agrees and some voter has not spoken.
    pub finalize_wait_ms: u64,
    /// Bytes of recent history kept in memory to bring learners up to date by DIFF.
    pub history_bytes_max: usize,
}

impl Config {
    /// Milliseconds allowed for discovery and synchronization.
    #[must_use]
    pub fn init_limit_ms(&self) -> u64 {
        self.tick_ms * self.init_limit_ticks
    }

    /// Milliseconds of silence after which a link counts as lost.
    #[must_use]
    pub fn sync_limit_ms(&self) -> u64 {
        self.tick_ms * self.sync_limit_ticks
    }
}
