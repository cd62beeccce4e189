//! The four-letter words: one word instead of a first frame, one text as answer, then the connection is closed.
//!
//! Texts are those of ZooKeeper 3.9, which scripts and monitors parse to the letter.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use zab::Membership;
use zab::{Phase, ServerId};

use crate::config::Config;
use crate::process_stats::ProcessStats;
use crate::status::{Role, ServerStatus, Serving, build};

/// Every word that ZooKeeper 3.9 knows. Anything else is the length of a frame.
const WORDS: &[&str] = &[
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst",
    "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
];

/// The answer while no clients are served.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The word that a connection begins with, if its first four bytes are one.
#[must_use]
pub fn recognise(first: [u8; 4]) -> Option<&'static str> {
    WORDS.iter().copied().find(|word| word.as_bytes() == first)
}

/// The text that answers `word`, one of those that [`recognise`] knows.
///
/// Reads the sizes of the data directories for `conf` and `dirs`: a few system calls.
#[must_use]
pub fn answer(word: &str, config: &Config, status: &ServerStatus) -> String {
    if !config.process.four_letter_words.allow(word) {
        return format!("{word} is not executed because it is not in the whitelist.\n");
    }
    let serving = status.serving == Serving::Yes;
    match word {
        "ruok" => "imok".to_owned(),
        "isro" => if serving { "rw" } else { "null" }.to_owned(),
        "envi" => envi(),
        "conf" | "dirs" | "mntr" | "srvr" | "stat" if !serving => NOT_SERVING.to_owned(),
        "conf" => conf(config, status.server),
        "dirs" => dirs(config),
        "mntr" => mntr(status),
        "srvr" => srvr(status, ""),
        "stat" => srvr(status, &clients(status)),
        _ => format!("{word} is not supported by zab-server.\n"),
    }
}

/// `srvr`, and `stat` with the list of clients in it.
fn srvr(status: &ServerStatus, clients: &str) -> String {
    let traffic = &status.traffic;
    let latency = &traffic.latency;
    let mut text = format!(
        "Zookeeper version: {}\n{clients}Latency min/avg/max: {}/{:?}/{}\nReceived: {}\nSent: {}\n\
         Connections: {}\nOutstanding: {}\nZxid: {:#x}\nMode: {}\nNode count: {}\n",
        build::zookeeper_version(),
        latency.min_ms(),
        latency.average_ms(),
        latency.max_ms(),
        traffic.packets_received,
        traffic.packets_sent,
        traffic.connections,
        traffic.outstanding,
        status.last_committed.0,
        status.role.name(),
        znode_count(status),
    );
    if status.role == Role::Leader {
        let sizes = match status.transactions.sizes {
            Some(sizes) => format!("{}/{}/{}", sizes.last, sizes.min, sizes.max),
            None => "-1/-1/-1".to_owned(),
        };
        text += &format!("Proposal sizes last/min/max: {sizes}\n");
    }
    text
}

/// The part that only `stat` has. The number in brackets is Java's set of socket events of interest: 1, reading.
fn clients(status: &ServerStatus) -> String {
    let mut text = "Clients:\n".to_owned();
    for client in &status.clients {
        let (queued, received, sent) = (client.queued, client.received, client.sent);
        text +=
            &format!(" /{}[1](queued={queued},recved={received},sent={sent})\n", client.address);
    }
    text + "\n"
}

/// Java keeps the root under two names and counts both. Members of a mixed ensemble must not seem to differ.
fn znode_count(status: &ServerStatus) -> u64 {
    status.tree.znodes + 1
}

/// As [`znode_count`]: the second name is one byte long.
fn data_bytes(status: &ServerStatus) -> u64 {
    status.tree.data_bytes + 1
}

fn dirs(config: &Config) -> String {
    let (_, data_bytes) = files_of(&config.process.data_dir);
    let (_, log_bytes) = files_of(&config.process.data_log_dir);
    format!("datadir_size: {data_bytes}\nlogdir_size: {log_bytes}\n")
}

/// Where the files of a `dataDir` or `dataLogDir` are, and how many bytes they have.
fn files_of(directory: &Path) -> (PathBuf, u64) {
    let path = directory.join("version-2");
    let bytes = directory_bytes(&path);
    (std::path::absolute(&path).unwrap_or(path), bytes)
}

fn conf(config: &Config, server: ServerId) -> String {
    let process = &config.process;
    let cluster = &config.cluster;
    let (data_dir, data_bytes) = files_of(&process.data_dir);
    let (log_dir, log_bytes) = files_of(&process.data_log_dir);
    let mut text = format!(
        "clientPort={}\nsecureClientPort=-1\ndataDir={}\ndataDirSize={data_bytes}\ndataLogDir={}\n\
         dataLogSize={log_bytes}\ntickTime={}\nmaxClientCnxns={}\nminSessionTimeout={}\n\
         maxSessionTimeout={}\nclientPortListenBacklog={}\nserverId={server}\n",
        process.client.port,
        data_dir.display(),
        log_dir.display(),
        cluster.tick_ms,
        process.client_connections_per_address_max,
        cluster.min_session_timeout_ms,
        cluster.max_session_timeout_ms,
        process.client_backlog,
    );
    if let Some(member) = cluster.members.get(&server) {
        let peer_type = match member.membership {
            Membership::Voter => 0,
            Membership::Observer => 1,
        };
        write!(
            text,
            "initLimit={}\nsyncLimit={}\nelectionAlg=3\nelectionPort={}\nquorumPort={}\n\
             peerType={peer_type}\nmembership: \n{}",
            cluster.init_limit_ticks,
            cluster.sync_limit_ticks,
            member.election_port,
            member.quorum_port,
            cluster.text(),
        )
        .expect("a String takes all");
    }
    text
}

/// Bytes of the files in a directory; 0 when it cannot be read.
fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|it| it.len()).sum()
}

fn envi() -> String {
    let kernel = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    // The name that a JVM has for it.
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        arch => arch,
    };
    format!(
        "Environment:\nzookeeper.version={}\nhost.name={}\nos.name={}\nos.arch={arch}\n\
         os.version={}\nzab.version={}\nzab.revision={}\n",
        build::zookeeper_version(),
        kernel("hostname"),
        kernel("ostype"),
        kernel("osrelease"),
        build::VERSION,
        build::REVISION,
    )
}

/// The state of the peer, as Java words it.
fn peer_state(status: &ServerStatus) -> String {
    let doing = match status.role {
        Role::Leader => "leading",
        Role::Observer => "observing",
        Role::Follower => "following",
        Role::Looking | Role::Standalone => return "looking".to_owned(),
    };
    let phase = match status.phase {
        Phase::Election => "election",
        Phase::Discovery => "discovery",
        Phase::Synchronization => "synchronization",
        Phase::Broadcast => "broadcast",
    };
    format!("{doing} - {phase}")
}

/// The keys of Java's `mntr` that have an honest counterpart here, under the same names.
fn mntr(status: &ServerStatus) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "zk_{key}\t{value}").expect("a String takes all");
    };
    line("version", &build::zookeeper_version());
    line("server_state", &status.role.name());
    if status.role != Role::Standalone {
        line("peer_state", &peer_state(status));
    }
    let process = ProcessStats::read();
    for (key, value) in counts(status) {
        line(key, &value);
    }
    line("avg_latency", &format!("{:?}", status.traffic.latency.average_ms()));
    if let Some(open) = process.open_files {
        line("open_file_descriptor_count", &open);
    }
    if let Some(max) = process.open_files_max {
        line("max_file_descriptor_count", &max);
    }
    let storage = &status.storage;
    for (name, timing) in [("fsynctime", &storage.fsync), ("snapshottime", &storage.snapshot)] {
        line(&format!("avg_{name}"), &format!("{:?}", timing.average_ms()));
        line(&format!("min_{name}"), &timing.min_ms());
        line(&format!("max_{name}"), &timing.max_ms());
        line(&format!("cnt_{name}"), &timing.count());
        line(&format!("sum_{name}"), &(timing.sum_ms().round() as u64));
    }
    line("cnt_election_time", &elections_finished(status));
    text
}

/// Elections that came to their end.
pub(crate) fn elections_finished(status: &ServerStatus) -> u64 {
    match status.role {
        Role::Standalone => 0,
        Role::Looking => status.elections.saturating_sub(1),
        Role::Leader | Role::Follower | Role::Observer => status.elections,
    }
}

/// Whole numbers under ZooKeeper's names; `mntr` and `/metrics` share them.
pub(crate) fn counts(status: &ServerStatus) -> Vec<(&'static str, u64)> {
    let (tree, traffic) = (&status.tree, &status.traffic);
    let transactions = &status.transactions;
    // A standalone server elects itself in silence.
    let elections = if status.role == Role::Standalone { 0 } else { status.elections };
    let mut counts = vec![
        ("uptime", u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX)),
        ("znode_count", znode_count(status)),
        ("watch_count", tree.watches),
        ("ephemerals_count", tree.ephemerals),
        ("approximate_data_size", data_bytes(status)),
        ("global_sessions", tree.sessions),
        ("local_sessions", 0),
        ("num_alive_connections", traffic.connections),
        ("outstanding_requests", traffic.outstanding),
        ("packets_received", traffic.packets_received),
        ("packets_sent", traffic.packets_sent),
        ("bytes_received_count", traffic.bytes_received),
        ("response_bytes", traffic.bytes_sent),
        ("connection_rejected", traffic.connections_rejected),
        ("stale_sessions_expired", traffic.sessions_expired),
        ("min_latency", traffic.latency.min_ms()),
        ("max_latency", traffic.latency.max_ms()),
        ("commit_count", transactions.committed),
        ("proposal_count", transactions.proposed),
        ("diff_count", transactions.diffs_sent),
        ("snap_count", transactions.snapshots_sent),
        ("snapshot_error_count", status.storage.snapshot_failures),
        ("looking_count", elections),
    ];
    if status.role != Role::Standalone {
        counts.push(("quorum_size", status.voters.len() as u64));
    }
    if status.role == Role::Leader {
        let synced = |membership| {
            let learners = status.learners.iter();
            learners.filter(|it| it.synced && it.membership == membership).count() as u64
        };
        counts.push(("learners", status.learners.len() as u64));
        counts.push(("synced_followers", synced(Membership::Voter)));
        counts.push(("synced_non_voting_followers", 0));
        counts.push(("synced_observers", synced(Membership::Observer)));
        if let Some(sizes) = transactions.sizes {
            counts.push(("last_proposal_size", sizes.last));
            counts.push(("min_proposal_size", sizes.min));
            counts.push(("max_proposal_size", sizes.max));
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::status::tests::{leader, looking};

    fn config(whitelist: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("zoo.cfg");
        let text = format!(
            "dataDir=/nowhere\nclientPort=2181\ninitLimit=10\nsyncLimit=5\ntickTime=2000\n\
             4lw.commands.whitelist={whitelist}\nserver.3=a:2888:3888\nserver.4=b:2888:3888\n\
             server.5=c:2888:3888\n"
        );
        std::fs::write(&file, text).unwrap();
        Config::load(&file, &BTreeMap::new()).unwrap()
    }

    #[test]
    fn a_leader_answers_srvr_and_stat_as_java_does() {
        let version = build::zookeeper_version();
        let rest = "Latency min/avg/max: 0/4.7/9\nReceived: 20\nSent: 22\nConnections: 1\n\
                    Outstanding: 3\nZxid: 0x200000077\nMode: leader\nNode count: 7\n\
                    Proposal sizes last/min/max: 48/32/150\n";
        assert_eq!(
            answer("srvr", &config("srvr"), &leader()),
            format!("Zookeeper version: {version}\n{rest}")
        );
        assert_eq!(
            answer("stat", &config("*"), &leader()),
            format!(
                "Zookeeper version: {version}\nClients:\n \
                 /127.0.0.1:5000[1](queued=3,recved=20,sent=22)\n\n{rest}"
            )
        );
    }

    #[test]
    fn a_word_that_is_not_listed_is_refused_by_name() {
        let config = config("srvr");
        assert_eq!(
            answer("ruok", &config, &leader()),
            "ruok is not executed because it is not in the whitelist.\n"
        );
    }

    #[test]
    fn a_server_without_leader_is_alive_but_does_not_serve() {
        let config = config("*");
        assert_eq!(answer("ruok", &config, &looking()), "imok");
        assert_eq!(answer("isro", &config, &looking()), "null");
        assert_eq!(answer("isro", &config, &leader()), "rw");
        for word in ["srvr", "stat", "mntr", "conf", "dirs"] {
            assert_eq!(answer(word, &config, &looking()), NOT_SERVING);
        }
    }

    #[test]
    fn conf_lists_the_settings_and_the_membership() {
        assert_eq!(
            answer("conf", &config("conf"), &leader()),
            "clientPort=2181\nsecureClientPort=-1\ndataDir=/nowhere/version-2\ndataDirSize=0\n\
             dataLogDir=/nowhere/version-2\ndataLogSize=0\ntickTime=2000\nmaxClientCnxns=60\n\
             minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=1024\n\
             serverId=3\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=3888\n\
             quorumPort=2888\npeerType=0\nmembership: \nserver.3=a:2888:3888:participant\n\
             server.4=b:2888:3888:participant\nserver.5=c:2888:3888:participant\nversion=0"
        );
    }

    #[test]
    fn mntr_has_a_key_and_a_value_on_each_line() {
        let text = answer("mntr", &config("mntr"), &leader());
        let pairs: BTreeMap<&str, &str> =
            text.lines().map(|line| line.split_once('\t').expect(line)).collect();
        assert_eq!(pairs.len(), text.lines().count());
        for (key, value) in [
            ("zk_server_state", "leader"),
            ("zk_peer_state", "leading - broadcast"),
            ("zk_avg_latency", "4.7"),
            ("zk_znode_count", "7"),
            ("zk_learners", "2"),
            ("zk_synced_followers", "1"),
            ("zk_cnt_election_time", "1"),
            ("zk_max_proposal_size", "150"),
            ("zk_quorum_size", "4"),
            ("zk_max_fsynctime", "1"),
        ] {
            assert_eq!(pairs.get(key), Some(&value), "{key}");
        }
        // What kazoo and others take the version from.
        assert!(pairs["zk_version"].starts_with("3.9.5-"));
        let environment = answer("envi", &config("envi"), &leader());
        assert!(environment.starts_with("Environment:\nzookeeper.version=3.9.5-"));
    }

    #[test]
    fn only_words_are_recognised() {
        assert_eq!(recognise(*b"ruok"), Some("ruok"));
        assert_eq!(recognise([0, 0, 0, 45]), None);
        assert_eq!(recognise(*b"orst"), None, "it is a command of the AdminServer only");
        assert_eq!(
            answer("wchs", &config("*"), &leader()),
            "wchs is not supported by zab-server.\n"
        );
    }
}
