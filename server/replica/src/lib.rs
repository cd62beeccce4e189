//! replica: being written.
