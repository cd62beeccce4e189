//! A data directory of ours starts Apache ZooKeeper, and one of its starts ours: the same tree, Stats, ACLs, sessions
//! and counters.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use client::{Acl, CreateMode, Session, Watch};
use e2e::clients::Clients;
use e2e::ensemble::Ensemble;
use e2e::scratch::{Scratch, ports};
use e2e::server::Kind::{self, Java, Zab};
use e2e::server::Server;
use e2e::whole_tree::{self, OWNER, authors_only};

#[test]
fn java_goes_on_with_a_directory_of_ours_and_ours_with_that() {
    let scratch = Scratch::new("ours-first").unwrap();
    goes_from_hand_to_hand(&scratch, &[Zab, Java, Zab, Java]).unwrap();
}

#[test]
fn ours_goes_on_with_a_directory_of_javas_and_java_with_that() {
    let scratch = Scratch::new("java-first").unwrap();
    goes_from_hand_to_hand(&scratch, &[Java, Zab, Java]).unwrap();
}

#[test]
fn members_change_kind_with_the_directory_they_have() {
    let mut ensemble = Ensemble::new("kinds", &[Zab, Zab, Zab]).unwrap();
    members_change_kind(&mut ensemble).unwrap();
}

/// One directory, and a server of each of these kinds in turn; each is killed, as in a crash.
fn goes_from_hand_to_hand(scratch: &Scratch, kinds: &[Kind]) -> Result<()> {
    let clients = Clients::new()?;
    let port = ports(1)?[0];
    let mut left: Option<Left> = None;
    for (turn, kind) in (0..).zip(kinds) {
        let place = || format!("turn {turn} of {kinds:?}");
        let mut server = Server::start_standalone(*kind, scratch.path(), port)?;
        server.wait_until_serving().with_context(place)?;
        let address = server.client_address().to_string();
        if let Some(left) = left {
            left.ensure_found(&clients, &address).with_context(place)?;
        }
        left = Some(Left::leave(&clients, &address, turn).with_context(place)?);
        server.kill()?;
    }
    Ok(())
}

/// What a server leaves behind for the next one.
struct Left {
    root: String,
    tree: whole_tree::WholeTree,
    session: Session,
}

impl Left {
    /// Writes some of everything, with a session that stays open.
    fn leave(clients: &Clients, address: &str, turn: u32) -> Result<Self> {
        let root = format!("/turn-{turn}");
        let (client, _events) = clients.connect(address)?;
        let session = client.session().context("connected")?;
        let open = [Acl::OPEN];
        let path = |name: &str| format!("{root}/{name}");
        let create = |name: &str, mode| {
            clients.wait(client.create(&path(name), name.as_bytes(), &open, mode))
        };
        clients.wait(client.create(&root, b"", &open, CreateMode::Persistent))?;
        clients.wait(client.add_auth("digest", OWNER.as_bytes()))?;
        clients.wait(client.create(
            &path("guarded"),
            "grüße 𝄞".as_bytes(),
            &[authors_only()],
            CreateMode::Persistent,
        ))?;
        create("queue", CreateMode::Persistent)?;
        for _ in 0..3 {
            create("queue/n-", CreateMode::PersistentSequential)?;
        }
        clients.wait(client.delete(&path("queue/n-0000000002"), -1))?;
        create("ephemeral", CreateMode::Ephemeral)?;
        create("ephemeral-", CreateMode::EphemeralSequential)?;
        create("changed", CreateMode::Persistent)?;
        for _ in 0..4 {
            clients.wait(client.set_data(&path("changed"), &[7; 3000], -1))?;
        }
        clients.wait(client.set_acl(&path("changed"), &[authors_only(), read_only()], 0))?;
        create("name with ü and 日本", CreateMode::Persistent)?;
        // A refused write takes its place in the log too.
        ensure!(create("changed", CreateMode::Persistent).is_err());
        let tree = whole_tree::read(clients, address)?;
        // The session outlives its connection. A client that went on with it would do so again at the next server,
        // and take it from the one that looks for it there.
        drop(client);
        Ok(Self { root, tree, session })
    }

    /// The next server has all of it.
    fn ensure_found(&self, clients: &Clients, address: &str) -> Result<()> {
        let found = whole_tree::read(clients, address)?;
        whole_tree::ensure_same(("before", &self.tree), ("after", &found))?;
        let (client, _events) = clients.resume(address, self.session)?;
        let next = format!("{}/queue/n-", self.root);
        let mode = CreateMode::PersistentSequential;
        let next = clients.wait(client.create(&next, b"", &[Acl::OPEN], mode))?;
        ensure!(next.ends_with("n-0000000003"), "the counter goes on, and gave {next}");
        let ephemeral = format!("{}/ephemeral", self.root);
        let stat = clients.wait(client.exists(&ephemeral, Watch::No))?.context("an ephemeral")?;
        ensure!(stat.ephemeral_owner == self.session.id, "{stat:?}");
        clients.wait(client.close())?;
        let (other, _events) = clients.connect(address)?;
        let gone = clients.wait(other.exists(&ephemeral, Watch::No))?.is_none();
        ensure!(gone, "the session is closed, and its ephemeral znode is still there");
        clients.wait(other.close())
    }
}

fn read_only() -> Acl<'static> {
    Acl { perms: client::permission::READ, ..Acl::OPEN }
}

/// Three members of ours become Java's with their directories, epoch files included, and the other way round.
fn members_change_kind(ensemble: &mut Ensemble) -> Result<()> {
    let clients = Clients::new()?;
    let all = [1, 2, 3];
    let mut left: Option<Left> = None;
    for (turn, kinds) in (0..).zip([[Zab; 3], [Java, Java, Zab], [Zab, Zab, Java]]) {
        let place = || format!("turn {turn}, {kinds:?}");
        for (id, kind) in all.into_iter().zip(kinds) {
            ensemble.start_as(id, kind)?;
        }
        ensemble.wait_until_serving(&all).with_context(place)?;
        ensemble.wait_until_new_leader(&all).with_context(place)?;
        let address = ensemble.address(turn + 1);
        if let Some(left) = left {
            left.ensure_found(&clients, &address).with_context(place)?;
        }
        ensemble.ensure_same_tree(&clients, &all).with_context(place)?;
        left = Some(Left::leave(&clients, &address, turn.into()).with_context(place)?);
        ensemble.ensure_same_tree(&clients, &all).with_context(place)?;
        for id in all {
            ensemble.kill(id)?;
            let epoch = |name: &str| -> Result<u64> {
                let file = ensemble.folder().join(format!("{id}/data/version-2/{name}"));
                Ok(fs::read_to_string(file)?.trim().parse()?)
            };
            let (current, accepted) = (epoch("currentEpoch")?, epoch("acceptedEpoch")?);
            ensure!(current == accepted, "member {id} is in {current} and promised {accepted}");
            ensure!(current > u64::from(turn), "an epoch for every turn, and it is {current}");
        }
    }
    Ok(())
}
