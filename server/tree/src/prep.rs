//! The leader's half of a write: a request becomes a transaction.
//!
//! Everything there is to decide about a request is decided here, once: whether it may happen and,
//! if so, what exactly happens. Errors and the order in which they are looked for are those of
//! ZooKeeper. A request that fails becomes a transaction too (of type error): that is how it gets
//! its zxid and how the answer finds its way to the server that asked.
//!
//! Requests are decided faster than their transactions commit, so the tree is looked at through
//! [`Outstanding`], which holds what is decided and not yet applied.
//!
//! Sequential znodes are numbered by the parent's internal `cversion`, which counts creations only.

mod multi;
mod outstanding;

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use jute::data::{Acl, CreateMode, StatPersisted, permission};
use jute::request::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, SetAclRequest,
    SetDataRequest,
};
use jute::txn::{
    CheckVersionTxn, CloseSessionTxn, CreateContainerTxn, CreateSessionTxn, CreateTxn, DeleteTxn,
    ErrorTxn, SetAclTxn, SetDataTxn, TxnDigest, TxnHeader,
};
use jute::{Decode, Encode, ErrorCode, OpCode, OwnedId, Reader};

use crate::acl::{self, AclList};
use crate::digest;
use crate::node::Owner;
use crate::path;
use crate::tree::DataTree;
use outstanding::{Outstanding, PendingNode, Place};

/// A write request of a client, or of the server itself (createSession, closeSession).
#[derive(Clone, Copy, Debug)]
pub struct PrepRequest<'a> {
    /// The session that asks.
    pub session: i64,
    /// The client's number of the request.
    pub cxid: i32,
    /// What it asks for.
    pub op: OpCode,
    /// The record behind the request header, undecoded. Of CreateSession: the granted timeout as
    /// an int32.
    pub body: &'a [u8],
    /// What the connection has proved of its identity.
    pub auth: &'a [OwnedId],
    /// The zxid the transaction gets: the next one, used also when the request fails.
    pub zxid: i64,
    /// The leader's wall clock, milliseconds since 1970.
    pub time_ms: i64,
}

impl PrepRequest<'_> {
    fn header(&self, op: OpCode) -> TxnHeader {
        TxnHeader {
            client_id: self.session,
            cxid: self.cxid,
            zxid: self.zxid,
            time_ms: self.time_ms,
            op,
        }
    }
}

/// Room for transactions made at a time: they lie side by side, and each costs no memory
/// allocation of its own. They are dropped in the order they were made, so a chunk is not held long.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes by which a transaction may be longer than its request: header, digest, the ACL and the
/// numbers of a create.
const EXTRA_BYTES: usize = 128;

/// Decides requests, in the order of their zxids.
#[derive(Debug, Default)]
pub struct Prep {
    outstanding: Outstanding,
    /// Where the next transactions are written.
    chunk: BytesMut,
}

impl Prep {
    /// Nothing is outstanding.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides a request and returns the transaction as a log payload: header, transaction and,
    /// unless the request failed, the digest of the tree afterwards. `tree` must hold everything
    /// reported by [`applied`](Prep::applied), and nothing that was not decided here or before.
    ///
    /// A body that cannot be read fails with `MarshallingError`, an operation that is no write with
    /// `Unimplemented`.
    pub fn prepare(&mut self, tree: &DataTree, request: &PrepRequest<'_>) -> Bytes {
        let mut out = self.room(request.body.len() + EXTRA_BYTES);
        request.header(request.op).encode(&mut out);
        match self.decide(tree, request, &mut out) {
            Ok(()) => {
                let digest = self.outstanding.digest(tree).cast_signed();
                TxnDigest { version: digest::VERSION, digest }.encode(&mut out);
            }
            Err(code) => {
                out.clear();
                encode_refusal(request, code, &mut out);
            }
        }
        let payload = out.split().freeze();
        self.chunk = out;
        payload
    }

    /// The chunk, taken out, with at least this much room.
    fn room(&mut self, bytes: usize) -> BytesMut {
        let chunk = std::mem::take(&mut self.chunk);
        match chunk.capacity() >= bytes {
            true => chunk,
            false => BytesMut::with_capacity(CHUNK_BYTES.max(bytes)),
        }
    }

    /// The transaction of a request that fails with `code`, for reasons outside the tree.
    #[must_use]
    pub fn refuse(&self, request: &PrepRequest<'_>, code: ErrorCode) -> Bytes {
        let mut out = BytesMut::with_capacity(TxnHeader::SIZE + 4);
        encode_refusal(request, code, &mut out);
        out.freeze()
    }

    /// The tree holds all transactions up to `zxid` now.
    pub fn applied(&mut self, zxid: i64) {
        self.outstanding.applied(zxid);
    }

    /// Forgets all that is outstanding: the server leads no longer, or begins to lead.
    pub fn clear(&mut self) {
        self.outstanding = Outstanding::default();
    }

    /// The number of changes decided and not yet applied.
    #[must_use]
    pub fn outstanding_len(&self) -> usize {
        self.outstanding.len()
    }

    fn decide(
        &mut self,
        tree: &DataTree,
        request: &PrepRequest<'_>,
        out: &mut BytesMut,
    ) -> Result<(), ErrorCode> {
        let outstanding = &mut self.outstanding;
        if request.op == OpCode::Multi {
            return multi::decide(outstanding, tree, request, out);
        }
        let mut desk = Desk { outstanding, tree, request };
        match request.op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                desk.create(request.op, &desk.body()?, out)
            }
            OpCode::CreateTtl => desk.create_ttl(&desk.body()?),
            OpCode::Delete => desk.delete(&desk.body()?, out),
            OpCode::SetData => desk.set_data(&desk.body()?, out),
            OpCode::SetAcl => desk.set_acl(&desk.body()?, out),
            OpCode::CreateSession => desk.create_session(desk.body()?, out),
            OpCode::CloseSession => {
                desk.close_session(out);
                Ok(())
            }
            OpCode::Reconfig => Err(ErrorCode::ReconfigDisabled),
            _ => Err(ErrorCode::Unimplemented),
        }
    }
}

/// One request being decided. On success a method has written the transaction and noted what it
/// changes; on failure it has done neither.
struct Desk<'a> {
    outstanding: &'a mut Outstanding,
    tree: &'a DataTree,
    request: &'a PrepRequest<'a>,
}

impl<'a> Desk<'a> {
    /// Reads the body. Java ignores what follows the record.
    fn body<T: Decode<'a>>(&self) -> Result<T, ErrorCode> {
        T::decode(&mut Reader::new(self.request.body)).map_err(|_| ErrorCode::MarshallingError)
    }

    fn place<'p>(&self, path: &'p str) -> Place<'p> {
        self.outstanding.place(self.tree, path)
    }

    /// Notes what the transaction makes of a place.
    fn put(&mut self, place: Place<'_>) {
        self.outstanding.put(self.tree, self.request.zxid, place);
    }

    fn check_session(&self) -> Result<(), ErrorCode> {
        match self.outstanding.is_alive(self.tree, self.request.session) {
            true => Ok(()),
            false => Err(ErrorCode::SessionExpired),
        }
    }

    fn create(
        &mut self,
        op: OpCode,
        create: &CreateRequest<'_>,
        out: &mut BytesMut,
    ) -> Result<(), ErrorCode> {
        let mode = CreateMode::from_code(create.flags).ok_or(ErrorCode::BadArguments)?;
        let mode = match (op, mode) {
            // Containers come with either flag.
            (OpCode::CreateContainer, CreateMode::Persistent | CreateMode::Container) => {
                CreateMode::Container
            }
            // Java makes a persistent znode of a Create with the container flag, which is not what
            // was asked for; no client library sends it.
            (OpCode::CreateContainer, _)
            | (
                _,
                CreateMode::Container
                | CreateMode::PersistentTtl
                | CreateMode::PersistentSequentialTtl,
            ) => return Err(ErrorCode::BadArguments),
            (_, mode) => mode,
        };
        self.check_session()?;
        if !create.path.contains('/') || create.path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let acl = acl::fix_up(create.acl.as_deref(), self.request.auth)?;
        let parent_path = path::parent(create.path).unwrap_or(path::ROOT);
        let mut parent_place = self.place(parent_path);
        let parent = parent_place.node.as_mut().ok_or(ErrorCode::NoNode)?;
        parent.acl.check(permission::CREATE, self.request.auth)?;
        let mut path = Cow::Borrowed(create.path);
        if mode.is_sequential() {
            let written = write!(path.to_mut(), "{:010}", parent.stat.cversion);
            written.expect("a string takes all that is written");
        }
        path::check(&path)?;
        let mut place = self.place(&path);
        if place.node.is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if let Owner::Session(_) = Owner::from_persisted(parent.stat.ephemeral_owner) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }

        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        parent.stat.cversion = parent_cversion;
        parent.stat.pzxid = self.request.zxid;
        parent.num_children += 1;
        let node = self.new_node(&path, create.data, mode, acl);
        encode_create(&path, create.data, &node.acl.to_wire(), mode, parent_cversion, out);
        place.node = Some(node);
        self.put(parent_place);
        self.put(place);
        Ok(())
    }

    fn new_node(
        &self,
        path: &str,
        data: Option<&[u8]>,
        mode: CreateMode,
        acl: AclList,
    ) -> PendingNode {
        let PrepRequest { session, zxid, time_ms, .. } = *self.request;
        let owner = match mode {
            CreateMode::Container => Owner::Container,
            _ if mode.is_ephemeral() => Owner::Session(session),
            _ => Owner::Nobody,
        };
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime_ms: time_ms,
            mtime_ms: time_ms,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: owner.to_persisted(),
            pzxid: zxid,
        };
        let content_crc = digest::content_crc(path, data);
        PendingNode { stat, num_children: 0, acl, content_crc }
    }

    /// TTL znodes are an extended type, which is switched off (as it is by default in Java).
    fn create_ttl(&self, create: &CreateTtlRequest<'_>) -> Result<(), ErrorCode> {
        match CreateMode::from_code(create.flags) {
            Some(CreateMode::PersistentTtl | CreateMode::PersistentSequentialTtl) => {
                Err(ErrorCode::Unimplemented)
            }
            _ => Err(ErrorCode::BadArguments),
        }
    }

    fn delete(&mut self, delete: &DeleteRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        self.check_session()?;
        let path = delete.path;
        let parent_path = match path::parent(path) {
            Some(parent) if !path.contains('\0') && !path::is_special(path) => parent,
            _ => return Err(ErrorCode::BadArguments),
        };
        let mut parent_place = self.place(parent_path);
        let parent = parent_place.node.as_mut().ok_or(ErrorCode::NoNode)?;
        parent.acl.check(permission::DELETE, self.request.auth)?;
        let mut place = self.place(path);
        let node = place.node.take().ok_or(ErrorCode::NoNode)?;
        next_version(node.stat.version, delete.version)?;
        if node.num_children > 0 {
            return Err(ErrorCode::NotEmpty);
        }

        parent.stat.pzxid = self.request.zxid;
        parent.num_children -= 1;
        DeleteTxn { path }.encode(out);
        self.put(parent_place);
        self.put(place);
        Ok(())
    }

    fn set_data(&mut self, set: &SetDataRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        self.check_session()?;
        let SetDataRequest { path, data, version: expected } = *set;
        path::check(path)?;
        let mut place = self.place(path);
        let node = place.node.as_mut().ok_or(ErrorCode::NoNode)?;
        node.acl.check(permission::WRITE, self.request.auth)?;
        let version = next_version(node.stat.version, expected)?;

        node.stat.version = version;
        node.stat.mtime_ms = self.request.time_ms;
        node.stat.mzxid = self.request.zxid;
        node.content_crc = digest::content_crc(path, data);
        SetDataTxn { path, data, version }.encode(out);
        self.put(place);
        Ok(())
    }

    fn set_acl(&mut self, set: &SetAclRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        self.check_session()?;
        path::check(set.path)?;
        let acl = acl::fix_up(set.acl.as_deref(), self.request.auth)?;
        let mut place = self.place(set.path);
        let node = place.node.as_mut().ok_or(ErrorCode::NoNode)?;
        node.acl.check(permission::ADMIN, self.request.auth)?;
        let version = next_version(node.stat.aversion, set.version)?;

        node.stat.aversion = version;
        node.acl = acl;
        SetAclTxn { path: set.path, acl: node.acl.to_wire(), version }.encode(out);
        self.put(place);
        Ok(())
    }

    fn check(&self, check: &CheckVersionRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        self.check_session()?;
        path::check(check.path)?;
        let node = self.place(check.path).node.ok_or(ErrorCode::NoNode)?;
        node.acl.check(permission::READ, self.request.auth)?;
        let version = next_version(node.stat.version, check.version)?;
        CheckVersionTxn { path: check.path, version }.encode(out);
        Ok(())
    }

    fn create_session(
        &mut self,
        txn: CreateSessionTxn,
        out: &mut BytesMut,
    ) -> Result<(), ErrorCode> {
        txn.encode(out);
        self.outstanding.put_session(self.request.zxid, self.request.session, true);
        Ok(())
    }

    /// Lists what goes with the session: what it owns in the tree and in what is outstanding, but
    /// for what is about to be deleted. The session is not checked: the leader closes those that
    /// expired, and closing twice is harmless.
    fn close_session(&mut self, out: &mut BytesMut) {
        let PrepRequest { session, zxid, .. } = *self.request;
        let paths = self.outstanding.ephemerals_of(self.tree, session);
        CloseSessionTxn { paths: paths.iter().map(|path| &**path).collect() }.encode(out);
        for path in &paths {
            let mut parent_place = self.place(path::parent(path).unwrap_or(path::ROOT));
            if let Some(parent) = &mut parent_place.node {
                parent.stat.pzxid = zxid;
                parent.num_children -= 1;
                self.put(parent_place);
            }
            let mut place = self.place(path);
            place.node = None;
            self.put(place);
        }
        self.outstanding.put_session(zxid, session, false);
    }
}

fn encode_refusal(request: &PrepRequest<'_>, code: ErrorCode, out: &mut BytesMut) {
    request.header(OpCode::Error).encode(out);
    ErrorTxn { err: code.code() }.encode(out);
}

fn encode_create(
    path: &str,
    data: Option<&[u8]>,
    acl: &[Acl<'_>],
    mode: CreateMode,
    parent_cversion: i32,
    out: &mut BytesMut,
) {
    let acl = acl.to_vec();
    match mode {
        CreateMode::Container => {
            CreateContainerTxn { path, data, acl, parent_cversion }.encode(out);
        }
        _ => {
            let ephemeral = mode.is_ephemeral();
            CreateTxn { path, data, acl, ephemeral, parent_cversion }.encode(out);
        }
    }
}

/// The version after `current`, if `expected` allows the change. -1 means any version, so a version
/// never becomes -1 (ZOOKEEPER-4743).
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(match current.wrapping_add(1) {
        -1 => 0,
        next => next,
    })
}
