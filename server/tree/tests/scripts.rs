//! Runs the stories under `testdata/`: requests in, results, events and digests out.
//!
//! A command's prefix is the session that asks (`s1:> create /a hello`); `s1` is session 0x1. A
//! write is prepared, applied at once and answered, unless it is tagged `[pending]`: then it is
//! applied, in order, by the next `apply` or by the next write without the tag. Watches are set by
//! tagging a read `[watch]`. Every transaction's digest, which the leader predicts, is compared with
//! the tree's.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{Command, Context};
use jute::{ErrorCode, OwnedId};
use support::{Server, acl_text, body, multi_body, parse_acl, show_stat};
use tree::watch::{Rearmed, SetWatches};
use tree::{WatchKind, WatcherId};

#[test]
fn every_story_ends_as_written() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut scripts: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 8, "the stories are under {directory}");
    for script in scripts {
        goldenscript::run(&mut Stories::default(), &script)
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    }
}

#[derive(Default)]
struct Stories {
    server: Server,
}

type Printed = Result<String, Box<dyn Error>>;

impl goldenscript::Runner for Stories {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Printed {
        let session = match context.prefix.as_deref() {
            Some(prefix) => prefix.trim_start_matches('s').parse()?,
            None => 0,
        };
        let tagged = |tag: &str| context.tags.contains(tag);
        let mut words = command.name.split(' ').map(unescape);
        let name = words.next().unwrap_or_default();
        let (mut args, mut keys) = (Vec::new(), BTreeMap::new());
        let words: Vec<String> = words.collect();
        for word in &words {
            match word.split_once('=') {
                Some((key, value)) => drop(keys.insert(key, value)),
                None => args.push(word.as_str()),
            }
        }
        let key = |key: &str| keys.get(key).copied();
        self.server.now_ms += 10;
        if let Some((op, body)) = body(&name, &args, &key)? {
            self.server.prepare(session, op, &body);
            return Ok(if tagged("pending") { String::new() } else { self.server.apply_all() });
        }
        match name.as_str() {
            "multi" => {
                let (op, body) = multi_body(command.name.trim_start_matches("multi"))?;
                self.server.prepare(session, op, &body);
                Ok(if tagged("pending") { String::new() } else { self.server.apply_all() })
            }
            "apply" => Ok(self.server.apply_all()),
            "auth" => self.auth(session, args[0], args[1]),
            "ephemerals" => {
                let prefix = args.first().copied().unwrap_or_default();
                Ok(join(self.server.tree.get_ephemerals(session, prefix)))
            }
            "sessions" => Ok(join(
                self.server.tree.sessions().map(|(id, timeout_ms)| format!("{id:#x}:{timeout_ms}")),
            )),
            "addwatch" => {
                let kind = match args[1] {
                    "persistent" => WatchKind::Persistent,
                    "recursive" => WatchKind::PersistentRecursive,
                    other => return Err(format!("no such mode: {other}").into()),
                };
                self.watch(kind, args[0], session);
                Ok(String::new())
            }
            "disconnect" => {
                self.server.watches.remove_watcher(WatcherId(session.cast_unsigned()));
                Ok(String::new())
            }
            "watches" => {
                let watches = &self.server.watches;
                let paths = join(watches.paths_of(WatcherId(session.cast_unsigned())));
                let (all, at) = (watches.watch_count(), watches.path_count());
                Ok(format!("{paths} ({all} watches on {at} paths)\n"))
            }
            "set_watches" => self.set_watches(session, &key),
            "digest" => Ok(format!("{:#x}\n", self.server.tree.digest())),
            "replay" => self.server.replay_history(),
            "reload" => Ok(self.server.reload()),
            _ => self.read(&name, session, &args, tagged("watch")),
        }
    }
}

impl Stories {
    fn auth(&mut self, session: i64, scheme: &str, id: &str) -> Printed {
        let ids = self.server.ids.entry(session).or_default();
        match scheme {
            "digest" => {
                let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
                ids.extend(tree::acl::authenticate_digest(id.as_bytes(), super_digest));
            }
            _ => ids.push(OwnedId { scheme: scheme.into(), id: id.into() }),
        }
        Ok(join(ids.iter().map(|id| format!("{}:{}", id.scheme, id.id))))
    }

    fn watch(&mut self, kind: WatchKind, path: &str, session: i64) {
        let zxid = self.server.tree.last_zxid();
        self.server.watches.add(kind, path, WatcherId(session.cast_unsigned()), zxid);
    }

    fn read(&mut self, name: &str, session: i64, args: &[&str], watch: bool) -> Printed {
        let path = args.first().copied().unwrap_or_default();
        let ids = self.server.ids.get(&session).cloned().unwrap_or_default();
        let tree = &self.server.tree;
        let answer = match name {
            "get" => tree.get_data(path, &ids).map(|node| match node.data() {
                Some(data) => format!("{:?}", String::from_utf8_lossy(data)),
                None => "null".to_owned(),
            }),
            "exists" => tree.exists(path, &ids).map(|_| "yes".to_owned()),
            "stat" => tree.exists(path, &ids).map(|node| show_stat(&node.stat())),
            "ls" => tree
                .get_children(path, &ids)
                .map(|node| format!("[{}]", node.children().collect::<Vec<_>>().join(" "))),
            "getacl" => tree
                .get_acl(path, &ids)
                .map(|(acl, stat)| format!("{} aversion={}", acl_text(&acl), stat.aversion)),
            "count" => tree.get_all_children_number(path, &ids).map(|count| count.to_string()),
            other => return Err(format!("no such command: {other}").into()),
        };
        if watch {
            match (name, &answer) {
                ("get", Ok(_)) | ("exists", Ok(_) | Err(ErrorCode::NoNode)) => {
                    self.watch(WatchKind::Data, path, session);
                }
                ("ls", Ok(_)) => self.watch(WatchKind::Child, path, session),
                _ => {}
            }
        }
        Ok(match answer {
            Ok(text) => format!("{text}\n"),
            Err(code) => format!("{code}\n"),
        })
    }

    fn set_watches<'k>(&mut self, session: i64, key: &impl Fn(&str) -> Option<&'k str>) -> Printed {
        let list = |name| key(name).map(|it| it.split(',').collect()).unwrap_or_default();
        let lists: [Vec<&str>; 5] = ["data", "exist", "child", "persistent", "recursive"].map(list);
        let request = SetWatches {
            relative_zxid: key("since").unwrap_or("0").parse()?,
            data: &lists[0],
            exist: &lists[1],
            child: &lists[2],
            persistent: &lists[3],
            persistent_recursive: &lists[4],
        };
        let mut out = String::new();
        let rearmed: Vec<_> = request.evaluate(&self.server.tree).collect();
        for entry in rearmed {
            match entry {
                Rearmed::Missed { event, path } => writeln!(out, "missed {event} {path}")?,
                Rearmed::Armed { kind, path } => {
                    writeln!(out, "armed {kind:?} {path}")?;
                    self.watch(kind, path, session);
                }
            }
        }
        Ok(out)
    }
}

/// `""` is the empty word, `\0` a NUL.
fn unescape(word: &str) -> String {
    if word == "\"\"" { String::new() } else { word.replace("\\0", "\0") }
}

fn join(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]\n", items.join(" "))
}

#[test]
fn acl_lists_can_be_written_down_and_read() {
    let list = parse_acl("world:anyone:r,digest:u:h:cdrwa,ip:10.0.0.0/8:c").unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(list[1].perms, 31);
}
