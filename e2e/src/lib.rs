//! e2e: stories of whole clusters, and the neighbours they are told with.
//!
//! - On this machine: a [`server::Server`] of Apache ZooKeeper's or ours, an [`ensemble::Ensemble`] of both,
//!   [`clients::Clients`] of the project's own kind.
//! - On the lab's Kubernetes: [`story`], and the main one, [`rolling`].

pub mod java;
pub mod page;
pub mod promtool;
pub mod scratch;
pub mod wait;

pub mod commands;
pub mod process;

pub mod server;

pub mod clients;
pub mod whole_tree;

pub mod ensemble;

pub mod workload;

pub mod story;

pub mod rolling;

/// The root of the repository.
#[must_use]
pub fn repository() -> std::path::PathBuf {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}
