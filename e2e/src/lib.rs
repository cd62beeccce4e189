//! e2e: stories of whole clusters, and the neighbours they are told with.

pub mod java;
pub mod workload;
