//! The ranges of device memory that this process holds.
//!
//! They tell a device's address from one of the program's own: the driver API calls both
//! `CUdeviceptr` in `cuMemcpy` and in pointer queries.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUcontext, CUdeviceptr, Error};

static RANGES: Mutex<BTreeMap<u64, Range>> = Mutex::new(BTreeMap::new());

/// One allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// Its first address.
    pub start: CUdeviceptr,
    /// Its length in bytes.
    pub bytes: u64,
    /// The context that it belongs to.
    pub context: u64,
    /// Number that no other allocation of this process ever had.
    pub id: u64,
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, Range>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    RANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up an allocation of the host.
pub(crate) fn insert(start: CUdeviceptr, bytes: u64, context: u64) {
    static LAST_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let id = LAST_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    lock().insert(start, Range { start, bytes, context, id });
}

/// Forgets the allocation that begins at `start`; INVALID_VALUE if none does.
pub(crate) fn remove(start: CUdeviceptr) -> Result<Range, Error> {
    lock().remove(&start).ok_or(Error::INVALID_VALUE)
}

/// Finds the allocation that holds `address`.
pub(crate) fn find(address: CUdeviceptr) -> Option<Range> {
    let ranges = lock();
    let (_, range) = ranges.range(..=address).next_back()?;
    (address - range.start < range.bytes).then_some(*range)
}

/// Checks that `bytes` from `address` lie within one allocation; else INVALID_VALUE.
///
/// Asked before a copy is sent without waiting, so that a freed pointer is refused at once.
pub(crate) fn check(address: CUdeviceptr, bytes: u64) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    let range = find(address).ok_or(Error::INVALID_VALUE)?;
    if bytes <= range.bytes - (address - range.start) { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Forgets what belonged to a context that is gone.
pub(crate) fn forget_context(context: CUcontext) {
    lock().retain(|_, range| range.context != context.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x7000_0000_0000;

    #[test]
    fn an_address_belongs_to_the_allocation_that_holds_it() {
        insert(START, 256, 1);
        insert(START + 512, 256, 1);
        for (offset, expected) in [
            (0, Some(0)),
            (255, Some(0)),
            (256, None),
            (512, Some(512)),
            (767, Some(512)),
            (768, None),
        ] {
            let found = find(START + offset).map(|range| range.start - START);
            assert_eq!(found, expected, "{offset}");
        }
        assert_eq!(find(START - 1), None);
        assert_eq!(check(START + 200, 56), Ok(()));
        assert_eq!(check(START + 200, 57), Err(Error::INVALID_VALUE));
        assert_eq!(check(START + 256, 0), Ok(()));
        assert_eq!(check(START + 256, 1), Err(Error::INVALID_VALUE));
        assert_eq!(check(START + 1, u64::MAX), Err(Error::INVALID_VALUE));
        assert_eq!(remove(START + 1).map(drop), Err(Error::INVALID_VALUE));
        assert_eq!(remove(START).map(|range| range.bytes), Ok(256));
        assert_eq!(remove(START).map(drop), Err(Error::INVALID_VALUE));
        forget_context(CUcontext(1));
        assert_eq!(find(START + 512), None);
    }
}
