//! The scripts under `testdata`: commands in, a trace of everything that the peers do out.
//!
//! Zxids are written `epoch.counter` in commands (a colon would need quotes) and `epoch:counter` in the trace.
//! `LIVE=1` prints the trace as it grows instead.
//!
//! A server declared `fake` is played by the script itself, so that it can behave like a Java peer, or badly.

use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use goldenscript::{Argument, Command, Context};
use zab::{
    Epoch, Epochs, Input, Membership, Message, Notification, PeerState, ServerId, Vote, Zxid,
};

use crate::cluster::Cluster;
use crate::disk::History;
use crate::trace;

type Outcome = Result<(), Box<dyn Error>>;

struct Runner {
    cluster: Cluster,
}

/// The arguments of a command: what stands alone, and what is `key=value`.
struct Arguments<'a> {
    command: &'a Command,
}

impl Arguments<'_> {
    fn positional(&self) -> Vec<&str> {
        let arguments = self.command.args.iter();
        arguments
            .filter_map(|argument| match argument {
                Argument::Positional(value) => Some(value.as_str()),
                _ => None,
            })
            .collect()
    }

    fn key(&self, name: &str) -> Option<&str> {
        self.command.args.iter().find_map(|argument| match argument {
            Argument::KeyValue(key, value) if key == name => Some(value.as_str()),
            _ => None,
        })
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, Box<dyn Error>> {
        Ok(self.key(name).map(str::parse).transpose()?.unwrap_or(default))
    }

    fn zxid(&self, name: &str) -> Result<Zxid, Box<dyn Error>> {
        self.key(name).map_or(Ok(Zxid::ZERO), zxid)
    }

    fn at(&self, position: usize) -> Result<&str, Box<dyn Error>> {
        let positional = self.positional();
        let missing = || format!("{}: argument {} is missing", self.command.name, position + 1);
        Ok(positional.get(position).copied().ok_or_else(missing)?)
    }

    fn id(&self, position: usize) -> Result<ServerId, Box<dyn Error>> {
        server_id(self.at(position)?)
    }

    fn ids(&self) -> Result<Vec<ServerId>, Box<dyn Error>> {
        self.positional().into_iter().map(server_id).collect()
    }
}

fn server_id(text: &str) -> Result<ServerId, Box<dyn Error>> {
    Ok(ServerId(text.parse()?))
}

fn zxid(text: &str) -> Result<Zxid, Box<dyn Error>> {
    if text == "none" {
        return Ok(Zxid(-1));
    }
    let (epoch, counter) = text.split_once('.').ok_or("a zxid is epoch.counter")?;
    Ok(Zxid::new(Epoch(epoch.parse()?), counter.parse()?))
}

fn history(zxids: &[&str]) -> Result<History, Box<dyn Error>> {
    let entry = |text: &&str| Ok((zxid(text)?, Bytes::from((*text).to_string())));
    zxids.iter().map(entry).collect()
}

impl Runner {
    fn command(&mut self, arguments: &Arguments) -> Outcome {
        let cluster = &mut self.cluster;
        match arguments.command.name.as_str() {
            "cluster" => {
                let bytes = arguments.number("history-bytes", 1 << 20)? as usize;
                let voters = arguments.number("voters", 3)?;
                let observers = arguments.number("observers", 0)?;
                *cluster =
                    Cluster::new(voters, observers, |config| config.history_bytes_max = bytes);
                cluster.live = std::env::var_os("LIVE").is_some();
            }
            "show" => {
                let shown = arguments.positional();
                cluster.show_notifications = shown.contains(&"notifications");
                cluster.show_pings = shown.contains(&"pings");
            }
            "log" | "epochs" | "snapshot" | "untrusted" | "fake" => self.prepare(arguments)?,
            "start" => {
                for id in arguments.ids()? {
                    cluster.start(id, false);
                }
            }
            "start-standalone" => cluster.start(arguments.id(0)?, true),
            "crash" => {
                let survives = arguments.number("survives", 0)? as usize;
                for id in arguments.ids()? {
                    cluster.crash(id, survives);
                }
            }
            "hold" => cluster.server(arguments.id(0)?).disk.held = true,
            "release" => cluster.server(arguments.id(0)?).disk.held = false,
            "sync" => {
                for _ in 0..arguments.number("operations", 1)? {
                    cluster.sync_one(arguments.id(0)?);
                }
            }
            "propose" => {
                let id = arguments.id(0)?;
                for _ in 0..arguments.number("count", 1)? {
                    let payload = Bytes::from_static(b"payload");
                    cluster.propose(id, payload).ok_or("does not accept proposals")?;
                }
            }
            "stabilize" => cluster.stabilize(),
            "run" => cluster.run(arguments.at(0)?.parse()?),
            "cut" => cluster.cut(arguments.id(0)?, arguments.id(1)?),
            "heal" => cluster.heal(),
            "reset" => cluster.reset(arguments.id(0)?, arguments.id(1)?),
            "hand-off" => cluster.handle(arguments.id(0)?, Input::HandOff),
            "status" => self.status(arguments)?,
            "disk" => self.disk(arguments)?,
            "dial" => cluster.fake_dial(arguments.id(0)?, arguments.id(1)?),
            "send" => {
                let (message, tree) = message(arguments)?;
                cluster.fake_send(arguments.id(0)?, arguments.id(1)?, message, tree);
                cluster.stabilize();
            }
            "notify" => {
                let notification = notification(arguments)?;
                cluster.fake_notify(arguments.id(0)?, arguments.id(1)?, notification);
                cluster.stabilize();
            }
            other => return Err(format!("unknown command {other}").into()),
        }
        Ok(())
    }

    /// What is on the disks before anyone starts, and who is played by the script.
    fn prepare(&mut self, arguments: &Arguments) -> Outcome {
        let id = arguments.id(0)?;
        let server = self.cluster.server(id);
        let positional = arguments.positional();
        let rest = positional.get(1..).unwrap_or_default();
        match arguments.command.name.as_str() {
            "log" => {
                server.disk.history = history(rest)?;
                let epoch = server.disk.last().epoch();
                server.disk.epochs = Epochs { accepted: epoch, current: epoch };
            }
            "epochs" => {
                server.disk.epochs = Epochs {
                    accepted: Epoch(arguments.number("accepted", 0)? as u32),
                    current: Epoch(arguments.number("current", 0)? as u32),
                };
            }
            "snapshot" => {
                let end = zxid(arguments.at(1)?)?;
                server.disk.snapshot = server.disk.history.partition_point(|(z, _)| *z <= end);
            }
            "untrusted" => server.disk.trusted = false,
            _ => server.fake = true,
        }
        Ok(())
    }

    fn status(&mut self, arguments: &Arguments) -> Outcome {
        let wanted = arguments.ids()?;
        let mut lines = Vec::new();
        for (id, server) in &self.cluster.servers {
            if let Some(peer) = &server.peer
                && (wanted.is_empty() || wanted.contains(id))
            {
                lines.push(trace::status_line(&peer.status()));
            }
        }
        self.cluster.trace.extend(lines);
        Ok(())
    }

    fn disk(&mut self, arguments: &Arguments) -> Outcome {
        let mut lines = Vec::new();
        for id in arguments.ids()? {
            let disk = &self.cluster.servers[&id].disk;
            let history: Vec<_> = disk.history.iter().map(|(zxid, _)| zxid.to_string()).collect();
            let epochs = disk.epochs;
            lines.push(format!(
                "s{id} disk accepted={} current={} history=[{}]",
                epochs.accepted,
                epochs.current,
                history.join(" ")
            ));
        }
        self.cluster.trace.extend(lines);
        Ok(())
    }
}

fn message(arguments: &Arguments) -> Result<(Message, History), Box<dyn Error>> {
    let target = || zxid(arguments.at(3)?);
    let epoch = || -> Result<Epoch, Box<dyn Error>> { Ok(Epoch(arguments.at(3)?.parse()?)) };
    let payload = Bytes::from_static(b"payload");
    let info = |membership| -> Result<Message, Box<dyn Error>> {
        Ok(Message::LearnerInfo {
            id: ServerId(arguments.number("id", arguments.id(0)?.0)?),
            membership,
            accepted: Epoch(arguments.number("accepted", 0)? as u32),
            config_version: arguments.number("config", 0)? as i64,
        })
    };
    let message = match arguments.at(2)? {
        "FollowerInfo" => info(Membership::Voter)?,
        "ObserverInfo" => info(Membership::Observer)?,
        "LeaderInfo" => Message::LeaderInfo { epoch: epoch()? },
        "AckEpoch" => Message::AckEpoch {
            current: match arguments.key("current") {
                Some("none") | None => None,
                Some(current) => Some(Epoch(current.parse()?)),
            },
            last: arguments.zxid("last")?,
        },
        "Diff" => Message::Diff { to: target()? },
        "Trunc" => Message::Trunc { to: target()? },
        "Snap" => Message::Snap { to: target()? },
        "Propose" => Message::Propose { zxid: target()?, payload },
        "Ack" => Message::Ack { zxid: target()? },
        "Commit" => Message::Commit { zxid: target()? },
        "Inform" => Message::Inform { zxid: target()?, payload },
        "NewLeader" => Message::NewLeader { epoch: epoch()?, config: Bytes::new() },
        "UpToDate" => Message::UpToDate,
        "Ping" => Message::Ping { zxid: target()?, sessions: Bytes::new() },
        other => return Err(format!("unknown message {other}").into()),
    };
    let positional = arguments.positional();
    let tree = history(positional.get(4..).unwrap_or_default())?;
    Ok((message, tree))
}

fn notification(arguments: &Arguments) -> Result<Notification, Box<dyn Error>> {
    let state = match arguments.at(2)? {
        "looking" => PeerState::Looking,
        "following" => PeerState::Following,
        "leading" => PeerState::Leading,
        "observing" => PeerState::Observing,
        other => return Err(format!("unknown state {other}").into()),
    };
    let vote = Vote {
        epoch: Epoch(arguments.number("epoch", 0)? as u32),
        zxid: arguments.zxid("last")?,
        leader: arguments.id(3)?,
    };
    Ok(Notification { state, vote, round: arguments.number("round", 1)? })
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        self.command(&Arguments { command })?;
        let lines = std::mem::take(&mut self.cluster.trace);
        Ok(lines.join("\n"))
    }
}

/// Runs every script of a folder and names the one that differs.
fn run_folder(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    for path in paths {
        println!("script {}", path.display());
        let mut runner = Runner { cluster: Cluster::new(3, 0, |_| {}) };
        goldenscript::run(&mut runner, &path).expect("the script runs");
    }
}

#[test]
fn elections_go_as_the_scripts_say() {
    run_folder("election");
}

#[test]
fn discovery_goes_as_the_scripts_say() {
    run_folder("discovery");
}

#[test]
fn synchronization_goes_as_the_scripts_say() {
    run_folder("synchronization");
}

#[test]
fn broadcast_goes_as_the_scripts_say() {
    run_folder("broadcast");
}

#[test]
fn hand_off_goes_as_the_scripts_say() {
    run_folder("handoff");
}

#[test]
fn standalone_goes_as_the_scripts_say() {
    run_folder("standalone");
}
