//! Zab: leader election, discovery, synchronization and broadcast, without I/O.

// Bottom-up: a module uses only modules declared above it.
pub mod zxid;

pub mod ensemble;

pub mod vote;

pub mod message;

pub mod config;

pub mod io;

mod log_view;

mod core;

mod election;

mod discovery;

mod synchronization;

mod following;

mod progress;

mod learners;

mod leading;

pub mod peer;

pub use config::Config;
pub use ensemble::{Ensemble, Membership, ServerId};
pub use io::{AppendId, Input, LearnerStatus, LinkId, Output, Phase, Recovered, Standing, Status};
pub use message::{Message, Notification, PeerState};
pub use peer::Peer;
pub use vote::Vote;
pub use zxid::{Epoch, Epochs, Millis, Zxid};
