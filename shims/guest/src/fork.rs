//! Tells a forked child from the process that made the connection.
//!
//! A child that is forked inherits the socket and every lock as it stood. Using either would mix
//! two processes into one conversation, so the child is refused, as CUDA refuses it.
//!
//! A child that lives on without a call, as a server's helper may, must not keep the connection
//! alive either: the host would hold the memory of a parent that is long gone. So a fork gives the
//! child's copies of the connection's descriptors up ([`Kept`]).
//!
//! The mark is one byte in a page that the kernel empties in a child (MADV_WIPEONFORK, Linux
//! 4.14): a load per call instead of a system call. Where the kernel cannot, the process id is
//! compared.

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering::Relaxed};
use std::sync::{Once, OnceLock};

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

/// Most descriptors of a connection: a socket, and two bells of a ring; and room for another
/// connection that begins before the last one has ended.
const KEPT_MAX: usize = 8;

/// Descriptors that a child gives up; -1 where there is none.
static KEPT: [AtomicI32; KEPT_MAX] = [const { AtomicI32::new(-1) }; KEPT_MAX];

/// A socket without a peer, which takes their places: the numbers stay taken, or a child that
/// closes them would close what the program has opened there since.
static DEAD: AtomicI32 = AtomicI32::new(-1);

/// Descriptors that no forked child keeps, until this is dropped; a child that executes another
/// program has none of them anyway.
pub(crate) struct Kept(Vec<i32>);

impl Kept {
    /// Keeps descriptors from children; as many as there is room for.
    pub(crate) fn from_children(descriptors: &[BorrowedFd<'_>]) -> Self {
        static PREPARED: Once = Once::new();
        PREPARED.call_once(prepare);
        let numbers = descriptors.iter().map(AsRawFd::as_raw_fd);
        let taken = numbers.filter(|&number| {
            KEPT.iter().any(|slot| slot.compare_exchange(-1, number, Relaxed, Relaxed).is_ok())
        });
        Self(taken.collect())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // In a child they name what took their places, which is closed as any descriptor is.
        for number in &self.0 {
            let _ = KEPT
                .iter()
                .any(|slot| slot.compare_exchange(*number, -1, Relaxed, Relaxed).is_ok());
        }
    }
}

/// Makes what children get, and asks to be called in each.
fn prepare() {
    let Ok((dead, _)) = UnixStream::pair() else { return };
    DEAD.store(dead.into_raw_fd(), Relaxed);
    // SAFETY: the function stays where it is, as these libraries are never unloaded (-z nodelete),
    // and does what a handler may. Without it children keep the connection, as they did before.
    let _ = unsafe { libc::pthread_atfork(None, None, Some(give_up)) };
}

/// Runs in every child of fork(2), before the program's own code does.
extern "C" fn give_up() {
    let dead = DEAD.load(Relaxed);
    for slot in &KEPT {
        let number = slot.load(Relaxed);
        if number >= 0 {
            // SAFETY: dup3(2) may be called here (signal-safety(7)) and touches no memory; both
            // descriptors are this library's own.
            unsafe { libc::dup3(dead, number, libc::O_CLOEXEC) };
        }
    }
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
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

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

    #[test]
    fn a_forked_child_that_lives_on_does_not_keep_the_connection() {
        let (ours, mut peer) = UnixStream::pair().expect("a connection");
        let (mut told, mut tell) = UnixStream::pair().expect("a way to end the child");
        let kept = Kept::from_children(&[ours.as_fd()]);
        // SAFETY: the child only reads, and leaves at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let _ = told.read(&mut [0]);
            // SAFETY: ends the child without running the test harness's exit handlers.
            unsafe { libc::_exit(0) };
        }
        peer.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a limit");
        (&ours).write_all(b"x").expect("the parent keeps its own");
        peer.read_exact(&mut [0]).expect("it came");
        drop(kept);
        drop(ours);
        assert_eq!(peer.read(&mut [0]).expect("the end, though the child lives"), 0);
        tell.write_all(b"x").expect("the child waits");
        let mut status = 0;
        // SAFETY: waits for the child made above, into a local.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
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
