//! Zab: how the servers of an ensemble agree on one order of transactions, without I/O.
//!
//! This crate is the protocol and nothing else. It knows no znodes (a transaction is bytes), no sockets, no files and
//! no clock. [`Peer`] is one server's part: inputs go in, outputs come out, and [`io`] is the contract between the two.
//!
//! # The idea
//! One server, the leader, puts transactions in order; a transaction is committed when a majority of the voters has it
//! on disk. Each leader has an *epoch* of its own, and numbers its transactions with *zxids*: epoch in the high half,
//! counter in the low half, without gaps. Any two majorities share a voter, so a new leader's majority always contains
//! someone who has what was committed, and someone who keeps the old leader from committing more.
//!
//! # The phases
//! A server without a leader is in phase 0 and comes back to it whenever its role fails.
//!
//! **0. Election** ([`Notification`]). Servers tell each other whom they would vote for: the highest
//! (`currentEpoch`, last zxid, id). When a majority wants the same server it is tried as leader. This only has to find
//! the right server quickly; that a wrong one does no harm is the business of the phases that follow.
//!
//! **1. Discovery**. Learners connect and say to which epoch they last promised.
//! ```text
//! learner → leader   LearnerInfo(accepted)
//! leader             waits for a majority, takes the highest + 1, saves acceptedEpoch
//! leader → learner   LeaderInfo(epoch)
//! learner            saves acceptedEpoch: it will follow no older leader
//! learner → leader   AckEpoch(current, last)
//! ```
//! The leader goes on when a majority has promised, none of it with a better history than its own.
//!
//! **2. Synchronization**. The leader's log, all of it, becomes the initial history of the epoch.
//! ```text
//! leader → learner   Diff | Trunc | Snap, then Propose + Commit for each transaction that is lacking,
//!                    Propose for each one outstanding, NewLeader(epoch)
//! learner            log durable, then currentEpoch durable
//! learner → leader   Ack(epoch:0)
//! leader             waits for a majority of these, itself included; from here on it serves
//! leader → learner   UpToDate
//! learner → leader   Ack(epoch:0) again; from here on the learner serves
//! ```
//!
//! **3. Broadcast**. Per transaction:
//! ```text
//! leader → follower  Propose        and the leader logs it meanwhile
//! follower → leader  Ack            when it is on disk, one per proposal, in order
//! leader → follower  Commit         when a majority has it, in order; Inform (with the transaction) to observers
//! ```
//! Pings keep both sides sure of each other. A leader that loses its majority steps down; a learner that loses its
//! leader looks for one.
//!
//! # On the wire with Apache ZooKeeper
//! The messages are those of the ZooKeeper quorum protocol, in the order in which version 3.9 sends and expects them,
//! since its servers share ensembles with ours. Where ours differ, a Java peer cannot tell:
//! - a decision is made at once when all voters agree, and who is heard for the first time in a round is answered;
//! - a learner that connects before its leader knows that it leads is kept waiting, not refused;
//! - nothing is delivered before it is on the local disk, and a learner delivers its initial history at UPTODATE;
//! - TRUNC followed by transactions of a later epoch replaces SNAP where the common point is certain;
//! - a voter that has promised to a later epoch than the leader's makes it step down, instead of being locked out;
//! - *hand-off*: a leader that is asked to leave commits what is outstanding, then votes for its heir in a new round;
//!   one whose disk hangs does the same.
//!
//! # What is deliberately absent
//! - No reconfiguration yet: the [`Ensemble`] is fixed for the life of a peer.
//! - No weights, groups or oracle: a quorum is a majority.
//! - No log of its own: the store keeps it, the peer keeps a window of recent entries.
//! - No flow control and no sessions: the server above decides what is proposed.
//! - No authentication: whoever has a link is believed to be who it says.
//!
//! # Errors
//! There is no error type. A peer that misbehaves loses its link ([`Output::Close`] says why). A broken invariant
//! panics: a server that doubts its own log must stop.

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

mod progress;

mod synchronization;

mod following;

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
