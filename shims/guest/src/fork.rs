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
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering::Relaxed};

use rustix::mm::{Advice, MapFlags, ProtFlags};

static MARK: OnceLock<Mark> = OnceLock::new();
static CONNECTED: AtomicBool = AtomicBool::new(false);

enum Mark {
    Page(&'static AtomicU8),
    ProcessId(AtomicI32),
}

/// Remembers this process as the owner of the connection that it has or is about to make.
///
/// Not called by a child of an owner, which is told apart before. A child of a process that
/// claimed and released owns what it claims.
pub(crate) fn claim() {
    let mark = MARK.get_or_init(|| match wiped_page() {
        Some(byte) => Mark::Page(byte),
        None => Mark::ProcessId(AtomicI32::new(0)),
    });
    match mark {
        Mark::Page(byte) => byte.store(1, Relaxed),
        Mark::ProcessId(owner) => owner.store(process_id(), Relaxed),
    }
    CONNECTED.store(true, Relaxed);
}

/// Forgets the claim: the connection was not made, so a later child may make its own.
pub(crate) fn release() {
    CONNECTED.store(false, Relaxed);
}

fn process_id() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Says whether this process was forked from one that has a connection or was making one.
pub(crate) fn is_forked_child() -> bool {
    CONNECTED.load(Relaxed)
        && match MARK.get() {
            None => false,
            Some(Mark::Page(byte)) => byte.load(Relaxed) == 0,
            Some(Mark::ProcessId(owner)) => owner.load(Relaxed) != process_id(),
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

    /// Answers what `ask` says in a forked child.
    fn in_a_child(ask: fn() -> bool) -> bool {
        // SAFETY: the child only stores and reads single values and leaves at once; it takes no
        // lock.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child without running the test harness's exit handlers.
            unsafe { libc::_exit(i32::from(ask())) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above, into a local.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status));
        libc::WEXITSTATUS(status) == 1
    }

    // One test, because what is told is one per process.
    #[test]
    fn a_forked_child_is_told_from_its_parent_and_may_begin_anew() {
        claim();
        assert!(!is_forked_child());
        assert!(in_a_child(is_forked_child));
        assert!(!in_a_child(|| {
            release();
            claim();
            is_forked_child()
        }));
        assert!(!is_forked_child());
        release();
        assert!(!in_a_child(is_forked_child));
        // The parent tried and found no host; its child finds one.
        assert!(!in_a_child(|| {
            claim();
            is_forked_child()
        }));
    }
}
