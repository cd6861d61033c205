//! Copies to the program that are under way: where their contents belong when they come.
//!
//! The host sends them when it is asked, at a call that synchronises. Whoever reads from the link
//! puts them into their places, in the order in which they come: so they are in place when the
//! answer behind them is handed to the thread that asked.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use vgpu_link::wire::limits::COLLECTED_MAX;

use crate::destination::Destination;

/// Most bytes of copies under way: 64 MiB, which the host holds for the program meanwhile.
pub const COPIES_BYTES_MAX: usize = 64 << 20;

/// The copies under way over one connection.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    state: Mutex<State>,
    /// Told when the contents of a copy are in their place.
    arrived: Condvar,
}

/// Where the contents of a copy belong.
#[derive(Debug)]
enum Place {
    /// Memory of the program.
    Into(Destination),
    /// Nowhere any more; as many bytes come all the same.
    Nowhere(usize),
}

impl Place {
    fn bytes(&self) -> usize {
        match self {
            Self::Into(place) => place.bytes(),
            Self::Nowhere(bytes) => *bytes,
        }
    }

    /// The program's memory that it is, first address and length; none where it is nowhere.
    fn extent(&self) -> (u64, u64) {
        match self {
            Self::Into(place) => (place.address(), place.bytes() as u64),
            Self::Nowhere(_) => (0, 0),
        }
    }
}

fn overlap((one, bytes): (u64, u64), (other, other_bytes): (u64, u64)) -> bool {
    one < other.saturating_add(other_bytes) && other < one.saturating_add(bytes)
}

/// A copy whose contents come now: its place stays the program's until this is dropped.
#[derive(Debug)]
pub(crate) struct Arriving<'a> {
    deliveries: &'a Deliveries,
    ticket: u64,
    place: Place,
}

impl Arriving<'_> {
    /// Returns how many bytes are expected.
    pub(crate) fn bytes(&self) -> usize {
        self.place.bytes()
    }

    /// Lets `read` put the contents into their place.
    pub(crate) fn fill<T>(mut self, read: impl FnOnce(&mut [u8]) -> T) -> T {
        match std::mem::replace(&mut self.place, Place::Nowhere(0)) {
            Place::Into(place) => place.fill(read),
            Place::Nowhere(bytes) => read(&mut vec![0; bytes]),
        }
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.deliveries.lock().arriving.remove(&self.ticket);
        self.deliveries.arrived.notify_all();
    }
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<u64, Place>,
    /// The memory that is being filled.
    arriving: HashMap<u64, (u64, u64)>,
    bytes: usize,
    last_ticket: u64,
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Entries go in and out whole, so a panic elsewhere leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many bytes are under way; `None` if no copy is.
    pub(crate) fn bytes(&self) -> Option<usize> {
        let state = self.lock();
        let is_none = state.places.is_empty() && state.arriving.is_empty();
        (!is_none).then_some(state.bytes)
    }

    /// Takes up a copy and gives it a number, which no other copy of the connection ever has;
    /// `None` if too much is under way.
    pub(crate) fn expect(&self, place: Destination) -> Option<u64> {
        let mut state = self.lock();
        let bytes = state.bytes.saturating_add(place.bytes());
        if bytes > COPIES_BYTES_MAX || state.places.len() >= COLLECTED_MAX {
            return None;
        }
        state.last_ticket += 1;
        state.bytes = bytes;
        let ticket = state.last_ticket;
        state.places.insert(ticket, Place::Into(place));
        Some(ticket)
    }

    /// Takes up that the contents of a copy come now.
    pub(crate) fn arrive(&self, ticket: u64) -> Option<Arriving<'_>> {
        let mut state = self.lock();
        let place = state.places.remove(&ticket)?;
        state.bytes -= place.bytes();
        state.arriving.insert(ticket, place.extent());
        drop(state);
        Some(Arriving { deliveries: self, ticket, place })
    }

    /// Says whether a copy is under way into any of `bytes` bytes from `address`.
    pub(crate) fn reach(&self, address: u64, bytes: u64) -> bool {
        let state = self.lock();
        state.places.values().any(|place| overlap(place.extent(), (address, bytes)))
            || state.is_arriving((address, bytes))
    }

    /// Drops what comes for any of `bytes` bytes from `address`: the memory is about to go. What
    /// comes there at this moment is waited for.
    pub(crate) fn give_up(&self, address: u64, bytes: u64) {
        let mut state = self.lock();
        for place in state.places.values_mut() {
            if overlap(place.extent(), (address, bytes)) {
                *place = Place::Nowhere(place.bytes());
            }
        }
        // Whoever fills it waits for the host only, and ends with the connection.
        let gone = |state: &mut State| state.is_arriving((address, bytes));
        drop(self.arrived.wait_while(state, gone));
    }
}

impl State {
    fn is_arriving(&self, memory: (u64, u64)) -> bool {
        self.arriving.values().any(|arriving| overlap(*arriving, memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::tests::at;

    #[test]
    fn copies_are_counted_until_their_contents_have_come() {
        let deliveries = Deliveries::default();
        assert_eq!(deliveries.bytes(), None);
        let first = deliveries.expect(at(0x1000, 100)).expect("there is room");
        let second = deliveries.expect(at(0x2000, 50)).expect("there is room");
        assert_ne!(first, second);
        assert_eq!(deliveries.bytes(), Some(150));
        assert_eq!(deliveries.expect(at(0x3000, COPIES_BYTES_MAX - 149)), None);
        assert_eq!(deliveries.arrive(first).map(|place| place.bytes()), Some(100));
        assert!(deliveries.arrive(first).is_none());
        assert_eq!(deliveries.bytes(), Some(50));
        let more = (0..COLLECTED_MAX).map_while(|_| deliveries.expect(at(0x4000, 1)));
        assert_eq!(more.count(), COLLECTED_MAX - 1);
    }

    #[test]
    fn a_copy_into_memory_that_is_to_be_freed_is_found() {
        let deliveries = Deliveries::default();
        deliveries.expect(at(0x1000, 0x100)).expect("there is room");
        for (address, bytes, expected) in [
            (0x1000, 1, true),
            (0xfff, 1, false),
            (0xfff, 2, true),
            (0x10ff, 9, true),
            (0x1100, 9, false),
            (0, u64::MAX, true),
        ] {
            assert_eq!(deliveries.reach(address, bytes), expected, "{address:#x}");
        }
        deliveries.give_up(0x1080, 1);
        assert!(!deliveries.reach(0x1000, 0x100));
        assert_eq!(deliveries.bytes(), Some(0x100), "its contents come all the same");
    }

    /// A thread frees memory while another one, which leads, puts the contents of a copy there.
    #[test]
    fn memory_that_is_being_filled_is_waited_for_before_it_goes() {
        let deliveries = Deliveries::default();
        let ticket = deliveries.expect(at(0x1000, 0x100)).expect("there is room");
        let arriving = deliveries.arrive(ticket).expect("it is expected");
        assert!(deliveries.reach(0x10ff, 1) && !deliveries.reach(0x1100, 1));
        deliveries.give_up(0x1100, 1);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                deliveries.give_up(0x1000, 1);
                tell.send(()).expect("the test listens");
            });
            let early = told.recv_timeout(std::time::Duration::from_millis(20));
            assert!(early.is_err(), "it is still written");
            drop(arriving);
            told.recv_timeout(std::time::Duration::from_secs(20)).expect("it is free");
        });
        assert_eq!(deliveries.bytes(), None);
    }
}
