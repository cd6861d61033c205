//! What systemd is told, if it started us (sd_notify(3)). Not being under it is no failure, so
//! what cannot be told is not an error either.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service manager, as the host sees it.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// How often it wants to hear that the loop turns: half of what it waits (WatchdogSec=).
    interval: Option<Duration>,
    heard: Instant,
    status: String,
}

impl Supervisor {
    /// Learns from the environment what it expects.
    pub fn find() -> Self {
        let interval = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self { interval, heard: Instant::now(), status: String::new() }
    }

    /// Tells that clients are served, or that a reload is over.
    pub fn ready(&mut self, status: String) {
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
    }

    /// Tells that the configuration is being read.
    pub fn reloading(&self) {
        // Without the time, systemd 253 and later do not count it.
        let now = NotifyState::monotonic_usec_now();
        tell(&[Some(NotifyState::Reloading), now.ok()].into_iter().flatten().collect::<Vec<_>>());
    }

    /// Tells that no more clients are taken, and for how long those that are there may stay.
    pub fn stopping(&self, limit: Duration) {
        let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
        match limit {
            0 => tell(&[NotifyState::Stopping]),
            _ => tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]),
        }
    }

    /// Tells, once in each turn of the loop, what is new and, when it is due, that the loop turns.
    pub fn turn(&mut self, status: String) {
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
        if self.due() == Some(Duration::ZERO) {
            tell(&[NotifyState::Watchdog]);
            self.heard = Instant::now();
        }
    }

    /// How long the loop may rest before it has to turn.
    pub fn due(&self) -> Option<Duration> {
        self.interval.map(|interval| interval.saturating_sub(self.heard.elapsed()))
    }
}

fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
