//! The device's two regions, mapped.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::registers::{FROM_HOST, Registers};

/// Sizes of the two regions, which the scan has checked.
const BYTES: [usize; 2] = [4 << 10, 16 << 20];

/// The mapped regions.
#[derive(Debug)]
pub(super) struct Bars([NonNull<u8>; 2]);

// SAFETY: the mappings belong to this value alone and are as good from any thread; the device
// takes accesses from all of them.
unsafe impl Send for Bars {}

impl Bars {
    /// Maps both regions; on failure says which one could not be.
    pub fn map(regions: [&File; 2]) -> Result<Self, (usize, io::Error)> {
        let first = map(regions[0], BYTES[0]).map_err(|error| (0, error))?;
        match map(regions[1], BYTES[1]) {
            Ok(second) => Ok(Self([first, second])),
            Err(error) => {
                unmap(first, BYTES[0]);
                Err((1, error))
            }
        }
    }

    /// A register's place.
    fn register(&self, at: u32) -> *mut u32 {
        let at = at as usize;
        assert!(at.is_multiple_of(4) && at + 4 <= BYTES[0], "a register of the device");
        // SAFETY: checked just above to lie within the mapping.
        unsafe { self.0[0].as_ptr().add(at).cast() }
    }

    /// The place of eight bytes of data.
    fn data(&self, at: usize) -> *mut u64 {
        assert!(at.is_multiple_of(8) && at + 8 <= BYTES[1], "a place in the device's data");
        // SAFETY: checked just above to lie within the mapping.
        unsafe { self.0[1].as_ptr().add(at).cast() }
    }
}

fn map(file: &File, bytes: usize) -> io::Result<NonNull<u8>> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, at an address of the kernel's choice. No reference into it is ever
    // made: the device, or whoever has the file, may change it at any time.
    let mapped = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, file, 0)? };
    NonNull::new(mapped.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

fn unmap(at: NonNull<u8>, bytes: usize) {
    // SAFETY: `map` made this mapping with this size, and its owner lets go of it here. It cannot
    // fail for a whole mapping.
    let _ = unsafe { munmap(at.as_ptr().cast(), bytes) };
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.0.iter().zip(BYTES).for_each(|(at, bytes)| unmap(*at, bytes));
    }
}

impl Registers for Bars {
    fn read32(&self, at: u32) -> u32 {
        // SAFETY: `register` checked place and alignment; volatile, for the device answers.
        u32::from_le(unsafe { self.register(at).read_volatile() })
    }

    fn write32(&self, at: u32, value: u32) {
        // SAFETY: as in `read32`.
        unsafe { self.register(at).write_volatile(value.to_le()) }
    }

    fn put(&self, data: &[u8]) {
        for (at, chunk) in data.chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            // SAFETY: `data` checked place and alignment; volatile, so that each is one access of
            // eight bytes, which the device takes.
            unsafe { self.data(8 * at).write_volatile(u64::from_ne_bytes(bytes)) }
        }
    }

    fn take(&self, into: &mut [u8]) {
        for (at, chunk) in into.chunks_mut(8).enumerate() {
            // SAFETY: as in `put`.
            let value = unsafe { self.data(FROM_HOST as usize + 8 * at).read_volatile() };
            chunk.copy_from_slice(&value.to_ne_bytes()[..chunk.len()]);
        }
    }
}
