//! Pinned memory: pages of the guest that the program asked to stay where they are.
//!
//! The device does not see them (attribute CAN_MAP_HOST_MEMORY is 0), so "pinned" says only what
//! a copy may assume. Memory that is allocated here is page-aligned and zeroed by the kernel.
//! Memory of the program's own is not registered: nothing here would lock its pages
//! (`cuMemHostRegister` is NOT_SUPPORTED, as attribute HOST_REGISTER_SUPPORTED says).

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;
use vgpu_abi::cuda::Error;

static PINNED: Mutex<BTreeMap<usize, Pinned>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Pinned {
    bytes: usize,
    flags: u32,
    /// Unmapped when the entry goes.
    _pages: MmapMut,
}

fn lock() -> MutexGuard<'static, BTreeMap<usize, Pinned>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    PINNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allocates at least `bytes` bytes of pages; OUT_OF_MEMORY if the system has none.
pub(crate) fn allocate(bytes: usize, flags: u32) -> Result<*mut c_void, Error> {
    let mut pages = MmapMut::map_anon(bytes).map_err(|_| Error::OUT_OF_MEMORY)?;
    let start: *mut u8 = pages.as_mut_ptr();
    // Pointers must have their provenance exposed, because C keeps this one as a number.
    let address = start.expose_provenance();
    lock().insert(address, Pinned { bytes, flags, _pages: pages });
    Ok(start.cast())
}

/// Frees pages that [`allocate`] gave; INVALID_VALUE for any other address.
pub(crate) fn free(address: u64) -> Result<(), Error> {
    lock().remove(&(address as usize)).map(drop).ok_or(Error::INVALID_VALUE)
}

/// Returns the flags, the first address and the length of the pinned memory that holds `address`.
pub(crate) fn find(address: u64) -> Option<(u32, u64, u64)> {
    let pinned = lock();
    let (start, found) = pinned.range(..=address as usize).next_back()?;
    let is_inside = address as usize - start < found.bytes;
    is_inside.then_some((found.flags, *start as u64, found.bytes as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocated_pages_are_aligned_found_and_freed_once() {
        let address = allocate(5000, 3).unwrap().addr() as u64;
        assert_eq!(address % 4096, 0);
        assert_eq!(find(address + 4999), Some((3, address, 5000)));
        assert_eq!(find(address + 5000), None);
        assert_eq!(free(address + 8), Err(Error::INVALID_VALUE));
        assert_eq!(free(address), Ok(()));
        assert_eq!(free(address), Err(Error::INVALID_VALUE));
        assert_eq!(find(address), None);
    }
}
