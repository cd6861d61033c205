//! What a thread is to the driver API: its number, and its stack of contexts.
//!
//! Only handles are kept here. Which of them are alive, and what a handle means, the libcuda shim
//! knows. (CUDA Driver API, Context Management: each host thread has a stack of contexts.)

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Most contexts on one thread's stack: 1,024. CUDA names no limit; a program that pushes in a
/// loop and never pops is stopped before it fills the memory.
pub const STACK_CONTEXTS_MAX: usize = 1024;

static LAST_NUMBER: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    static STACK: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Says who calls: what a frame's header carries beside the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Handle of the thread's current context; 0 for none.
    pub context: u64,
    /// Number of the thread, for the per-thread default stream.
    pub thread: u32,
}

/// Describes the calling thread.
pub fn caller() -> Caller {
    Caller { context: top().unwrap_or(0), thread: thread_number() }
}

/// Returns the number of the calling thread: 1 for the first that asks, never used again.
pub fn thread_number() -> u32 {
    NUMBER.with(|number| {
        if number.get() == 0 {
            // After 2^32 threads numbers repeat; 0 stays free, it stands for "not asked yet".
            number.set((LAST_NUMBER.fetch_add(1, Relaxed).wrapping_add(1)).max(1));
        }
        number.get()
    })
}

/// Returns the current context: the top of the thread's stack.
pub fn top() -> Option<u64> {
    STACK.with_borrow(|stack| stack.last().copied())
}

/// Puts a context on top of the stack; `false` if the stack is full.
#[must_use]
pub fn push(context: u64) -> bool {
    STACK.with_borrow_mut(|stack| {
        let fits = stack.len() < STACK_CONTEXTS_MAX;
        if fits {
            stack.push(context);
        }
        fits
    })
}

/// Takes the top off the stack.
pub fn pop() -> Option<u64> {
    STACK.with_borrow_mut(Vec::pop)
}

/// Replaces the top of the stack, or pushes onto an empty one; `None` takes the top off
/// (`cuCtxSetCurrent`).
pub fn replace_top(context: Option<u64>) {
    STACK.with_borrow_mut(|stack| {
        stack.pop();
        stack.extend(context);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_begins_without_a_context_and_keeps_its_own_stack() {
        assert!(push(7));
        let other = std::thread::spawn(|| (top(), thread_number())).join().unwrap();
        assert_eq!(other.0, None);
        assert_ne!(other.1, thread_number());
        assert_eq!(caller(), Caller { context: 7, thread: thread_number() });
    }

    #[test]
    fn replacing_the_top_keeps_what_lies_below() {
        std::thread::spawn(|| {
            replace_top(Some(1));
            assert!(push(2));
            replace_top(Some(3));
            assert_eq!((pop(), pop(), pop()), (Some(3), Some(1), None));
            assert!(push(4));
            replace_top(None);
            assert_eq!(top(), None);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_stack_that_only_grows_is_stopped() {
        std::thread::spawn(|| {
            assert!((0..STACK_CONTEXTS_MAX as u64).all(push));
            assert!(!push(0));
        })
        .join()
        .unwrap();
    }
}
