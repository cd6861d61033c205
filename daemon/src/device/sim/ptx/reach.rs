//! Device memory for the length of a launch: a kernel accesses few stretches of it many times.

use super::GlobalMemory;
use crate::device::sim::memory::{Memory, Place};

/// Stretches that are remembered: what a matrix multiplication reads and writes, and some more.
const PLACES: usize = 8;

/// The simulated devices' memory, and where a kernel found what it accessed.
pub(crate) struct Reach<'a> {
    memory: &'a mut Memory,
    places: Vec<Place>,
    /// The place that is forgotten next.
    oldest: usize,
}

impl<'a> Reach<'a> {
    /// Begins with nothing remembered.
    pub fn new(memory: &'a mut Memory) -> Self {
        Self { memory, places: Vec::with_capacity(PLACES), oldest: 0 }
    }

    fn find(&mut self, address: u64, bytes: u64) -> Option<usize> {
        let known = |place: &Place| self.memory.read_in(place, address, bytes).is_some();
        if let Some(at) = self.places.iter().position(known) {
            return Some(at);
        }
        let place = self.memory.locate(address).ok()?;
        if self.places.len() < PLACES {
            self.places.push(place);
            return Some(self.places.len() - 1);
        }
        let at = self.oldest;
        self.places[at] = place;
        self.oldest = (at + 1) % PLACES;
        Some(at)
    }
}

impl GlobalMemory for Reach<'_> {
    fn bytes(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]> {
        let at = self.find(address, bytes as u64)?;
        self.memory.write_in(&self.places[at], address, bytes as u64)
    }
}
