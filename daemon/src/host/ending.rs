//! The end of the daemon: clients may come to theirs first, then everybody is told.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

use super::Host;
use super::sockets::Sockets;
use crate::log;

/// How long workers may take to say goodbye when the daemon is stopped. systemd's own limit is 90
/// seconds; a goodbye takes microseconds unless the client does not read.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Waiting for the last client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    /// When the daemon ends whoever is left; `None`: it waits for as long as they take.
    pub until: Option<Instant>,
}

impl Host {
    /// Is asked to end by SIGTERM or SIGINT: those who are served have `drain_seconds`, and the
    /// second time none.
    pub(super) fn wind_down(&mut self) {
        let limit = match self.drain {
            Some(Drain { until: Some(_) }) => Duration::ZERO,
            _ => self.config.drain,
        };
        self.supervisor.stopping(match limit {
            Duration::ZERO => limit,
            _ => limit + 2 * STOP_LIMIT,
        });
        self.begin_to_drain(Some(Instant::now() + limit));
    }

    /// Takes no more clients from here on.
    pub(super) fn begin_to_drain(&mut self, until: Option<Instant>) {
        let clients = self.workers.serving();
        if self.drain.is_none() && clients > 0 && until.is_none_or(|until| until > Instant::now()) {
            log::event("draining", &[("clients", &clients)]);
        }
        self.drain = Some(Drain { until });
    }

    /// Says whether nothing is left to wait for.
    pub(super) fn is_drained(&self) -> bool {
        self.drain.is_some_and(|drain| {
            self.workers.serving() == 0 || drain.until.is_some_and(|until| until <= Instant::now())
        })
    }

    /// Ends all workers in good order; those that hang are ended the hard way. Returns how many
    /// that served a client ended badly, since the start.
    pub(super) fn stop(mut self) -> usize {
        if self.drain.is_none_or(|drain| drain.until.is_none()) {
            self.supervisor.stopping(Duration::ZERO);
        }
        log::event("stopping", &[("clients", &self.workers.serving())]);
        self.sockets = Sockets::default();
        for worker in self.workers.all() {
            worker.ask_to_stop();
        }
        self.hear_until_gone(Instant::now() + STOP_LIMIT);
        self.workers.end_all();
        // What the kernel still does for one, such as freeing its memory, nobody can hasten.
        self.hear_until_gone(Instant::now() + STOP_LIMIT);
        for worker in self.workers.all() {
            log::event("not-gone", &[("worker", &worker.pid())]);
        }
        self.failed
    }

    /// Hears the workers until all of them have ended, or until the limit.
    fn hear_until_gone(&mut self, limit: Instant) {
        loop {
            self.collect();
            let left = limit.saturating_duration_since(Instant::now());
            if self.workers.all().is_empty() || left.is_zero() {
                return;
            }
            let due = self.workers.due();
            let left =
                due.map_or(left, |due| due.saturating_duration_since(Instant::now()).min(left));
            let (pids, mut watched) = self.workers.watched();
            let Ok(left) = Timespec::try_from(left) else { return };
            if poll(&mut watched, Some(&left)).is_err() {
                continue;
            }
            let woken: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
            for (pid, _) in pids.into_iter().zip(woken).filter(|(_, woken)| *woken) {
                self.hear(pid);
            }
        }
    }
}
