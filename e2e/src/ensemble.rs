//! An ensemble whose members are Apache ZooKeeper's servers or ours, in any mixture.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::clients::Clients;
use crate::java::{JavaServer, four_letter_word};
use crate::scratch::{Scratch, last_lines, ports};
use crate::whole_tree;
use crate::zab_server::ZabServer;

/// How long a member may take to serve: a JVM on a busy machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache ZooKeeper's.
    Java,
    /// Ours.
    Zab,
}

/// A running server of either kind.
#[derive(Debug)]
enum Server {
    Java(JavaServer),
    Zab(ZabServer),
}

#[derive(Debug)]
struct Member {
    kind: Kind,
    directory: PathBuf,
    client_port: u16,
    running: Option<Server>,
}

/// The members; their ids count from 1.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Member>,
    zoo_cfg: String,
    // Dropped last: the folders of running servers.
    scratch: Scratch,
}

impl Ensemble {
    /// Members that do not run yet.
    ///
    /// # Errors
    /// When there are no folders or ports for them.
    pub fn new(name: &str, kinds: &[Kind]) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let mut zoo_cfg =
            String::from("tickTime=500\ninitLimit=20\nsyncLimit=10\npreAllocSize=1024\n");
        let mut members = Vec::new();
        for (id, kind) in (1..).zip(kinds) {
            let ports = ports(3)?;
            zoo_cfg += &format!("server.{id}=127.0.0.1:{}:{}\n", ports[0], ports[1]);
            let directory = scratch.path().join(format!("{id}"));
            members.push(Member { kind: *kind, directory, client_port: ports[2], running: None });
        }
        Ok(Self { members, zoo_cfg, scratch })
    }

    fn member(&self, id: u8) -> &Member {
        &self.members[usize::from(id) - 1]
    }

    fn member_mut(&mut self, id: u8) -> &mut Member {
        &mut self.members[usize::from(id) - 1]
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = u8> + use<> {
        (1..).take(self.members.len())
    }

    /// Where the members keep their files: a folder for each id.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Whose server `id` is.
    #[must_use]
    pub fn kind(&self, id: u8) -> Kind {
        self.member(id).kind
    }

    /// `host:port` of one member for clients.
    #[must_use]
    pub fn address(&self, id: u8) -> String {
        format!("127.0.0.1:{}", self.member(id).client_port)
    }

    /// `host:port` of several, separated by commas.
    #[must_use]
    pub fn addresses(&self, ids: &[u8]) -> String {
        ids.iter().map(|id| self.address(*id)).collect::<Vec<_>>().join(",")
    }

    /// Starts a member with what is in its folder.
    ///
    /// # Errors
    /// When there is no program or no folder.
    pub fn start(&mut self, id: u8) -> Result<()> {
        let zoo_cfg = self.zoo_cfg.clone();
        let member = self.member_mut(id);
        let (directory, port) = (&member.directory, member.client_port);
        member.running = Some(match member.kind {
            Kind::Java => {
                // Small and quick to start: this JVM lives for seconds.
                let options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
                Server::Java(JavaServer::start(directory, port, Some(id), &zoo_cfg, &options)?)
            }
            Kind::Zab => Server::Zab(ZabServer::start(directory, port, Some(id), &zoo_cfg)?),
        });
        Ok(())
    }

    /// Starts one as the server of the other kind.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_as(&mut self, id: u8, kind: Kind) -> Result<()> {
        self.member_mut(id).kind = kind;
        self.start(id)
    }

    /// Waits until all of `ids` serve clients.
    ///
    /// # Errors
    /// When one does not; with the end of its log.
    pub fn wait_until_serving(&mut self, ids: &[u8]) -> Result<()> {
        for id in ids {
            let served = match self.running_mut(*id)? {
                Server::Java(server) => server.wait_until_serving(PATIENCE),
                Server::Zab(server) => server.wait_until_serving(PATIENCE),
            };
            served.with_context(|| format!("member {id}"))?;
        }
        Ok(())
    }

    fn running_mut(&mut self, id: u8) -> Result<&mut Server> {
        self.member_mut(id).running.as_mut().with_context(|| format!("member {id} does not run"))
    }

    /// `leader` or `follower`; `None` while it does not serve.
    #[must_use]
    pub fn mode(&self, id: u8) -> Option<String> {
        match self.member(id).running.as_ref()? {
            Server::Java(server) => server.mode(),
            Server::Zab(server) => server.mode(),
        }
    }

    /// Which one leads.
    ///
    /// # Errors
    /// When not exactly one says that it does.
    pub fn leader(&self) -> Result<u8> {
        let leads = |id: &u8| self.mode(*id).as_deref() == Some("leader");
        let leaders: Vec<_> = self.ids().filter(leads).collect();
        match leaders[..] {
            [id] => Ok(id),
            _ => bail!("leaders: {leaders:?}"),
        }
    }

    /// Waits until these members serve, and one of them leads.
    ///
    /// # Errors
    /// When it takes longer than [`PATIENCE`].
    pub fn wait_until_new_leader(&mut self, ids: &[u8]) -> Result<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let modes: Vec<_> = ids.iter().map(|id| (*id, self.mode(*id))).collect();
            let leader = modes.iter().find(|(_, mode)| mode.as_deref() == Some("leader"));
            if let (Some((id, _)), true) = (leader, modes.iter().all(|(_, mode)| mode.is_some())) {
                return Ok(*id);
            }
            if deadline < Instant::now() {
                let logs = ids.iter().map(|id| last_lines(&self.log(*id), 30));
                bail!("no new leader: {modes:?}\n{}", logs.collect::<Vec<_>>().join("\n---\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until these members have applied the same transactions.
    ///
    /// # Errors
    /// When it takes longer than [`PATIENCE`].
    pub fn wait_until_level(&self, ids: &[u8]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let zxids: Vec<_> = ids.iter().map(|id| self.zxid(*id)).collect();
            if zxids.iter().all(|zxid| zxid.is_some() && *zxid == zxids[0]) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "members {ids:?} stay apart: {zxids:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last transaction that a member applied, as `srvr` says it.
    fn zxid(&self, id: u8) -> Option<String> {
        let answer = four_letter_word(self.member(id).client_port, "srvr").ok()?;
        let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: "))?;
        Some(zxid.to_owned())
    }

    /// Whether a log file of a member holds these bytes.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn log_files_hold(&self, id: u8, bytes: &[u8]) -> Result<bool> {
        for file in fs::read_dir(self.member(id).directory.join("data/version-2"))? {
            let file = file?;
            let is_log = file.file_name().to_string_lossy().starts_with("log.");
            if is_log && fs::read(file.path())?.windows(bytes.len()).any(|part| part == bytes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Kills a member as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, id: u8) -> Result<()> {
        match self.running_mut(id)? {
            Server::Java(server) => server.kill()?,
            Server::Zab(server) => server.kill()?,
        }
        self.member_mut(id).running = None;
        Ok(())
    }

    /// Asks a member to stop with SIGTERM and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or not stop.
    pub fn terminate(&mut self, id: u8) -> Result<()> {
        self.signal(id, Signal::TERM)?;
        match self.running_mut(id)? {
            Server::Java(server) => server.wait_for_end(PATIENCE)?,
            Server::Zab(server) => server.wait_for_end(PATIENCE)?,
        };
        self.member_mut(id).running = None;
        Ok(())
    }

    /// Sends a signal, such as `Signal::STOP`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&mut self, id: u8, signal: Signal) -> Result<()> {
        let process = i32::try_from(self.process_id(id)?)?;
        kill_process(Pid::from_raw(process).context("a process id")?, signal)?;
        Ok(())
    }

    /// A member that is a server of ours.
    ///
    /// # Errors
    /// When it is not, or does not run.
    pub fn zab(&self, id: u8) -> Result<&ZabServer> {
        match &self.member(id).running {
            Some(Server::Zab(server)) => Ok(server),
            _ => bail!("member {id} is not a running server of ours"),
        }
    }

    /// The process of a member.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process_id(&mut self, id: u8) -> Result<u32> {
        Ok(match self.running_mut(id)? {
            Server::Java(server) => server.process_id(),
            Server::Zab(server) => server.process_id(),
        })
    }

    /// Removes all that a stopped member has on disk, but for its log and id.
    ///
    /// # Errors
    /// When it still runs.
    pub fn wipe(&mut self, id: u8) -> Result<()> {
        let member = self.member(id);
        ensure!(member.running.is_none(), "member {id} runs");
        fs::remove_dir_all(member.directory.join("data/version-2"))?;
        Ok(())
    }

    /// All that a member logged so far.
    #[must_use]
    pub fn log(&self, id: u8) -> String {
        let member = self.member(id);
        let name = match member.kind {
            Kind::Java => "java.log",
            Kind::Zab => "zab.log",
        };
        fs::read_to_string(member.directory.join(name)).unwrap_or_default()
    }

    /// Waits until a member logs a line with all of `words`, in the part of its log behind `from` bytes.
    ///
    /// # Errors
    /// When it does not; with the end of its log.
    pub fn wait_for_line(&self, id: u8, from: usize, words: &[&str]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log(id);
            let tail = log.get(from..).unwrap_or_default();
            if tail.lines().any(|line| words.iter().all(|word| line.contains(word))) {
                return Ok(());
            }
            if deadline < Instant::now() {
                bail!("member {id} logs no line with {words:?}:\n{}", last_lines(tail, 40));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Compares the whole trees of these members, as clients of each see them.
    ///
    /// # Errors
    /// When they differ.
    pub fn ensure_same_tree(&self, clients: &Clients, ids: &[u8]) -> Result<()> {
        let (first, others) = ids.split_first().context("members to compare")?;
        let name = |id: u8| format!("member {id} ({:?})", self.kind(id));
        let one = whole_tree::read(clients, &self.address(*first))?;
        for id in others {
            let other = whole_tree::read(clients, &self.address(*id))?;
            whole_tree::ensure_same((&name(*first), &one), (&name(*id), &other))?;
        }
        Ok(())
    }
}
