//! The physical memory that this process names (`cuMemCreate`): sizes and devices by handle.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUdevice, Error};

static PHYSICAL: Mutex<Option<HashMap<u64, (Physical, u32)>>> = Mutex::new(None);

/// What is known of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Physical {
    /// Its size.
    pub bytes: u64,
    /// The device whose memory it is.
    pub device: CUdevice,
}

fn lock() -> MutexGuard<'static, Option<HashMap<u64, (Physical, u32)>>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    PHYSICAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up physical memory that the host made.
pub(crate) fn insert(handle: u64, physical: Physical) {
    retain(handle, physical);
}

/// Counts one more reference to a handle, known or not.
pub(crate) fn retain(handle: u64, physical: Physical) {
    lock().get_or_insert_default().entry(handle).or_insert((physical, 0)).1 += 1;
}

/// Looks a handle up; one that was never given out, or is released, is INVALID_VALUE.
pub(crate) fn find(handle: u64) -> Result<Physical, Error> {
    let physical = lock();
    let found = physical.as_ref().and_then(|known| known.get(&handle));
    found.map(|(physical, _)| *physical).ok_or(Error::INVALID_VALUE)
}

/// Counts one reference less.
pub(crate) fn release(handle: u64) {
    let mut physical = lock();
    let Some(known) = physical.as_mut() else { return };
    if let Some((_, references)) = known.get_mut(&handle) {
        *references -= 1;
        if *references == 0 {
            known.remove(&handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_known_until_each_reference_is_released() {
        let physical = Physical { bytes: 7, device: 1 };
        insert(99, physical);
        retain(99, physical);
        release(99);
        assert_eq!(find(99), Ok(physical));
        release(99);
        assert_eq!(find(99), Err(Error::INVALID_VALUE));
    }
}
