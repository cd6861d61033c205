//! The two ends of one direction: indices, and the bytes between them.
//!
//! Each end keeps its own index in memory of its own and only ever writes the shared one. The
//! peer's index is read once, and is believed only if it lies where an honest peer's can be:
//! everything else ends the connection. Indices count bytes and wrap at 2^64.

use std::io::IoSlice;

use crate::RingError;
use crate::layout::Lane;
use crate::sync::{Ordering, fence};

/// The writing end.
#[derive(Debug)]
pub(crate) struct Producer {
    lane: Lane,
    produced: u64,
    /// The consumer's index as last believed.
    consumed: u64,
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer {
    lane: Lane,
    consumed: u64,
    /// The producer's index as last believed.
    produced: u64,
}

/// Most bytes that go by before the peer sees them: a quarter of the lane, so that it copies one
/// part of a long frame while we copy the next.
fn step(lane: &Lane) -> u64 {
    (lane.capacity / 4).max(1)
}

impl Producer {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, produced: 0, consumed: 0 }
    }

    /// Returns where this end says that it sleeps.
    pub(crate) fn sleeps(&self) -> usize {
        self.lane.writer_sleeps
    }

    /// Returns how many bytes can be written now; reads the peer's index only if it is not known
    /// that `wanted` have room.
    pub(crate) fn room(&mut self, wanted: usize) -> Result<u64, RingError> {
        let known = self.lane.capacity - self.produced.wrapping_sub(self.consumed);
        if known >= (wanted as u64).min(step(&self.lane)) {
            return Ok(known);
        }
        let told = self.lane.region.load(self.lane.consumed, Ordering::Acquire);
        // From what was believed to all that we wrote: no less, or it took bytes back.
        let moved = told.wrapping_sub(self.consumed);
        let most = self.produced.wrapping_sub(self.consumed);
        if moved > most {
            return Err(RingError::Index { index: "consumed", told: moved, most });
        }
        self.consumed = told;
        Ok(known + moved)
    }

    /// Writes what of `parts` fits into `room` bytes and a step, and lets the peer see it. Returns
    /// how many bytes that is, and whether the peer sleeps and is to be woken.
    pub(crate) fn push(&mut self, parts: &[IoSlice<'_>], room: u64) -> (usize, bool) {
        let mut left = room.min(step(&self.lane)) as usize;
        let mut written = 0;
        for part in parts {
            let mut part = &part[..part.len().min(left)];
            left -= part.len();
            while !part.is_empty() {
                let (place, piece) = self.lane.place(self.produced.wrapping_add(written));
                let (now, later) = part.split_at(part.len().min(piece));
                self.lane.region.copy_in(place, now);
                written += now.len() as u64;
                part = later;
            }
        }
        self.produced = self.produced.wrapping_add(written);
        self.lane.region.store(self.lane.produced, self.produced, Ordering::Release);
        (written as usize, wake(&self.lane, self.lane.reader_sleeps))
    }
}

impl Consumer {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, consumed: 0, produced: 0 }
    }

    /// Returns where this end says that it sleeps.
    pub(crate) fn sleeps(&self) -> usize {
        self.lane.reader_sleeps
    }

    /// Returns how many bytes can be read now; reads the peer's index only if fewer than `wanted`
    /// are known.
    pub(crate) fn available(&mut self, wanted: usize) -> Result<u64, RingError> {
        let known = self.produced.wrapping_sub(self.consumed);
        if known >= (wanted as u64).min(step(&self.lane)) {
            return Ok(known);
        }
        let told = self.lane.region.load(self.lane.produced, Ordering::Acquire);
        let moved = told.wrapping_sub(self.produced);
        let most = self.lane.capacity - known;
        if moved > most {
            return Err(RingError::Index { index: "produced", told: moved, most });
        }
        self.produced = told;
        Ok(known + moved)
    }

    /// Reads what of `available` bytes fits into `into` and a step, and gives the room back.
    /// Returns how many bytes that is, and whether the peer sleeps and is to be woken: only once a
    /// step has room, for a writer that wakes for every byte gets nowhere. All of the lane read is
    /// such a moment, so it comes if the reader reads on.
    pub(crate) fn pull(&mut self, into: &mut [u8], available: u64) -> (usize, bool) {
        let count = (into.len() as u64).min(available).min(step(&self.lane)) as usize;
        let mut rest = &mut into[..count];
        while !rest.is_empty() {
            let (place, piece) = self.lane.place(self.consumed);
            let length = rest.len().min(piece);
            let (now, later) = rest.split_at_mut(length);
            self.lane.region.copy_out(place, now);
            self.consumed = self.consumed.wrapping_add(length as u64);
            rest = later;
        }
        self.lane.region.store(self.lane.consumed, self.consumed, Ordering::Release);
        let room = self.lane.capacity - self.produced.wrapping_sub(self.consumed);
        (count, room >= step(&self.lane) && wake(&self.lane, self.lane.writer_sleeps))
    }
}

/// Says whether the peer sleeps, and takes its flag down: whoever does that rings.
///
/// The fence stands between our index and its flag; the sleeper's stands between its flag and its
/// last look at our index. One of the two is first, so either it sees the index or we see the flag
/// (the models in `models.rs`).
fn wake(lane: &Lane, sleeps: usize) -> bool {
    fence(Ordering::SeqCst);
    let sleeping = lane.region.load(sleeps, Ordering::Relaxed) != 0;
    if sleeping {
        lane.region.store(sleeps, 0, Ordering::Relaxed);
    }
    sleeping
}
