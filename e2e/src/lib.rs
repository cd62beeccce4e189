//! e2e: stories of whole clusters, and the neighbours they are told with.

pub mod commands;
pub mod java;
pub mod rolling;
pub mod story;
pub mod workload;
