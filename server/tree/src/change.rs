//! What a transaction changed, as the watches of every shard need to know it.

use std::sync::Arc;

use crate::acl::AclList;

/// What happened to the znode of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created: its parent's children changed too.
    Created,
    /// It was deleted: its parent's children changed too.
    Deleted,
    /// Its data were replaced.
    DataChanged,
}

/// One change of one znode. Cheap to clone; the shards of a server share a batch of them.
///
/// The ACLs are those at the moment of the change: whoever may not read the znode is not told.
#[derive(Clone, Debug)]
pub struct Change {
    /// The transaction that changed it.
    pub zxid: i64,
    /// What happened.
    pub kind: ChangeKind,
    /// The znode.
    pub path: Arc<str>,
    /// Its ACL; of a deleted znode the last one it had.
    pub acl: AclList,
    /// The parent's ACL, which decides who is told that its children changed. Open for
    /// `DataChanged`, where no one is.
    pub parent_acl: AclList,
}
