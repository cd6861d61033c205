//! Threads of ours in somebody else's process.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;
use std::thread::JoinHandle;

/// Starts a thread of ours that no signal of the program is delivered to.
///
/// A program's handlers run on its own threads then, as they do without us.
///
/// # Errors
/// What the system says when it has no thread left.
pub fn start_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both are places for a set of signals; a thread inherits the mask of its maker, which
    // gets its own back below.
    let is_blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    if is_blocked {
        // SAFETY: the call above has filled `before`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    started
}
