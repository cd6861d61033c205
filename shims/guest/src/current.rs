//! What a thread is to the driver API: its number, and its stack of contexts.
//!
//! Only handles are kept here. Which of them are alive, and what a handle means, the libcuda shim
//! knows. (CUDA Driver API, Context Management: each host thread has a stack of contexts.)

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Most contexts on one thread's stack: 1,024. CUDA names no limit; a program that pushes in a
/// loop and never pops is stopped before it fills the memory.
pub const STACK_CONTEXTS_MAX: usize = 1024;

/// Contexts that a stack holds without memory of its own: 4. Programs push one or two.
const NEAR_CONTEXTS: usize = 4;

static LAST_NUMBER: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    // Never dropped: programs free their CUDA memory in exit handlers, which run when a thread's
    // droppable values are gone already. A thread that ends with a deep stack leaks it.
    static STACK: ManuallyDrop<RefCell<Stack>> =
        const { ManuallyDrop::new(RefCell::new(Stack::NEW)) };
}

/// A stack of contexts that takes memory only when it is deep.
struct Stack {
    near: [u64; NEAR_CONTEXTS],
    near_depth: usize,
    far: Vec<u64>,
}

impl Stack {
    const NEW: Self = Self { near: [0; NEAR_CONTEXTS], near_depth: 0, far: Vec::new() };

    fn top(&self) -> Option<u64> {
        self.far.last().or(self.near[..self.near_depth].last()).copied()
    }

    fn push(&mut self, context: u64) -> bool {
        match self.near.get_mut(self.near_depth) {
            Some(place) => {
                *place = context;
                self.near_depth += 1;
            }
            None if self.far.len() < STACK_CONTEXTS_MAX - NEAR_CONTEXTS => self.far.push(context),
            None => return false,
        }
        true
    }

    fn pop(&mut self) -> Option<u64> {
        if let Some(context) = self.far.pop() {
            if self.far.is_empty() {
                self.far = Vec::new();
            }
            return Some(context);
        }
        let top = self.top()?;
        self.near_depth -= 1;
        Some(top)
    }
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
    STACK.with(|stack| stack.borrow().top())
}

/// Puts a context on top of the stack; `false` if the stack is full.
#[must_use]
pub fn push(context: u64) -> bool {
    STACK.with(|stack| stack.borrow_mut().push(context))
}

/// Takes the top off the stack.
pub fn pop() -> Option<u64> {
    STACK.with(|stack| stack.borrow_mut().pop())
}

/// Replaces the top of the stack, or pushes onto an empty one; `None` takes the top off
/// (`cuCtxSetCurrent`).
pub fn replace_top(context: Option<u64>) {
    STACK.with(|stack| {
        let mut stack = stack.borrow_mut();
        stack.pop();
        if let Some(context) = context {
            let fits = stack.push(context);
            debug_assert!(fits, "there is room for what replaces the top");
        }
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
    fn a_stack_gives_back_what_it_was_given_however_deep() {
        std::thread::spawn(|| {
            for depth in [1, NEAR_CONTEXTS as u64, NEAR_CONTEXTS as u64 + 1, 100] {
                assert!((0..depth).all(push));
                assert_eq!(top(), Some(depth - 1));
                let popped: Vec<u64> = std::iter::from_fn(pop).collect();
                assert_eq!(popped, (0..depth).rev().collect::<Vec<_>>());
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_stack_can_be_read_while_its_thread_ends() {
        struct AtTheEnd;
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                assert_eq!(top(), Some(5));
            }
        }
        thread_local!(static LATE: AtTheEnd = const { AtTheEnd });
        std::thread::spawn(|| {
            LATE.with(|_| ());
            assert!(push(5));
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
