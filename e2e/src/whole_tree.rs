//! The whole tree of a server as its clients see it, to compare servers with each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use client::{Acl, Client, Stat, Watch};

use crate::clients::Clients;

/// Everything a client can learn of a znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    data: Option<Vec<u8>>,
    stat: Stat,
    acl: Vec<(i32, String, String)>,
}

/// All znodes by path.
pub type WholeTree = BTreeMap<String, Znode>;

/// Each server writes it anew for itself, with the time of its own clock.
const CONFIGURATION: &str = "/zookeeper/config";

/// Reads everything, after a `sync`, as [`OWNER`].
///
/// # Errors
/// Those of the server.
pub fn read(clients: &Clients, address: &str) -> Result<WholeTree> {
    let (client, _events) = clients.connect(address)?;
    clients.wait(client.add_auth("digest", OWNER.as_bytes()))?;
    clients.wait(client.sync("/"))?;
    let mut tree = WholeTree::new();
    let mut open = vec!["/".to_owned()];
    while let Some(path) = open.pop() {
        let mut names = clients.wait(client.get_children(&path, Watch::No))?;
        names.sort();
        let parent = path.trim_end_matches('/');
        open.extend(names.iter().map(|name| format!("{parent}/{name}")));
        if path != CONFIGURATION {
            let znode = read_one(clients, &client, &path)?;
            tree.insert(path, znode);
        }
    }
    clients.wait(client.close())?;
    Ok(tree)
}

/// Who owns the protected znodes of the tests: `user:password` of the `digest` scheme.
pub const OWNER: &str = "owner:secret";

fn read_one(clients: &Clients, client: &Client, path: &str) -> Result<Znode> {
    let (data, stat) = clients.wait(client.get_data(path, Watch::No))?;
    let (acl, acl_stat) = clients.wait(client.get_acl(path))?;
    ensure!(stat == acl_stat, "{path} has two Stats: {stat:?} and {acl_stat:?}");
    let acl = acl.into_iter().map(|entry| (entry.perms, entry.scheme, entry.id)).collect();
    Ok(Znode { data: data.map(|data| data.to_vec()), stat, acl })
}

/// Compares.
///
/// # Errors
/// Every path in which the two differ, with both versions.
pub fn ensure_same(one: (&str, &WholeTree), other: (&str, &WholeTree)) -> Result<()> {
    let mut differences = String::new();
    let paths: std::collections::BTreeSet<_> = one.1.keys().chain(other.1.keys()).collect();
    for path in paths {
        let (left, right) = (one.1.get(path), other.1.get(path));
        if left != right {
            writeln!(differences, "{path}\n  {}: {left:?}\n  {}: {right:?}", one.0, other.0)?;
        }
    }
    ensure!(differences.is_empty(), "{} and {} differ:\n{differences}", one.0, other.0);
    Ok(())
}

/// The ACL that gives everything to its author and nothing to others.
#[must_use]
pub fn authors_only() -> Acl<'static> {
    let id = client::Id { scheme: "auth", id: "".into() };
    Acl { perms: client::permission::ALL, id }
}
