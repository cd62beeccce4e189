//! zab: being written.
