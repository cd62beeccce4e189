//! e2e: stories of whole clusters, and the neighbours they are told with.

pub mod commands;
pub mod java;
pub mod scratch;
pub mod story;
pub mod zab_server;

pub mod clients;
pub mod whole_tree;

pub mod ensemble;

pub mod workload;

pub mod rolling;
