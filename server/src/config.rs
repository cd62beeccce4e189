//! The configuration of one server, parsed once from `zoo.cfg` and the environment.
//!
//! [`ClusterConfig`] must be equal on all servers of an ensemble, [`ProcessConfig`] may differ. Meaning is given here;
//! `zoo_cfg` only reads text. Defaults are those of Apache ZooKeeper 3.9 unless the field says otherwise.

mod foreign;
pub mod identity;
pub(crate) mod keys;
pub mod member;
pub mod zoo_cfg;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use zab::{Ensemble, Membership, ServerId};

pub use member::{HostPort, Member};
pub use zoo_cfg::Error;
use zoo_cfg::{Place, Settings};

/// A day: no timeout or interval of a coordination service is longer.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Limits in ticks; more would mean waiting for hours.
const TICKS_MAX: u64 = 100_000;
/// Sizes in bytes, kept well inside an `i64`.
const BYTES_MAX: u64 = 1 << 46;
/// Counts of connections and requests.
const COUNT_MAX: u64 = 1 << 30;

/// All that a server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Equal on all servers of the ensemble.
    pub cluster: ClusterConfig,
    /// This process only.
    pub process: ProcessConfig,
    /// What was odd but can be lived with: one sentence each, to be logged.
    pub warnings: Vec<String>,
}

/// Settings that must be equal on all servers of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The members; empty for a standalone server.
    pub members: BTreeMap<ServerId, Member>,
    /// The version of the membership: the hexadecimal suffix of `dynamicConfigFile`, or else `version`, or 0.
    pub version: i64,
    /// `tickTime`: milliseconds of one tick.
    pub tick_ms: u64,
    /// `initLimit`: ticks a learner may take to connect and synchronize.
    pub init_limit_ticks: u64,
    /// `syncLimit`: ticks of silence after which a link counts as lost.
    pub sync_limit_ticks: u64,
    /// `connectToLearnerMasterLimit`: ticks a learner may take to connect; 0 = as `initLimit`.
    pub connect_limit_ticks: u64,
    /// `minSessionTimeout`: the shortest session timeout a client can get. Default: 2 ticks.
    pub min_session_timeout_ms: i32,
    /// `maxSessionTimeout`: the longest one. Default: 20 ticks.
    pub max_session_timeout_ms: i32,
}

/// Settings of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// The file the settings came from.
    pub file: PathBuf,
    /// `peerType`: what this server believes to be; the `server.N` line decides.
    pub peer_type: Option<Membership>,
    /// `dataDir`: snapshots, epochs and `myid`.
    pub data_dir: PathBuf,
    /// `dataLogDir`: the transaction log. Default: `dataDir`.
    pub data_log_dir: PathBuf,
    /// `clientPort` and `clientPortAddress`, or what the own `server.N` line says after `;`.
    pub client: HostPort,
    /// `clientPortListenBacklog`.
    pub client_backlog: u32,
    /// `maxClientCnxns`: connections of one client address; 0 = no limit.
    pub client_connections_per_address_max: usize,
    /// `maxCnxns`: connections of all clients; 0 = no limit.
    pub client_connections_max: usize,
    /// `globalOutstandingLimit`: requests of one connection in flight; its socket is not read beyond that.
    pub outstanding_max: usize,
    /// `jute.maxbuffer`: bytes of the longest client frame.
    pub frame_bytes_max: usize,
    /// `quorumListenOnAllIPs`: where the quorum and election ports listen.
    pub quorum_listen: QuorumListen,
    /// `electionPortBindRetry`: tries to bind the quorum and election ports; 0 = without end.
    pub bind_tries_max: u32,
    /// `cnxTimeout`: milliseconds for one connection attempt and its greeting.
    pub connect_timeout_ms: u64,
    /// `snapCount`: transactions between snapshots.
    pub snap_count: u64,
    /// `preAllocSize` (there in KiB): bytes of a log file, which is filled with zeros before it is needed.
    pub segment_bytes: u64,
    /// `autopurge.snapRetainCount`: snapshots to keep, at least 3.
    pub snap_retain_count: usize,
    /// `4lw.commands.whitelist`. Default: `srvr`.
    pub four_letter_words: FourLetterWords,
    /// `metricsProvider.httpHost` and `.httpPort`; `None` when the port is 0. Default: all addresses, 7000.
    pub http: Option<HostPort>,
    /// `DigestAuthenticationProvider.superDigest`: `user:base64(sha1(user:password))` of the superuser.
    pub super_digest: Option<String>,
    /// `db.autocreate`: whether a server may vote that finds its data directory empty.
    pub empty_database: EmptyDatabase,
    /// `zab.ioShards`: threads that serve clients. 1 = the core's own thread. Default: 1 on up to two cores, else
    /// one less than there are cores.
    pub io_shards: u16,
    /// `zab.electionFinalizeWaitMs`: see [`zab::Config::finalize_wait_ms`]. Default: 50; Java waits
    /// 200, but a better vote that comes later than some round trips only costs another round.
    pub finalize_wait_ms: u64,
    /// `zab.historyBytes`: see [`zab::Config::history_bytes_max`]. Default: 64 MiB.
    pub history_bytes_max: usize,
    /// `zab.linkQueueBytes`: bytes waiting for a learner before it is cut off. Default: 256 MiB.
    pub link_queue_bytes_max: usize,
    /// `zab.livenessTimeoutMs`: milliseconds without progress of the core after which `/livez` fails. Default: 10 s.
    pub liveness_timeout_ms: u64,
}

/// Where the ports between servers listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumListen {
    /// On the address that the own host name stands for.
    OwnHost,
    /// On all addresses.
    All,
}

/// Whether a server that finds nothing on disk may vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyDatabase {
    /// It may: Java's default.
    Trusted,
    /// Only when it is told to initialize: see [`identity::initialize`].
    TrustedWhenInitialized,
}

/// The four-letter words that are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FourLetterWords {
    /// `*`.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl FourLetterWords {
    /// Whether `word` is answered.
    #[must_use]
    pub fn allow(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(words) => words.contains(word),
        }
    }
}

impl ClusterConfig {
    /// Whether this server is alone: no `server.N` lines, or a single one with `standaloneEnabled`.
    #[must_use]
    pub fn is_standalone(&self) -> bool {
        self.members.is_empty()
    }

    /// The ids of the voters, in order.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        let voters = self.members.iter().filter(|(_, it)| it.membership == Membership::Voter);
        voters.map(|(id, _)| *id)
    }

    /// The members as the protocol sees them.
    ///
    /// # Panics
    /// On a standalone server.
    #[must_use]
    pub fn ensemble(&self) -> Ensemble {
        Ensemble::new(self.members.iter().map(|(id, member)| (*id, member.membership)))
    }

    /// The configuration text of NEWLEADER, notifications and `/zookeeper/config`: one line per member, in order of
    /// id, then the version in hexadecimal without a line end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (id, member) in &self.members {
            writeln!(text, "server.{id}={member}").expect("a String takes all");
        }
        write!(text, "version={:x}", self.version).expect("a String takes all");
        text
    }
}

impl Config {
    /// Reads `file`, the file it names in `dynamicConfigFile`, and the environment. Does not look at `myid`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(file: &Path, environment: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut settings = Settings::parse(file, &read(file)?)?;
        settings.overlay(environment)?;
        let mut version = None;
        if let Some(setting) = settings.get("dynamicConfigFile").cloned() {
            let path = PathBuf::from(&setting.value);
            let text = std::fs::read_to_string(&path).map_err(|error| {
                setting.expected("dynamicConfigFile", &format!("a readable file ({error})"))
            })?;
            version = version_of(&path);
            settings.add_file(&path, &text)?;
            // The environment still wins over what the second file says.
            settings.overlay(environment)?;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::interpret(settings, version, cores)
    }

    /// Gives the settings their meaning. A `version` known from elsewhere wins over the key.
    fn interpret(
        mut settings: Settings,
        version: Option<i64>,
        cores: usize,
    ) -> Result<Self, Error> {
        let mut warnings = settings.take_warnings();
        warnings.extend(keys::check(&settings)?);
        let version = match version {
            Some(version) => version,
            None => version_key(&settings)?,
        };
        let mut cluster = cluster(&settings, version)?;
        let mut process = process(&settings, cores, &mut warnings)?;
        if cluster.members.len() == 1 && settings.flag("standaloneEnabled")?.unwrap_or(true) {
            warnings.push("a single server.N line: running standalone".to_owned());
            let alone = cluster.members.pop_first().and_then(|(_, member)| member.client);
            if let (Some(client), 0) = (alone, process.client.port) {
                process.client = client;
            }
        }
        let voters = cluster.voters().count();
        if !cluster.members.is_empty() && voters.is_multiple_of(2) {
            warnings
                .push(format!("{voters} participants bear no more failures than {}", voters - 1));
        }
        warnings.dedup();
        Ok(Self { cluster, process, warnings })
    }

    /// Takes from the own `server.N` line what belongs to this process, once the id is known.
    ///
    /// # Errors
    /// When no `server.N` line has this id, or when nothing names the client port.
    pub fn adopt(&mut self, id: ServerId) -> Result<(), Error> {
        if self.cluster.is_standalone() {
            return self.need_client_port();
        }
        let place = Place::File(self.process.file.clone());
        let Some(member) = self.cluster.members.get(&id) else {
            let problem =
                format!("server.{id}: missing; expected a line for this server (myid {id})");
            return Err(Error::new(place, problem));
        };
        if self.process.peer_type.is_some_and(|it| it != member.membership) {
            tracing::warn!(server = %id, "peerType differs from the role in the server.N line, which counts");
        }
        if let Some(client) = &member.client {
            if self.process.client.port != 0 && self.process.client.port != client.port {
                let problem = format!(
                    "clientPort: expected {} as server.{id} says, found {}",
                    client.port, self.process.client.port
                );
                return Err(Error::new(place, problem));
            }
            self.process.client = client.clone();
        }
        self.need_client_port()
    }

    fn need_client_port(&self) -> Result<(), Error> {
        if self.process.client.port == 0 {
            let problem = "clientPort: missing; expected a port from 1 to 65535";
            return Err(Error::new(Place::File(self.process.file.clone()), problem));
        }
        Ok(())
    }

    /// What the protocol is told, for the ensemble member `id`.
    ///
    /// # Panics
    /// On a standalone server.
    #[must_use]
    pub fn protocol(&self, id: ServerId) -> zab::Config {
        zab::Config {
            id,
            ensemble: self.cluster.ensemble(),
            config_version: self.cluster.version,
            config_text: self.cluster.text().into(),
            tick_ms: self.cluster.tick_ms,
            init_limit_ticks: self.cluster.init_limit_ticks,
            sync_limit_ticks: self.cluster.sync_limit_ticks,
            finalize_wait_ms: self.process.finalize_wait_ms,
            history_bytes_max: self.process.history_bytes_max,
        }
    }
}

fn read(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|error| {
        let problem = format!("expected a readable configuration file ({error})");
        Error::new(Place::File(file.to_owned()), problem)
    })
}

/// The version in the name of a dynamic configuration file, `zoo.cfg.dynamic.<hexadecimal>`.
fn version_of(path: &Path) -> Option<i64> {
    let suffix = path.extension().and_then(|it| it.to_str())?;
    i64::from_str_radix(suffix, 16).ok()
}

/// `version`, which older servers wrote into the dynamic file itself.
fn version_key(settings: &Settings) -> Result<i64, Error> {
    let Some(setting) = settings.get("version") else { return Ok(0) };
    match i64::from_str_radix(&setting.value, 16) {
        Ok(version) if version >= 0 => Ok(version),
        _ => Err(setting.expected("version", "a hexadecimal number")),
    }
}

fn cluster(settings: &Settings, version: i64) -> Result<ClusterConfig, Error> {
    let members = members(settings)?;
    let is_voter = |member: &Member| member.membership == Membership::Voter;
    if !members.is_empty() && !members.values().any(is_voter) {
        return Err(settings.missing("server.N", "at least one participant, found only observers"));
    }
    let tick_ms = settings.number("tickTime", "milliseconds", 1..=DAY_MS)?.unwrap_or(3000);
    let limit = |key: &str| match settings.number(key, "ticks", 1..=TICKS_MAX)? {
        Some(ticks) => Ok(ticks),
        None if members.len() < 2 => Ok(if key == "initLimit" { 10 } else { 5 }),
        None => Err(settings.missing(key, "a number of ticks, as there are server.N lines")),
    };
    let (init_limit_ticks, sync_limit_ticks) = (limit("initLimit")?, limit("syncLimit")?);
    let connect_limit_ticks =
        settings.number("connectToLearnerMasterLimit", "ticks", 0..=TICKS_MAX)?.unwrap_or(0);
    let (min, max) = session_timeouts(settings, tick_ms)?;
    Ok(ClusterConfig {
        members,
        version,
        tick_ms,
        init_limit_ticks,
        sync_limit_ticks,
        connect_limit_ticks,
        min_session_timeout_ms: min,
        max_session_timeout_ms: max,
    })
}

/// The shortest and the longest session timeout.
fn session_timeouts(settings: &Settings, tick_ms: u64) -> Result<(i32, i32), Error> {
    let timeout = |key: &str, default: u64| {
        let given = settings.number_or_minus_one(key, "milliseconds", 1..=DAY_MS)?;
        Ok(given.unwrap_or(default))
    };
    let min = timeout("minSessionTimeout", tick_ms.saturating_mul(2))?;
    let max = timeout("maxSessionTimeout", tick_ms.saturating_mul(20))?;
    if min > max {
        let key =
            if settings.get("maxSessionTimeout").is_some() { "max" } else { "min" }.to_owned();
        let key = key + "SessionTimeout";
        let expected = "minSessionTimeout to be at most maxSessionTimeout";
        let problem = format!("{key}: expected {expected}, found {min} and {max}");
        let place = settings.get(&key).map(|it| it.place.clone());
        let place = place.unwrap_or_else(|| Place::File(settings.file().to_owned()));
        return Err(Error::new(place, problem));
    }
    let fit = |timeout: u64| i32::try_from(timeout).unwrap_or(i32::MAX);
    Ok((fit(min), fit(max)))
}

fn members(settings: &Settings) -> Result<BTreeMap<ServerId, Member>, Error> {
    let mut members = BTreeMap::new();
    for (key, setting) in settings.iter() {
        let Some(number) = keys::server_number(key) else {
            continue;
        };
        let id = match number.parse::<u64>() {
            Ok(id) if (1..=255).contains(&id) => ServerId(id),
            _ => {
                let problem = format!("{key}: expected a server id from 1 to 255 after the dot");
                return Err(Error::new(setting.place.clone(), problem));
            }
        };
        let member = Member::parse(&setting.value).map_err(|why| {
            let expected = format!("{} ({why})", member::EXPECTED);
            setting.expected(key, &expected)
        })?;
        if members.insert(id, member).is_some() {
            let problem = format!("{key}: expected one line per server, found a second one");
            return Err(Error::new(setting.place.clone(), problem));
        }
    }
    Ok(members)
}

fn process(
    settings: &Settings,
    cores: usize,
    warnings: &mut Vec<String>,
) -> Result<ProcessConfig, Error> {
    let number = |key, unit, range, default| {
        Ok::<u64, Error>(settings.number(key, unit, range)?.unwrap_or(default))
    };
    let count =
        |key, default| Ok::<_, Error>(number(key, "a count", 0..=COUNT_MAX, default)? as usize);
    let bytes = |key, default| number(key, "bytes", 1024..=BYTES_MAX, default);
    let Some(data_dir) = settings.get("dataDir").map(|it| PathBuf::from(&it.value)) else {
        return Err(settings.missing("dataDir", "the directory of snapshots and myid"));
    };
    let data_log_dir = settings.get("dataLogDir").map(|it| PathBuf::from(&it.value));
    let shards = cores.saturating_sub(1).clamp(1, 64) as u64;
    let mut snap_retain_count = count("autopurge.snapRetainCount", 3)?;
    if snap_retain_count < 3 {
        warnings.push("autopurge.snapRetainCount: at least 3 snapshots are kept".to_owned());
        snap_retain_count = 3;
    }
    Ok(ProcessConfig {
        file: settings.file().to_owned(),
        peer_type: peer_type(settings)?,
        data_log_dir: data_log_dir.unwrap_or_else(|| data_dir.clone()),
        data_dir,
        client: HostPort {
            host: host(settings, "clientPortAddress"),
            port: number("clientPort", "a port", 1..=65535, 0)? as u16,
        },
        client_backlog: settings
            .number_or_minus_one("clientPortListenBacklog", "a count", 1..=65535)?
            .unwrap_or(1024) as u32,
        client_connections_per_address_max: count("maxClientCnxns", 60)?,
        client_connections_max: count("maxCnxns", 0)?,
        outstanding_max: count("globalOutstandingLimit", 1000)?.max(1),
        frame_bytes_max: number("jute.maxbuffer", "bytes", 1024..=1 << 30, 0xf_ffff)? as usize,
        quorum_listen: match settings.flag("quorumListenOnAllIPs")? {
            Some(true) => QuorumListen::All,
            _ => QuorumListen::OwnHost,
        },
        bind_tries_max: count("electionPortBindRetry", 3)? as u32,
        connect_timeout_ms: number("cnxTimeout", "milliseconds", 1..=DAY_MS, 5000)?,
        snap_count: number("snapCount", "a count", 2..=1 << 40, 100_000)?,
        segment_bytes: 1024 * number("preAllocSize", "KiB", 1..=BYTES_MAX >> 10, 65_536)?,
        snap_retain_count,
        four_letter_words: four_letter_words(settings, warnings),
        http: match number("metricsProvider.httpPort", "a port, 0 = off", 0..=65535, 7000)? {
            0 => None,
            port => {
                let host = host(settings, "metricsProvider.httpHost");
                Some(HostPort { host, port: port as u16 })
            }
        },
        super_digest: super_digest(settings)?,
        empty_database: match settings.flag("db.autocreate")? {
            Some(false) => EmptyDatabase::TrustedWhenInitialized,
            _ => EmptyDatabase::Trusted,
        },
        io_shards: number("zab.ioShards", "threads", 1..=1024, shards)? as u16,
        finalize_wait_ms: number("zab.electionFinalizeWaitMs", "milliseconds", 0..=60_000, 50)?,
        history_bytes_max: bytes("zab.historyBytes", 64 << 20)? as usize,
        link_queue_bytes_max: bytes("zab.linkQueueBytes", 256 << 20)? as usize,
        liveness_timeout_ms: number("zab.livenessTimeoutMs", "milliseconds", 1..=DAY_MS, 10_000)?,
    })
}

fn host(settings: &Settings, key: &str) -> String {
    settings.get(key).map_or("0.0.0.0".to_owned(), |it| it.value.clone())
}

fn peer_type(settings: &Settings) -> Result<Option<Membership>, Error> {
    let Some(setting) = settings.get("peerType") else { return Ok(None) };
    match setting.value.to_ascii_lowercase().as_str() {
        "participant" => Ok(Some(Membership::Voter)),
        "observer" => Ok(Some(Membership::Observer)),
        _ => Err(setting.expected("peerType", "participant or observer")),
    }
}

fn four_letter_words(settings: &Settings, warnings: &mut Vec<String>) -> FourLetterWords {
    let Some(setting) = settings.get("4lw.commands.whitelist") else {
        return FourLetterWords::Only(BTreeSet::from(["srvr".to_owned()]));
    };
    let words = setting.value.split(',').map(str::trim).filter(|word| !word.is_empty());
    let mut words: BTreeSet<String> = words.map(str::to_owned).collect();
    if words.contains("*") {
        return FourLetterWords::All;
    }
    // As in Java, whose own scripts ask this one.
    words.insert("srvr".to_owned());
    for word in words.iter().filter(|word| word.len() != 4) {
        let place = &setting.place;
        warnings.push(format!("{place}: 4lw.commands.whitelist: {word:?} is not a command"));
    }
    FourLetterWords::Only(words)
}

fn super_digest(settings: &Settings) -> Result<Option<String>, Error> {
    let key = "DigestAuthenticationProvider.superDigest";
    match settings.get(key) {
        None => Ok(None),
        Some(setting) if setting.value.contains(':') => Ok(Some(setting.value.clone())),
        // The value is a secret: it is not repeated.
        Some(setting) => {
            let problem = format!("{key}: expected user:base64(sha1(user:password))");
            Err(Error::new(setting.place.clone(), problem))
        }
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
