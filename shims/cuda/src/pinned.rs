//! Pinned memory: pages of the guest that the program asked to stay where they are.
//!
//! The program's kernels do not see them (attribute CAN_MAP_HOST_MEMORY is 0), so "pinned" says
//! only what a copy may assume. Memory that is allocated here is page-aligned and zeroed by the
//! kernel; where guest and host share memory it lies there, and copies name it by its offset
//! (`spans`). Memory of the program's own that it registers is locked in its pages.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;
use vgpu_abi::cuda::{CUdevice, Error};
use vgpu_guest::shared::SharedPages;
use vgpu_guest::{pages, reach, reserve};

static PINNED: Mutex<BTreeMap<u64, Pinned>> = Mutex::new(BTreeMap::new());

/// What is known of pinned memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its first address.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Flags of its allocation; `None` if it was registered.
    pub flags: Option<u32>,
    /// The context that was current then.
    pub context: u64,
    /// That context's device.
    pub device: CUdevice,
    /// Where it begins in the memory that guest and host share, if it lies there.
    pub offset: Option<u64>,
}

#[derive(Debug)]
struct Pinned {
    place: Place,
    pages: Pages,
    /// The contexts in whose streams something may still read or write it.
    users: BTreeSet<u64>,
}

/// What lies behind pinned memory; gone with the entry.
#[derive(Debug)]
enum Pages {
    /// Memory of the program's own.
    Own,
    /// Pages of this process.
    Mapped(#[expect(dead_code, reason = "held, not used")] MmapMut),
    /// Pages that the host sees, too.
    Shared(SharedPages),
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, Pinned>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    PINNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allocates at least `bytes` bytes of pages; OUT_OF_MEMORY if the system has none.
pub(crate) fn allocate(
    bytes: usize,
    flags: u32,
    (context, device): (u64, CUdevice),
) -> Result<*mut c_void, Error> {
    let mut pages = MmapMut::map_anon(bytes).map_err(|_| Error::OUT_OF_MEMORY)?;
    let first: *mut u8 = pages.as_mut_ptr();
    // Pointers must have their provenance exposed, because C keeps this one as a number.
    let start = first.expose_provenance() as u64;
    let place =
        Place { start, bytes: bytes as u64, flags: Some(flags), context, device, offset: None };
    insert(place, Pages::Mapped(pages));
    Ok(first.cast())
}

/// Takes up shared pages, which hold at least `bytes` bytes, as an allocation.
pub(crate) fn adopt(
    pages: SharedPages,
    bytes: usize,
    flags: u32,
    (context, device): (u64, CUdevice),
) -> *mut c_void {
    let first = pages.first();
    let (start, bytes) = (first.expose_provenance() as u64, bytes as u64);
    let offset = Some(pages.offset());
    let place = Place { start, bytes, flags: Some(flags), context, device, offset };
    insert(place, Pages::Shared(pages));
    first.cast()
}

fn insert(place: Place, pages: Pages) {
    lock().insert(place.start, Pinned { place, pages, users: BTreeSet::new() });
}

/// What was behind an allocation that is freed.
#[derive(Debug)]
pub(crate) struct Freed {
    /// Pages that the host sees, too: it has to let go of them first.
    pub shared: Option<SharedPages>,
    /// The contexts in whose streams something may still read or write them.
    pub users: BTreeSet<u64>,
}

/// Frees pages that were allocated; INVALID_VALUE for any other address.
pub(crate) fn free(address: u64) -> Result<Freed, Error> {
    let mut pinned = lock();
    match pinned.get(&address) {
        Some(found) if found.place.flags.is_some() => {}
        _ => return Err(Error::INVALID_VALUE),
    }
    let gone = pinned.remove(&address).ok_or(Error::INVALID_VALUE)?;
    let shared = match gone.pages {
        Pages::Shared(pages) => Some(pages),
        Pages::Own | Pages::Mapped(_) => None,
    };
    Ok(Freed { shared, users: gone.users })
}

/// Finds where some bytes lie in the memory that guest and host share: all of them in one
/// allocation, which work of a context's streams is about to use.
pub(crate) fn lend(address: u64, bytes: u64, context: u64) -> Option<u64> {
    let mut pinned = lock();
    let (_, found) = pinned.range_mut(..=address).next_back()?;
    let before = address - found.place.start;
    let offset = found.place.offset?;
    if before.checked_add(bytes)? > found.place.bytes {
        return None;
    }
    found.users.insert(context);
    Some(offset + before)
}

/// Locks memory of the program in its pages.
///
/// # Errors
/// HOST_MEMORY_ALREADY_REGISTERED where some of it is pinned already, INVALID_VALUE where the
/// program has nothing, OUT_OF_MEMORY beyond what the process may lock (RLIMIT_MEMLOCK).
pub(crate) fn register(
    start: u64,
    bytes: u64,
    (context, device): (u64, CUdevice),
) -> Result<(), Error> {
    let (first, length) = pages::around(start, bytes).ok_or(Error::INVALID_VALUE)?;
    if bytes == 0 || reserve::holds(start) {
        return Err(Error::INVALID_VALUE);
    }
    let mut pinned = lock();
    let below = pinned.range(..start + bytes).next_back();
    if below.is_some_and(|(_, it)| it.place.start + it.place.bytes > start) {
        return Err(Error::HOST_MEMORY_ALREADY_REGISTERED);
    }
    if pages::lock(first, length).is_err() {
        let_go(&pinned, first, length);
        let is_there =
            reach::is_readable(std::ptr::without_provenance(start as usize), bytes as usize);
        return Err(if is_there { Error::OUT_OF_MEMORY } else { Error::INVALID_VALUE });
    }
    let place = Place { start, bytes, flags: None, context, device, offset: None };
    pinned.insert(start, Pinned { place, pages: Pages::Own, users: BTreeSet::new() });
    Ok(())
}

/// Lets registered memory go, by its first address; any other is HOST_MEMORY_NOT_REGISTERED.
pub(crate) fn unregister(start: u64) -> Result<(), Error> {
    let mut pinned = lock();
    match pinned.get(&start) {
        Some(found) if found.place.flags.is_none() => {}
        _ => return Err(Error::HOST_MEMORY_NOT_REGISTERED),
    }
    if let Some(gone) = pinned.remove(&start)
        && let Some((first, length)) = pages::around(start, gone.place.bytes)
    {
        let_go(&pinned, first, length);
    }
    Ok(())
}

/// Unlocks pages but for those at either end that other registered memory shares.
fn let_go(pinned: &BTreeMap<u64, Pinned>, first: u64, length: u64) {
    let mut range = (first, first + length);
    for other in pinned.values().filter(|other| other.place.flags.is_none()) {
        let Some((start, bytes)) = pages::around(other.place.start, other.place.bytes) else {
            continue;
        };
        if start <= range.0 {
            range.0 = range.0.max((start + bytes).min(range.1));
        } else {
            range.1 = range.1.min(start);
        }
    }
    if range.0 < range.1 {
        pages::unlock(range.0, range.1 - range.0);
    }
}

/// Finds the pinned memory that holds `address`.
pub(crate) fn find(address: u64) -> Option<Place> {
    let pinned = lock();
    let (_, found) = pinned.range(..=address).next_back()?;
    (address - found.place.start < found.place.bytes).then_some(found.place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: (u64, CUdevice) = (0, 0);

    #[test]
    fn allocated_pages_are_aligned_found_and_freed_once() {
        let address = allocate(5000, 3, NOBODY).unwrap().addr() as u64;
        assert_eq!(address % 4096, 0);
        let found = find(address + 4999).map(|it| (it.flags, it.start, it.bytes));
        assert_eq!(found, Some((Some(3), address, 5000)));
        assert_eq!(find(address + 5000), None);
        assert_eq!(free(address + 8).map(drop), Err(Error::INVALID_VALUE));
        assert_eq!(lend(address, 1, 7), None, "the host does not see it");
        assert_eq!(unregister(address), Err(Error::HOST_MEMORY_NOT_REGISTERED));
        let again = register(address + 4, 8, NOBODY);
        assert_eq!(again, Err(Error::HOST_MEMORY_ALREADY_REGISTERED));
        assert!(free(address).is_ok_and(|freed| freed.shared.is_none()));
        assert_eq!(free(address).map(drop), Err(Error::INVALID_VALUE));
        assert_eq!(find(address), None);
    }

    /// Kilobytes that this process has locked (proc(5), VmLck).
    fn locked_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    #[test]
    fn registered_memory_is_locked_once_and_let_go_but_for_pages_that_others_share() {
        let own = vec![7u8; 8 * 4096];
        let page = (own.as_ptr().addr() as u64).next_multiple_of(4096);
        let before = locked_kib();
        assert_eq!(register(page + 100, 4096, NOBODY), Ok(()), "two pages");
        assert_eq!(register(page + 4300, 4096, NOBODY), Ok(()), "the second of them, and one more");
        assert_eq!(locked_kib() - before, 12);
        for (start, bytes) in [(page, 4096), (page + 200, 1), (page + 4196 - 1, 1)] {
            let refused = register(start, bytes, NOBODY);
            assert_eq!(refused, Err(Error::HOST_MEMORY_ALREADY_REGISTERED), "{bytes}");
        }
        assert_eq!(find(page + 100).map(|it| (it.flags, it.bytes)), Some((None, 4096)));
        let freed = free(page + 100).map(drop);
        assert_eq!(freed, Err(Error::INVALID_VALUE), "it is the program's own");
        assert_eq!(unregister(page + 101), Err(Error::HOST_MEMORY_NOT_REGISTERED));
        assert_eq!(unregister(page + 100), Ok(()));
        assert_eq!(locked_kib() - before, 8, "the shared page stays");
        assert_eq!(unregister(page + 100), Err(Error::HOST_MEMORY_NOT_REGISTERED));
        assert_eq!(unregister(page + 4300), Ok(()));
        assert_eq!(locked_kib(), before);
        assert_eq!(register(0x10_0000, 4096, NOBODY), Err(Error::INVALID_VALUE), "nothing there");
        assert_eq!(register(page, 0, NOBODY), Err(Error::INVALID_VALUE));
        assert_eq!(register(page, u64::MAX, NOBODY), Err(Error::INVALID_VALUE));
    }
}
