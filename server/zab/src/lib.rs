//! Zab: leader election, discovery, synchronization and broadcast, without I/O.

pub mod config;
pub mod ensemble;
pub mod io;
pub mod message;
pub mod peer;
pub mod vote;
pub mod zxid;

pub use config::Config;
pub use ensemble::{Ensemble, Membership, ServerId};
pub use io::{AppendId, Input, LearnerStatus, LinkId, Output, Phase, Recovered, Standing, Status};
pub use message::{Message, Notification, PeerState};
pub use peer::Peer;
pub use vote::Vote;
pub use zxid::{Epoch, Epochs, Millis, Zxid};
