//! The four-letter words, beside Apache ZooKeeper: monitors read these texts to the letter.
//!
//! Two servers that have seen the same are asked the same. Where ours says less it says so in `server/README.md`;
//! what it says has the name, the place and the meaning that it has in Java.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use client::{Acl, Client, CreateMode, Events, Watch};
use e2e::clients::Clients;
use e2e::ensemble::Ensemble;
use e2e::scratch::{Scratch, ports};
use e2e::server::Kind::{self, Java, Zab};
use e2e::server::{PATIENCE, Program, Server, Setup};
use e2e::wait::wait_briefly_for;

/// Values of `mntr` that do not depend on who is asked, nor on when.
const SAME: [&str; 7] = [
    "zk_approximate_data_size",
    "zk_ephemerals_count",
    "zk_global_sessions",
    "zk_outstanding_requests",
    "zk_server_state",
    "zk_watch_count",
    "zk_znode_count",
];

#[test]
fn a_standalone_server_answers_as_java_does() {
    let clients = Clients::new().unwrap();
    let java = Alone::start("words-java", Java, "").unwrap();
    let zab = Alone::start("words-zab", Zab, "").unwrap();
    let _busy = [&java, &zab].map(|alone| busy_client(&clients, alone).unwrap());
    for word in ["ruok", "isro"] {
        assert_eq!(zab.server.word(word).unwrap(), java.server.word(word).unwrap());
    }
    // No words: read as the length of a frame, and closed without an answer.
    for word in ["abcd", "icfg", "orst"] {
        assert_eq!(java.server.word(word).unwrap_or_default(), "");
        assert_eq!(zab.server.word(word).unwrap_or_default(), "");
    }
    for word in ["srvr", "conf", "dirs"] {
        ensure_same_lines(&java.server, &zab.server, word).unwrap();
    }
    ensure_same_monitor(&java.server, &zab.server).unwrap();
    ensure_same_clients(&java.server, &zab.server).unwrap();
}

#[test]
fn a_word_that_is_not_listed_is_refused_as_in_java() {
    let listed = "4lw.commands.whitelist=ruok, isro\n";
    let java = Alone::start("words-listed-java", Java, listed).unwrap();
    let zab = Alone::start("words-listed-zab", Zab, listed).unwrap();
    for word in ["ruok", "isro", "stat", "mntr", "wchs"] {
        assert_eq!(zab.server.word(word).unwrap(), java.server.word(word).unwrap());
    }
    ensure_same_lines(&java.server, &zab.server, "srvr").unwrap();
}

#[test]
fn servers_without_a_leader_answer_as_java_does() {
    let mut ensemble = Ensemble::new("words-looking", &[Java, Zab, Zab, Zab, Zab]).unwrap();
    let answer = |ensemble: &Ensemble, id, word| ensemble.running(id).unwrap().word(word);
    for id in [1, 2] {
        ensemble.start(id).unwrap();
        let there = || answer(&ensemble, id, "ruok").map(Some);
        wait_briefly_for(PATIENCE, "an answer", there).unwrap();
    }
    for word in ["ruok", "isro", "srvr", "stat", "mntr", "conf", "dirs"] {
        let [java, zab] = [1, 2].map(|id| answer(&ensemble, id, word).unwrap());
        assert_eq!(zab, java, "{word}");
    }
}

#[test]
fn members_of_an_ensemble_answer_as_java_does() {
    let mut ensemble = Ensemble::new("words-three", &[Zab, Java, Zab]).unwrap();
    for id in ensemble.ids() {
        ensemble.start(id).unwrap();
    }
    assert_eq!(ensemble.wait_until_new_leader(&[1, 2, 3]).unwrap(), 3, "the highest id leads");
    ensemble.wait_until_level(&[1, 2, 3]).unwrap();
    let followers = [2, 1].map(|id| ensemble.running(id).unwrap());
    for word in ["isro", "srvr", "conf", "dirs"] {
        ensure_same_lines(followers[0], followers[1], word).unwrap();
    }
    ensure_same_monitor(followers[0], followers[1]).unwrap();
    let ours = ["srvr", "mntr"].map(|word| ensemble.running(3).unwrap().word(word).unwrap());

    ensemble.kill(3).unwrap();
    assert_eq!(ensemble.wait_until_new_leader(&[1, 2]).unwrap(), 2, "the highest id leads");
    let java = ["srvr", "mntr"].map(|word| ensemble.running(2).unwrap().word(word).unwrap());
    assert_eq!(names(&ours[0]), names(&java[0]), "srvr of a leader");
    let [ours, java] = [&ours[1], &java[1]].map(|text| values(text));
    let unknown: Vec<_> = ours.keys().filter(|key| !java.contains_key(*key)).collect();
    assert!(unknown.is_empty(), "Java has no {unknown:?}");
    for key in ["zk_server_state", "zk_peer_state", "zk_quorum_size"] {
        assert_eq!(ours.get(key), java.get(key), "{key} of a leader");
    }
    for key in ["zk_learners", "zk_synced_followers", "zk_synced_observers"] {
        assert!(ours.contains_key(key), "a leader says {key}");
    }
}

/// A standalone server and its folder.
struct Alone {
    server: Server,
    _scratch: Scratch,
}

impl Alone {
    fn start(name: &str, kind: Kind, more: &str) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let zoo_cfg = format!("tickTime=1000\npreAllocSize=1024\n{more}");
        let setup = Setup {
            directory: scratch.path(),
            client_port: ports(1)?[0],
            server_id: None,
            zoo_cfg: &zoo_cfg,
            prefix: &[],
        };
        let mut server = Server::start(&Program::of(kind)?, &setup)?;
        server.wait_until_serving()?;
        Ok(Self { server, _scratch: scratch })
    }
}

/// A client with something of everything: a session, a watch, an ephemeral znode and another one.
fn busy_client(clients: &Clients, alone: &Alone) -> Result<(Client, Events)> {
    let (client, events) = clients.connect(&alone.server.client_address().to_string())?;
    let open = [Acl::OPEN];
    clients.wait(client.create("/persistent", b"data", &open, CreateMode::Persistent))?;
    clients.wait(client.create("/ephemeral", b"", &open, CreateMode::Ephemeral))?;
    clients.wait(client.exists("/nothing", Watch::Set))?;
    Ok((client, events))
}

/// The beginnings of all lines, and whole lines where those cannot differ.
fn ensure_same_lines(java: &Server, zab: &Server, word: &str) -> Result<()> {
    let (java, zab) = (java.word(word)?, zab.word(word)?);
    ensure!(names(&zab) == names(&java), "{word}: ours says\n{zab}\nand Java\n{java}");
    for line in ["Zxid: ", "Outstanding: ", "Node count: ", "tickTime=", "initLimit=", "server."] {
        let of = |text: &str| -> Vec<String> {
            text.lines().filter(|it| it.starts_with(line)).map(str::to_owned).collect()
        };
        ensure!(of(&zab) == of(&java), "{word}: ours says\n{zab}\nand Java\n{java}");
    }
    Ok(())
}

/// The part of each line that names it.
fn names(text: &str) -> Vec<&str> {
    let name = |line: &'_ str| line.find([':', '=']).map_or(line.len(), |at| at + 1);
    text.split('\n').map(|line| &line[..name(line)]).collect()
}

/// All keys of ours are Java's, and those of [`SAME`] have the same values.
fn ensure_same_monitor(java: &Server, zab: &Server) -> Result<()> {
    // The numbers of connections are gathered a few times per tick.
    wait_briefly_for(PATIENCE, "the same numbers", || {
        let (java, zab) = (java.word("mntr")?, zab.word("mntr")?);
        let (java, zab) = (values(&java), values(&zab));
        for key in zab.keys() {
            ensure!(java.contains_key(key), "Java has no {key}");
        }
        for key in SAME {
            let value = java.get(key).with_context(|| format!("Java has no {key}"))?;
            ensure!(zab.get(key) == Some(value), "{key}: {:?} is {value} in Java", zab.get(key));
        }
        Ok(Some(()))
    })
}

/// `stat` lists the client, with what it asked and was told. Java lists whoever asks for the word too, as `[0]`.
fn ensure_same_clients(java: &Server, zab: &Server) -> Result<()> {
    wait_briefly_for(PATIENCE, "the same client", || {
        let clients = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with(" /127.0.0.1:"));
            lines.filter_map(|line| Some(line.split_once("[1]")?.1.to_owned())).collect()
        };
        let (java, zab) = (java.word("stat")?, zab.word("stat")?);
        let (java, zab) = (clients(&java), clients(&zab));
        ensure!(java.len() == 1 && zab.len() == 1, "Java lists {java:?}, ours {zab:?}");
        Ok((java == zab).then_some(()))
    })
}

fn values(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('\t')).collect()
}
