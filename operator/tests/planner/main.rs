//! The planner against a model of Kubernetes and of the servers: scripts say what exactly happens
//! in a situation, properties say what is true in all of them.

mod ensemble;
mod properties;
mod scripts;
mod world;
