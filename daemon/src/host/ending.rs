//! The end of the daemon: clients may come to theirs first, then everybody is told.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

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
        let limit = Instant::now() + STOP_LIMIT;
        for worker in self.workers.all() {
            worker.ask_to_stop();
        }
        while !self.workers.all().is_empty() && Instant::now() < limit {
            let left = limit.saturating_duration_since(Instant::now());
            let mut watched: Vec<PollFd<'_>> = (self.workers.all().iter())
                .map(|worker| PollFd::from_borrowed_fd(worker.desk.as_fd(), PollFlags::IN))
                .collect();
            let Ok(left) = Timespec::try_from(left) else { break };
            if poll(&mut watched, Some(&left)).is_err() {
                continue;
            }
            let woken: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
            let pids: Vec<u32> = self.workers.all().iter().map(|worker| worker.pid()).collect();
            for (pid, _) in pids.into_iter().zip(woken).filter(|(_, woken)| *woken) {
                self.hear(pid);
            }
        }
        while let Some(pid) = self.workers.all().first().map(|worker| worker.pid()) {
            self.bury(pid);
        }
        self.failed
    }
}
