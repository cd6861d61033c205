//! Copies to the client that are under way, or wait to be asked for.
//!
//! A device takes one on when it is asked for (`CopyToGuest`), in the order of the stream's work,
//! and the worker sends what is complete when the client asks (`Collect`), which it does behind a
//! call that synchronised.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::Error;
use vgpu_link::wire::control::{Collected, Delivery};
use vgpu_link::wire::header::BULK_BYTES_MAX;
use vgpu_link::wire::limits::COLLECTED_MAX;

/// Most bytes held for a client: 128 MiB. Our guests keep to half of that.
const HELD_BYTES_MAX: usize = 128 << 20;

/// Memory contents that a device copies for its client.
pub(crate) trait Copied: Send {
    /// Says how it went, when the copy is complete; `None` before. Any thread may ask.
    fn outcome(&self) -> Option<Result<(), Error>>;

    /// Appends the contents of a copy that is complete.
    fn append_to(&self, bulk: &mut Vec<u8>);
}

/// A copy that is complete at once.
impl Copied for Vec<u8> {
    fn outcome(&self) -> Option<Result<(), Error>> {
        Some(Ok(()))
    }

    fn append_to(&self, bulk: &mut Vec<u8>) {
        bulk.extend_from_slice(self);
    }
}

/// The copies of one client, shared by its device and its worker.
#[derive(Default)]
pub(crate) struct Deliveries {
    held: Mutex<Held>,
    /// Held while an answer is made and sent: what one thread collected must be on its way before
    /// another one is told that nothing is left.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Held {
    copies: VecDeque<Copy>,
    bytes: usize,
}

struct Copy {
    /// The context that hears of its error.
    context: u64,
    ticket: u64,
    bytes: usize,
    /// `None` if the copy could not be begun.
    copied: Option<Box<dyn Copied>>,
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // Entries go in and out whole, so a panic elsewhere leaves no half of one.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes on a copy of `bytes` bytes, at most a frame's bulk part, that `begin` begins in a
    /// context of the client's.
    ///
    /// # Errors
    /// Those of `begin`; INVALID_VALUE and OUT_OF_MEMORY if more is asked for than is held. The
    /// client learns at its next `Collect` that nothing comes.
    pub fn take_on(
        &self,
        context: u64,
        (ticket, bytes): (u64, u64),
        begin: impl FnOnce() -> Result<Box<dyn Copied>, Error>,
    ) -> Result<(), Error> {
        let mut held = self.lock();
        // An entry without contents stays small, but a client must not fill the memory with them.
        if held.copies.len() >= COLLECTED_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let begun = if bytes > BULK_BYTES_MAX {
            Err(Error::INVALID_VALUE)
        } else if bytes > HELD_BYTES_MAX - held.bytes {
            Err(Error::OUT_OF_MEMORY)
        } else {
            begin()
        };
        let (copied, outcome) = match begun {
            Ok(copied) => (Some(copied), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let bytes = if copied.is_some() { bytes } else { 0 };
        held.bytes += bytes;
        held.copies.push_back(Copy { context, ticket, bytes, copied });
        outcome
    }

    /// Takes out what is complete and fits a frame, and lets `send` send it before anybody else
    /// does; `failed` hears of copies that went wrong, with their contexts.
    pub fn collect<T>(
        &self,
        failed: impl FnMut(u64, Error),
        send: impl FnOnce(&Collected, &[u8]) -> T,
    ) -> T {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (collected, bulk) = self.lock().take_complete(failed);
        send(&collected, &bulk)
    }
}

impl Held {
    fn take_complete(&mut self, mut failed: impl FnMut(u64, Error)) -> (Collected, Vec<u8>) {
        let mut bulk = Vec::new();
        let mut collected = Collected { deliveries: Vec::new(), has_more: false };
        let mut left = VecDeque::new();
        while let Some(copy) = self.copies.pop_front() {
            let begin = bulk.len();
            match copy.copied.as_ref().map(|copied| (copied, copied.outcome())) {
                Some((_, None)) => {
                    left.push_back(copy);
                    continue;
                }
                Some((_, Some(Ok(())))) if copy.bytes > BULK_BYTES_MAX - begin => {
                    collected.has_more = true;
                    left.push_back(copy);
                    break;
                }
                Some((copied, Some(Ok(())))) => copied.append_to(&mut bulk),
                Some((_, Some(Err(error)))) => failed(copy.context, error),
                None => {}
            }
            let bytes = u32::try_from(bulk.len() - begin).expect("a frame holds at most 8 MiB");
            collected.deliveries.push(Delivery { ticket: copy.ticket, bytes });
            self.bytes -= copy.bytes;
        }
        left.append(&mut self.copies);
        self.copies = left;
        (collected, bulk)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    /// A copy that is complete when the test says so.
    struct Slow(Arc<AtomicBool>, Result<Vec<u8>, Error>);

    impl Copied for Slow {
        fn outcome(&self) -> Option<Result<(), Error>> {
            let outcome = self.1.as_ref().map(|_| ()).map_err(|error| *error);
            self.0.load(Relaxed).then_some(outcome)
        }

        fn append_to(&self, bulk: &mut Vec<u8>) {
            bulk.extend_from_slice(self.1.as_ref().expect("it is complete"));
        }
    }

    /// What a client got: tickets with their lengths, the contents, whether there are more, and
    /// what went wrong in which context.
    #[derive(Debug, PartialEq)]
    struct Got(Vec<(u64, u32)>, Vec<u8>, bool, Vec<(u64, Error)>);

    fn collect(deliveries: &Deliveries) -> Got {
        let mut errors = Vec::new();
        let mut got = deliveries.collect(
            |context, error| errors.push((context, error)),
            |collected, bulk| {
                let tickets = collected.deliveries.iter().map(|one| (one.ticket, one.bytes));
                Got(tickets.collect(), bulk.to_vec(), collected.has_more, Vec::new())
            },
        );
        got.3 = errors;
        got
    }

    fn at_once(bytes: usize, value: u8) -> Result<Box<dyn Copied>, Error> {
        Ok(Box::new(vec![value; bytes]))
    }

    #[test]
    fn what_is_complete_is_sent_and_the_rest_stays() {
        let deliveries = Deliveries::default();
        let ready = Arc::new(AtomicBool::new(false));
        let slow = Slow(Arc::clone(&ready), Ok(vec![1; 2]));
        assert_eq!(deliveries.take_on(7, (1, 2), || Ok(Box::new(slow))), Ok(()));
        assert_eq!(deliveries.take_on(7, (2, 3), || at_once(3, 2)), Ok(()));
        assert_eq!(collect(&deliveries), Got(vec![(2, 3)], vec![2; 3], false, vec![]));
        assert_eq!(collect(&deliveries), Got(vec![], vec![], false, vec![]));
        ready.store(true, Relaxed);
        assert_eq!(collect(&deliveries), Got(vec![(1, 2)], vec![1; 2], false, vec![]));
    }

    #[test]
    fn a_copy_that_fails_brings_nothing_and_is_told() {
        let deliveries = Deliveries::default();
        let refused = deliveries.take_on(7, (1, 9), || Err(Error::INVALID_HANDLE));
        assert_eq!(refused, Err(Error::INVALID_HANDLE));
        let broken = Slow(Arc::new(AtomicBool::new(true)), Err(Error::ILLEGAL_ADDRESS));
        assert_eq!(deliveries.take_on(8, (2, 9), || Ok(Box::new(broken))), Ok(()));
        let expected = Got(vec![(1, 0), (2, 0)], vec![], false, vec![(8, Error::ILLEGAL_ADDRESS)]);
        assert_eq!(collect(&deliveries), expected);
    }

    #[test]
    fn more_than_a_frame_holds_comes_in_several() {
        let deliveries = Deliveries::default();
        let half = BULK_BYTES_MAX / 2 + 1;
        for ticket in 0..3 {
            assert_eq!(deliveries.take_on(7, (ticket, half as u64), || at_once(half, 7)), Ok(()));
        }
        for ticket in 0..3 {
            let Got(tickets, bulk, has_more, _) = collect(&deliveries);
            assert_eq!((tickets, bulk.len()), (vec![(ticket, half as u32)], half));
            assert_eq!(has_more, ticket < 2);
        }
    }

    #[test]
    fn a_client_that_never_collects_does_not_fill_the_memory() {
        let deliveries = Deliveries::default();
        let frame = BULK_BYTES_MAX as u64;
        assert_eq!(
            deliveries.take_on(7, (0, frame + 1), || at_once(1, 0)),
            Err(Error::INVALID_VALUE)
        );
        for ticket in 0..HELD_BYTES_MAX as u64 / frame {
            assert_eq!(deliveries.take_on(7, (ticket, frame), || at_once(0, 0)), Ok(()));
        }
        assert_eq!(deliveries.take_on(7, (99, 1), || at_once(1, 0)), Err(Error::OUT_OF_MEMORY));
        for ticket in 0..2 * COLLECTED_MAX as u64 {
            // Most are refused, which is what is asked for.
            let _ = deliveries.take_on(7, (ticket, 0), || at_once(0, 0));
        }
        assert_eq!(deliveries.lock().copies.len(), COLLECTED_MAX);
    }
}
