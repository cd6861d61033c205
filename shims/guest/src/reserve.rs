//! Keeps the program's own memory away from the addresses of device memory.
//!
//! A device's addresses are the host's, and mean nothing in the guest. But programs tell device
//! memory from their own by the address alone (CUDA Driver API, Unified Addressing), so no
//! address may be both. What the host gives is reserved here without access: the kernel then puts
//! nothing else there. A reservation is kept for good, because the host gives addresses again.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// Reservations begin and end at multiples of 2 MiB, the size of a device's large pages, so that
/// many small allocations share one.
const BLOCK_BYTES: u64 = 2 << 20;

/// Reserved ranges by their start, with their end; none overlap.
static RESERVED: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());

/// Reserves the addresses of an allocation; `false` if the program has memory of its own there.
///
/// Where the kernel refuses for another reason, such as an address that no program can have,
/// nothing is reserved and nothing is in the way.
pub fn reserve(start: u64, bytes: u64) -> bool {
    let first = start / BLOCK_BYTES * BLOCK_BYTES;
    let Some(end) =
        start.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(BLOCK_BYTES))
    else {
        return true;
    };
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    for (from, to) in gaps(&reserved, first, end) {
        match map(from, to - from) {
            Ok(()) => drop(reserved.insert(from, to)),
            Err(Errno::EXIST) => return false,
            Err(_) => {}
        }
    }
    true
}

/// Says whether an address is reserved: it is one of a device, or was, and none of the program's.
pub fn holds(address: u64) -> bool {
    let reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    reserved.range(..=address).next_back().is_some_and(|(_, end)| address < *end)
}

/// Lists what of a range is not reserved yet.
fn gaps(reserved: &BTreeMap<u64, u64>, first: u64, end: u64) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let before = reserved.range(..first).next_back().map_or(first, |(_, to)| (*to).max(first));
    let mut from = before;
    for (&start, &to) in reserved.range(first..end) {
        if from < start {
            gaps.push((from, start));
        }
        from = from.max(to);
    }
    if from < end {
        gaps.push((from, end));
    }
    gaps
}

fn map(start: u64, bytes: u64) -> Result<(), Errno> {
    let (Ok(address), Ok(bytes)) = (usize::try_from(start), usize::try_from(bytes)) else {
        return Err(Errno::INVAL);
    };
    let wish = ptr::without_provenance_mut(address);
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: a mapping without access that replaces nothing: FIXED_NOREPLACE refuses a range that
    // is in use, and a kernel that does not know it takes the address as a wish.
    let got = unsafe { rustix::mm::mmap_anonymous(wish, bytes, ProtFlags::empty(), flags) }?;
    if got == wish {
        return Ok(());
    }
    // SAFETY: exactly the mapping that was made above, of which nobody knows.
    let _ = unsafe { rustix::mm::munmap(got, bytes) };
    Err(Errno::EXIST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gaps_of_a_range_are_what_is_not_reserved() {
        let reserved = BTreeMap::from([(10, 20), (30, 40)]);
        let cases = [
            (0, 10, vec![(0, 10)]),
            (0, 50, vec![(0, 10), (20, 30), (40, 50)]),
            (12, 18, vec![]),
            (15, 35, vec![(20, 30)]),
            (20, 30, vec![(20, 30)]),
            (35, 45, vec![(40, 45)]),
        ];
        for (first, end, expected) in cases {
            assert_eq!(gaps(&reserved, first, end), expected, "{first}..{end}");
        }
    }

    #[test]
    fn the_programs_own_memory_is_not_reserved_and_free_addresses_are() {
        let own = vec![1u8; 8 << 20];
        assert!(!reserve(own.as_ptr().addr() as u64, own.len() as u64));
        let free = 0x2a00_0000_0000;
        assert!(reserve(free + 5, 100));
        assert!(reserve(free, 3 * BLOCK_BYTES), "a reservation of ours is no obstacle");
        assert_eq!(map(free, BLOCK_BYTES), Err(Errno::EXIST), "nobody else gets the address");
        assert!(holds(free) && holds(free + 3 * BLOCK_BYTES - 1));
        assert!(!holds(free - 1) && !holds(free + 3 * BLOCK_BYTES));
        assert!(!holds(own.as_ptr().addr() as u64));
        assert!(own.iter().all(|byte| *byte == 1));
        assert!(
            reserve(u64::MAX - 5, 100),
            "where no program can have memory nothing is in the way"
        );
        assert!(reserve(1 << 63, 100) && !holds(1 << 63), "what the kernel refuses is not held");
    }
}
