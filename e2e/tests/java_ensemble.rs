//! Apache ZooKeeper's servers and ours in one ensemble, each kind leading in turn.
//!
//! The member with the highest id leads first; it is killed, so that another kind leads; and so on. In between every
//! member is written through, wiped, and brought back.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use client::{
    Acl, Client, CreateMode, Error, ErrorCode, EventType, Events, MultiOutcome, Session, Watch,
};
use e2e::clients::Clients;
use e2e::ensemble::Ensemble;
use e2e::server::Kind::{self, Java, Zab};
use e2e::server::PATIENCE;
use e2e::wait::wait_briefly_for;
use e2e::whole_tree::{OWNER, authors_only};
use jute::multi::MultiOp;
use jute::request::{CheckVersionRequest, CreateRequest, DeleteRequest, SetDataRequest};

#[test]
fn one_java_and_two_of_ours_are_one_ensemble() {
    tell("one-java", [Zab, Zab, Java], each_leads_in_turn);
}

#[test]
fn two_java_and_one_of_ours_are_one_ensemble() {
    tell("two-java", [Java, Java, Zab], each_leads_in_turn);
}

#[test]
fn a_tail_that_nobody_else_has_is_cut_when_its_leader_returns_at_once() {
    tails_are_cut(Joins::AtOnce);
}

#[test]
fn a_tail_that_nobody_else_has_is_cut_when_its_leader_returns_after_writes() {
    tails_are_cut(Joins::AfterWrites);
}

fn tails_are_cut(joins: Joins) {
    let name = |whose| format!("tail-of-{whose}-{joins:?}");
    tell(&name("java"), [Zab, Zab, Java], |told| a_tail_is_cut(told, joins));
    tell(&name("ours"), [Java, Java, Zab], |told| a_tail_is_cut(told, joins));
}

/// A story that fails panics while its servers are still there: their logs are shown, and their folders kept.
fn tell(name: &str, kinds: [Kind; 3], story: impl FnOnce(&mut Told) -> Result<()>) {
    eprintln!("{name}: {kinds:?}");
    let mut told = Told::new(name, &kinds).expect("folders and ports");
    story(&mut told).expect("the story");
    told.note("the end");
}

/// The member with the lowest id never leads here: it is the follower of both kinds.
fn each_leads_in_turn(told: &mut Told) -> Result<()> {
    told.member_3_leads()?;
    told.write_through(&[1, 2, 3])?;

    let traveller = told.traveller(&[3, 1, 2])?;
    told.kill_leader(3, &[1, 2])?;
    told.expect_leader(2)?;
    told.expect_arrival(traveller)?;
    told.write_through(&[1, 2])?;

    told.restart_and_compare(3)?;
    told.wipe(3)?;
    told.wipe(1)?;
    told.write_through(&[3, 1])?;

    told.kill_leader(2, &[1, 3])?;
    told.expect_leader(3)?;
    told.write_through(&[1, 3])?;
    told.restart_and_compare(2)?;
    told.wipe(2)?;
    told.write_through(&[2])?;
    told.ensemble.ensure_same_tree(&told.clients, &[1, 2, 3])?;
    told.hand_over(3)
}

/// Member 3 leads, logs a proposal that no other member ever sees, and dies with all others. They go on without it.
fn a_tail_is_cut(told: &mut Told, joins: Joins) -> Result<()> {
    told.member_3_leads()?;
    told.write_through(&[3])?;
    told.ensemble.ensure_same_tree(&told.clients, &[1, 2, 3])?;
    told.leave_a_tail(3, &[1, 2])?;

    for id in [1, 2] {
        told.ensemble.start(id)?;
    }
    told.ensemble.wait_until_serving(&[1, 2])?;
    told.expect_leader(2)?;
    if joins == Joins::AfterWrites {
        // The leader's history goes on in a later epoch than the learner's.
        told.write_through(&[1])?;
    }
    let from = told.ensemble.log(3).len();
    told.ensemble.start(3)?;
    told.ensemble.wait_until_serving(&[3])?;
    // Java has no TRUNC across epochs: it sends everything. Ours cuts the tail and sends what is lacking, which
    // Java's followers accept.
    let words = match (told.ensemble.kind(3), told.ensemble.kind(2), joins) {
        (Java, _, _) => "Truncating log to get in sync with the leader",
        (Zab, Java, Joins::AfterWrites) => "history replaced by a snapshot of the leader",
        (Zab, _, _) => "log cut",
    };
    told.ensemble.wait_for_line(3, from, &[words])?;
    told.note("member 3 is back");
    let (client, _events) = told.clients.connect(&told.ensemble.address(3))?;
    told.clients.wait(client.sync("/"))?;
    let tail = told.clients.wait(client.exists("/tail", Watch::No))?;
    ensure!(tail.is_none(), "the cut transaction is in the tree: {tail:?}");
    told.write_through(&[3])?;
    told.ensemble.ensure_same_tree(&told.clients, &[1, 2, 3])?;
    // What is on disk is as good as what is in memory.
    told.restart_and_compare_running(3)
}

/// When the former leader comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joins {
    /// Before the new epoch has a transaction.
    AtOnce,
    /// After it has some.
    AfterWrites,
}

/// An ensemble and its clients.
struct Told {
    clients: Clients,
    ensemble: Ensemble,
    round: u32,
    start: Instant,
}

/// A client that moves on when its server dies, with an ephemeral znode and a watch.
struct Traveller {
    client: Client,
    events: Events,
    session: Session,
}

impl Told {
    fn new(name: &str, kinds: &[Kind]) -> Result<Self> {
        let (clients, ensemble) = (Clients::new()?, Ensemble::new(name, kinds)?);
        Ok(Self { clients, ensemble, round: 0, start: Instant::now() })
    }

    /// What happened and when, for whoever wonders where a story stopped or took its time.
    fn note(&self, what: &str) {
        eprintln!("[{:5.1} s] {what}", self.start.elapsed().as_secs_f64());
    }

    /// The beginning of every story: all are there, and the one with the highest id leads.
    fn member_3_leads(&mut self) -> Result<()> {
        self.ensemble.start(1)?;
        self.ensemble.start(3)?;
        self.ensemble.wait_until_serving(&[1, 3])?;
        self.ensemble.start(2)?;
        self.ensemble.wait_until_serving(&[2])?;
        self.expect_leader(3)
    }

    fn expect_leader(&self, id: u8) -> Result<()> {
        let leader = self.ensemble.leader()?;
        ensure!(leader == id, "member {leader} leads instead of {id}");
        self.note(&format!("member {id} leads"));
        Ok(())
    }

    /// All kinds of writes through each of these members, seen by a client of the next one.
    fn write_through(&mut self, ids: &[u8]) -> Result<()> {
        for (at, id) in ids.iter().enumerate() {
            let next = ids[(at + 1) % ids.len()];
            self.round += 1;
            let root = format!("/round-{}", self.round);
            let writer = self.clients.connect(&self.ensemble.address(*id))?.0;
            let (reader, mut events) = self.clients.connect(&self.ensemble.address(next))?;
            let place = || format!("{root} through member {id}, seen at {next}");
            self.watched_writes(&root, &writer, &reader, &mut events).with_context(place)?;
            self.refused_writes(&root, &writer).with_context(place)?;
            self.transactions(&root, &writer).with_context(place)?;
            self.session_moves(&root, writer, next).with_context(place)?;
            self.clients.wait(reader.close())?;
            self.note(&format!("written through member {id}"));
        }
        Ok(())
    }

    fn watched_writes(
        &self,
        root: &str,
        writer: &Client,
        reader: &Client,
        events: &mut Events,
    ) -> Result<()> {
        let clients = &self.clients;
        let open = [Acl::OPEN];
        ensure!(clients.wait(reader.exists(root, Watch::Set))?.is_none());
        clients.wait(writer.create(root, b"one", &open, CreateMode::Persistent))?;
        clients.expect_watch(events, EventType::NodeCreated, root)?;
        clients.wait(reader.sync(root))?;
        let (data, stat) = clients.wait(reader.get_data(root, Watch::Set))?;
        ensure!(data.as_deref() == Some(b"one") && stat.version == 0);
        let stat = clients.wait(writer.set_data(root, b"two", 0))?;
        ensure!(stat.version == 1);
        clients.expect_watch(events, EventType::NodeDataChanged, root)?;
        clients.wait(reader.get_children(root, Watch::Set))?;
        let first = format!("{root}/q-");
        let sequential = CreateMode::PersistentSequential;
        let paths: Vec<_> = (0..3)
            .map(|_| clients.wait(writer.create(&first, b"", &open, sequential)))
            .collect::<Result<_>>()?;
        let expected = [0, 1, 2].map(|counter| format!("{root}/q-{counter:010}"));
        ensure!(paths == expected, "{paths:?}");
        clients.expect_watch(events, EventType::NodeChildrenChanged, root)?;
        clients.wait(reader.sync(root))?;
        clients.wait(reader.exists(&paths[1], Watch::Set))?;
        clients.wait(writer.delete(&paths[1], 0))?;
        clients.expect_watch(events, EventType::NodeDeleted, &paths[1])?;
        clients.wait(writer.add_auth("digest", OWNER.as_bytes()))?;
        let guarded = format!("{root}/guarded");
        clients.wait(writer.create(&guarded, b"x", &open, CreateMode::Persistent))?;
        clients.wait(writer.set_acl(&guarded, &[authors_only()], 0))?;
        clients.wait(reader.sync(root))?;
        let denied = clients.wait(reader.get_data(&guarded, Watch::No));
        expect_code(denied, ErrorCode::NoAuth)
    }

    fn refused_writes(&self, root: &str, writer: &Client) -> Result<()> {
        let clients = &self.clients;
        let again = clients.wait(writer.create(root, b"", &[Acl::OPEN], CreateMode::Persistent));
        expect_code(again, ErrorCode::NodeExists)?;
        expect_code(clients.wait(writer.set_data(root, b"", 7)), ErrorCode::BadVersion)?;
        expect_code(clients.wait(writer.delete(root, -1)), ErrorCode::NotEmpty)?;
        expect_code(clients.wait(writer.delete("/nothing/here", -1)), ErrorCode::NoNode)
    }

    fn transactions(&self, root: &str, writer: &Client) -> Result<()> {
        let (a, b) = (format!("{root}/a"), format!("{root}/b"));
        let create =
            |path| CreateRequest { path, data: Some(b"m"), acl: Some(vec![Acl::OPEN]), flags: 0 };
        let done = self.clients.wait(writer.multi(vec![
            MultiOp::Check(CheckVersionRequest { path: root, version: 1 }),
            MultiOp::Create(create(&a)),
            MultiOp::Create(create(&b)),
            MultiOp::SetData(SetDataRequest { path: &a, data: Some(b"n"), version: 0 }),
            MultiOp::Delete(DeleteRequest { path: &b, version: 0 }),
        ]))?;
        ensure!(done.len() == 5 && done[1] == MultiOutcome::Create(a.clone()), "{done:?}");
        let failed = self.clients.wait(writer.multi(vec![
            MultiOp::Create(create(&b)),
            MultiOp::Create(create(&a)),
            MultiOp::Delete(DeleteRequest { path: root, version: -1 }),
        ]));
        let failed =
            failed.expect_err("one of its operations cannot be done").downcast::<Error>()?;
        ensure!(failed == Error::MultiFailed { at: 1, code: ErrorCode::NodeExists }, "{failed}");
        ensure!(self.clients.wait(writer.exists(&b, Watch::No))?.is_none());
        Ok(())
    }

    /// Leaves with an ephemeral znode, goes on at `next`, and takes the znode with it at the end.
    fn session_moves(&self, root: &str, writer: Client, next: u8) -> Result<()> {
        let clients = &self.clients;
        let path = format!("{root}/e-");
        let mode = CreateMode::EphemeralSequential;
        let path = clients.wait(writer.create(&path, b"", &[Acl::OPEN], mode))?;
        let session = writer.session().context("connected")?;
        drop(writer);
        let (moved, _events) = clients.resume(&self.ensemble.address(next), session)?;
        clients.wait(moved.sync("/"))?;
        let stat = clients.wait(moved.exists(&path, Watch::No))?.context("the ephemeral znode")?;
        ensure!(stat.ephemeral_owner == session.id, "{stat:?} is not of {:#x}", session.id);
        let (other, mut events) = clients.connect(&self.ensemble.address(next))?;
        ensure!(clients.wait(other.exists(&path, Watch::Set))?.is_some());
        clients.wait(moved.close())?;
        clients.expect_watch(&mut events, EventType::NodeDeleted, &path)?;
        clients.wait(other.close())
    }

    /// Connects to the first of `ids`.
    fn traveller(&self, ids: &[u8]) -> Result<Traveller> {
        let (client, events) = self.clients.connect(&self.ensemble.addresses(ids))?;
        let mode = CreateMode::Ephemeral;
        self.clients.wait(client.create("/traveller", b"", &[Acl::OPEN], mode))?;
        ensure!(self.clients.wait(client.exists("/arrival", Watch::Set))?.is_none());
        let session = client.session().context("connected")?;
        Ok(Traveller { client, events, session })
    }

    /// Its server is dead: it has moved, or is about to, with session, ephemeral znode and watch.
    fn expect_arrival(&self, mut traveller: Traveller) -> Result<()> {
        let clients = &self.clients;
        let (writer, _events) = clients.connect(&self.ensemble.address(1))?;
        clients.wait(writer.create("/arrival", b"", &[Acl::OPEN], CreateMode::Persistent))?;
        clients.expect_watch(&mut traveller.events, EventType::NodeCreated, "/arrival")?;
        let stat = clients.wait(traveller.client.exists("/traveller", Watch::No))?;
        let owner = stat.context("the ephemeral znode")?.ephemeral_owner;
        ensure!(owner == traveller.session.id, "the session moved and is still the same");
        clients.wait(traveller.client.close())?;
        clients.wait(writer.sync("/"))?;
        ensure!(clients.wait(writer.exists("/traveller", Watch::No))?.is_none());
        clients.wait(writer.close())
    }

    /// Kills the leader right after writing: all that it acknowledged stays.
    fn kill_leader(&mut self, id: u8, others: &[u8]) -> Result<()> {
        self.expect_leader(id)?;
        let (client, _events) = self.clients.connect(&self.ensemble.address(others[0]))?;
        let root = format!("/under-{id}-{}", self.round);
        let open = [Acl::OPEN];
        self.clients.wait(client.create(&root, b"", &open, CreateMode::Persistent))?;
        let mode = CreateMode::PersistentSequential;
        let child = format!("{root}/n-");
        let mut acknowledged = Vec::new();
        for _ in 0..20 {
            acknowledged.push(self.clients.wait(client.create(&child, b"", &open, mode))?);
        }
        // Who leads next is decided by the ids, not by who happens to have heard the last word.
        self.ensemble.wait_until_level(&[1, 2, 3])?;
        self.ensemble.kill(id)?;
        self.note(&format!("leader {id} killed"));
        drop(client);
        self.ensemble.wait_until_new_leader(others)?;
        for other in others {
            let (client, _events) = self.clients.connect(&self.ensemble.address(*other))?;
            self.clients.wait(client.sync("/"))?;
            for path in &acknowledged {
                let there = self.clients.wait(client.exists(path, Watch::No))?;
                ensure!(there.is_some(), "{path} was acknowledged and is lost at {other}");
            }
            self.clients.wait(client.close())?;
        }
        Ok(())
    }

    fn restart_and_compare(&mut self, id: u8) -> Result<()> {
        self.ensemble.start(id)?;
        self.ensemble.wait_until_serving(&[id])?;
        self.note(&format!("member {id} restarted"));
        self.write_through(&[id])?;
        self.ensemble.ensure_same_tree(&self.clients, &[1, 2, 3])
    }

    fn restart_and_compare_running(&mut self, id: u8) -> Result<()> {
        self.ensemble.kill(id)?;
        self.restart_and_compare(id)
    }

    /// Takes a follower everything it has: the leader sends it the whole tree.
    fn wipe(&mut self, id: u8) -> Result<()> {
        self.ensemble.kill(id)?;
        self.ensemble.wipe(id)?;
        let from = self.ensemble.log(id).len();
        self.ensemble.start(id)?;
        self.ensemble.wait_until_serving(&[id])?;
        let word = match self.ensemble.kind(id) {
            Java => "Getting a snapshot from leader",
            Zab => "history replaced by a snapshot",
        };
        self.ensemble.wait_for_line(id, from, &[word])?;
        self.note(&format!("member {id} wiped and back"));
        self.ensemble.ensure_same_tree(&self.clients, &[1, 2, 3])
    }

    /// The leader stops as asked to; the others go on at once.
    fn hand_over(&mut self, id: u8) -> Result<()> {
        let others: Vec<_> = self.ensemble.ids().filter(|other| *other != id).collect();
        self.ensemble.terminate(id)?;
        self.ensemble.wait_until_new_leader(&others)?;
        self.write_through(&others)?;
        self.ensemble.ensure_same_tree(&self.clients, &others)
    }

    /// The leader logs a write that no follower sees; then all are dead.
    fn leave_a_tail(&mut self, leader: u8, followers: &[u8]) -> Result<()> {
        let (client, _events) = self.clients.connect(&self.ensemble.address(leader))?;
        self.ensemble.wait_until_level(&[1, 2, 3])?;
        // A paused process does not read what is in its sockets, and dies with it.
        for id in followers {
            self.ensemble.running(*id)?.pause()?;
        }
        let writer = client.clone();
        let written = self.clients.start(async move {
            writer.create("/tail", b"", &[Acl::OPEN], CreateMode::Persistent).await
        });
        wait_briefly_for(PATIENCE, "the leader to log the write", || {
            Ok(self.ensemble.log_files_hold(leader, b"/tail")?.then_some(()))
        })?;
        for id in followers {
            self.ensemble.kill(*id)?;
        }
        self.ensemble.kill(leader)?;
        let answer = self.clients.wait(async { written.await.expect("it does not panic") });
        ensure!(answer.is_err(), "one of three acknowledged a write");
        self.note(&format!("all are dead, and {leader} has a tail"));
        Ok(())
    }
}

fn expect_code<T: std::fmt::Debug>(answer: Result<T>, expected: ErrorCode) -> Result<()> {
    match answer {
        Ok(answer) => anyhow::bail!("expected {expected}, and was answered {answer:?}"),
        Err(error) => {
            let error = error.downcast::<Error>()?;
            ensure!(
                error == Error::Zookeeper(expected),
                "expected {expected}, and was told {error}"
            );
            Ok(())
        }
    }
}
