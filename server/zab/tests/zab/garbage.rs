//! Peers that say anything at any time: a server may lose links over it, never its footing.

use std::collections::BTreeMap;

use bytes::Bytes;
use zab::{
    Epoch, Input, LinkId, Membership, Message, Notification, PeerState, ServerId, Vote, Zxid,
};

use crate::cluster::Cluster;
use crate::random::Random;

fn any_zxid(random: &mut Random) -> Zxid {
    match random.below(12) {
        0 => Zxid(-1),
        1 => Zxid(i64::MAX),
        2 => Zxid(i64::MIN),
        3 => Epoch(random.below(4) as u32).start(),
        _ => Zxid::new(Epoch(random.below(4) as u32), random.below(6) as u32),
    }
}

fn any_epoch(random: &mut Random) -> Epoch {
    match random.below(12) {
        0 => Epoch(u32::MAX),
        1 => Epoch(0x7fff_ffff),
        2 => Epoch(0x7fff_fffe),
        _ => Epoch(random.below(6) as u32),
    }
}

fn any_message(random: &mut Random) -> Message {
    let (zxid, epoch) = (any_zxid(random), any_epoch(random));
    let payload = Bytes::from_static(b"x");
    match random.below(14) {
        0 => Message::LearnerInfo {
            id: ServerId(random.below(5)),
            membership: if random.one_in(3) { Membership::Observer } else { Membership::Voter },
            accepted: epoch,
            config_version: i64::from(random.one_in(9)),
        },
        1 => Message::LeaderInfo { epoch },
        2 => Message::AckEpoch { current: (!random.one_in(3)).then_some(epoch), last: zxid },
        3 => Message::Diff { to: zxid },
        4 => Message::Trunc { to: zxid },
        5 => Message::Snap { to: zxid },
        6 | 7 => Message::Propose { zxid, payload },
        8 => Message::Ack { zxid },
        9 => Message::Commit { zxid },
        10 => Message::Inform { zxid, payload },
        11 => Message::NewLeader { epoch, config: Bytes::new() },
        12 => Message::UpToDate,
        _ => Message::Ping { zxid, sessions: Bytes::new() },
    }
}

fn any_notification(random: &mut Random) -> Notification {
    let states =
        [PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing];
    Notification {
        state: states[random.below(4) as usize],
        vote: Vote {
            epoch: any_epoch(random),
            zxid: any_zxid(random),
            leader: ServerId(random.below(5)),
        },
        round: if random.one_in(20) { u64::MAX } else { random.below(5) },
    }
}

/// What an honest peer would say next on this link, so that garbage meets every stage.
fn honest_message(cluster: &Cluster, id: ServerId, link: LinkId, said: u64) -> Message {
    let status = cluster.servers[&id].peer.as_ref().expect("it runs").status();
    let epoch = status.epochs.accepted;
    let last = status.last_logged;
    let next = if last.epoch() == epoch { last.next() } else { Zxid::new(epoch, 1) };
    let payload = Bytes::from_static(b"x");
    match (link.is_dialed(), said) {
        (true, 0) => Message::LeaderInfo { epoch: Epoch(epoch.0 + 1) },
        (true, 1) => Message::Diff { to: last },
        (true, 2 | 5) => Message::Propose { zxid: next, payload },
        (true, 3) => Message::NewLeader { epoch, config: Bytes::new() },
        (true, 4) => Message::UpToDate,
        (true, said) if said % 2 == 0 => Message::Commit { zxid: last },
        (true, _) => Message::Propose { zxid: next, payload },
        (false, 0) => Message::LearnerInfo {
            id: ServerId(2 + link.0 % 2),
            membership: Membership::Voter,
            accepted: epoch,
            config_version: 0,
        },
        (false, 1) => Message::AckEpoch { current: Some(Epoch(0)), last: Zxid::ZERO },
        (false, 2) => Message::Ack { zxid: epoch.start() },
        (false, said) if said % 2 == 0 => Message::Ping { zxid: last, sessions: Bytes::new() },
        (false, _) => Message::Ack { zxid: last },
    }
}

fn run(seed: u64) -> usize {
    let mut random = Random(seed);
    let garbage_in = [2, 8, 40][random.below(3) as usize];
    let mut said: BTreeMap<LinkId, u64> = BTreeMap::new();
    let mut cluster = Cluster::new(3, 0, |_| {});
    let id = ServerId(1);
    for other in [2, 3] {
        cluster.server(ServerId(other)).fake = true;
    }
    cluster.trusting = false;
    cluster.start(id, false);
    for _ in 0..400 {
        match random.below(24) {
            0 => {
                let from = ServerId(random.below(5));
                let notification = any_notification(&mut random);
                cluster.handle(id, Input::Notification { from, notification });
            }
            1 => {
                // A quorum for one of the others, or for itself.
                let round = random.below(4);
                let leader = ServerId(1 + random.below(3));
                let vote = Vote { epoch: Epoch(5), zxid: Zxid::new(Epoch(5), 9), leader };
                let notification = Notification { state: PeerState::Looking, vote, round };
                for from in [ServerId(2), ServerId(3)] {
                    let notification = notification.clone();
                    cluster.handle(id, Input::Notification { from, notification });
                }
            }
            2 => cluster.fake_dial(ServerId(2 + random.below(2)), id),
            3 => {
                cluster.now = cluster.now.plus(random.below(2000));
                cluster.tick();
            }
            4 => cluster.sync_one(id),
            5 => drop(cluster.propose(id, Bytes::from_static(b"y"))),
            6 if random.one_in(5) => cluster.handle(id, Input::HandOff),
            _ => {
                let links: Vec<LinkId> = cluster.links_of(id);
                let position = random.below(links.len().max(1) as u64) as usize;
                let Some(link) = links.get(position).copied() else { continue };
                let message = if random.one_in(garbage_in) {
                    any_message(&mut random)
                } else {
                    let said = said.entry(link).or_insert(0);
                    *said += 1;
                    honest_message(&cluster, id, link, *said - 1)
                };
                cluster.handle(id, Input::Message { link, message });
            }
        }
        if !random.one_in(4) {
            cluster.stabilize();
        }
    }
    cluster.trace.iter().filter(|line| line.contains('⇨') && !line.contains("LOOKING")).count()
}

#[test]
fn no_message_makes_a_peer_panic_or_break_its_log() {
    let mut served = 0;
    for seed in 0..1000 {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(count) => served += count,
            Err(panic) => {
                println!("failed with seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("began to serve {served} times");
    assert!(served > 50, "the garbage must reach every stage, but it served only {served} times");
}

#[test]
fn what_a_closed_link_says_is_ignored() {
    let mut cluster = Cluster::new(3, 0, |_| {});
    let id = ServerId(1);
    cluster.start(id, false);
    let message = Message::LeaderInfo { epoch: Epoch(3) };
    for link in [LinkId(7), LinkId::DIALED] {
        let before = cluster.trace.len();
        cluster.handle(id, Input::Message { link, message: message.clone() });
        cluster.handle(id, Input::LinkDown { link });
        assert_eq!(cluster.trace.len(), before, "{link:?} is not its link");
    }
}
