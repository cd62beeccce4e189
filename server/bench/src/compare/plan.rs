//! The rows of the comparison.

use std::time::Duration;

use crate::workload::{Mix, Operation, Pace, PathShape, Workload};

/// Size of all values, in bytes.
pub const VALUE_BYTES: usize = 100;

/// Number of znodes that are read and set.
pub const KEYS: u32 = 10_000;

/// Load before each measurement, in seconds.
const WARM_UP: Duration = Duration::from_secs(1);

/// Rows that ask the same of a server, so that one warm-up serves them all.
#[derive(Clone, Debug)]
pub struct Group {
    /// The rows; the first one is the warm-up.
    pub rows: Vec<Row>,
}

/// One line of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// As in the table.
    pub name: String,
    mix: Mix,
    sessions: usize,
    pace: Pace,
}

impl Row {
    fn closed(label: &str, mix: Mix, sessions: usize, outstanding: usize) -> Self {
        Self {
            name: format!("{label} {sessions}×{outstanding}"),
            mix,
            sessions,
            pace: Pace::Outstanding(outstanding),
        }
    }

    fn open(label: &str, mix: Mix, sessions: usize, rate: u32) -> Self {
        Self {
            name: format!("{label}, {sessions} sessions, {rate}/s offered"),
            mix,
            sessions,
            pace: Pace::PerSecond(rate),
        }
    }

    /// The load of this row.
    #[must_use]
    pub fn workload(&self, measured: Duration) -> Workload {
        Workload {
            mix: self.mix.clone(),
            sessions: self.sessions,
            pace: self.pace,
            value_bytes: VALUE_BYTES,
            keys: KEYS,
            paths: PathShape::Short,
            warm_up: WARM_UP,
            measured,
        }
    }

    /// False when the rate was given and the latency is what is asked for.
    #[must_use]
    pub fn measures_rate(&self) -> bool {
        matches!(self.pace, Pace::Outstanding(_))
    }
}

/// The rows for one server.
#[must_use]
pub fn one_server() -> Vec<Group> {
    let pairs = [(64, 16), (16, 1), (1, 1)];
    let all = |label: &str, mix: &Mix| {
        let row = |(sessions, outstanding)| Row::closed(label, mix.clone(), sessions, outstanding);
        pairs.map(row).to_vec()
    };
    let half = half();
    vec![
        Group { rows: all("read", &Mix::only(Operation::Get)) },
        Group { rows: all("set", &Mix::only(Operation::Set)) },
        Group {
            rows: vec![
                Row::closed("50/50", half.clone(), 64, 16),
                Row::open("50/50", half, 16, 10_000),
            ],
        },
        Group { rows: vec![Row::closed("create", Mix::only(Operation::Create), 16, 16)] },
    ]
}

/// The rows for three servers, the sessions spread over them.
#[must_use]
pub fn three_servers() -> Vec<Group> {
    [("read", Mix::only(Operation::Get)), ("50/50", half()), ("set", Mix::only(Operation::Set))]
        .map(|(label, mix)| Group { rows: vec![Row::closed(label, mix, 48, 16)] })
        .to_vec()
}

fn half() -> Mix {
    "50/50".parse().expect("this is a mix")
}
