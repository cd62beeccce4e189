//! What Zab decides: translated into outputs, and its deliveries applied to the tree.

use jute::txn::TxnHeader;
use jute::{Decode, OpCode, Reader};
use tree::{ApplyMode, TxnResult};
use zab::{LinkId, Message, Standing, Zxid};

use bytes::Bytes;

use super::{Replica, Role, snapshot_interval};
use crate::config::Mode;
use crate::io::{Changes, Now, Outcome, Output, PeerMessage, Rebuild, Report, ShardOutput};
use crate::leading::{Leading, Proposed};
use crate::learning::Learning;
use crate::request::{Client, Origin, SessionId, ShardId};
use crate::session_tracker::{Owner, SessionTracker};

impl Replica {
    /// Carries out what the peer wants done, in order.
    pub(super) fn carry_out(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let mut from_peer = std::mem::take(&mut self.from_peer);
        let mut wanted = from_peer.drain(..);
        while self.catching_up.is_none()
            && let Some(output) = wanted.next()
        {
            self.carry_out_in_order(now, output, outputs);
        }
        self.held.extend(wanted);
        self.from_peer = from_peer;
    }

    /// A shard has heard of all that is applied: what was held back goes on, then what came in meanwhile.
    pub(super) fn caught_up(&mut self, now: Now, shard: ShardId, outputs: &mut Vec<Output>) {
        assert_eq!(
            self.catching_up.take(),
            Some(shard),
            "a shard says that it has caught up when asked"
        );
        while self.catching_up.is_none()
            && let Some(output) = self.held.pop_front()
        {
            self.carry_out_in_order(now, output, outputs);
        }
        while self.catching_up.is_none()
            && let Some(input) = self.waiting.pop_front()
        {
            self.take(now, input, outputs);
        }
    }

    /// Carries out one of the peer's wishes, unless reads must be answered first: then it is held back.
    fn carry_out_in_order(&mut self, now: Now, output: zab::Output, outputs: &mut Vec<Output>) {
        let Some(shard) = self.must_catch_up(&output) else {
            return self.carry_out_one(now, output, outputs);
        };
        self.catching_up = Some(shard);
        self.read_order.asked(shard);
        self.held.push_front(output);
        outputs.push(Output::Shard(ShardOutput::CatchUp { shard }));
    }

    /// The shard that may still have to answer reads before this is applied.
    fn must_catch_up(&self, output: &zab::Output) -> Option<ShardId> {
        let zab::Output::Deliver { zxid, payload } = output else { return None };
        let client = match &self.role {
            Role::Looking => None,
            Role::Leading(leading) => leading.reads_before(*zxid),
            Role::Learning(learning) if learning.is_idle() => None,
            Role::Learning(learning) => {
                let header = TxnHeader::decode(&mut Reader::new(payload)).ok()?;
                learning.reads_before(SessionId(header.client_id), header.cxid, *zxid)
            }
        };
        client.filter(|client| !self.read_order.is_caught_up(*client)).map(|client| client.shard)
    }

    fn carry_out_one(&mut self, now: Now, output: zab::Output, outputs: &mut Vec<Output>) {
        let output = match output {
            zab::Output::Deliver { zxid, payload } => {
                self.deliver(now, zxid, &payload, outputs);
                return;
            }
            zab::Output::Append { append, zxid, payload } => {
                Output::Append { append, zxid, payload }
            }
            zab::Output::Send { link, message: Message::Snap { to } } => {
                let tree = self.tree.read().freeze();
                assert_eq!(tree.last_zxid(), to.0, "SNAP stands for what was delivered");
                self.counters.snapshots_sent += 1;
                Output::SendSnapshot { link, to, tree }
            }
            zab::Output::Send {
                link,
                message: message @ (Message::Commit { zxid } | Message::Inform { zxid, .. }),
            } => {
                outputs.push(Output::Send { link, message: PeerMessage::Zab(message) });
                self.send_owed(link, zxid, outputs);
                return;
            }
            zab::Output::Send { link, message } => {
                self.counters.diffs_sent += u64::from(matches!(message, Message::Diff { .. }));
                let message = PeerMessage::Zab(self.with_touched(message));
                Output::Send { link, message }
            }
            zab::Output::Notify { to, notification } => Output::Notify { to, notification },
            zab::Output::Dial { link, leader } => {
                self.dialed = Some(link);
                Output::Dial { link, leader }
            }
            zab::Output::Close { link, why } => Output::Close { link, why },
            zab::Output::SaveEpochs { epochs } => Output::SaveEpochs { epochs },
            zab::Output::Truncate { after } => {
                let rebuild =
                    if self.applied() > after { Rebuild::FromDisk } else { Rebuild::Keep };
                Output::Truncate { after, rebuild }
            }
            zab::Output::InstallSnapshot { zxid } => {
                let received = self.received.take().expect("a snapshot came in just now");
                let tree = received.freeze();
                self.installing.push_back(received);
                Output::InstallSnapshot { zxid, tree }
            }
            zab::Output::Became(standing) => {
                self.became(now, standing, outputs);
                Output::Report(Report::Became(standing))
            }
            zab::Output::HandedOff => Output::HandedOff,
        };
        outputs.push(output);
    }

    /// A learner answers PING with the sessions its clients touched.
    fn with_touched(&mut self, message: Message) -> Message {
        match (message, &self.role) {
            (Message::Ping { zxid, .. }, Role::Learning(_)) => {
                Message::Ping { zxid, sessions: self.take_touched() }
            }
            (message, _) => message,
        }
    }

    fn became(&mut self, now: Now, standing: Standing, outputs: &mut Vec<Output>) {
        let was_serving = !matches!(self.role, Role::Looking);
        self.prep.clear();
        // From now on no shard reads the tree that has not heard of this.
        self.mark += 1;
        self.tree.write().set_mark(self.mark);
        self.role = match standing {
            Standing::Looking => Role::Looking,
            Standing::Leading { .. } => {
                let mut tracker = SessionTracker::new(self.config.zab.tick_ms);
                for (session, timeout_ms) in self.tree.read().sessions() {
                    tracker.add(now.monotonic, SessionId(session), timeout_ms);
                }
                Role::Leading(Box::new(Leading::new(tracker)))
            }
            Standing::Following { .. } => {
                let link = self.dialed.expect("a learner has dialed its leader");
                Role::Learning(Box::new(Learning::new(link)))
            }
        };
        if self.config.mode == Mode::Ensemble && standing != Standing::Looking {
            // Every server writes the configuration it works under into its own tree, outside the digest.
            let (text, version) = (&self.config.zab.config_text, self.config.zab.config_version);
            self.tree.write().set_config(text, version, now.wall_ms);
        }
        match standing {
            Standing::Looking if was_serving => outputs.push(Output::Shard(ShardOutput::Halted)),
            Standing::Looking => {}
            Standing::Leading { .. } | Standing::Following { .. } => {
                outputs.push(Output::Shard(ShardOutput::Serving { mark: self.mark }));
            }
        }
    }

    /// Applies a committed transaction, then tells whom it concerns: watchers, the one who asked, `sync`s behind it.
    fn deliver(&mut self, now: Now, zxid: Zxid, payload: &Bytes, outputs: &mut Vec<Output>) {
        let decoded = jute::txn::decode_log_payload(payload).unwrap_or_else(|error| {
            panic!("transaction {zxid} was committed and cannot be read: {error}")
        });
        let (header, txn) = (decoded.header, decoded.txn);
        assert_eq!(header.zxid, zxid.0, "a transaction carries its own zxid");
        // Before it serves, a server may be handed transactions that a fuzzy snapshot already holds.
        let mode = match self.role {
            Role::Looking => ApplyMode::Replay,
            Role::Leading(_) | Role::Learning(_) => ApplyMode::Live,
        };
        let result = self.tree.write().apply(&header, &txn, mode, &mut self.changes);
        let changes = Changes::take(&mut self.changes);
        self.prep.applied(zxid.0);
        outputs.push(Output::Shard(ShardOutput::Applied { zxid, changes }));
        self.session_effects(now, &header, &txn);
        self.answer(&header, zxid, result, outputs);
        if header.op == OpCode::CloseSession {
            let session = SessionId(header.client_id);
            outputs.push(Output::Shard(ShardOutput::SessionClosed { session }));
        }
        self.answer_syncs(zxid, outputs);
        self.answer_learner_syncs(outputs);
        self.count_for_snapshot(now, zxid, outputs);
    }

    fn session_effects(&mut self, now: Now, header: &TxnHeader, txn: &jute::txn::Txn<'_>) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let session = SessionId(header.client_id);
        match txn {
            jute::txn::Txn::CreateSession { timeout_ms } => {
                leading.tracker.add(now.monotonic, session, *timeout_ms);
            }
            jute::txn::Txn::CloseSession { .. } => leading.tracker.remove(session),
            _ => {}
        }
    }

    /// Answers the client of this server that asked for the transaction, if it was one.
    fn answer(
        &mut self,
        header: &TxnHeader,
        zxid: Zxid,
        result: TxnResult,
        outputs: &mut Vec<Output>,
    ) {
        let session = SessionId(header.client_id);
        let waiting = match &mut self.role {
            Role::Looking => None,
            Role::Leading(leading) => match leading.delivered(zxid) {
                Some(Proposed { origin: Origin::Client(client), xid, op, .. }) => {
                    // Only a new session: an old one may have moved on while this was under way.
                    if op == OpCode::CreateSession {
                        leading.tracker.set_owner(session, Owner::Leader);
                    }
                    Some((client, xid, op))
                }
                Some(Proposed {
                    origin: Origin::Learner(link), op: OpCode::CreateSession, ..
                }) => {
                    leading.tracker.set_owner(session, Owner::Learner(link));
                    None
                }
                _ => None,
            },
            Role::Learning(learning) => learning
                .answered(session, header.cxid, zxid)
                .map(|forwarded| (forwarded.client, forwarded.xid, forwarded.op)),
        };
        let Some((client, xid, op)) = waiting else {
            return;
        };
        if op == OpCode::CreateSession {
            self.answer_handshake(client, session, &result, outputs);
        } else {
            self.reply(client, xid, zxid, Outcome::Txn(result), outputs);
        }
    }

    fn answer_handshake(
        &mut self,
        client: Client,
        session: SessionId,
        result: &TxnResult,
        outputs: &mut Vec<Output>,
    ) {
        let timeout_ms = self.tree.read().session_timeout_ms(session.0);
        outputs.push(Output::Shard(match timeout_ms {
            Some(timeout_ms) => super::established(client, session, timeout_ms),
            None => {
                debug_assert!(
                    !matches!(result, TxnResult::CreateSession),
                    "created and yet not there"
                );
                ShardOutput::Refused { client }
            }
        }));
    }

    fn send_owed(&mut self, link: LinkId, zxid: Zxid, outputs: &mut Vec<Output>) {
        if let Role::Leading(leading) = &mut self.role {
            let due = leading.due_to_learner(link, zxid).into_iter();
            outputs.extend(due.map(|message| Output::Send { link, message }));
        }
    }

    fn answer_syncs(&mut self, zxid: Zxid, outputs: &mut Vec<Output>) {
        loop {
            let Role::Leading(leading) = &mut self.role else {
                return;
            };
            let Some((client, xid)) = leading.due_client_sync(zxid) else {
                return;
            };
            self.synced(client, xid, outputs);
        }
    }

    /// Takes a snapshot when enough was applied; only while serving, when all that is applied is committed for good.
    fn count_for_snapshot(&mut self, now: Now, zxid: Zxid, outputs: &mut Vec<Output>) {
        self.counters.applied += 1;
        self.applied_since_snapshot = self.applied_since_snapshot.saturating_add(1);
        if self.applied_since_snapshot < self.snapshot_due
            || matches!(self.role, Role::Looking)
            || now.monotonic.since(self.last_snapshot) < self.config.snapshot_gap_ms_min
        {
            return;
        }
        self.applied_since_snapshot = 0;
        self.last_snapshot = now.monotonic;
        // Spread by zxid as well, so that the servers' rhythms do not fall into step.
        let salt = self.config.zab.id.0 ^ zxid.0.unsigned_abs();
        self.snapshot_due = snapshot_interval(self.config.snapshot_txns, salt);
        let tree = self.tree.read().freeze();
        outputs.push(Output::TakeSnapshot { zxid, tree });
    }
}
