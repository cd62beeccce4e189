//! What a server says of itself: its `/metrics` page, read into a [`ServerReport`].

use std::collections::{BTreeMap, BTreeSet};

use crate::crd::status::{Position, Role};
use crate::quorum::ServerId;

/// What a server said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerReport {
    /// Its id.
    pub id: ServerId,
    /// Its role.
    pub role: Role,
    /// The leader it knows.
    pub leader: Option<ServerId>,
    /// The epoch it is in.
    pub epoch: i64,
    /// Version of the configuration of the ensemble that it has.
    pub config_version: i64,
    /// The last transaction it applied. On a leader that serves, all of it is committed.
    pub committed: Position,
    /// Whether it serves clients.
    pub serving: bool,
    /// On the leader: the voters that are synchronized, itself included.
    pub synced: BTreeSet<ServerId>,
    /// On the leader: transactions that each voter is behind.
    pub lag: BTreeMap<ServerId, i64>,
    /// How far recovery has come, from 0 to 1.
    pub recovery_progress: f64,
    /// Version of the program.
    pub version: Option<String>,
}

impl ServerReport {
    /// Reads a metrics page.
    ///
    /// # Errors
    /// Names the series that is missing or wrong. Such a server counts as not answering: a page
    /// without its quorum series is the page of a server that is not in a quorum.
    pub fn parse(page: &str) -> Result<Self, String> {
        let samples: Vec<Sample<'_>> = page.lines().filter_map(Sample::parse).collect();
        let number = |name: &str| {
            samples
                .iter()
                .find(|sample| sample.name == name)
                .map(|sample| sample.value)
                .ok_or_else(|| format!("the series {name} is missing"))
        };
        let whole = |name: &str| number(name).and_then(|value| integer(name, value));
        let by_id = |name: &str| -> BTreeMap<ServerId, f64> {
            samples
                .iter()
                .filter(|sample| sample.name == name)
                .filter_map(|sample| Some((server_id(sample.label("id")?)?, sample.value)))
                .collect()
        };
        let id = whole("zab_server_id")?;
        let leader = whole("zab_leader_id")?;
        let role = samples
            .iter()
            .find(|sample| sample.name == "zab_role" && sample.value == 1.0)
            .and_then(|sample| sample.label("role"))
            .ok_or("the series zab_role is missing")?;
        Ok(Self {
            id: u8::try_from(id)
                .map(ServerId)
                .map_err(|_| format!("zab_server_id is {id}, not an id"))?,
            role: match role.as_str() {
                "leader" => Role::Leader,
                "follower" => Role::Follower,
                "observer" => Role::Observer,
                "looking" => Role::Looking,
                "standalone" => Role::Standalone,
                other => return Err(format!("zab_role {other:?} is not known")),
            },
            leader: u8::try_from(leader).ok().filter(|leader| *leader != 0).map(ServerId),
            epoch: whole("zab_epoch")?,
            config_version: whole("zab_config_version")?,
            committed: Position {
                epoch: whole("zab_committed_epoch")?,
                counter: whole("zab_committed_index")?,
            },
            serving: number("zab_serving")? == 1.0,
            synced: by_id("zab_voter_synced")
                .into_iter()
                .filter(|(_, value)| *value == 1.0)
                .map(|(id, _)| id)
                .collect(),
            lag: by_id("zab_voter_lag_transactions")
                .into_iter()
                .filter_map(|(id, value)| Some((id, integer("lag", value).ok()?)))
                .collect(),
            recovery_progress: number("zab_recovery_progress_ratio").unwrap_or(1.0),
            version: samples
                .iter()
                .find(|sample| sample.name == "zab_build_info")
                .and_then(|sample| sample.label("version")),
        })
    }

    /// What to say of a server that is still recovering.
    pub fn recovery(&self) -> Option<String> {
        // In tenths, because this is written into the status whenever it changes.
        (self.recovery_progress < 1.0)
            .then(|| format!("it is recovering, {:.0}0 % done", self.recovery_progress * 10.0))
    }
}

/// One line of the text format: name, labels, value.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (name, labels, rest) = match line.split_once('{') {
            Some((name, rest)) => {
                let end = closing_brace(rest)?;
                (name, rest.get(..end)?, rest.get(end + 1..)?)
            }
            None => {
                let (name, rest) = line.split_once(char::is_whitespace)?;
                (name, "", rest)
            }
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.trim(), labels, value })
    }

    /// The value of a label, its escapes undone.
    fn label(&self, wanted: &str) -> Option<String> {
        let mut rest = self.labels;
        loop {
            let (name, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (_, other) => value.push(other),
                }
            };
            if name.trim_matches([',', ' ']) == wanted {
                return Some(value);
            }
            rest = after.get(end + 1..)?;
        }
    }
}

/// Where the label set ends: at the first brace outside quotes.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn server_id(text: String) -> Option<ServerId> {
    text.parse().ok().filter(|id| *id != 0).map(ServerId)
}

/// A gauge that counts: exact, because a double holds whole numbers to 2^53.
fn integer(name: &str, value: f64) -> Result<i64, String> {
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        #[expect(clippy::cast_possible_truncation, reason = "the line above rules it out")]
        return Ok(value as i64);
    }
    Err(format!("{name} is {value}, not a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: &str = r#"# HELP zab_role Current role.
# TYPE zab_role gauge
zab_role{role="leader"} 1
zab_server_id 2
zab_leader_id 2
zab_epoch 5
zab_committed_epoch 5
zab_committed_index 12
zab_config_version 4.294967296e9
zab_voter_synced{id="1"} 1
zab_voter_synced{id="2"} 1
zab_voter_synced{id="3"} 0
zab_voter_lag_transactions{id="1"} 0
zab_voter_lag_transactions{id="3"} 1400
zab_serving 1
zab_recovery_progress_ratio 1
zab_build_info{version="0.1.0 \"}\" x",revision="abc"} 1
avg_latency 0.5 1700000000000
"#;

    #[test]
    fn a_leader_reports_who_is_synchronized() {
        let report = ServerReport::parse(LEADER).unwrap();
        assert_eq!(report.role, Role::Leader);
        assert_eq!(report.leader, Some(ServerId(2)));
        assert_eq!(report.config_version, 1 << 32);
        assert_eq!(report.committed, Position { epoch: 5, counter: 12 });
        assert_eq!(report.synced, [ServerId(1), ServerId(2)].into());
        assert_eq!(report.lag.get(&ServerId(3)), Some(&1400));
        assert_eq!(report.version.as_deref(), Some("0.1.0 \"}\" x"));
    }

    #[test]
    fn a_page_without_a_series_the_gate_needs_is_no_report() {
        let needed = [
            "zab_role",
            "zab_epoch",
            "zab_leader_id",
            "zab_config_version",
            "zab_committed_epoch",
            "zab_committed_index",
            "zab_serving",
        ];
        for name in needed {
            let page: String = LEADER
                .lines()
                .filter(|line| !line.starts_with(name))
                .map(|l| format!("{l}\n"))
                .collect();
            let error = ServerReport::parse(&page).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_half_sent_or_foreign_page_is_no_report() {
        for page in ["", "zab_role{role=\"leader", "<html>", "zab_role{role=\"king\"} 1"] {
            assert!(ServerReport::parse(page).is_err(), "{page}");
        }
    }
}
