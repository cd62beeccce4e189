//! The controller that runs ZooKeeper-compatible ensembles on Kubernetes.
//!
//! A reconcile is five named steps. [`desired`] reads the custom resource, [`collect`] reads the
//! world into an [`inventory`], [`plan`] decides the next safe steps and says why it waits,
//! [`execute`] carries them out, and [`status`] words the result. Deciding is pure: it has no I/O,
//! no clock and no memory, so every situation can be written down as a test.
//!
//! Modules are declared bottom-up: each uses only those above it.

pub mod crd;
pub mod names;
pub mod quorum;

pub mod desired;
pub mod exposition;
pub mod inventory;

pub mod build;
pub mod view;

pub mod memory;

pub mod plan;
pub mod status;

pub mod events;

pub mod error;
pub mod metrics;
pub mod scrape;

pub mod collect;
pub mod lease;

pub mod execute;
pub mod reconcile;

pub mod http;
pub mod selftest;

pub mod controller;
