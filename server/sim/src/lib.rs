//! sim: the production replica, shard and store of whole ensembles in one thread, over a network, disks and a clock that
//! are made up from a seed.
//!
//! # Why
//! Most mistakes in consensus and storage need several things to go wrong in the right order. Here they do, thousands
//! of times, and each failure is one number that brings all of it back.
//!
//! # How
//! A [`profile::Profile`] says how large and how fast a world is and which faults strike. The [`world`] is a queue of
//! events in virtual time; hosts run the very state machines of the server and have their outputs carried out in the
//! server's own order. After every event the checks of [`check`] look at what has changed. When the faults have
//! had their time all of them end, and the ensemble must serve, commit and agree again.
//!
//! What is made up: time, the network between servers and to clients, what a disk keeps when the power fails, the
//! threads. What is not: every decision of consensus, sessions, tree and store, and the bytes of the client protocol.
//!
//! # When a seed fails
//! `make sim SEED=…` runs it with a trace, one line per event. The first violation is at its end.

mod history;
mod random;

pub mod trace;

pub mod planted;

pub mod profile;

mod disk;

mod network;

mod client;

mod check;

mod log_worker;

mod host;

mod world;

mod run;

pub use planted::Planted;
pub use run::{Options, Summary, run};
pub use trace::{Show, Violation};
