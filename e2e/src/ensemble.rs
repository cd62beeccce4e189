//! An ensemble whose members are Apache ZooKeeper's servers or ours, in any mixture.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use crate::clients::Clients;
use crate::scratch::{Scratch, last_lines, ports};
use crate::server::{Kind, PATIENCE, Program, Server, Setup};
use crate::wait::wait_briefly_for;
use crate::whole_tree;

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
        let member = self.member(id);
        let setup = Setup {
            directory: &member.directory,
            client_port: member.client_port,
            server_id: Some(id),
            zoo_cfg: &self.zoo_cfg,
            prefix: &[],
        };
        let server = Server::start(&Program::of(member.kind)?, &setup)?;
        self.member_mut(id).running = Some(server);
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
            let served = self.running_mut(*id)?.wait_until_serving();
            served.with_context(|| format!("member {id}"))?;
        }
        Ok(())
    }

    /// A member that runs.
    ///
    /// # Errors
    /// When it does not.
    pub fn running(&self, id: u8) -> Result<&Server> {
        self.member(id).running.as_ref().with_context(|| format!("member {id} does not run"))
    }

    fn running_mut(&mut self, id: u8) -> Result<&mut Server> {
        self.member_mut(id).running.as_mut().with_context(|| format!("member {id} does not run"))
    }

    /// `leader` or `follower`; `None` while it does not serve.
    #[must_use]
    pub fn mode(&self, id: u8) -> Option<String> {
        self.running(id).ok()?.mode()
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
        wait_briefly_for(PATIENCE, "a leader that all follow", || {
            let modes: Vec<_> = ids.iter().map(|id| (*id, self.mode(*id))).collect();
            let leader = modes.iter().find(|(_, mode)| mode.as_deref() == Some("leader"));
            match leader {
                Some((id, _)) if modes.iter().all(|(_, mode)| mode.is_some()) => Ok(Some(*id)),
                _ => bail!("{modes:?}"),
            }
        })
    }

    /// Waits until these members have applied the same transactions.
    ///
    /// # Errors
    /// When it takes longer than [`PATIENCE`].
    pub fn wait_until_level(&self, ids: &[u8]) -> Result<()> {
        wait_briefly_for(PATIENCE, "the members to apply the same transactions", || {
            let zxids: Vec<_> = ids.iter().map(|id| self.running(*id).ok()?.zxid()).collect();
            ensure!(zxids.iter().all(|zxid| zxid.is_some() && *zxid == zxids[0]), "{zxids:?}");
            Ok(Some(()))
        })
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
        self.running_mut(id)?.kill()?;
        self.member_mut(id).running = None;
        Ok(())
    }

    /// Asks a member to stop with SIGTERM and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or not stop; when ours says that something went wrong.
    pub fn terminate(&mut self, id: u8) -> Result<()> {
        let status = self.running_mut(id)?.terminate()?;
        // Java calls it an error to be asked.
        let is_well = self.kind(id) == Kind::Java || status.success();
        ensure!(is_well, "member {id} ended with {status}");
        self.member_mut(id).running = None;
        Ok(())
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

    /// All that a member logged so far, in all its lives.
    #[must_use]
    pub fn log(&self, id: u8) -> String {
        fs::read_to_string(self.member(id).directory.join("server.log")).unwrap_or_default()
    }

    /// Waits until a member logs a line with all of `words`, in the part of its log behind `from` bytes.
    ///
    /// # Errors
    /// When it does not; with the end of its log.
    pub fn wait_for_line(&self, id: u8, from: usize, words: &[&str]) -> Result<()> {
        wait_briefly_for(PATIENCE, &format!("member {id} to log a line with {words:?}"), || {
            let log = self.log(id);
            let tail = log.get(from..).unwrap_or_default();
            let is_there = tail.lines().any(|line| words.iter().all(|word| line.contains(word)));
            ensure!(is_there, "\n{}", last_lines(tail, 40));
            Ok(Some(()))
        })
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
