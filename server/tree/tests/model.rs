//! Random histories against a naive model, and the laws that hold for every history.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeMap;

use jute::OpCode;
use jute::data::Acl;
use jute::multi::{MultiOp, MultiRequest};
use jute::request::{CreateRequest, DeleteRequest, SetDataRequest};
use jute::{Encode, ErrorCode};
use proptest::prelude::*;
use support::{Server, dump, replay, snapshot};
use tree::{DataTree, TreeReader, TxnResult};

/// A write, over few names so that writes meet.
#[derive(Clone, Debug)]
enum Op {
    Create { path: String, data: u8, flags: i32 },
    Delete { path: String, version: i32 },
    Set { path: String, data: u8, version: i32 },
    Multi(Vec<Op>),
    CloseSession,
    CreateSession,
}

/// Some writes stay pending until the next that does not.
#[derive(Clone, Debug)]
struct Step {
    session: i64,
    op: Op,
    pending: bool,
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]", 1..4).prop_map(|names| format!("/{}", names.join("/")))
}

fn simple() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (path(), any::<u8>(), prop_oneof![3 => Just(0), 1 => 1..4])
            .prop_map(|(path, data, flags)| Op::Create { path, data, flags }),
        2 => (path(), -1..3).prop_map(|(path, version)| Op::Delete { path, version }),
        2 => (path(), any::<u8>(), -1..3)
            .prop_map(|(path, data, version)| Op::Set { path, data, version }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        8 => simple(),
        2 => prop::collection::vec(simple(), 0..5).prop_map(Op::Multi),
        1 => Just(Op::CloseSession),
        1 => Just(Op::CreateSession),
    ];
    (1..4_i64, op, any::<bool>()).prop_map(|(session, op, pending)| Step { session, op, pending })
}

impl Op {
    fn member(&self) -> MultiOp<'_> {
        match self {
            Self::Create { path, data, flags } => MultiOp::Create(CreateRequest {
                path,
                data: Some(std::slice::from_ref(data)),
                acl: Some(vec![Acl::OPEN]),
                flags: *flags,
            }),
            Self::Delete { path, version } => {
                MultiOp::Delete(DeleteRequest { path, version: *version })
            }
            Self::Set { path, data, version } => MultiOp::SetData(SetDataRequest {
                path,
                data: Some(std::slice::from_ref(data)),
                version: *version,
            }),
            Self::Multi(_) | Self::CloseSession | Self::CreateSession => unreachable!(),
        }
    }

    fn request(&self) -> (OpCode, bytes::Bytes) {
        match self {
            Self::Multi(ops) => {
                let ops = ops.iter().map(Op::member).collect();
                (OpCode::Multi, MultiRequest { ops }.to_bytes())
            }
            Self::CloseSession => (OpCode::CloseSession, bytes::Bytes::new()),
            Self::CreateSession => (OpCode::CreateSession, 5000_i32.to_bytes()),
            op => match op.member() {
                MultiOp::Create(request) => (OpCode::Create, request.to_bytes()),
                MultiOp::Delete(request) => (OpCode::Delete, request.to_bytes()),
                MultiOp::SetData(request) => (OpCode::SetData, request.to_bytes()),
                _ => unreachable!(),
            },
        }
    }
}

/// ZooKeeper in its simplest form: a map of paths, each write whole or not at all.
#[derive(Clone, Debug, Default)]
struct Model {
    nodes: BTreeMap<String, ModelNode>,
    sessions: BTreeMap<i64, ()>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelNode {
    data: u8,
    version: i32,
    owner: i64,
    created_children: i32,
}

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        model.nodes.insert("/".into(), ModelNode::default());
        model
    }

    fn children(&self, path: &str) -> usize {
        self.nodes.keys().filter(|it| *it != "/" && parent(it) == path).count()
    }

    fn write(&mut self, session: i64, op: &Op) -> Result<Option<String>, ErrorCode> {
        if let Op::CreateSession = op {
            self.sessions.insert(session, ());
            return Ok(None);
        }
        if let Op::CloseSession = op {
            self.sessions.remove(&session);
            self.nodes.retain(|_, node| node.owner != session);
            return Ok(None);
        }
        if let Op::Multi(ops) = op {
            let before = self.clone();
            for op in ops {
                if let Err(code) = self.write(session, op) {
                    *self = before;
                    return Err(code);
                }
            }
            return Ok(None);
        }
        if !self.sessions.contains_key(&session) {
            return Err(ErrorCode::SessionExpired);
        }
        match op {
            Op::Create { path, data, flags } => {
                let over = self.nodes.get_mut(parent(path)).ok_or(ErrorCode::NoNode)?;
                let number = over.created_children;
                let over_owner = over.owner;
                let path = match flags & 2 {
                    0 => path.clone(),
                    _ => format!("{path}{number:010}"),
                };
                if self.nodes.contains_key(&path) {
                    return Err(ErrorCode::NodeExists);
                }
                if over_owner != 0 {
                    return Err(ErrorCode::NoChildrenForEphemerals);
                }
                self.nodes.get_mut(parent(&path)).unwrap().created_children += 1;
                let owner = if flags & 1 == 0 { 0 } else { session };
                let node = ModelNode { data: *data, owner, ..ModelNode::default() };
                self.nodes.insert(path.clone(), node);
                Ok(Some(path))
            }
            Op::Delete { path, version } => {
                self.nodes.get(parent(path)).ok_or(ErrorCode::NoNode)?;
                let node = self.nodes.get(path).ok_or(ErrorCode::NoNode)?;
                check_version(node.version, *version)?;
                if self.children(path) > 0 {
                    return Err(ErrorCode::NotEmpty);
                }
                self.nodes.remove(path);
                Ok(None)
            }
            Op::Set { path, data, version } => {
                let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
                check_version(node.version, *version)?;
                node.data = *data;
                node.version += 1;
                Ok(None)
            }
            Op::Multi(_) | Op::CloseSession | Op::CreateSession => unreachable!(),
        }
    }
}

fn parent(path: &str) -> &str {
    tree::path::parent(path).unwrap()
}

fn check_version(version: i32, expected: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == version { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

/// The error of a result: for a multi that of the member that failed.
fn error_of(result: &TxnResult) -> Option<ErrorCode> {
    match result {
        TxnResult::Error { code } => ErrorCode::from_code(*code),
        TxnResult::Multi(members) => members.iter().find_map(error_of),
        _ => None,
    }
}

/// Runs steps through leader and tree, comparing each result with the model's.
fn run(steps: &[Step]) -> (Server, Model) {
    let (mut server, mut model) = (Server::default(), Model::new());
    let mut expected = Vec::new();
    let opened = [1, 2, 3].map(|session| Step { session, op: Op::CreateSession, pending: true });
    for step in opened.iter().chain(steps) {
        let (op, body) = step.op.request();
        server.now_ms += 1;
        server.prepare(step.session, op, &body);
        expected.push((step, model.write(step.session, &step.op)));
        if !step.pending {
            check(&mut server, &mut expected);
        }
    }
    check(&mut server, &mut expected);
    (server, model)
}

fn check(server: &mut Server, expected: &mut Vec<(&Step, Result<Option<String>, ErrorCode>)>) {
    for (step, outcome) in expected.drain(..) {
        let result = server.apply_next(&mut String::new()).unwrap();
        assert_eq!(error_of(&result), outcome.as_ref().err().copied(), "{step:?}");
        if let (TxnResult::Create { path }, Ok(Some(expected))) = (&result, &outcome) {
            assert_eq!(&**path, expected, "{step:?}");
        }
    }
}

fn compare(tree: &DataTree, model: &Model) {
    for (path, expected) in &model.nodes {
        let node = tree.get(path).unwrap_or_else(|| panic!("{path} is missing"));
        let children = model.children(path) + usize::from(path == "/");
        assert_eq!(node.num_children() as usize, children, "children of {path}");
        assert_eq!(node.children().len(), children);
        assert!(node.children().is_sorted());
        let found = ModelNode {
            data: node.data().and_then(|data| data.first()).copied().unwrap_or_default(),
            version: node.stat().version,
            owner: node.stat().ephemeral_owner,
            created_children: node.persisted().cversion,
        };
        assert_eq!(&found, expected, "{path}");
    }
    // The root is in both; the three znodes of the server's own are not in the model.
    assert_eq!(tree.node_count(), model.nodes.len() + 3);
    let owned = model.nodes.values().filter(|node| node.owner != 0).count();
    assert_eq!(tree.ephemeral_count(), owned);
    assert!(tree.sessions().map(|(id, _)| id).eq(model.sessions.keys().copied()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_does_what_a_naive_map_does(steps in prop::collection::vec(step(), 1..150)) {
        let (server, model) = run(&steps);
        compare(&server.tree, &model);
        assert_eq!(server.prep.outstanding_len(), 0);
    }

    #[test]
    fn applying_history_again_changes_nothing(
        steps in prop::collection::vec(step(), 1..150),
        from in 0..150_usize,
    ) {
        let (mut server, _) = run(&steps);
        let before = dump(&server.tree);
        // A fuzzy snapshot is tagged with an earlier zxid than some of what it holds.
        let from = from.min(server.history.len());
        replay(&mut server.tree, &server.history[from..]);
        assert_eq!(dump(&server.tree), before);
    }

    #[test]
    fn snapshot_and_history_lead_to_the_same_tree(
        steps in prop::collection::vec(step(), 1..60),
        seed in any::<u64>(),
    ) {
        let (server, _) = run(&steps);
        let mut replayed = DataTree::new(seed);
        replay(&mut replayed, &server.history);
        assert_eq!(dump(&replayed), dump(&server.tree));
        assert_eq!(snapshot(&replayed), server.snapshot());
        let mut reader = TreeReader::new(seed ^ 1);
        reader.feed(&server.snapshot()).unwrap();
        assert_eq!(dump(&reader.finish(server.zxid).unwrap()), dump(&server.tree));
    }

    #[test]
    fn noise_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _refused_or_not = TreeReader::new(1).feed(&bytes);
    }
}
