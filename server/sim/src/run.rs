//! One seed from beginning to end: the safety phase, the liveness phase, and the reading back of everything.

use std::panic::{AssertUnwindSafe, catch_unwind};

use replica::SessionId;
use zab::Standing;

use crate::check::{Model, name};
use crate::planted::Planted;
use crate::profile::{MS, SECOND};
use crate::random::Random;
use crate::trace::{Show, Time, Violation};
use crate::world::{Phase, World};

/// The longest an ensemble may take to serve and commit after all faults are over. The longest pause of the protocol,
/// between two attempts of an election nobody answers, is a minute.
const RECOVERY_US_MAX: Time = 90 * SECOND;

/// The longest it may take afterwards until all servers have everything.
const SETTLING_US_MAX: Time = 20 * SECOND;

/// How to run a seed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The trace.
    pub show: Show,
    /// A fault of the protocol to look for.
    pub planted: Option<Planted>,
}

impl Default for Options {
    fn default() -> Self {
        Self { show: Show::Nothing, planted: None }
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub steps: u64,
    /// Virtual time, in microseconds.
    pub virtual_us: u64,
    /// Transactions committed.
    pub committed: u64,
    /// Answers clients got.
    pub answers: u64,
    /// Faults that struck.
    pub faults: u64,
    /// How long the ensemble took to recover when the faults were over, in microseconds.
    pub recovery_us: u64,
    /// A hash of all that happened: the same in every run of the seed.
    pub trace_hash: u64,
}

/// Runs one seed.
///
/// # Errors
/// The first violation of an invariant, also when an assertion of the production code has noticed it.
pub fn run(seed: u64, options: Options) -> Result<Summary, Violation> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let mut world = World::new(random, options.planted, options.show);
        let recovery_us = live(&mut world);
        match world.check.violation() {
            Some(violation) => Err(violation.clone()),
            None => Ok(summary(&world, recovery_us)),
        }
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let what = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = what.unwrap_or_else(|| "a panic without words".to_owned());
        Err(Violation { check: "Assertion", what, at_us: 0 })
    })
}

fn summary(world: &World, recovery_us: Time) -> Summary {
    Summary {
        steps: world.steps,
        virtual_us: world.now,
        committed: world.check.committed_len() as u64,
        answers: world.answers,
        faults: world.faults,
        recovery_us,
        trace_hash: world.trace.hash(),
    }
}

fn live(world: &mut World) -> Time {
    world.run_until(world.profile.safety_us);
    if world.check.violation().is_some() {
        return 0;
    }
    let healed_at = world.now;
    world.heal_everything();
    let recovered = run_while(world, RECOVERY_US_MAX, |world| !serves_everyone(world));
    if !recovered {
        let what = format!("after {} s: {}", RECOVERY_US_MAX / SECOND, standings(world));
        world.check.fail("Liveness", what);
        return 0;
    }
    let recovery_us = world.now - healed_at;
    world.phase = Phase::Quiet;
    if !run_while(world, SETTLING_US_MAX, |world| !has_settled(world)) {
        let what = format!("not all servers have everything: {}", standings(world));
        world.check.fail("Convergence", what);
    }
    let timeout_us = world.profile.session_timeout_ms.unsigned_abs() as u64 * MS;
    let expiry_us = timeout_us + 4 * world.profile.tick_ms * MS + 5 * SECOND;
    let is_open = |world: &World| dead_session(world).is_some() || !has_settled(world);
    if !run_while(world, expiry_us, is_open)
        && let Some(session) = dead_session(world)
    {
        let what = format!("session {session} has no client and does not end");
        world.check.fail("SessionExpiry", what);
    }
    if world.check.violation().is_none() {
        read_back(world);
    }
    recovery_us
}

/// Runs until the condition is over, at most for a time; whether it is over.
fn run_while(world: &mut World, time: Time, condition: impl Fn(&World) -> bool) -> bool {
    let end = world.now + time;
    while world.check.violation().is_none() && condition(world) {
        if world.now >= end {
            return false;
        }
        world.run_until(world.now + 50 * MS);
    }
    true
}

/// One leads, all others follow it, and every client had a write acknowledged.
fn serves_everyone(world: &World) -> bool {
    let mut leaders = 0;
    for host in &world.hosts {
        match host.process.as_ref().map(|process| process.standing) {
            Some(Standing::Leading { .. }) => leaders += 1,
            Some(Standing::Following { .. }) => {}
            Some(Standing::Looking) | None => return false,
        }
    }
    leaders == 1 && world.clients.iter().all(|client| client.acknowledged_since_heal > 0)
}

/// Everything that was asked is answered, and every server has it, in memory and on its disk.
fn has_settled(world: &World) -> bool {
    let committed = world.check.committed();
    world.clients.iter().all(|client| client.sent.is_empty())
        && world
            .check
            .servers
            .iter()
            .all(|server| server.in_tree() == committed && server.disk.floor == committed)
}

/// A session without a client.
fn dead_session(world: &World) -> Option<SessionId> {
    let sessions = world.clients.iter().filter_map(|client| client.session);
    world.check.dead_session(&sessions.map(|(id, _)| id).collect())
}

fn standings(world: &World) -> String {
    let mut parts = Vec::new();
    for (host, it) in world.hosts.iter().enumerate() {
        let part = match &it.process {
            None => "is down".to_owned(),
            Some(process) => {
                let status = process.replica.status();
                let (last, committed) = (status.last_logged, status.last_committed);
                format!("{:?} in {:?} with {last}, {committed}", process.standing, status.phase)
            }
        };
        parts.push(format!("{} {part}", name(host)));
    }
    for (number, client) in world.clients.iter().enumerate() {
        let (sent, acknowledged) = (client.sent.len(), client.acknowledged_since_heal);
        parts.push(format!(
            "client {number} {:?}, {sent} unanswered, {acknowledged} acknowledged",
            client.state
        ));
    }
    parts.join("; ")
}

/// Every server has exactly what was acknowledged, znode by znode, and would have it without power.
fn read_back(world: &mut World) {
    for host in 0..world.hosts.len() {
        if let Some(what) = difference(world, host) {
            world.check.fail("FinalState", what);
        }
        world.check_image(host);
    }
}

fn difference(world: &World, host: usize) -> Option<String> {
    let process = world.hosts[host].process.as_ref()?;
    let (theirs, model): (_, &Model) = (process.tree.read(), &world.check.model);
    for path in model.paths() {
        let (here, expected) = (theirs.get(&path), model.tree().get(&path));
        let here = here.map(|node| (node.data(), node.stat()));
        let expected = expected.map(|node| (node.data(), node.stat()));
        if here != expected {
            return Some(format!("{} has {here:?} at {path}, not {expected:?}", name(host)));
        }
    }
    (theirs.node_count() != model.tree().node_count())
        .then(|| format!("{} has {} znodes", name(host), theirs.node_count()))
}
