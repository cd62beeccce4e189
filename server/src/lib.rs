//! The shell of a server: everything that touches sockets, disks, clocks and people.

pub mod config;
pub mod shutdown;
pub mod telemetry;

pub mod process_stats;
pub mod status;

pub mod metrics;

pub mod admin;

pub mod core_sink;

pub mod peers;

pub mod housekeeping;
pub mod log_thread;

pub mod clients;
pub mod core_loop;

pub mod pages;
pub mod server;
