//! What the workers have of this machine's memory for themselves, which no ledger of requests could
//! know: a driver takes what it likes. It is measured, once a second where a tenant is limited.

use std::time::{Duration, Instant};

use rustix::param::page_size;

use super::Host;
use crate::device::Source;
use crate::log;

/// How often is measured: so long at most a tenant goes on that has more than it may.
const TURN: Duration = Duration::from_secs(1);

impl Host {
    /// When is to be measured next, if somebody is limited.
    pub(super) fn gauge_due(&self) -> Option<Instant> {
        self.ledger.is_host_limited().then_some(self.gauged + TURN)
    }

    /// Measures if it is due, and ends the largest client of each tenant that is far above its
    /// limit: refused it was before, and what it takes cannot be had back in any other way.
    pub(super) fn gauge(&mut self) {
        if self.gauge_due().is_none_or(|due| due > Instant::now()) {
            return;
        }
        self.measure();
        for session in self.ledger.too_large() {
            let tenant =
                self.ledger.tenant(session).map_or("?", |tenant| self.tenants.name(tenant));
            let bytes = self.ledger.account(session).map_or(0, super::ledger::Account::host);
            let fields: [(&str, &dyn std::fmt::Display); 3] =
                [("session", &session), ("tenant", &tenant), ("bytes", &bytes)];
            log::event("over-memory", &fields);
            let workers = self.workers.all().iter();
            workers.filter(|worker| worker.session == Some(session)).for_each(super::Worker::cut);
        }
    }

    /// Takes down what each worker has for itself.
    pub(super) fn measure(&mut self) {
        self.gauged = Instant::now();
        let within = matches!(self.config.device, Source::Sim { .. });
        for worker in self.workers.all() {
            // One that cannot be measured has just ended, and its desk says so.
            if let Some((session, bytes)) = worker.session.zip(private(worker.pid())) {
                self.ledger.measure(session, bytes, within);
            }
        }
    }
}

/// Bytes that are in memory and no other process's (proc_pid_statm(5): resident less shared).
fn private(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = statm.split(' ').skip(1).map_while(|word| word.parse::<u64>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some(resident.saturating_sub(shared) * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_this_process_has_for_itself_is_measured() {
        const BYTES: usize = 64 << 20;
        let own = || private(std::process::id()).expect("Linux");
        let before = own();
        let taken = std::hint::black_box(vec![1_u8; BYTES]);
        let with = own();
        // Other tests of this process come and go, with less than that.
        assert!(with > before + BYTES as u64 / 2, "{before} and {with}");
        drop(taken);
        assert_eq!(private(0), None);
    }
}
