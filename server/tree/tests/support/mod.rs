//! A server without consensus for the tests: prepares, applies, fires watches, and keeps history.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of this")]

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use jute::data::{Acl, Id, Stat, permission};
use jute::multi::{MultiOp, MultiRequest};
use jute::request::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, SetAclRequest,
    SetDataRequest,
};
use jute::txn::decode_log_payload;
use jute::{Encode, OpCode, OwnedId};
use tree::{
    AclList, ApplyMode, DataTree, Prep, PrepRequest, TreeReader, TreeWriter, TxnResult, WatchTable,
};

pub struct Server {
    pub tree: DataTree,
    pub prep: Prep,
    pub watches: WatchTable,
    pub ids: BTreeMap<i64, Vec<OwnedId>>,
    pub now_ms: i64,
    pub zxid: i64,
    pub cxid: i32,
    pending: VecDeque<Bytes>,
    pub history: Vec<Bytes>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            tree: DataTree::new(1),
            prep: Prep::new(),
            watches: WatchTable::new(),
            ids: BTreeMap::new(),
            now_ms: 1_000_000,
            zxid: 0,
            cxid: 0,
            pending: VecDeque::new(),
            history: Vec::new(),
        }
    }
}

impl Server {
    /// Decides a request; its transaction stays pending.
    pub fn prepare(&mut self, session: i64, op: OpCode, body: &[u8]) -> Bytes {
        self.zxid += 1;
        self.cxid += 1;
        let request = PrepRequest {
            session,
            cxid: self.cxid,
            op,
            body,
            auth: self.ids.get(&session).map_or(&[], |ids| &ids[..]),
            zxid: self.zxid,
            time_ms: self.now_ms,
        };
        let payload = self.prep.prepare(&self.tree, &request);
        self.pending.push_back(payload.clone());
        payload
    }

    /// Applies the oldest pending transaction; returns its result and prints it with its events.
    pub fn apply_next(&mut self, out: &mut String) -> Option<TxnResult> {
        let payload = self.pending.pop_front()?;
        let decoded = decode_log_payload(&payload).unwrap();
        let mut changes = Vec::new();
        let (header, txn) = (decoded.header, decoded.txn);
        let result = self.tree.apply(&header, &txn, ApplyMode::Live, &mut changes);
        self.prep.applied(header.zxid);
        if let Some(digest) = decoded.digest {
            assert_eq!(digest.digest, self.tree.digest(), "digest of {header:?} {txn:?}");
        }
        for change in &changes {
            self.watches.fire(change, &mut |watcher, event| {
                let ids = self.ids.get(&watcher.0.cast_signed());
                let told = match event.may_be_told_to(ids.map_or(&[], |ids| &ids[..])) {
                    true => "",
                    false => " (not told)",
                };
                let (kind, path) = (event.event, event.path);
                writeln!(out, "  s{} ← {kind} {path}{told}", watcher.0).unwrap();
            });
        }
        let mut shown = show_result(&result);
        if let jute::txn::Txn::CloseSession { paths: Some(paths) } = &txn {
            write!(shown, " [{}]", paths.join(" ")).unwrap();
        }
        writeln!(out, "{:#x} {shown}", header.zxid).unwrap();
        self.history.push(payload);
        Some(result)
    }

    pub fn apply_all(&mut self) -> String {
        let mut out = String::new();
        while self.apply_next(&mut out).is_some() {}
        out
    }

    /// Applies all of history to the tree again, as after a fuzzy snapshot.
    pub fn replay_history(&mut self) -> Result<String, Box<dyn Error>> {
        let before = dump(&self.tree);
        replay(&mut self.tree, &self.history);
        Ok(if dump(&self.tree) == before { "same tree\n".into() } else { "another tree\n".into() })
    }

    /// Replaces the tree by one read from its snapshot.
    pub fn reload(&mut self) -> String {
        let bytes = self.snapshot();
        let digest = self.tree.digest();
        let mut reader = TreeReader::new(99);
        let fed = reader.feed(&bytes).unwrap();
        assert_eq!(fed, tree::snapshot::Fed::Done { consumed: bytes.len() });
        self.tree = reader.finish(self.tree.last_zxid()).unwrap();
        assert_eq!(self.tree.digest(), digest);
        assert_eq!(self.snapshot(), bytes);
        format!("{} znodes\n", self.tree.node_count())
    }

    pub fn snapshot(&self) -> Bytes {
        snapshot(&self.tree)
    }
}

pub fn snapshot(tree: &DataTree) -> Bytes {
    let mut out = BytesMut::new();
    let progress = TreeWriter::new(tree.freeze()).next_chunk(usize::MAX, &mut out);
    assert_eq!(progress, tree::snapshot::Progress::Done);
    out.freeze()
}

/// All of a tree that a client could ever see, as text: ACLs by content, not by number.
pub fn dump(tree: &DataTree) -> String {
    let mut out = String::new();
    let mut open = vec!["/".to_owned()];
    while let Some(path) = open.pop() {
        let node = tree.get(&path).unwrap();
        let (acl, data) = (acl_text(tree.acl(node)), node.data());
        writeln!(out, "{path} {data:?} {acl} {:?} {:?}", node.persisted(), node.stat()).unwrap();
        let parent = if path == "/" { "" } else { &path };
        open.extend(node.children().map(|name| format!("{parent}/{name}")));
    }
    for (session, paths) in tree.ephemerals() {
        writeln!(out, "{session:#x} owns {:?}", paths.collect::<Vec<_>>()).unwrap();
    }
    let (sessions, counts) =
        (tree.sessions().collect::<Vec<_>>(), (tree.node_count(), tree.data_size()));
    writeln!(out, "{sessions:?} {counts:?} {:#x} {:#x}", tree.digest(), tree.last_zxid()).unwrap();
    out
}

pub fn replay(tree: &mut DataTree, history: &[Bytes]) {
    for payload in history {
        let decoded = decode_log_payload(payload).unwrap();
        tree.apply(&decoded.header, &decoded.txn, ApplyMode::Replay, &mut Vec::new());
    }
}

/// The body of a single write, or nothing when the command is no write.
pub fn body<'k>(
    name: &str,
    args: &[&str],
    key: &impl Fn(&str) -> Option<&'k str>,
) -> Result<Option<(OpCode, Bytes)>, Box<dyn Error>> {
    let version = |name| key(name).map_or(Ok(-1), str::parse);
    let path = args.first().copied().unwrap_or_default();
    let data = args.get(1).map(|data| data.as_bytes());
    let acl = match key("acl") {
        Some("null") => None,
        Some("empty") => Some(Vec::new()),
        Some(text) => Some(parse_acl(text)?),
        None => Some(vec![Acl::OPEN]),
    };
    let flags = match key("flags").unwrap_or_default() {
        "" => 0,
        "e" => 1,
        "s" => 2,
        "es" => 3,
        number => number.parse()?,
    };
    Ok(Some(match name {
        "session" => {
            let timeout_ms: i32 = key("timeout").unwrap_or("10000").parse()?;
            (OpCode::CreateSession, timeout_ms.to_bytes())
        }
        "close" => (OpCode::CloseSession, Bytes::new()),
        "create" => (OpCode::Create, CreateRequest { path, data, acl, flags }.to_bytes()),
        "create2" => (OpCode::Create2, CreateRequest { path, data, acl, flags }.to_bytes()),
        "container" => {
            (OpCode::CreateContainer, CreateRequest { path, data, acl, flags }.to_bytes())
        }
        "ttl" => {
            let ttl_ms = 1000;
            (OpCode::CreateTtl, CreateTtlRequest { path, data, acl, flags, ttl_ms }.to_bytes())
        }
        "delete" => {
            let version = version("version")?;
            (OpCode::Delete, DeleteRequest { path, version }.to_bytes())
        }
        "set" => {
            let version = version("version")?;
            (OpCode::SetData, SetDataRequest { path, data, version }.to_bytes())
        }
        "setacl" => {
            let version = version("version")?;
            (OpCode::SetAcl, SetAclRequest { path, acl, version }.to_bytes())
        }
        "garbage" => {
            let op = OpCode::from_code(path.parse()?).ok_or("no such operation")?;
            (op, Bytes::from_static(b"\0\0\0\x7f"))
        }
        _ => return Ok(None),
    }))
}

/// Members, split by `|`: `create /a data flags`, `create2 …`, `container …`, `delete /a version`,
/// `set /a data version`, `check /a version`, `get /a`.
pub fn multi_body(members: &str) -> Result<(OpCode, Bytes), Box<dyn Error>> {
    let mut ops = Vec::new();
    for member in members.split('|').map(str::trim).filter(|member| !member.is_empty()) {
        let words: Vec<&str> = member.split(' ').collect();
        let path = words[1];
        let number = |at: usize| words.get(at).map_or(Ok(-1), |it| it.parse::<i32>());
        let data = words.get(2).map(|data| data.as_bytes());
        let flags = words.get(3).map_or(Ok(0), |it| it.parse())?;
        let create = CreateRequest { path, data, acl: Some(vec![Acl::OPEN]), flags };
        ops.push(match words[0] {
            "create" => MultiOp::Create(create),
            "create2" => MultiOp::Create2(create),
            "container" => MultiOp::CreateContainer(create),
            "delete" => MultiOp::Delete(DeleteRequest { path, version: number(2)? }),
            "set" => MultiOp::SetData(SetDataRequest { path, data, version: number(3)? }),
            "check" => MultiOp::Check(CheckVersionRequest { path, version: number(2)? }),
            "get" => MultiOp::GetData(jute::request::ReadRequest { path, watch: false }),
            other => return Err(format!("no such member: {other}").into()),
        });
    }
    Ok((OpCode::Multi, MultiRequest { ops }.to_bytes()))
}

/// `scheme:id:perms,…`, perms as in `cdrwa`.
pub fn parse_acl(text: &str) -> Result<Vec<Acl<'_>>, Box<dyn Error>> {
    let entry = |entry| -> Result<Acl<'_>, Box<dyn Error>> {
        let (scheme, rest): (&str, &str) = str::split_once(entry, ':').ok_or("no scheme")?;
        let (id, letters) = rest.rsplit_once(':').ok_or("no permissions")?;
        let perms = letters.chars().map(permission_of).sum();
        Ok(Acl { perms, id: Id { scheme, id: Cow::Borrowed(id) } })
    };
    text.split(',').map(entry).collect()
}

fn permission_of(letter: char) -> i32 {
    match letter {
        'r' => permission::READ,
        'w' => permission::WRITE,
        'c' => permission::CREATE,
        'd' => permission::DELETE,
        'a' => permission::ADMIN,
        _ => 0,
    }
}

pub fn acl_text(list: &AclList) -> String {
    let entry = |entry: &Acl<'_>| {
        let letters: String =
            "rwcda".chars().filter(|it| entry.perms & permission_of(*it) != 0).collect();
        format!("{}:{}:{letters}", entry.id.scheme, entry.id.id)
    };
    list.to_wire().iter().map(entry).collect::<Vec<_>>().join(",")
}

pub fn show_stat(stat: &Stat) -> String {
    format!(
        "c={:#x}@{} m={:#x}@{} p={:#x} v={} cv={} av={} owner={:#x} length={} children={}",
        stat.czxid,
        stat.ctime_ms,
        stat.mzxid,
        stat.mtime_ms,
        stat.pzxid,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

fn show_result(result: &TxnResult) -> String {
    match result {
        TxnResult::Create { path } => format!("created {path}"),
        TxnResult::Create2 { path, stat } => format!("created {path} {}", show_stat(stat)),
        TxnResult::Delete => "deleted".into(),
        TxnResult::SetData { stat } | TxnResult::SetAcl { stat } => {
            format!("set {}", show_stat(stat))
        }
        TxnResult::Check => "checked".into(),
        TxnResult::CreateSession => "session created".into(),
        TxnResult::CloseSession => "session closed".into(),
        TxnResult::Error { code: 0 } => "undone".into(),
        TxnResult::Error { code } => match jute::ErrorCode::from_code(*code) {
            Some(code) => code.to_string(),
            None => code.to_string(),
        },
        TxnResult::Multi(members) => {
            let members: Vec<_> = members.iter().map(show_result).collect();
            format!("multi [{}]", members.join(" | "))
        }
    }
}
