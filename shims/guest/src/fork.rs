//! Tells a forked child from the process that made the connection.
//!
//! A child that is forked inherits the socket and every lock as it stood. Using either would mix
//! two processes into one conversation, so the child is refused, as CUDA refuses it.
//!
//! The mark is one byte in a page that the kernel empties in a child (MADV_WIPEONFORK, Linux
//! 4.14): a load per call instead of a system call. Where the kernel cannot, the process id is
//! compared.

use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::process::Pid;

static MARK: OnceLock<Mark> = OnceLock::new();
static CONNECTED: AtomicBool = AtomicBool::new(false);

enum Mark {
    Page(&'static AtomicU8),
    ProcessId(Pid),
}

/// Remembers this process as the owner of the connection that it has or is about to make.
pub(crate) fn claim() {
    MARK.get_or_init(|| match wiped_page() {
        Some(byte) => {
            byte.store(1, Relaxed);
            Mark::Page(byte)
        }
        None => Mark::ProcessId(rustix::process::getpid()),
    });
    CONNECTED.store(true, Relaxed);
}

/// Forgets the claim: the connection was not made, so a later child may make its own.
pub(crate) fn release() {
    CONNECTED.store(false, Relaxed);
}

/// Says whether this process was forked from one that has a connection or was making one.
pub(crate) fn is_forked_child() -> bool {
    CONNECTED.load(Relaxed)
        && match MARK.get() {
            None => false,
            Some(Mark::Page(byte)) => byte.load(Relaxed) == 0,
            Some(Mark::ProcessId(owner)) => rustix::process::getpid() != *owner,
        }
}

fn wiped_page() -> Option<&'static AtomicU8> {
    let bytes = rustix::param::page_size();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address that the kernel chooses touches nothing that
    // exists.
    let page = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE).ok()?
    };
    // SAFETY: the range is exactly the mapping made above; nobody else knows of it yet.
    if unsafe { rustix::mm::madvise(page, bytes, Advice::LinuxWipeOnFork) }.is_err() {
        // SAFETY: as above, and nothing refers to the page.
        let _ = unsafe { rustix::mm::munmap(page, bytes) };
        return None;
    }
    let byte = NonNull::new(page.cast::<AtomicU8>())?;
    // SAFETY: the page is readable, writable, zeroed, aligned, and never unmapped.
    Some(unsafe { byte.as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_is_told_from_its_parent() {
        claim();
        assert!(!is_forked_child());
        // SAFETY: the child only reads a byte and leaves at once; it takes no lock.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child without running the test harness's exit handlers.
            unsafe { libc::_exit(i32::from(is_forked_child())) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above, into a local.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status));
        assert_eq!(libc::WEXITSTATUS(status), 1);
        assert!(!is_forked_child());
    }
}
