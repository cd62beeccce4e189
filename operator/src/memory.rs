//! What a process remembers of a resource from pass to pass: since when samples of its ensemble
//! have agreed, and how far the ensemble had committed. A process that forgets it waits a few
//! seconds longer, and compares with what the status recorded at the latest restart instead.

use std::time::Duration;

use crate::crd::status::Position;
use crate::desired::Desired;
use crate::inventory::Inventory;
use crate::view::{self, Led};

/// What is remembered of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// UID of the resource: another one of the same name is another ensemble.
    of: String,
    /// The latest sample of who leads whom, and since when samples have been equal to it.
    agreed: Option<(Led, Duration)>,
    /// How far the leader had committed in the latest sample that had agreed for long enough.
    committed: Option<Position>,
}

impl Memory {
    /// Takes in a sample, and adds to it what the earlier ones said. `now` is the time since any
    /// fixed moment in the life of this process.
    pub fn take_in(&mut self, desired: &Desired, inventory: &mut Inventory, now: Duration) {
        if self.of != desired.uid {
            *self = Self { of: desired.uid.clone(), ..Self::default() };
        }
        inventory.committed_before = self.committed;
        let Ok(Some(record)) = &inventory.record else {
            self.agreed = None;
            return;
        };
        let Some(led) = view::led(&record.ensemble, inventory) else {
            self.agreed = None;
            return;
        };
        let since = match self.agreed.take() {
            // The sample names the pods by UID, so it agrees with none of other pods.
            Some((before, since)) if before == led => since,
            _ => now,
        };
        let agreed_for = now.saturating_sub(since);
        if agreed_for >= desired.agreement() {
            self.committed = view::committed(&record.ensemble, inventory, &led);
        }
        inventory.agreed_for = agreed_for;
        self.agreed = Some((led, since));
    }
}
