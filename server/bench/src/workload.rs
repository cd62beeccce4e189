//! What is asked of a server: operations and their shares, how many at a time, for how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jute::OpCode;
use serde::Serialize;

/// An operation of the mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// getData of a key.
    Get,
    /// exists of a key.
    Exists,
    /// getChildren2 of the parent of the created znodes.
    Children,
    /// setData of a key, any version.
    Set,
    /// create of a znode that never existed before.
    Create,
    /// delete of the oldest znode the session has created; when it has none, it creates one.
    Delete,
    /// sync of a key.
    Sync,
}

impl Operation {
    /// Every operation, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Exists,
        Self::Children,
        Self::Set,
        Self::Create,
        Self::Delete,
        Self::Sync,
    ];

    /// As in `--mix` and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Exists => "exists",
            Self::Children => "children",
            Self::Set => "set",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Sync => "sync",
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn op_code(self) -> OpCode {
        match self {
            Self::Get => OpCode::GetData,
            Self::Exists => OpCode::Exists,
            Self::Children => OpCode::GetChildren2,
            Self::Set => OpCode::SetData,
            Self::Create => OpCode::Create,
            Self::Delete => OpCode::Delete,
            Self::Sync => OpCode::Sync,
        }
    }
}

/// Operations and their shares: `get`, `get=90,set=10`, or `90/10` for reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    shares: Vec<(Operation, u32)>,
}

/// The largest sum of all shares of a [`Mix`].
const SHARES_LIMIT: u32 = 10_000;

impl Mix {
    /// Only this operation.
    #[must_use]
    pub fn only(operation: Operation) -> Self {
        Self { shares: vec![(operation, 1)] }
    }

    /// The operations with their shares, none of which is 0.
    #[must_use]
    pub fn shares(&self) -> &[(Operation, u32)] {
        &self.shares
    }

    /// True when it holds any of `operations`.
    #[must_use]
    pub fn has(&self, operations: &[Operation]) -> bool {
        let listed = |(operation, _): &(Operation, u32)| operations.contains(operation);
        self.shares.iter().any(listed)
    }

    /// Every operation as many times as its share: a uniform pick from it follows the mix.
    #[must_use]
    pub fn deck(&self) -> Vec<Operation> {
        let repeat =
            |&(operation, share): &(Operation, u32)| std::iter::repeat_n(operation, share as usize);
        self.shares.iter().flat_map(repeat).collect()
    }
}

impl FromStr for Mix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((reads, writes)) = text.split_once('/') {
            return format!("get={reads},set={writes}").parse();
        }
        let mut shares = Vec::new();
        for part in text.split(',') {
            let (name, share) = part.split_once('=').unwrap_or((part, "1"));
            let operation = Operation::ALL.into_iter().find(|op| op.name() == name);
            let Some(operation) = operation else {
                let names = Operation::ALL.map(Operation::name).join(", ");
                bail!("mix `{text}`: `{name}` is no operation, expected one of {names}");
            };
            let share: u32 = share
                .parse()
                .with_context(|| format!("mix `{text}`: share `{share}` is not a number"))?;
            if share > 0 {
                shares.push((operation, share));
            }
        }
        let sum: u64 = shares.iter().map(|&(_, share)| u64::from(share)).sum();
        ensure!(
            (1..=u64::from(SHARES_LIMIT)).contains(&sum),
            "mix `{text}`: the shares add up to {sum}, expected 1 to {SHARES_LIMIT}"
        );
        Ok(Self { shares })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(operation, _)] = self.shares[..] {
            return f.write_str(operation.name());
        }
        for (index, (operation, share)) in self.shares.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{}={share}", operation.name())?;
        }
        Ok(())
    }
}

/// When the next request of a session is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Closed loop: as soon as a reply has come, so that this many are always outstanding.
    Outstanding(usize),
    /// Open loop: at fixed times, this many a second over all sessions, whatever the replies do.
    /// Latency counts from the time at which a request should have been sent.
    PerSecond(u32),
}

/// The form of the keys' paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathShape {
    /// `/bench/k00000042`: all keys are children of one znode.
    Short,
    /// Four levels, 115 bytes, a last component of 24 bytes, 64 keys a directory: the means of a
    /// large tree in production.
    Deep,
}

/// One run of the generator.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Operations and their shares.
    pub mix: Mix,
    /// Sessions, each on a connection of its own, spread evenly over the servers.
    pub sessions: usize,
    /// When requests are sent.
    pub pace: Pace,
    /// Size of the values written, in bytes.
    pub value_bytes: usize,
    /// Number of znodes that are read and set.
    pub keys: u32,
    /// The form of the keys' paths.
    pub paths: PathShape,
    /// Load before anything is counted.
    pub warm_up: Duration,
    /// Load that is counted.
    pub measured: Duration,
}

impl Workload {
    /// Refuses what cannot be run.
    pub fn check(&self) -> Result<()> {
        ensure!(self.sessions > 0, "sessions: expected at least 1");
        ensure!(self.keys > 0, "keys: expected at least 1");
        ensure!(self.keys <= 99_999_999, "keys: {} do not fit into 8 digits", self.keys);
        match self.pace {
            Pace::Outstanding(0) => bail!("outstanding: expected at least 1"),
            Pace::PerSecond(0) => bail!("rate: expected at least 1 a second"),
            Pace::Outstanding(_) | Pace::PerSecond(_) => {}
        }
        ensure!(!self.measured.is_zero(), "seconds: expected more than nothing");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_from_its_names_its_shares_or_a_ratio() {
        for (text, shown, cards) in [
            ("get", "get", 1),
            ("get=90,set=10", "get=90,set=10", 100),
            ("50/50", "get=50,set=50", 100),
            ("100/0", "get", 100),
            ("create=1,delete=1", "create=1,delete=1", 2),
        ] {
            let mix: Mix = text.parse().unwrap();
            assert_eq!(mix.to_string(), shown);
            assert_eq!(mix.deck().len(), cards);
        }
    }

    #[test]
    fn a_wrong_mix_is_refused_with_what_was_expected() {
        let complaint = |text: &str| text.parse::<Mix>().unwrap_err().to_string();
        assert_eq!(
            complaint("got=1"),
            "mix `got=1`: `got` is no operation, expected one of \
             get, exists, children, set, create, delete, sync"
        );
        assert_eq!(complaint("get=x"), "mix `get=x`: share `x` is not a number");
        assert_eq!(
            complaint("0/0"),
            "mix `get=0,set=0`: the shares add up to 0, expected 1 to 10000"
        );
    }
}
