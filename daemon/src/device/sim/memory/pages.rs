//! Pages that can be mapped: what stands behind `cuMemCreate`, and the address ranges that it is
//! mapped into.
//!
//! Physical memory is one sparse file without a name. A [`Space`] is a range of this process's
//! addresses, so what is mapped side by side lies side by side here too, and what is mapped twice
//! is the same memory.

#![allow(unsafe_code, reason = "maps pages and reads and writes what it mapped")]

use std::fmt;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// All physical memory of one client's devices. It costs nothing until it is written.
#[derive(Debug)]
pub(crate) struct Pages {
    file: OwnedFd,
    /// Offsets below it were handed out, none of them twice: a file has 2^63.
    end: u64,
}

impl Pages {
    /// Starts without any.
    pub fn new() -> Result<Self, Errno> {
        let file = rustix::fs::memfd_create("vgpu-device-memory", MemfdFlags::CLOEXEC)?;
        Ok(Self { file, end: 0 })
    }

    /// Takes pages, which are zero; returns where they begin.
    pub fn take(&mut self, bytes: u64) -> Result<u64, Errno> {
        let start = self.end;
        let end = start.checked_add(bytes).ok_or(Errno::FBIG)?;
        rustix::fs::ftruncate(&self.file, end)?;
        self.end = end;
        Ok(start)
    }

    /// Gives pages back to the system.
    pub fn give_back(&mut self, start: u64, bytes: u64) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // What cannot be given back is given back when the client goes.
        let _ = rustix::fs::fallocate(&self.file, flags, start, bytes);
    }
}

/// A range of addresses of this process into which pages are mapped. All of it can always be read
/// and written; what is not mapped are zeros that nobody is shown.
pub(crate) struct Space {
    first: NonNull<u8>,
    bytes: usize,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

// SAFETY: the range belongs to this value alone, and nothing about it depends on the thread.
unsafe impl Send for Space {}

const ACCESS: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
const NOTHING: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);

impl Space {
    /// Takes a range of addresses.
    pub fn new(bytes: usize) -> Result<Self, Errno> {
        // SAFETY: a new mapping at a place that the kernel chooses replaces nothing.
        let first =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, ACCESS, NOTHING) }?;
        let first = NonNull::new(first.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { first, bytes })
    }

    /// Maps pages, from `start` on, into a part of the range.
    pub fn map(&mut self, part: Range<usize>, pages: &Pages, start: u64) -> Result<(), Errno> {
        self.check(&part)?;
        if part.len() as u64 > pages.end.saturating_sub(start) {
            return Err(Errno::INVAL);
        }
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        let file = pages.file.as_fd();
        let place = self.first.as_ptr().wrapping_add(part.start).cast();
        // SAFETY: `check` keeps the part within our own mapping, of which no slice is borrowed
        // while `self` is; the file is as long as what is mapped, and only ever grows, so that
        // no access ends in SIGBUS.
        let mapped = unsafe { rustix::mm::mmap(place, part.len(), ACCESS, flags, file, start) };
        mapped.map(drop)
    }

    /// Maps nothing into a part of the range.
    pub fn unmap(&mut self, part: Range<usize>) -> Result<(), Errno> {
        self.check(&part)?;
        let place = self.first.as_ptr().wrapping_add(part.start).cast();
        let flags = NOTHING | MapFlags::FIXED;
        // SAFETY: as in `map`.
        unsafe { rustix::mm::mmap_anonymous(place, part.len(), ACCESS, flags) }.map(drop)
    }

    /// Borrows all of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range is ours, initialised by the kernel and always readable. Where the same
        // pages are mapped into another space, or twice into this one, only `Memory` writes to
        // them, which holds all spaces, so never while this slice is borrowed from it.
        unsafe { std::slice::from_raw_parts(self.first(), self.bytes) }
    }

    /// The same, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and always writable.
        unsafe { std::slice::from_raw_parts_mut(self.first(), self.bytes) }
    }

    /// Returns the first address as one that the compiler knows nothing about: what lies there may
    /// have changed since it was last looked at, by another mapping or by the kernel.
    fn first(&self) -> *mut u8 {
        std::hint::black_box(self.first.as_ptr())
    }

    fn check(&self, part: &Range<usize>) -> Result<(), Errno> {
        let fits = !part.is_empty() && part.end <= self.bytes;
        if fits { Ok(()) } else { Err(Errno::INVAL) }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` made, of which nothing is borrowed any more.
        let _ = unsafe { rustix::mm::munmap(self.first.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_twice_is_the_same_memory_and_what_is_given_back_is_zero() {
        const PAGE: usize = 2 << 20;
        let mut pages = Pages::new().expect("a file in memory");
        let start = pages.take(PAGE as u64).expect("room");
        let mut space = Space::new(3 * PAGE).expect("addresses");
        space.map(0..PAGE, &pages, start).expect("in range");
        space.map(2 * PAGE..3 * PAGE, &pages, start).expect("in range");
        space.bytes_mut()[7] = 9;
        assert_eq!((space.bytes()[2 * PAGE + 7], space.bytes()[PAGE + 7]), (9, 0));
        space.unmap(0..PAGE).expect("in range");
        assert_eq!((space.bytes()[7], space.bytes()[2 * PAGE + 7]), (0, 9));
        pages.give_back(start, PAGE as u64);
        assert_eq!(space.bytes()[2 * PAGE + 7], 0);
        assert_eq!(space.map(2 * PAGE..4 * PAGE, &pages, start), Err(Errno::INVAL));
        assert_eq!(space.map(0..2 * PAGE, &pages, start), Err(Errno::INVAL), "beyond the file");
        assert_eq!(space.unmap(3 * PAGE..4 * PAGE), Err(Errno::INVAL));
    }
}
