//! Pages of the program that stay in memory.

use rustix::io::Errno;

/// The pages that hold some memory: first address and length.
pub fn around(first: u64, bytes: u64) -> Option<(u64, u64)> {
    let page = rustix::param::page_size() as u64;
    let start = first / page * page;
    let end = first.checked_add(bytes)?.checked_next_multiple_of(page)?;
    Some((start, end - start))
}

/// Locks whole pages in memory.
///
/// # Errors
/// ENOMEM or EPERM beyond what the process may lock, ENOMEM where nothing is mapped.
pub fn lock(start: u64, bytes: u64) -> Result<(), Errno> {
    let (place, bytes) = in_words(start, bytes)?;
    // SAFETY: changes neither contents nor mappings, only whether pages may leave memory.
    unsafe { rustix::mm::mlock(place, bytes) }
}

/// Lets whole pages go again.
pub fn unlock(start: u64, bytes: u64) {
    if let Ok((place, bytes)) = in_words(start, bytes) {
        // SAFETY: as in `lock`. What is not mapped any more is not locked either.
        let _ = unsafe { rustix::mm::munlock(place, bytes) };
    }
}

fn in_words(start: u64, bytes: u64) -> Result<(*mut std::ffi::c_void, usize), Errno> {
    let start = usize::try_from(start).map_err(|_| Errno::NOMEM)?;
    let bytes = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
    Ok((std::ptr::without_provenance_mut(start), bytes))
}
