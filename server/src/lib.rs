//! The shell of a server: everything that touches sockets, disks, clocks and people.

pub mod config;
