//! tree: being written.
