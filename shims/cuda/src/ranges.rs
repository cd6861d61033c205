//! The ranges of device memory that this process holds: allocations, and mappings at reserved
//! addresses.
//!
//! They tell a device's address from one of the program's own: the driver API calls both
//! `CUdeviceptr` in `cuMemcpy` and in pointer queries.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUcontext, CUdevice, CUdeviceptr, Error};

use crate::contexts;

static RANGES: Mutex<BTreeMap<u64, Range>> = Mutex::new(BTreeMap::new());

/// How a range came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Allocated.
    Allocated,
    /// Allocated from a pool, by its handle.
    Pool(u64),
    /// Mapped at reserved addresses.
    Mapped,
}

/// One allocation or mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// Its first address.
    pub start: CUdeviceptr,
    /// Its length in bytes.
    pub bytes: u64,
    /// The device whose memory it is.
    pub device: CUdevice,
    /// The context that it belongs to; 0 for a mapping.
    pub context: u64,
    /// How it came to be.
    pub origin: Origin,
    /// Number that no other allocation of this process ever had.
    pub id: u64,
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, Range>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    RANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up an allocation of the host.
pub(crate) fn insert(start: CUdeviceptr, bytes: u64, context: u64) {
    insert_from(start, bytes, context, Origin::Allocated);
}

/// Takes up an allocation from a pool, or from none.
pub(crate) fn insert_from(start: CUdeviceptr, bytes: u64, context: u64, origin: Origin) {
    // A context that ended meanwhile has taken the allocation with it.
    let device = contexts::find(context).map_or(0, |context| context.device);
    restore(vec![Range { start, bytes, device, context, origin, id: next_id() }]);
}

/// Takes up a mapping.
pub(crate) fn insert_mapping(start: CUdeviceptr, bytes: u64, device: CUdevice) {
    let origin = Origin::Mapped;
    restore(vec![Range { start, bytes, device, context: 0, origin, id: next_id() }]);
}

fn next_id() -> u64 {
    static LAST_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    LAST_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
}

/// Forgets the allocation that begins at `start`; INVALID_VALUE if none does.
pub(crate) fn remove(start: CUdeviceptr) -> Result<Range, Error> {
    let mut ranges = lock();
    match ranges.get(&start) {
        Some(range) if range.origin != Origin::Mapped => {}
        _ => return Err(Error::INVALID_VALUE),
    }
    ranges.remove(&start).ok_or(Error::INVALID_VALUE)
}

/// Forgets the allocation from a pool that begins at `start`; INVALID_VALUE if none does.
pub(crate) fn remove_pooled(start: CUdeviceptr) -> Result<Range, Error> {
    let mut ranges = lock();
    match ranges.get(&start).map(|range| range.origin) {
        Some(Origin::Pool(_)) => ranges.remove(&start).ok_or(Error::INVALID_VALUE),
        _ => Err(Error::INVALID_VALUE),
    }
}

/// Forgets the mappings that begin within a range, and returns them.
pub(crate) fn take_mappings(start: CUdeviceptr, bytes: u64) -> Vec<Range> {
    let mut ranges = lock();
    let end = start.saturating_add(bytes);
    let within = ranges.range(start..end).filter(|(_, range)| range.origin == Origin::Mapped);
    let taken: Vec<Range> = within.map(|(_, range)| *range).collect();
    for range in &taken {
        ranges.remove(&range.start);
    }
    taken
}

/// Takes up ranges again that were forgotten.
pub(crate) fn restore(taken: Vec<Range>) {
    lock().extend(taken.into_iter().map(|range| (range.start, range)));
}

/// Finds the mapping that holds `address`.
pub(crate) fn find_mapping(address: CUdeviceptr) -> Option<Range> {
    find(address).filter(|range| range.origin == Origin::Mapped)
}

/// Finds the allocation or mapping that holds `address`.
pub(crate) fn find(address: CUdeviceptr) -> Option<Range> {
    let ranges = lock();
    let (_, range) = ranges.range(..=address).next_back()?;
    (address - range.start < range.bytes).then_some(*range)
}

/// Checks that `bytes` from `address` lie within one allocation, or within mappings side by side;
/// else INVALID_VALUE.
///
/// Asked before a copy is sent without waiting, so that a freed pointer is refused at once.
pub(crate) fn check(address: CUdeviceptr, bytes: u64) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    let end = address.checked_add(bytes).ok_or(Error::INVALID_VALUE)?;
    let ranges = lock();
    let below =
        ranges.range(..=address).next_back().filter(|(_, it)| address - it.start < it.bytes);
    let (_, mut range) = below.ok_or(Error::INVALID_VALUE)?;
    while range.start + range.bytes < end {
        let next = ranges.get(&(range.start + range.bytes));
        let is_mapped = |it: &Range| it.origin == Origin::Mapped;
        range = next.filter(|it| is_mapped(it) && is_mapped(range)).ok_or(Error::INVALID_VALUE)?;
    }
    Ok(())
}

/// Forgets what belonged to a context that is gone.
pub(crate) fn forget_context(context: CUcontext) {
    lock().retain(|_, range| range.origin == Origin::Mapped || range.context != context.0);
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

    #[test]
    fn mappings_side_by_side_are_one_range_to_a_copy_but_not_to_cu_mem_free() {
        const FIRST: u64 = START + (1 << 30);
        const SIZE: u64 = 2 << 20;
        insert_mapping(FIRST, SIZE, 0);
        insert_mapping(FIRST + SIZE, SIZE, 0);
        insert(FIRST + 2 * SIZE, SIZE, 7);
        assert_eq!(check(FIRST + 5, 2 * SIZE - 5), Ok(()));
        assert_eq!(check(FIRST + 5, 2 * SIZE - 4), Err(Error::INVALID_VALUE));
        assert_eq!(remove(FIRST).map(drop), Err(Error::INVALID_VALUE));
        let taken = take_mappings(FIRST, 2 * SIZE);
        assert_eq!((taken.len(), find(FIRST)), (2, None));
        restore(taken);
        assert_eq!(find_mapping(FIRST + SIZE).map(|range| range.start), Some(FIRST + SIZE));
        assert_eq!(find_mapping(FIRST + 2 * SIZE), None);
        assert_eq!(take_mappings(FIRST, u64::MAX).len(), 2, "the allocation is left");
        assert_eq!(remove(FIRST + 2 * SIZE).map(|range| range.bytes), Ok(SIZE));
    }
}
