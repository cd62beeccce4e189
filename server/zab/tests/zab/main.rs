//! Whole ensembles of peers over a fake network, fake disks and a virtual clock.

mod check;
mod cluster;
mod disk;
mod garbage;
mod quorum;
mod random;
mod script;
mod trace;
