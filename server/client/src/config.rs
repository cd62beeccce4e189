//! Where to connect and how to behave.

/// A session to go on with instead of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number.
    pub id: i64,
    /// What proves that it is ours.
    pub password: [u8; 16],
}

/// The order in which servers are tried, round and round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As listed.
    AsGiven,
    /// Shuffled, the same way for the same seed.
    Shuffled {
        /// Decides the order.
        seed: u64,
    },
}

/// What a client is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` each; names are resolved on every dial. At least one.
    pub servers: Vec<String>,
    /// In which order to try them.
    pub order: Order,
    /// Session timeout to ask for; the server may grant another.
    pub session_timeout_ms: u32,
    /// How long `connect` waits for its first session.
    pub connect_timeout_ms: u64,
    /// `None`: a new session.
    pub session: Option<Session>,
}

impl Config {
    /// A new session of 10 s with the servers of `connect_string` (`host:port,host:port`) in the
    /// order given, waited for as long.
    #[must_use]
    pub fn new(connect_string: &str) -> Self {
        Self {
            servers: connect_string.split(',').map(|server| server.trim().to_owned()).collect(),
            order: Order::AsGiven,
            session_timeout_ms: 10_000,
            connect_timeout_ms: 10_000,
            session: None,
        }
    }

    /// The servers in the order in which they are to be tried.
    pub(crate) fn ordered_servers(&self) -> Vec<String> {
        let mut servers = self.servers.clone();
        if let Order::Shuffled { seed } = self.order {
            let mut state = seed;
            for end in (1..servers.len()).rev() {
                let other = split_mix(&mut state) % (end as u64 + 1);
                servers.swap(end, other as usize);
            }
        }
        servers
    }
}

/// The SplitMix64 generator (Steele, Lea, Flood 2014): enough to shuffle a handful of names.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_order_and_loses_no_server() {
        let config = |order| Config { order, ..Config::new("a:1, b:2,c:3,d:4,e:5") };
        let shuffled = |seed| config(Order::Shuffled { seed }).ordered_servers();
        assert_eq!(config(Order::AsGiven).ordered_servers(), ["a:1", "b:2", "c:3", "d:4", "e:5"]);
        assert_eq!(shuffled(7), shuffled(7));
        assert!((0..9).any(|seed| shuffled(seed) != shuffled(7)));
        let mut sorted = shuffled(7);
        sorted.sort();
        assert_eq!(sorted, config(Order::AsGiven).ordered_servers());
    }
}
