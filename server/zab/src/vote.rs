//! A vote, and the total order by which the better of two is known.

use crate::ensemble::ServerId;
use crate::zxid::{Epoch, Zxid};

/// Whom a server wants to lead, with the facts that make it fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    // The order of the fields is the order of votes: epoch, then zxid, then id.
    /// The `currentEpoch` of the proposed leader.
    pub epoch: Epoch,
    /// The last zxid in its log.
    pub zxid: Zxid,
    /// The proposed leader.
    pub leader: ServerId,
}
