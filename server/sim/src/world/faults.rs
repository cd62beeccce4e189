//! Faults: which one strikes next, whom, and for how long.

use super::servers::End as Stop;
use super::{Event, World};
use crate::check::name;
use crate::client::State;
use crate::disk::Shown;
use crate::host::HostEvent;
use crate::profile::{Fault, MS, SECOND};
use crate::trace::Time;

use replica::Input;

impl World {
    /// Lets one fault strike and schedules the next.
    pub(super) fn fault(&mut self) {
        if self.phase != super::Phase::Safety {
            return;
        }
        if !self.profile.faults.is_empty() {
            let index = self.below(self.profile.faults.len());
            let fault = self.profile.faults[index];
            self.faults += 1;
            self.trace.line(self.now, || format!("fault: {fault:?}"));
            self.strike(fault);
        }
        let at = self.now + self.random.below(2 * self.profile.fault_every_us);
        self.schedule(at, Event::Fault);
    }

    fn below(&mut self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    fn any_host(&mut self) -> usize {
        let count = self.hosts.len();
        // Leaders are where it hurts.
        let leader = (0..count).find(|host| self.check.leads(*host).is_some());
        match leader {
            Some(leader) if self.random.one_in(2) => leader,
            _ => self.below(count),
        }
    }

    fn runs(&self, host: usize) -> bool {
        self.hosts[host].process.is_some()
    }

    fn until(&mut self) -> Time {
        self.after(self.profile.outage_us)
    }

    fn strike(&mut self, fault: Fault) {
        let host = self.any_host();
        match fault {
            Fault::Kill if self.runs(host) => self.stop(host, Stop::Killed),
            Fault::PowerCut if self.runs(host) => self.stop(host, Stop::PowerCut),
            Fault::PowerCutMany => self.cut_power_of_many(),
            // A host that is down is struck while it recovers.
            Fault::PowerCutInDisk => {
                let operations = self.random.below(16);
                self.hosts[host].disk.cut_power_after(operations);
            }
            Fault::KillInDisk => {
                let operations = self.random.below(16);
                self.hosts[host].disk.kill_after(operations);
            }
            Fault::DiskError => {
                let shown = if self.now.is_multiple_of(2) { Shown::Medium } else { Shown::Memory };
                self.hosts[host].disk.fail_next_sync(shown);
            }
            Fault::SlowDisk => self.hosts[host].slow_until = self.until(),
            Fault::Pause if self.runs(host) && !self.hosts[host].is_paused => self.pause(host),
            Fault::Cut | Fault::OneWayCut if self.hosts.len() > 1 => {
                let other = (host + 1 + self.below(self.hosts.len() - 1)) % self.hosts.len();
                let until = self.until();
                self.cut(host, other, until);
                if fault == Fault::Cut {
                    self.cut(other, host, until);
                }
            }
            Fault::Isolate => {
                // A leader that goes on alone has a tail in the end that nobody else has.
                let leader = (0..self.hosts.len()).find(|host| self.check.leads(*host).is_some());
                let host = leader.unwrap_or(host);
                let until = self.until();
                for other in (0..self.hosts.len()).filter(|other| *other != host) {
                    self.cut(host, other, until);
                    self.cut(other, host, until);
                }
            }
            Fault::ResetLink => {
                let links = self.network.open_links();
                if !links.is_empty() {
                    let link = links[self.below(links.len())];
                    self.reset_link(link);
                }
            }
            Fault::ResetClient => {
                let client = self.below(self.clients.len());
                if self.clients[client].state != State::Disconnected {
                    self.client_hangs_up(client);
                }
            }
            Fault::HandOff if self.runs(host) => self.hand_off(host),
            Fault::Wipe => self.wipe(host),
            _ => {}
        }
    }

    fn cut_power_of_many(&mut self) {
        let everyone = self.random.one_in(2);
        for host in 0..self.hosts.len() {
            if (everyone || self.random.one_in(2)) && self.runs(host) {
                self.stop(host, Stop::PowerCut);
            }
        }
    }

    fn pause(&mut self, host: usize) {
        self.trace.line(self.now, || format!("{} pauses", name(host)));
        self.hosts[host].is_paused = true;
        let at = self.until();
        let incarnation = self.hosts[host].incarnation;
        self.schedule(at, Event::Resume { host, incarnation });
    }

    fn hand_off(&mut self, host: usize) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if !std::mem::replace(&mut process.is_leaving, true) {
            self.trace.line(self.now, || format!("{} is asked to leave", name(host)));
            self.schedule_host(self.now, host, HostEvent::Input(Input::HandOff));
            // As a supervisor that loses patience.
            let at = self.now + 20 * SECOND;
            self.schedule_host(at, host, HostEvent::Leave);
        }
    }

    /// An empty disk; never so many that the others could have forgotten what only these knew.
    fn wipe(&mut self, host: usize) {
        let voters = self.profile.voters as usize;
        let is_voter = self.check.servers[host].is_voter;
        if !self.hosts[host].is_founded
            || self.check.servers[host].is_untrusted
            || (is_voter && self.check.untrusted_voters() + 1 > (voters - 1) / 2)
        {
            return;
        }
        self.trace.line(self.now, || format!("{} loses its disk", name(host)));
        if self.runs(host) {
            self.stop(host, Stop::PowerCut);
        }
        self.hosts[host].disk = crate::disk::SimDisk::default();
        self.check.on_wiped(host);
    }

    /// Ends all faults and mends what they left.
    pub(crate) fn heal_everything(&mut self) {
        self.trace.line(self.now, || "all faults are over".to_owned());
        self.phase = super::Phase::Liveness;
        for host in 0..self.hosts.len() {
            self.hosts[host].disk.mend();
            self.hosts[host].slow_until = 0;
            let incarnation = self.hosts[host].incarnation;
            if self.hosts[host].is_paused {
                self.resume(host, incarnation);
            }
            if !self.runs(host) {
                let incarnation = self.hosts[host].incarnation;
                let at = self.now + self.random.below(100 * MS);
                self.schedule(at, Event::Start { host, incarnation });
            }
        }
        self.heal_all();
    }
}
