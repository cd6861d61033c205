//! The region for loom: control words are loom's atomics, data bytes are cells in which loom finds
//! every race.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering};

/// A piece of memory that two threads of a model share.
#[derive(Clone, Debug)]
pub struct Region {
    words: Arc<[AtomicU64]>,
    cells: Arc<[UnsafeCell<u8>]>,
}

// SAFETY: loom runs one thread at a time, and reports every race of two.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Makes a region of zeroes. Words and bytes of one offset are different places in the model,
    /// which no layout uses as both.
    pub fn heap(bytes: usize) -> Self {
        Self {
            words: (0..bytes / 8).map(|_| AtomicU64::new(0)).collect(),
            cells: (0..bytes).map(|_| UnsafeCell::new(0)).collect(),
        }
    }

    /// Returns the length in bytes.
    pub fn bytes(&self) -> usize {
        self.cells.len()
    }

    /// Reads the control word at `offset`, once.
    pub fn load(&self, offset: usize, ordering: Ordering) -> u64 {
        self.words[offset / 8].load(ordering)
    }

    /// Writes the control word at `offset`.
    pub fn store(&self, offset: usize, value: u64, ordering: Ordering) {
        self.words[offset / 8].store(value, ordering);
    }

    /// Writes `new` to the control word at `offset` if `current` stands there, in one step.
    pub fn exchange(&self, offset: usize, current: u64, new: u64) -> bool {
        let word = &self.words[offset / 8];
        word.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Copies from the region into memory of ours.
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        for (cell, byte) in self.cells[offset..].iter().zip(into) {
            // SAFETY: the cell outlives the closure; a race is loom's to report.
            *byte = cell.with(|place| unsafe { *place });
        }
    }

    /// Copies memory of ours into the region.
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        for (cell, byte) in self.cells[offset..].iter().zip(from) {
            // SAFETY: as above.
            cell.with_mut(|place| unsafe { *place = *byte });
        }
    }
}
