//! Whether the program's memory can be read or written where a call says that it lies.
//!
//! A copy from an address that is not mapped must end in an error: found out while a frame is on
//! its way, it would cost the connection, and found out by a load, the process.

use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::mm::Advice;

/// Says whether all of some memory can be read, and brings it in, as reading it would.
pub fn is_readable(first: *const u8, bytes: usize) -> bool {
    can(Advice::LinuxPopulateRead, first, bytes)
}

/// Says whether all of some memory can be written, and brings it in, as writing it would.
pub fn is_writable(first: *const u8, bytes: usize) -> bool {
    can(Advice::LinuxPopulateWrite, first, bytes)
}

fn can(advice: Advice, first: *const u8, bytes: usize) -> bool {
    if bytes == 0 {
        return true;
    }
    if !is_known() {
        // Linux before 5.14 cannot be asked without touching the memory.
        return true;
    }
    let page = rustix::param::page_size();
    let offset = first.addr() % page;
    let Some(length) = bytes.checked_add(offset) else { return false };
    populate(advice, first.wrapping_sub(offset), length).is_ok()
}

/// Says whether the kernel knows the advice.
fn is_known() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let own = 0u8;
        let page = rustix::param::page_size();
        let first = std::ptr::from_ref(&own);
        let first = first.wrapping_sub(first.addr() % page);
        populate(Advice::LinuxPopulateRead, first, page).is_ok()
    })
}

/// Asks the kernel to bring in whole pages.
fn populate(advice: Advice, first: *const u8, bytes: usize) -> Result<(), Errno> {
    // SAFETY: both advices change no contents and no mapping: they only fault pages in, and fail
    // with an error where a load or a store would end in a signal.
    match unsafe { rustix::mm::madvise(first.cast_mut().cast(), bytes, advice) } {
        // Nothing is said about the memory; what uses it will find out.
        Err(Errno::INTR | Errno::AGAIN) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_can_be_reached_and_an_unmapped_address_cannot() {
        assert!(is_known(), "the tests run on Linux 5.14 or later");
        let mut own = vec![1u8; 3 << 20];
        assert!(is_writable(own.as_mut_ptr(), own.len()) && is_readable(own.as_ptr(), own.len()));
        let text = "constants cannot be written";
        assert!(is_readable(text.as_ptr(), text.len()) && !is_writable(text.as_ptr(), text.len()));
        for unmapped in [16_usize, 0x2b00_0000_0000, 1 << 63, usize::MAX - 5] {
            let first = std::ptr::without_provenance(unmapped);
            assert!(!is_readable(first, 4) && !is_writable(first, 4), "{unmapped:#x}");
        }
        let end = own.as_ptr().wrapping_add(own.len());
        assert!(!is_readable(end.wrapping_sub(8), 1 << 46));
        assert!(!is_readable(end, usize::MAX) && is_readable(std::ptr::null(), 0));
    }
}
