//! What happened, one line per event: the first thing to read after a failure.
//!
//! The lines are made only when somebody reads them. A hash of what they stand for is always kept: two runs of one seed
//! must agree on it.

use std::fmt;

/// Microseconds of virtual time since the world began.
pub(crate) type Time = u64;

/// Whether the trace is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Only its hash is kept.
    Nothing,
    /// Every line goes to standard output as it happens.
    Lines,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    show: Show,
    hash: u64,
}

impl Trace {
    pub(crate) fn new(show: Show) -> Self {
        Self { show, hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Takes numbers that stand for what happens into the hash.
    pub(crate) fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    /// Takes bytes into the hash.
    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(&[hash_bytes(bytes)]);
    }

    /// Prints a line, if anyone reads.
    pub(crate) fn line(&self, now: Time, line: impl FnOnce() -> String) {
        if self.show == Show::Lines {
            println!("{:>5}.{:06} {}", now / 1_000_000, now % 1_000_000, line());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

/// A hash of bytes that is the same everywhere (FNV-1a over eight bytes at a time).
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash
}

/// Something that must never be: what the simulator looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check, by the name it has in the specifications.
    pub check: &'static str,
    /// What was seen, a sentence.
    pub what: String,
    /// Microseconds of virtual time.
    pub at_us: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        write!(f, "{} violated at {seconds}.{rest:06} s: {}", self.check, self.what)
    }
}
