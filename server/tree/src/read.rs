//! What clients read, with the permission checks and errors of Java. Answers are references into
//! the tree: the caller encodes them where they are to go.

use std::sync::Arc;

use jute::data::{Stat, permission};
use jute::{ErrorCode, OwnedId};

use crate::acl::AclList;
use crate::node::Znode;
use crate::path;
use crate::tree::DataTree;

impl DataTree {
    /// For getData: the znode, whose data and Stat are the answer.
    ///
    /// # Errors
    /// `NoNode` (also for a malformed path), `NoAuth` without READ.
    #[inline]
    pub fn get_data(&self, path: &str, ids: &[OwnedId]) -> Result<&Znode, ErrorCode> {
        let node = self.get(path).ok_or(ErrorCode::NoNode)?;
        self.acl(node).check(permission::READ, ids)?;
        Ok(node)
    }

    /// For exists: the znode, whose Stat is the answer. After `NoNode` a watch is still set.
    ///
    /// # Errors
    /// `BadArguments` for a path with NUL, `NoNode`, `NoAuth` without READ (ZOOKEEPER-2590).
    pub fn exists(&self, path: &str, ids: &[OwnedId]) -> Result<&Znode, ErrorCode> {
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        self.get_data(path, ids)
    }

    /// For getChildren and getChildren2: the znode, whose [`children`](Znode::children) (in order)
    /// and Stat are the answer.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth` without READ.
    pub fn get_children(&self, path: &str, ids: &[OwnedId]) -> Result<&Znode, ErrorCode> {
        self.get_data(path, ids)
    }

    /// For getACL: the list and the Stat. Whoever has READ but not ADMIN gets the hashes of digest
    /// ids masked.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth` with neither READ nor ADMIN.
    pub fn get_acl(&self, path: &str, ids: &[OwnedId]) -> Result<(AclList, Stat), ErrorCode> {
        let node = self.get(path).ok_or(ErrorCode::NoNode)?;
        let acl = self.acl(node);
        acl.check(permission::READ | permission::ADMIN, ids)?;
        let shown = match acl.check(permission::ADMIN, ids) {
            Ok(()) => acl.clone(),
            Err(_) => acl.masked(),
        };
        Ok((shown, node.stat()))
    }

    /// For getEphemerals: those of the session whose path begins with `prefix`, as text, in order.
    /// No ACL applies. A blank prefix and `/` mean all.
    pub fn get_ephemerals<'a>(
        &'a self,
        session: i64,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a str> + 'a {
        let prefix = match prefix.trim() {
            "" | path::ROOT => "",
            _ => prefix,
        };
        let paths = self.ephemerals_of(session).map(|path: &Arc<str>| &**path);
        paths.filter(move |path| path.starts_with(prefix))
    }

    /// For getAllChildrenNumber: the znodes below `path`. Takes time proportional to the answer,
    /// except for the root, whose answer is known.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth` without READ on `path` itself.
    pub fn get_all_children_number(&self, path: &str, ids: &[OwnedId]) -> Result<i32, ErrorCode> {
        let node = self.get_data(path, ids)?;
        let count = if node.path() == path::ROOT {
            self.node_count() - 1
        } else {
            let mut count = 0;
            let mut open = vec![node];
            while let Some(node) = open.pop() {
                for child in node.children.iter().flat_map(|children| children.iter()) {
                    count += 1;
                    let child = self.get(child).expect("a child is in the map");
                    if child.children.is_some() {
                        open.push(child);
                    }
                }
            }
            count
        };
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }
}
