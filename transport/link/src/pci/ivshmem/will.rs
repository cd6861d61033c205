//! What a thread leaves behind when it ends: a word that its kernel changes then.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::c_long;
use std::io;
use std::ptr;

use vgpu_ring::Region;

/// A member of the kernel's list (struct robust_list of linux/futex.h).
#[repr(C)]
struct Entry {
    next: *mut Entry,
}

/// The list's head (struct robust_list_head).
#[repr(C)]
struct Head {
    list: Entry,
    /// From a member to its word.
    futex_offset: c_long,
    pending: *mut Entry,
}

/// The will of the thread that made it: names at most one word. If that word's low half holds the
/// thread's id when the thread ends, by whatever cause, the kernel sets FUTEX_OWNER_DIED there and
/// clears the id (set_robust_list(2), and "robust-futexes" of the kernel's documentation).
///
/// It takes the place of the C library's list, so the thread must be one that uses no robust
/// mutexes: ours does not. It is no other thread's, hence not `Send`.
pub(super) struct Will {
    head: Box<UnsafeCell<Head>>,
    entry: Box<UnsafeCell<Entry>>,
    /// Kept, so that the word stays mapped.
    word: Option<Region>,
}

impl Will {
    /// Makes an empty will for the calling thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        let list = || Entry { next: ptr::null_mut() };
        let head = Head { list: list(), futex_offset: 0, pending: ptr::null_mut() };
        let head = Box::new(UnsafeCell::new(head));
        let will = Self { head, entry: Box::new(UnsafeCell::new(list())), word: None };
        will.point(will.own());
        register(will.head.get())?;
        Ok(will)
    }

    /// Names the word at `offset` of `region`, or none; the one named before is forgotten.
    pub fn name(&mut self, word: Option<(&Region, usize)>) {
        // Empty while it is rewritten: the thread may be killed between any two steps.
        self.point(self.own());
        if let Some((region, offset)) = word {
            let entry = self.entry.get();
            let word = region.address(offset, 4) as c_long;
            // SAFETY: both are ours, and only the kernel reads them, once this thread has ended.
            unsafe {
                let distance = word.wrapping_sub(entry as c_long);
                ptr::write_volatile(&raw mut (*self.head.get()).futex_offset, distance);
                ptr::write_volatile(&raw mut (*entry).next, self.own());
            }
            self.point(entry);
        }
        self.word = word.map(|(region, _)| region.clone());
    }

    /// The head as a member, which ends the list.
    fn own(&self) -> *mut Entry {
        self.head.get().cast()
    }

    fn point(&self, first: *mut Entry) {
        // SAFETY: as in `name`; the list member is the head's first.
        unsafe { ptr::write_volatile(&raw mut (*self.own()).next, first) };
    }
}

impl Drop for Will {
    fn drop(&mut self) {
        // The boxes go, so the kernel must not look there any more.
        let _ = register(ptr::null_mut());
    }
}

fn register(head: *mut Head) -> io::Result<()> {
    // SAFETY: the kernel only stores the address, and reads there when this thread ends; `Drop`
    // takes it back before the memory goes, and a thread that is killed takes its memory along
    // after that.
    let result = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use vgpu_ring::slots::VOID;

    use super::*;

    /// Ends a thread without unwinding, as a kill ends all of a process.
    fn end_thread() -> ! {
        // SAFETY: exit(2) ends the calling thread only; it holds nothing that others wait for.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        unreachable!("the thread has ended")
    }

    fn end_with(named: bool) -> u64 {
        let region = Region::heap(64);
        let (send, told) = std::sync::mpsc::channel();
        let theirs = region.clone();
        std::thread::spawn(move || {
            let mut will = Will::new().expect("every Linux has it");
            let thread = rustix::thread::gettid().as_raw_nonzero().get() as u64;
            theirs.store(8, 5 << 32 | thread, Ordering::Release);
            will.name(Some((&theirs, 8)));
            if !named {
                will.name(None);
            }
            send.send(thread).expect("heard");
            drop(send);
            end_thread();
        });
        let thread = told.recv().expect("it lives");
        // Its task is gone once the kernel has read the will.
        let task = format!("/proc/self/task/{thread}");
        while std::path::Path::new(&task).exists() {
            std::thread::yield_now();
        }
        assert_eq!(region.load(0, Ordering::Acquire), 0, "no other word");
        region.load(8, Ordering::Acquire)
    }

    #[test]
    fn the_kernel_voids_the_word_that_a_thread_named_and_none_that_it_forgot() {
        assert_eq!(end_with(true), 5 << 32 | VOID);
        assert_eq!(end_with(false) & VOID, 0);
    }
}
