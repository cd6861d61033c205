//! Copies to the program that are under way: where their contents belong when they come.
//!
//! The host sends them when it is asked, at a call that synchronises. Whoever reads from the link
//! puts them into their places, in the order in which they come: so they are in place when the
//! answer behind them is handed to the thread that asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_link::wire::limits::COLLECTED_MAX;

use crate::destination::Destination;

/// Most bytes of copies under way: 64 MiB, which the host holds for the program meanwhile.
pub const COPIES_BYTES_MAX: usize = 64 << 20;

/// The copies under way over one connection.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    state: Mutex<State>,
}

/// Where the contents of a copy belong.
#[derive(Debug)]
pub(crate) enum Place {
    /// Memory of the program.
    Into(Destination),
    /// Nowhere any more; as many bytes come all the same.
    Nowhere(usize),
}

impl Place {
    /// Returns how many bytes are expected.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Into(place) => place.bytes(),
            Self::Nowhere(bytes) => *bytes,
        }
    }

    fn reaches(&self, address: u64, bytes: u64) -> bool {
        let Self::Into(place) = self else { return false };
        let end = |address: u64, bytes: u64| address.saturating_add(bytes);
        place.address() < end(address, bytes)
            && address < end(place.address(), place.bytes() as u64)
    }
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<u64, Place>,
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
        (!state.places.is_empty()).then_some(state.bytes)
    }

    /// Says whether there is room for copies of so many bytes, in so many parts.
    pub(crate) fn has_room(&self, bytes: usize, parts: usize) -> bool {
        let state = self.lock();
        bytes <= COPIES_BYTES_MAX - state.bytes.min(COPIES_BYTES_MAX)
            && parts <= COLLECTED_MAX - state.places.len().min(COLLECTED_MAX)
    }

    /// Takes up a copy and gives it a number, which no other copy of the connection ever has.
    pub(crate) fn expect(&self, place: Destination) -> u64 {
        let mut state = self.lock();
        state.last_ticket += 1;
        state.bytes += place.bytes();
        let ticket = state.last_ticket;
        state.places.insert(ticket, Place::Into(place));
        ticket
    }

    /// Hands out the place of a copy, which is then under way no more.
    pub(crate) fn take(&self, ticket: u64) -> Option<Place> {
        let mut state = self.lock();
        let place = state.places.remove(&ticket)?;
        state.bytes -= place.bytes();
        Some(place)
    }

    /// Says whether a copy is under way into any of `bytes` bytes from `address`.
    pub(crate) fn reach(&self, address: u64, bytes: u64) -> bool {
        self.lock().places.values().any(|place| place.reaches(address, bytes))
    }

    /// Drops what comes for any of `bytes` bytes from `address`: the memory is about to go.
    pub(crate) fn give_up(&self, address: u64, bytes: u64) {
        for place in self.lock().places.values_mut() {
            if place.reaches(address, bytes) {
                *place = Place::Nowhere(place.bytes());
            }
        }
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
        let first = deliveries.expect(at(0x1000, 100));
        let second = deliveries.expect(at(0x2000, 50));
        assert_ne!(first, second);
        assert_eq!(deliveries.bytes(), Some(150));
        assert!(deliveries.has_room(COPIES_BYTES_MAX - 150, COLLECTED_MAX - 2));
        assert!(!deliveries.has_room(COPIES_BYTES_MAX - 149, 1));
        assert!(!deliveries.has_room(1, COLLECTED_MAX - 1));
        assert_eq!(deliveries.take(first).map(|place| place.bytes()), Some(100));
        assert!(deliveries.take(first).is_none());
        assert_eq!(deliveries.bytes(), Some(50));
    }

    #[test]
    fn a_copy_into_memory_that_is_to_be_freed_is_found() {
        let deliveries = Deliveries::default();
        deliveries.expect(at(0x1000, 0x100));
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
}
