//! The notation of the scripts.

use std::fmt::Write as _;

use zab::{Membership, Message, Notification, Output, PeerState, ServerId, Standing, Status, Zxid};

/// One line for what a peer does. `other` is the server at the far end of the link concerned.
pub(crate) fn line(id: ServerId, output: &Output, other: Option<ServerId>) -> String {
    let other = other.map_or("?".to_string(), |other| format!("s{other}"));
    match output {
        Output::Notify { to, notification } => {
            format!("s{id} → s{to} {}", notification_text(notification))
        }
        Output::Dial { leader, .. } => format!("s{id} dials s{leader}"),
        Output::Send { message, .. } => format!("s{id} → {other} {}", message_text(message)),
        Output::Close { why, .. } => format!("s{id} ✗ {other} {why}"),
        Output::Append { zxid, .. } => format!("s{id} append {zxid}"),
        Output::SaveEpochs { epochs } => {
            format!("s{id} save accepted={} current={}", epochs.accepted, epochs.current)
        }
        Output::Truncate { after } => format!("s{id} truncate after={after}"),
        Output::InstallSnapshot { zxid } => format!("s{id} install snapshot={zxid}"),
        Output::Deliver { zxid, .. } => format!("s{id} deliver {zxid}"),
        Output::Became(standing) => format!("s{id} ⇨ {}", standing_text(*standing)),
        Output::HandedOff => format!("s{id} handed off"),
    }
}

fn notification_text(notification: &Notification) -> String {
    let state = match notification.state {
        PeerState::Looking => "looking",
        PeerState::Following => "following",
        PeerState::Leading => "leading",
        PeerState::Observing => "observing",
    };
    let vote = notification.vote;
    let zxid = if vote.zxid < Zxid::ZERO { "none".to_string() } else { vote.zxid.to_string() };
    format!(
        "{state} s{} epoch={} last={zxid} round={}",
        vote.leader, vote.epoch, notification.round
    )
}

pub(crate) fn message_text(message: &Message) -> String {
    match message {
        Message::LearnerInfo { membership: Membership::Voter, accepted, .. } => {
            format!("FollowerInfo accepted={accepted}")
        }
        Message::LearnerInfo { membership: Membership::Observer, accepted, .. } => {
            format!("ObserverInfo accepted={accepted}")
        }
        Message::LeaderInfo { epoch } => format!("LeaderInfo epoch={epoch}"),
        Message::AckEpoch { current: Some(current), last } => {
            format!("AckEpoch current={current} last={last}")
        }
        Message::AckEpoch { current: None, last } => format!("AckEpoch current=none last={last}"),
        Message::Diff { to } => format!("Diff {to}"),
        Message::Trunc { to } => format!("Trunc {to}"),
        Message::Snap { to } => format!("Snap {to}"),
        Message::Propose { zxid, .. } => format!("Propose {zxid}"),
        Message::Ack { zxid } => format!("Ack {zxid}"),
        Message::Commit { zxid } => format!("Commit {zxid}"),
        Message::Inform { zxid, .. } => format!("Inform {zxid}"),
        Message::NewLeader { epoch, .. } => format!("NewLeader {}", epoch.start()),
        Message::UpToDate => "UpToDate".to_string(),
        Message::Ping { zxid, .. } => format!("Ping {zxid}"),
    }
}

fn standing_text(standing: Standing) -> String {
    match standing {
        Standing::Looking => "LOOKING".to_string(),
        Standing::Leading { epoch } => format!("LEADING epoch={epoch}"),
        Standing::Following { leader, epoch, membership: Membership::Voter } => {
            format!("FOLLOWING s{leader} epoch={epoch}")
        }
        Standing::Following { leader, epoch, membership: Membership::Observer } => {
            format!("OBSERVING s{leader} epoch={epoch}")
        }
    }
}

/// One line for what a peer is.
pub(crate) fn status_line(status: &Status) -> String {
    let mut line = format!(
        "s{} {:?} {} last={} durable={} delivered={}",
        status.id,
        status.phase,
        standing_text(status.standing),
        status.last_logged,
        status.last_durable,
        status.last_committed
    );
    for learner in &status.learners {
        let synced = if learner.synced { "synced" } else { "syncing" };
        write!(line, " s{}:{synced}@{}", learner.id, learner.acked)
            .expect("writing to a string cannot fail");
    }
    line
}
