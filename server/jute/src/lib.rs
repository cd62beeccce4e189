//! jute: being written.
