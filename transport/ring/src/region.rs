//! Memory that the other side may change at any moment.
//!
//! The peer is another program, often another machine's, and may be hostile. So no reference to
//! plain data is ever made here; every byte goes through one of two doors:
//!
//! - Control words: relaxed, acquire or release atomics of 8 bytes, aligned. The reference that
//!   `AtomicU64::from_ptr` makes lives for one operation, and promises nothing of the content.
//! - Copies between the region and memory of ours. On x86-64 they are assembly, of which the
//!   compiler knows only that it copies: what a byte-wise atomic copy in any order may do, it may
//!   do, and a racing peer changes which bytes arrive, nothing else (so reads Rust's RFC 3301,
//!   "atomic memcpy"; `unsafe-code-guidelines` #607 lists the open questions). Elsewhere, for less
//!   than 16 bytes, and under Miri they are relaxed atomics of single bytes. Neither is
//!   `copy_nonoverlapping`: a data race with that is undefined (`std::ptr`, "Safety"). Volatile
//!   accesses, the way of crosvm and vm-memory, are for memory that Rust does not know, and give no
//!   order between data and index.
//!
//! Measured on an EPYC (family 25), GB/s at 64 KiB and 64 MiB: libc's memcpy 41 and 6, the
//! assembly 40 and 8, relaxed atomics of 8 bytes 22 and 7.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fd::{AsFd, AsRawFd};
use rustix::mm::{Advice, madvise};

use crate::RingError;

/// Two cache lines, so that the hardware's prefetch of pairs does not join two writers.
#[repr(align(128))]
struct Line(#[expect(dead_code, reason = "reached by address")] [AtomicU64; 16]);

/// What keeps the memory in its place.
#[derive(Clone)]
enum Keeper {
    Heap(#[expect(dead_code, reason = "held, not used")] Arc<[Line]>),
    Mapping(#[expect(dead_code, reason = "held, not used")] Arc<MmapRaw>),
}

/// A piece of memory that is shared with a peer; a clone is the same memory.
#[derive(Clone)]
pub struct Region {
    base: *mut u8,
    bytes: usize,
    _keeper: Keeper,
}

// SAFETY: the pointer is as good in any thread, for the keeper travels with it.
unsafe impl Send for Region {}
// SAFETY: all accesses are atomic, or what a byte-wise atomic copy may do.
unsafe impl Sync for Region {}

impl Region {
    /// Makes a region within this process, of zeroes: for tests, and for peers that are threads.
    pub fn heap(bytes: usize) -> Self {
        let lines: Arc<[Line]> = (0..bytes.div_ceil(size_of::<Line>()))
            .map(|_| Line([const { AtomicU64::new(0) }; 16]))
            .collect();
        Self { base: lines.as_ptr().cast_mut().cast(), bytes, _keeper: Keeper::Heap(lines) }
    }

    /// Maps `bytes` bytes of a file, shared and writable: a memfd, or a device's memory in sysfs.
    ///
    /// The caller makes sure that the file keeps its length: beyond its end every access is SIGBUS.
    ///
    /// # Errors
    /// [`RingError::System`] if the system refuses.
    pub fn map(file: impl AsFd, bytes: usize) -> Result<Self, RingError> {
        Self::map_at(file, 0, bytes)
    }

    /// The same, of the `bytes` bytes that begin at `offset`, a multiple of the page size.
    ///
    /// # Errors
    /// As [`Region::map`].
    pub fn map_at(file: impl AsFd, offset: u64, bytes: usize) -> Result<Self, RingError> {
        let map = MmapOptions::new()
            .offset(offset)
            .len(bytes)
            .map_raw(file.as_fd().as_raw_fd())
            .map_err(|source| RingError::System { verb: "mapping the shared memory", source })?;
        Ok(Self { base: map.as_mut_ptr(), bytes, _keeper: Keeper::Mapping(Arc::new(map)) })
    }

    /// Returns the length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the address of `offset`, for who registers the memory with a device. Whoever follows
    /// it keeps the rules of this module.
    ///
    /// # Panics
    /// Like all that take an offset: if it lies outside, which the layout rules out.
    pub fn address(&self, offset: usize, bytes: usize) -> *mut u8 {
        let end = offset.checked_add(bytes).expect("an offset within the region");
        assert!(end <= self.bytes, "{offset} + {bytes} lies beyond {}", self.bytes);
        self.base.wrapping_add(offset)
    }

    /// Gives the whole pages of a piece back to the system, and to the file behind it: they read as
    /// zeroes then, for both sides.
    ///
    /// # Errors
    /// [`RingError::System`] where there is no such file behind the memory, or it cannot have
    /// holes.
    pub fn discard(&self, offset: usize, bytes: usize) -> Result<(), RingError> {
        let from = self.address(offset, bytes);
        let failed = RingError::system("giving shared memory back");
        // SAFETY: `address` checked that the piece is in the region, which lives as long as self.
        // The contents change as if a peer had written zeroes, and nobody has a reference there.
        unsafe { madvise(from.cast(), bytes, Advice::LinuxRemove) }.map_err(failed)
    }

    /// Borrows the control word at `offset` for one operation.
    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "{offset} is no word's place");
        // SAFETY: `address` checked that all 8 bytes are in the region, whose base is aligned to 8
        // (a line or a page) and which lives as long as self; all others access it atomically too.
        unsafe { AtomicU64::from_ptr(self.address(offset, 8).cast()) }
    }

    /// Reads the control word at `offset`, once.
    #[inline]
    pub fn load(&self, offset: usize, ordering: Ordering) -> u64 {
        u64::from_le(self.word(offset).load(ordering))
    }

    /// Writes the control word at `offset`.
    #[inline]
    pub fn store(&self, offset: usize, value: u64, ordering: Ordering) {
        self.word(offset).store(value.to_le(), ordering);
    }

    /// Writes `new` to the control word at `offset` if `current` stands there, in one step, and
    /// returns whether it did.
    pub fn exchange(&self, offset: usize, current: u64, new: u64) -> bool {
        let (current, new) = (current.to_le(), new.to_le());
        let word = self.word(offset);
        word.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Writes the 4 bytes at `offset`, which may be a device's register.
    pub fn store_half(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4), "{offset} is no register's place");
        // SAFETY: as in `word`, with 4 bytes.
        let half = unsafe { AtomicU32::from_ptr(self.address(offset, 4).cast()) };
        half.store(value.to_le(), Ordering::Release);
    }

    /// Copies from the region into memory of ours.
    #[inline]
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let from = self.address(offset, into.len());
        // SAFETY: `address` checked the region's side, the slice is ours alone.
        unsafe { read(from, into) }
    }

    /// Copies memory of ours into the region.
    #[inline]
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        let to = self.address(offset, from.len());
        // SAFETY: `address` checked the region's side, the slice is not written by anybody.
        unsafe { write(from, to) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Region").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Copies shared bytes at `from` into `into`.
///
/// # Safety
/// `into.len()` bytes at `from` are mapped, readable, and no memory that Rust code accesses other
/// than atomically.
unsafe fn read(from: *const u8, into: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if into.len() >= 16 {
        // SAFETY: the caller's promise for `from`; `into` is a slice, and they do not overlap, as
        // nothing shared is ever borrowed as a slice.
        return unsafe { copy(from, into.as_mut_ptr(), into.len()) };
    }
    for (at, byte) in into.iter_mut().enumerate() {
        // SAFETY: within the bytes that the caller promised.
        let place = unsafe { AtomicU8::from_ptr(from.cast_mut().wrapping_add(at)) };
        *byte = place.load(Ordering::Relaxed);
    }
}

/// Copies `from` to shared bytes at `to`.
///
/// # Safety
/// `from.len()` bytes at `to` are mapped, writable, and no memory that Rust code accesses other
/// than atomically.
unsafe fn write(from: &[u8], to: *mut u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if from.len() >= 16 {
        // SAFETY: as in `read`, the other way.
        return unsafe { copy(from.as_ptr(), to, from.len()) };
    }
    for (at, byte) in from.iter().enumerate() {
        // SAFETY: as in `read`.
        let place = unsafe { AtomicU8::from_ptr(to.wrapping_add(at)) };
        place.store(*byte, Ordering::Relaxed);
    }
}

/// Copies at least 16 bytes: 64 at a time, then 16, then the last 16 once more where they end.
///
/// Not `rep movsb`, which is a tenth as fast here when the two sides are not aligned alike.
///
/// # Safety
/// All `bytes` bytes at both sides are mapped and do not overlap; `bytes` is 16 or more.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: reads below `from + bytes` and writes below `to + bytes` only: the loops count down
    // what is left, and the last move ends at the end.
    unsafe {
        std::arch::asm!(
            "lea {from_last}, [{from} + {left} - 16]",
            "lea {to_last}, [{to} + {left} - 16]",
            "sub {left}, 64",
            "jb 3f",
            "2:",
            "movdqu {a}, [{from}]",
            "movdqu {b}, [{from} + 16]",
            "movdqu {c}, [{from} + 32]",
            "movdqu {d}, [{from} + 48]",
            "movdqu [{to}], {a}",
            "movdqu [{to} + 16], {b}",
            "movdqu [{to} + 32], {c}",
            "movdqu [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "sub {left}, 64",
            "jae 2b",
            "3:",
            "add {left}, 64 - 16",
            "js 5f",
            "4:",
            "movdqu {a}, [{from}]",
            "movdqu [{to}], {a}",
            "add {from}, 16",
            "add {to}, 16",
            "sub {left}, 16",
            "jns 4b",
            "5:",
            "movdqu {a}, [{from_last}]",
            "movdqu [{to_last}], {a}",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            left = inout(reg) bytes => _,
            from_last = out(reg) _,
            to_last = out(reg) _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_every_length_and_alignment_bring_each_byte_and_touch_no_other() {
        let region = Region::heap(512);
        let (longest, offsets, starts) = if cfg!(miri) { (10, 2, 1) } else { (200, 17, 4) };
        let source: Vec<u8> = (1..=255).collect();
        for offset in 0..offsets {
            for from in 0..starts {
                for length in 0..longest {
                    region.copy_in(0, &[0; 512]);
                    region.copy_in(100 + offset, &source[from..from + length]);
                    let mut found = [0; 512];
                    region.copy_out(0, &mut found);
                    let mut expected = [0; 512];
                    expected[100 + offset..][..length].copy_from_slice(&source[from..][..length]);
                    assert_eq!(found, expected, "{length} bytes to {offset}");
                    let mut out = vec![0; length + 8];
                    region.copy_out(100 + offset, &mut out[from..from + length]);
                    assert_eq!(out[from..from + length], source[from..from + length]);
                    assert!(out[..from].iter().chain(&out[from + length..]).all(|b| *b == 0));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "lies beyond")]
    fn nothing_outside_the_region_is_touched() {
        Region::heap(512).copy_in(500, &[0; 13]);
    }
}
