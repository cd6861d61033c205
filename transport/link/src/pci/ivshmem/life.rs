//! The thread that holds a guest's slot: it claims, says that the process lives, and lets go.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use vgpu_ring::Region;
use vgpu_ring::slots::{Board, Word, claim, let_go, word};

use super::will::Will;
use crate::thread::start_thread;

/// How often a process says that it lives: twice a second. That it died, its kernel says at once;
/// this is for the death of the machine.
const BEAT: Duration = Duration::from_millis(500);

/// A slot that this process has, until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Life {
    /// Number of the slot.
    pub slot: usize,
    /// What stands in the slot's claim.
    pub claim: u64,
    end: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    /// A forked child has a copy, and neither the thread nor the slot.
    owner: u32,
}

impl Life {
    /// Claims a slot; `None` if all are taken.
    ///
    /// # Errors
    /// What the system says if it has no thread left.
    pub fn begin(head: &Region, board: &Board) -> io::Result<Option<Self>> {
        let end = Arc::<(Mutex<bool>, Condvar)>::default();
        let (tell, told) = sync_channel(1);
        let (theirs, board, head) = (Arc::clone(&end), *board, head.clone());
        let thread = start_thread("vgpu-slot", move || live(&head, &board, &tell, &theirs))?;
        let claimed = told.recv().unwrap_or(Err(io::ErrorKind::BrokenPipe.into()))?;
        let owner = std::process::id();
        Ok(claimed.map(|(slot, claim)| Self { slot, claim, end, thread: Some(thread), owner }))
    }
}

/// The slot and the claim.
type Claimed = Option<(usize, u64)>;

fn live(
    head: &Region,
    board: &Board,
    tell: &SyncSender<io::Result<Claimed>>,
    end: &(Mutex<bool>, Condvar),
) {
    let mut will = match Will::new() {
        Ok(will) => will,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    let name = |slot: Option<usize>| {
        will.name(slot.map(|slot| (head, word(slot, Word::Claim))));
    };
    let claimed = claim(head, board.slots, thread, salt(), name);
    let _ = tell.send(Ok(claimed));
    let Some((slot, claim)) = claimed else { return };
    let mut beat = 0;
    let mut ended = end.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !*ended {
        beat += 1;
        head.store(word(slot, Word::Beat), beat, Ordering::Release);
        let waited = end.1.wait_timeout(ended, BEAT);
        ended = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    will.name(None);
    let_go(head, slot, claim);
}

/// A number that two processes hardly ever share: the standard library's keys are random.
fn salt() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish() as u32
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::process::id() != self.owner {
            return;
        }
        *self.end.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.1.notify_all();
        // It has nothing to wait for.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
