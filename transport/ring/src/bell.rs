//! Doorbells: how a side that sleeps is woken.

mod event;
mod naps;
mod socket;

use std::io;
use std::time::Instant;

pub use event::EventBell;
pub use naps::naps;
pub use socket::SocketBell;

use crate::sync::{Arc, Condvar, Mutex, lock};

/// What ended a sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The peer rang, or seems to have: the sleeper looks for itself.
    Rung,
    /// The peer is gone, or either side closed: nobody will ring again.
    Gone,
}

/// One end of a doorbell: wakes one sleeper of the peer, and lets one of ours sleep.
///
/// A ring that nobody waits for is kept: the next wait ends at once. Several may be kept as one.
pub trait Doorbell: Send + Sync {
    /// Wakes the peer's sleeper. Never waits, whatever the peer does.
    fn ring(&self);

    /// Sleeps until the peer rings or is gone. It may also end for no reason. A bell that nobody
    /// can ring asks `came` from time to time instead, which says whether there is something to
    /// look at.
    ///
    /// # Errors
    /// `TimedOut` when `limit` has passed, else what the system says.
    fn wait(&self, limit: Option<Instant>, came: &mut dyn FnMut() -> bool) -> io::Result<Woken>;

    /// Ends waits at both ends. Whoever closes has noted it where sleepers look before they sleep.
    fn close(&self);
}

#[derive(Debug, Default)]
struct Push {
    rung: bool,
    gone: bool,
}

type Button = Arc<(Mutex<Push>, Condvar)>;

/// A doorbell between two threads.
#[derive(Debug)]
pub struct ThreadBell {
    ours: Button,
    theirs: Button,
}

impl ThreadBell {
    /// Makes the two ends.
    pub fn pair() -> (Self, Self) {
        let button = || Arc::new((Mutex::new(Push::default()), Condvar::new()));
        let (left, right) = (button(), button());
        (
            Self { ours: Arc::clone(&left), theirs: Arc::clone(&right) },
            Self { ours: right, theirs: left },
        )
    }
}

fn press(button: &Button, what: impl FnOnce(&mut Push)) {
    what(&mut lock(&button.0));
    button.1.notify_all();
}

impl Doorbell for ThreadBell {
    fn ring(&self) {
        press(&self.theirs, |push| push.rung = true);
    }

    fn wait(&self, limit: Option<Instant>, _: &mut dyn FnMut() -> bool) -> io::Result<Woken> {
        let mut push = lock(&self.ours.0);
        loop {
            if push.gone {
                return Ok(Woken::Gone);
            }
            if std::mem::take(&mut push.rung) {
                return Ok(Woken::Rung);
            }
            push = match limit {
                None => self.ours.1.wait(push).unwrap_or_else(|held| held.into_inner()),
                Some(limit) => {
                    let left = limit.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let waited = self.ours.1.wait_timeout(push, left);
                    waited.unwrap_or_else(|held| held.into_inner()).0
                }
            };
        }
    }

    fn close(&self) {
        press(&self.ours, |push| push.gone = true);
        press(&self.theirs, |push| push.gone = true);
    }
}

impl Drop for ThreadBell {
    fn drop(&mut self) {
        self.close();
    }
}
