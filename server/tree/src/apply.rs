//! Transactions become changes of the tree. Deterministic: nothing but tree and transaction counts.
//!
//! There are two modes. *Live*, the transaction follows the tree's last one, and must fit: if it
//! does not, this server has another tree than the one that prepared it, and stops. *Replay*, it
//! may be in the tree already, because a snapshot of a Java server is fuzzy: written while the tree
//! went on, it holds some of the changes after its zxid. Then what is there already, or gone
//! already, is left so, and these rules make the tree converge once all has been replayed:
//! - a parent's `cversion` and `pzxid` only move forward;
//! - a delete moves `pzxid` even if the child is gone, and takes along children (they were created
//!   later, so their creates come again);
//! - a create of an existing znode gives it its ACL again (ZOOKEEPER-3306, -4846);
//! - `last_zxid` moves when the whole transaction is in, sessions and all members of a multi
//!   included (ZOOKEEPER-3127, -3144).

use std::sync::Arc;

use bytes::BytesMut;
use jute::data::{Acl, Stat, StatPersisted};
use jute::multi::{MultiResponse, MultiResult};
use jute::response::{Create2Response, PathResponse};
use jute::txn::{MultiMember, Txn, TxnHeader};
use jute::{Encode, ErrorCode, OpCode};

use crate::acl::AclList;
use crate::change::{Change, ChangeKind};
use crate::node::Owner;
use crate::path;
use crate::tree::{DataTree, NewNode};

/// What may be expected of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// It follows the last one and fits.
    Live,
    /// The tree may hold it, and later ones, already: a log or a sync stream after a snapshot.
    Replay,
}

/// What came of a transaction: all that the reply to its request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnResult {
    /// Of op Create.
    Create {
        /// The path, with its sequence number if it has one.
        path: Arc<str>,
    },
    /// Of Create2, CreateContainer and CreateTtl.
    Create2 {
        /// The path, with its sequence number if it has one.
        path: Arc<str>,
        /// The Stat of the new znode.
        stat: Stat,
    },
    /// Of Delete.
    Delete,
    /// Of SetData and Reconfig.
    SetData {
        /// The Stat afterwards.
        stat: Stat,
    },
    /// Of SetAcl.
    SetAcl {
        /// The Stat afterwards.
        stat: Stat,
    },
    /// Of Check.
    Check,
    /// Of CreateSession.
    CreateSession,
    /// Of CloseSession.
    CloseSession,
    /// An [`ErrorCode`] number. In a failed multi: 0 for the members before the one that failed.
    Error {
        /// The number.
        code: i32,
    },
    /// One result per member. A failed multi has errors only.
    Multi(Vec<TxnResult>),
}

impl TxnResult {
    /// The `err` of the reply header. A failed multi has 0 there: its body tells.
    #[must_use]
    pub const fn err(&self) -> i32 {
        match self {
            Self::Error { code } => *code,
            _ => 0,
        }
    }

    /// Writes the record that follows the reply header; nothing for an error, and for those
    /// operations that have none.
    pub fn encode_body(&self, out: &mut BytesMut) {
        match self {
            Self::Create { path } => PathResponse { path }.encode(out),
            Self::Create2 { path, stat } => Create2Response { path, stat: *stat }.encode(out),
            Self::SetData { stat } | Self::SetAcl { stat } => stat.encode(out),
            Self::Multi(members) => {
                let results = members.iter().map(Self::as_multi_result).collect();
                MultiResponse { results }.encode(out);
            }
            Self::Delete
            | Self::Check
            | Self::CreateSession
            | Self::CloseSession
            | Self::Error { .. } => {}
        }
    }

    fn as_multi_result(&self) -> MultiResult<'_> {
        match self {
            Self::Create { path } => MultiResult::Create(PathResponse { path }),
            Self::Create2 { path, stat } => {
                MultiResult::Create2(Create2Response { path, stat: *stat })
            }
            Self::Delete => MultiResult::Delete,
            Self::SetData { stat } => MultiResult::SetData(*stat),
            Self::Check => MultiResult::Check,
            Self::Error { code } => MultiResult::Error(*code),
            Self::SetAcl { .. } | Self::CreateSession | Self::CloseSession | Self::Multi(_) => {
                unreachable!("a multi has no such member")
            }
        }
    }
}

/// A create transaction of any kind.
struct Create<'a> {
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: &'a [Acl<'a>],
    owner: Owner,
    parent_cversion: i32,
}

impl DataTree {
    /// Applies a transaction, adds what watches must know to `changes`, and returns what the reply
    /// needs. Takes over nothing but copies of the transaction's data.
    ///
    /// # Panics
    /// In [`ApplyMode::Live`], when the transaction is not newer than the tree or does not fit:
    /// the servers have diverged.
    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        mode: ApplyMode,
        changes: &mut Vec<Change>,
    ) -> TxnResult {
        assert!(
            mode == ApplyMode::Replay || header.zxid > self.last_zxid,
            "transaction {:#x} is applied to a tree at {:#x}",
            header.zxid,
            self.last_zxid
        );
        let result = match txn {
            Txn::Multi(members) => self.apply_multi(header, members, mode, changes),
            txn => self.apply_one(header, header.op, txn, mode, changes),
        };
        self.last_zxid = self.last_zxid.max(header.zxid);
        result
    }

    fn apply_multi(
        &mut self,
        header: &TxnHeader,
        members: &[MultiMember<'_>],
        mode: ApplyMode,
        changes: &mut Vec<Change>,
    ) -> TxnResult {
        let is_error = |member: &MultiMember<'_>| matches!(member.txn, Txn::Error { .. });
        let Some(failed) = members.iter().position(is_error) else {
            let apply = |member: &MultiMember<'_>| {
                self.apply_one(header, member.op, &member.txn, mode, changes)
            };
            return TxnResult::Multi(members.iter().map(apply).collect());
        };
        // A Java leader leaves the members before the failed one as they were; they did not happen.
        let code = |(index, member): (usize, &MultiMember<'_>)| TxnResult::Error {
            code: match member.txn {
                Txn::Error { code } => code,
                _ if index < failed => 0,
                _ => ErrorCode::RuntimeInconsistency.code(),
            },
        };
        TxnResult::Multi(members.iter().enumerate().map(code).collect())
    }

    fn apply_one(
        &mut self,
        header: &TxnHeader,
        op: OpCode,
        txn: &Txn<'_>,
        mode: ApplyMode,
        changes: &mut Vec<Change>,
    ) -> TxnResult {
        let result = match txn {
            Txn::Create(txn) => {
                let owner = match txn.ephemeral {
                    true => Owner::Session(header.client_id),
                    false => Owner::Nobody,
                };
                let (path, data, acl) = (txn.path, txn.data, &txn.acl[..]);
                let parent_cversion = txn.parent_cversion;
                let create = Create { path, data, acl, owner, parent_cversion };
                self.create(header, op, &create, mode, changes)
            }
            Txn::CreateContainer(txn) => {
                let (path, data, acl) = (txn.path, txn.data, &txn.acl[..]);
                let (owner, parent_cversion) = (Owner::Container, txn.parent_cversion);
                let create = Create { path, data, acl, owner, parent_cversion };
                self.create(header, op, &create, mode, changes)
            }
            Txn::CreateTtl(txn) => {
                let (path, data, acl) = (txn.path, txn.data, &txn.acl[..]);
                let parent_cversion = txn.parent_cversion;
                let owner = Owner::Ttl { ttl_ms: txn.ttl_ms };
                let create = Create { path, data, acl, owner, parent_cversion };
                self.create(header, op, &create, mode, changes)
            }
            Txn::Delete(txn) => self.delete(header.zxid, txn.path, mode, changes),
            Txn::SetData(txn) => self.set_data(header, txn.path, txn.data, txn.version, changes),
            Txn::SetAcl(txn) => self.set_acl(txn.path, &txn.acl, txn.version),
            Txn::Check(_) => Ok(TxnResult::Check),
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(header.client_id, *timeout_ms);
                Ok(TxnResult::CreateSession)
            }
            Txn::CloseSession { paths } => {
                let listed = paths.as_deref().unwrap_or_default();
                self.close_session(header, listed, mode, changes);
                Ok(TxnResult::CloseSession)
            }
            Txn::Error { code } => Ok(TxnResult::Error { code: *code }),
            Txn::Multi(_) => panic!("transaction {:#x} has a multi in a multi", header.zxid),
        };
        match (result, mode) {
            (Ok(result), _) => result,
            (Err(code), ApplyMode::Replay) => TxnResult::Error { code: code.code() },
            (Err(code), ApplyMode::Live) => panic!(
                "transaction {:#x} does not fit the tree, the servers have diverged: {code} for \
                 {txn:?}",
                header.zxid
            ),
        }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        op: OpCode,
        create: &Create<'_>,
        mode: ApplyMode,
        changes: &mut Vec<Change>,
    ) -> Result<TxnResult, ErrorCode> {
        let parent_path = path::parent(create.path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.get(parent_path).ok_or(ErrorCode::NoNode)?;
        let parent_acl = self.acl(parent).clone();
        let cversion = match create.parent_cversion {
            -1 => parent.stat.cversion.wrapping_add(1),
            cversion => cversion,
        };
        let moves_parent = cversion > parent.stat.cversion;
        let acl = AclList::from_wire(create.acl);
        let exists = self.get(create.path).is_some();
        if exists && mode == ApplyMode::Live {
            return Err(ErrorCode::NodeExists);
        }
        if moves_parent {
            self.change_stat(parent_path, |stat| {
                stat.cversion = cversion;
                stat.pzxid = header.zxid;
            });
        }
        if exists {
            self.replace_acl(create.path, acl)?;
            return Err(ErrorCode::NodeExists);
        }
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            ctime_ms: header.time_ms,
            mtime_ms: header.time_ms,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: create.owner.to_persisted(),
            pzxid: header.zxid,
        };
        let number = self.acls.add_use(acl.clone());
        let new = NewNode { path: create.path, data: create.data, acl: number, stat };
        let node = self.insert_node(&new);
        let (path, stat) = (node.path.clone(), node.stat());
        changes.push(Change {
            zxid: header.zxid,
            kind: ChangeKind::Created,
            path: path.clone(),
            acl,
            parent_acl,
        });
        Ok(match op {
            OpCode::Create => TxnResult::Create { path },
            _ => TxnResult::Create2 { path, stat },
        })
    }

    fn delete(
        &mut self,
        zxid: i64,
        path: &str,
        mode: ApplyMode,
        changes: &mut Vec<Change>,
    ) -> Result<TxnResult, ErrorCode> {
        let parent_path = path::parent(path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.get(parent_path).ok_or(ErrorCode::NoNode)?;
        let parent_acl = self.acl(parent).clone();
        if let Some(node) = self.get(path)
            && node.children.is_some()
        {
            match mode {
                ApplyMode::Live => return Err(ErrorCode::NotEmpty),
                ApplyMode::Replay => self.remove_below(path),
            }
        }
        self.change_stat(parent_path, |stat| stat.pzxid = stat.pzxid.max(zxid));
        let node = self.get(path).ok_or(ErrorCode::NoNode)?;
        let acl = self.acl(node).clone();
        let node = self.remove_node(path).ok_or(ErrorCode::NoNode)?;
        let path = node.path.clone();
        changes.push(Change { zxid, kind: ChangeKind::Deleted, path, acl, parent_acl });
        Ok(TxnResult::Delete)
    }

    /// Removes all znodes below `path`, children before parents.
    fn remove_below(&mut self, path: &str) {
        while let Some(child) = self.get(path).and_then(|node| node.next_child_after(None)) {
            let child = child.clone();
            self.remove_below(&child);
            self.remove_node(&child);
        }
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        changes: &mut Vec<Change>,
    ) -> Result<TxnResult, ErrorCode> {
        let path = if path.is_empty() { path::ROOT } else { path };
        let node = self.replace_data(path, data, version, header.zxid, header.time_ms);
        let node = node.ok_or(ErrorCode::NoNode)?;
        let (path, stat, acl) = (node.path.clone(), node.stat(), node.acl);
        changes.push(Change {
            zxid: header.zxid,
            kind: ChangeKind::DataChanged,
            path,
            acl: self.acls.get(acl).clone(),
            parent_acl: AclList::OPEN,
        });
        Ok(TxnResult::SetData { stat })
    }

    fn set_acl(
        &mut self,
        path: &str,
        acl: &[Acl<'_>],
        version: i32,
    ) -> Result<TxnResult, ErrorCode> {
        let path = if path.is_empty() { path::ROOT } else { path };
        self.replace_acl(path, AclList::from_wire(acl))?;
        let node = self.change_stat(path, |stat| stat.aversion = version);
        let stat = node.ok_or(ErrorCode::NoNode)?.stat();
        Ok(TxnResult::SetAcl { stat })
    }

    /// Ends a session: its ephemerals go, first those that the transaction lists, then what else it
    /// owns (all, where the transaction lists none). As in Java a listed znode that is gone already
    /// is passed over, in both modes.
    fn close_session(
        &mut self,
        header: &TxnHeader,
        listed: &[&str],
        mode: ApplyMode,
        changes: &mut Vec<Change>,
    ) {
        for path in listed {
            let _gone_already = self.delete(header.zxid, path, mode, changes);
        }
        let rest: Vec<Arc<str>> = self.ephemerals_of(header.client_id).cloned().collect();
        for path in rest {
            let _gone_already = self.delete(header.zxid, &path, mode, changes);
        }
        self.sessions.remove(&header.client_id);
    }
}
