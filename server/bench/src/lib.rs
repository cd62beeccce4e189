//! bench: loads a ZooKeeper server over its wire and says what an operation costs.
//!
//! One thread drives all sessions with its own epoll loop: requests are encoded once and patched,
//! replies are read no further than correctness asks, so that the generator costs less than any
//! server. What was acknowledged is remembered and read back afterwards.
//!
//! - [`load`] runs one [`workload::Workload`] and returns a [`report::Outcome`].
//! - [`stub`] answers like a server and does nothing: it shows the generator's own bound.
//! - [`compare`] runs ours and Apache ZooKeeper in turns and writes the tables of
//!   `docs/benchmarks.md`.
//! - [`smoke`] asks for a little of everything, of ours only.

pub mod cpu;
pub mod latency;

pub mod workload;

pub mod ledger;
pub mod namespace;
pub mod requests;

pub mod plain_client;
pub mod prepare;

pub mod report;

mod session;

pub mod load;
pub mod stub;

pub mod process;

pub mod smoke;

pub mod compare;
