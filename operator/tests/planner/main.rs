//! The planner against a model of Kubernetes and of the servers: scripts say what exactly happens
//! in a situation, properties say what is true in all of them.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod ensemble;
mod properties;
mod scripts;
mod world;
