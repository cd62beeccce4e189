//! The loop: sends what is due, reads what has come, until the measured part is over.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::chooser::Chooser;
use super::tally::{Tally, Window};
use crate::cpu::CpuTimes;
use crate::ledger::{KeyWrite, Ledger};
use crate::requests::{Request, Requests};
use crate::session::{Clock, Link, Reply, Sent, Session};
use crate::workload::{Operation, Pace, Workload};

/// How long the last replies may take after the measured part.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// How often sessions are checked for silence, and the longest sleep.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// An open loop does not sleep when the next request is due within this: waking up takes about
/// as long.
const SPIN_NS: u64 = 100_000;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// Memory for one read, unless replies are longer.
const READ_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Drain,
}

/// The sessions and the loop that drives them.
pub(super) struct Driver<'a> {
    requests: &'a Requests,
    pace: Pace,
    measured_from_ns: u64,
    measured_until_ns: u64,
    epoll: OwnedFd,
    sessions: Vec<Session>,
    buffer: Vec<u8>,
    clock: Clock,
    phase: Phase,
    chooser: Chooser,
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    /// Requests in flight over all sessions.
    in_flight: usize,
    /// Requests sent so far in an open loop.
    offered: u64,
}

impl<'a> Driver<'a> {
    /// Opens the sessions.
    pub(super) fn connect(
        workload: &Workload,
        servers: &[SocketAddr],
        requests: &'a Requests,
    ) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut sessions = Vec::with_capacity(workload.sessions);
        for index in 0..workload.sessions {
            let session = Session::connect(servers[index % servers.len()])?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &session, data, epoll::EventFlags::IN)?;
            sessions.push(session);
        }
        let warm_up_ns = nanoseconds(workload.warm_up);
        Ok(Self {
            requests,
            pace: workload.pace,
            measured_from_ns: warm_up_ns,
            measured_until_ns: warm_up_ns + nanoseconds(workload.measured),
            epoll,
            buffer: vec![0; READ_BYTES],
            clock: Clock::start(),
            phase: Phase::WarmUp,
            chooser: Chooser::new(workload),
            ledger: Ledger::new(workload.keys, sessions.len()),
            tally: Tally::default(),
            sessions,
            in_flight: 0,
            offered: 0,
        })
    }

    /// Runs the load to its end.
    pub(super) fn drive(&mut self, processes: &[u32]) -> Result<Window> {
        let mut events = Vec::with_capacity(EVENTS);
        let (mut before, mut window) = (CpuTimes::default(), None);
        let (mut began_ns, mut give_up_ns) = (0, u64::MAX);
        let mut look_around_ns = nanoseconds(LOOK_AROUND);
        self.clock = Clock::start();
        if let Pace::Outstanding(count) = self.pace {
            for index in 0..self.sessions.len() {
                self.ask(index, count, 0);
            }
        }
        loop {
            let now_ns = self.clock.now_ns();
            match self.phase {
                Phase::WarmUp if now_ns >= self.measured_from_ns => {
                    before = CpuTimes::now(processes)?;
                    began_ns = now_ns;
                    self.phase = Phase::Measured;
                }
                Phase::Measured if now_ns >= self.measured_until_ns => {
                    window = Some(Window {
                        seconds: (now_ns - began_ns) as f64 / 1e9,
                        cpu: CpuTimes::now(processes)?.since(&before),
                    });
                    give_up_ns = now_ns + nanoseconds(DRAIN_PATIENCE);
                    self.phase = Phase::Drain;
                }
                Phase::Drain if self.in_flight == 0 || now_ns >= give_up_ns => break,
                _ => {}
            }
            self.offer_due(now_ns);
            if now_ns >= look_around_ns {
                look_around_ns = now_ns + nanoseconds(LOOK_AROUND);
                self.ping_the_silent(now_ns)?;
            }
            self.wait(&mut events)?;
            for event in events.drain(..) {
                self.serve(event)?;
            }
        }
        self.give_up_on_unanswered();
        window.context("the load ended before it was measured")
    }

    /// Sends `count` requests of a session.
    fn ask(&mut self, index: usize, count: usize, at_ns: u64) {
        for _ in 0..count {
            let request = self.chooser.choose(index, &mut self.ledger);
            self.sessions[index].ask(self.requests, Sent { request, at_ns });
        }
        self.in_flight += count;
        self.flush(index, at_ns);
    }

    fn flush(&mut self, index: usize, now_ns: u64) {
        let session = &mut self.sessions[index];
        let before = session.link;
        session.flush(now_ns);
        if session.link != before {
            self.link_changed(index);
        }
    }

    /// In an open loop: sends what is due, whatever is in flight.
    fn offer_due(&mut self, now_ns: u64) {
        let Pace::PerSecond(rate) = self.pace else {
            return;
        };
        // Also those that were due while the last replies of the measured part were read.
        loop {
            let due_ns = due_ns(self.offered, rate);
            if due_ns > now_ns || due_ns >= self.measured_until_ns {
                break;
            }
            let index = (self.offered % self.sessions.len() as u64) as usize;
            self.offered += 1;
            if self.sessions[index].link == Link::Down {
                self.tally.unanswered += 1;
            } else {
                self.ask(index, 1, due_ns);
            }
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) -> Result<()> {
        let timeout_ns = match self.pace {
            Pace::PerSecond(rate) if self.phase != Phase::Drain => {
                due_ns(self.offered, rate).saturating_sub(self.clock.now_ns() + SPIN_NS)
            }
            _ => u64::MAX,
        };
        let boundary_ns = match self.phase {
            Phase::WarmUp => self.measured_from_ns,
            Phase::Measured => self.measured_until_ns,
            Phase::Drain => u64::MAX,
        };
        let timeout_ns = timeout_ns
            .min(boundary_ns.saturating_sub(self.clock.now_ns()))
            .min(nanoseconds(LOOK_AROUND));
        let timeout = Timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as i64,
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn serve(&mut self, event: epoll::Event) -> Result<()> {
        let flags = event.flags;
        let index = event.data.u64() as usize;
        if flags.contains(epoll::EventFlags::OUT) {
            let now_ns = self.clock.now_ns();
            self.flush(index, now_ns);
        }
        if flags == epoll::EventFlags::OUT || self.sessions[index].link == Link::Down {
            return Ok(());
        }
        let Self { sessions, buffer, ledger, tally, .. } = self;
        let (phase, pace) = (self.phase, self.pace);
        let (from_ns, until_ns) = (self.measured_from_ns, self.measured_until_ns);
        let (mut replies, mut read_ns) = (0, 0);
        let session = &mut sessions[index];
        session
            .receive(buffer, self.clock, |now_ns, sent, reply| {
                (replies, read_ns) = (replies + 1, now_ns);
                let counts = match pace {
                    Pace::Outstanding(_) => phase == Phase::Measured,
                    Pace::PerSecond(_) => (from_ns..until_ns).contains(&sent.at_ns),
                };
                let latency_ns = counts.then(|| now_ns.saturating_sub(sent.at_ns));
                tally.count(sent.request.operation, reply.err, latency_ns);
                acknowledge(ledger, index, sent.request, reply)
            })
            .with_context(|| format!("session {index}"))?;
        let lost = session.link == Link::Down;
        self.in_flight -= replies;
        if lost {
            self.link_changed(index);
        } else if replies > 0 && phase != Phase::Drain && matches!(pace, Pace::Outstanding(_)) {
            self.ask(index, replies, read_ns);
        }
        Ok(())
    }

    /// Asks the kernel for what the new state of a link needs, and writes off a lost one.
    fn link_changed(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        let data = epoll::EventData::new_u64(index as u64);
        let registered = match session.link {
            Link::Up => epoll::modify(&self.epoll, &*session, data, epoll::EventFlags::IN),
            Link::Full => {
                let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                epoll::modify(&self.epoll, &*session, data, both)
            }
            Link::Down => epoll::delete(&self.epoll, &*session),
        };
        registered.expect("the session is registered until its link is down");
        if session.link == Link::Down {
            self.tally.lost_sessions += 1;
            self.write_off(index);
        }
    }

    fn ping_the_silent(&mut self, now_ns: u64) -> Result<()> {
        for index in 0..self.sessions.len() {
            if self.sessions[index].ping_if_silent(now_ns) {
                self.flush(index, now_ns);
            }
        }
        let lost = |session: &Session| session.link == Link::Down;
        ensure!(
            !self.sessions.iter().all(lost),
            "the servers have closed all {} connections",
            self.sessions.len()
        );
        Ok(())
    }

    fn give_up_on_unanswered(&mut self) {
        for index in 0..self.sessions.len() {
            self.write_off(index);
        }
    }

    /// Takes the requests in flight of a session as never answered.
    fn write_off(&mut self, index: usize) {
        let in_flight = &mut self.sessions[index].in_flight;
        self.in_flight -= in_flight.len();
        self.tally.unanswered += in_flight.len() as u64;
        for sent in in_flight.drain() {
            let target = sent.request.target;
            match sent.request.operation {
                Operation::Set => self.ledger.doubt_set(target),
                Operation::Create | Operation::Delete => self.ledger.doubt_created(target),
                _ => {}
            }
        }
    }

    /// Ends the sessions.
    pub(super) fn close(&mut self) -> Result<()> {
        self.sessions.drain(..).try_for_each(Session::close)
    }
}

/// Writes what was acknowledged into the ledger.
fn acknowledge(
    ledger: &mut Ledger,
    session: usize,
    request: Request,
    reply: Reply<'_>,
) -> Result<()> {
    let target = request.target;
    match request.operation {
        Operation::Set if reply.err == 0 => {
            let zxid = reply.modified_zxid()?;
            let stamp = request.stamp;
            ledger.acknowledge_set(target, KeyWrite { zxid, stamp });
        }
        Operation::Create if reply.err == 0 => ledger.acknowledge_create(session, target),
        _ => {}
    }
    Ok(())
}

/// When request number `index` is due, in ns since the load began.
fn due_ns(index: u64, rate: u32) -> u64 {
    let due = u128::from(index) * 1_000_000_000 / u128::from(rate);
    u64::try_from(due).expect("no run takes 500 years")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("no run takes 500 years")
}
