//! A peer: one server's part in the ensemble.

use bytes::Bytes;

use crate::config::Config;
use crate::io::{Input, Output, Phase, Recovered, Standing, Status};
use crate::zxid::{Epochs, Millis, Zxid};

/// One server's part in Zab. See the crate documentation for the protocol and [`crate::io`] for the contract.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    epochs: Epochs,
    last: Zxid,
}

impl Peer {
    /// A member of an ensemble. It goes LOOKING at once; the only voter of an ensemble elects itself right here.
    #[must_use]
    pub fn new(
        config: Config,
        recovered: Recovered,
        _now: Millis,
        _outputs: &mut Vec<Output>,
    ) -> Self {
        Self {
            config,
            epochs: recovered.epochs,
            last: recovered.last,
        }
    }

    /// A server without an ensemble: no epochs, no network. The next zxid is the last plus one, and a transaction is
    /// committed when it is durable. Serves at once: `Became(Leading { epoch of the last zxid })`.
    #[must_use]
    pub fn standalone(config: Config, recovered: Recovered, _outputs: &mut Vec<Output>) -> Self {
        Self {
            config,
            epochs: recovered.epochs,
            last: recovered.last,
        }
    }

    /// Takes one input and says what must be done about it. Total, synchronous, never fails.
    pub fn handle(&mut self, _now: Millis, _input: Input, _outputs: &mut Vec<Output>) {}

    /// When the next `Input::Tick` is due, if time alone can change anything.
    #[must_use]
    pub fn wake_at(&self) -> Option<Millis> {
        None
    }

    /// The zxid the next proposal gets. `None` unless this peer leads in broadcast, keeps leading, and has zxids left.
    #[must_use]
    pub fn next_zxid(&self) -> Option<Zxid> {
        None
    }

    /// Proposes a transaction under [`Peer::next_zxid`], which is returned.
    ///
    /// # Panics
    /// When `next_zxid` is `None`.
    pub fn propose(&mut self, _now: Millis, _payload: Bytes, _outputs: &mut Vec<Output>) -> Zxid {
        self.next_zxid()
            .expect("only a leader in broadcast proposes")
    }

    /// What it is, for people and metrics.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            id: self.config.id,
            phase: Phase::Election,
            standing: Standing::Looking,
            leader: None,
            epochs: self.epochs,
            last_logged: self.last,
            last_durable: self.last,
            last_committed: self.last,
            learners: Vec::new(),
            elections: 0,
            election_ms: 0,
        }
    }
}
