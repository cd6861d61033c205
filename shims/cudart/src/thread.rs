//! What the runtime remembers for each thread: its device, its last error, its launches.

use std::cell::{Cell, RefCell};

use vgpu_abi::cudart::{cudaStream_t, dim3};

use crate::result::{Error, Result, is_sticky};

thread_local! {
    static STATE: State = const {
        State {
            device: Cell::new(0),
            last_error: Cell::new(None),
            reported: Cell::new(false),
            launches: RefCell::new(Vec::new()),
        }
    };
}

struct State {
    device: Cell<i32>,
    last_error: Cell<Option<Error>>,
    /// Whether the running call answers the last error instead of making one.
    reported: Cell<bool>,
    launches: RefCell<Vec<Launch>>,
}

/// Deepest nesting of launch configurations on one thread: the compiler pushes one before it
/// evaluates a kernel's arguments, so the depth is that of launches inside such arguments.
const LAUNCHES_MAX: usize = 1024;

/// The configuration of a launch, between the `<<<>>>` and the call of the kernel's stub.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Blocks of the grid.
    pub grid: dim3,
    /// Threads of a block.
    pub block: dim3,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: usize,
    /// The stream.
    pub stream: cudaStream_t,
}

/// Returns the device that the thread chose, or the first one.
pub fn device() -> i32 {
    // A thread that is ending has no state any more; it is as new.
    STATE.try_with(|state| state.device.get()).unwrap_or(0)
}

/// Makes `ordinal` the thread's device.
pub fn choose_device(ordinal: i32) {
    let _ = STATE.try_with(|state| state.device.set(ordinal));
}

/// Remembers an error as the thread's last one, unless the call only reported that one.
///
/// One that the process cannot recover from stays the last one whatever follows it.
pub fn record_error(error: Error) {
    let _ = STATE.try_with(|state| {
        if !state.reported.take() && !state.last_error.get().is_some_and(is_sticky) {
            state.last_error.set(Some(error));
        }
    });
}

/// Returns the last error and forgets it, unless the process cannot recover from it.
pub fn take_error() -> Result<()> {
    let last = peek_error();
    if !last.is_err_and(is_sticky) {
        forget_error();
    }
    last
}

/// Returns the last error and keeps it.
pub fn peek_error() -> Result<()> {
    let last = STATE.try_with(|state| {
        state.reported.set(state.last_error.get().is_some());
        state.last_error.get()
    });
    last.unwrap_or(None).map_or(Ok(()), Err)
}

/// Forgets the last error, whatever it is.
pub fn forget_error() {
    let _ = STATE.try_with(|state| state.last_error.set(None));
}

/// Puts a launch configuration on the thread's stack.
///
/// # Errors
/// `MEMORY_ALLOCATION` if more are there than any program nests.
pub fn push_launch(launch: Launch) -> Result<()> {
    let pushed = STATE.try_with(|state| {
        let mut launches = state.launches.borrow_mut();
        if launches.len() >= LAUNCHES_MAX {
            return Err(Error::MEMORY_ALLOCATION);
        }
        launches.push(launch);
        Ok(())
    });
    pushed.unwrap_or(Err(Error::UNKNOWN))
}

/// Takes the last launch configuration from the thread's stack.
///
/// # Errors
/// `MISSING_CONFIGURATION` if there is none.
pub fn pop_launch() -> Result<Launch> {
    let popped = STATE.try_with(|state| state.launches.borrow_mut().pop());
    popped.unwrap_or(None).ok_or(Error::MISSING_CONFIGURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_the_last_error_clears_it_and_peeking_does_not() {
        record_error(Error::INVALID_VALUE);
        assert_eq!(peek_error(), Err(Error::INVALID_VALUE));
        // What the boundary does with the answer: it is no new error.
        record_error(Error::INVALID_VALUE);
        assert_eq!(take_error(), Err(Error::INVALID_VALUE));
        record_error(Error::INVALID_VALUE);
        assert_eq!(peek_error(), Ok(()));
    }

    #[test]
    fn the_newest_error_is_the_last_one() {
        record_error(Error::INVALID_VALUE);
        record_error(Error::MEMORY_ALLOCATION);
        assert_eq!(take_error(), Err(Error::MEMORY_ALLOCATION));
    }

    #[test]
    fn an_error_that_ends_the_context_outlives_the_question_for_it() {
        record_error(Error::ILLEGAL_ADDRESS);
        record_error(Error::INVALID_VALUE);
        assert_eq!(take_error(), Err(Error::ILLEGAL_ADDRESS));
        assert_eq!(take_error(), Err(Error::ILLEGAL_ADDRESS));
        forget_error();
        assert_eq!(take_error(), Ok(()));
    }

    #[test]
    fn errors_of_one_thread_are_not_seen_by_another() {
        record_error(Error::INVALID_VALUE);
        let other = std::thread::spawn(peek_error).join();
        assert_eq!(other.ok(), Some(Ok(())));
    }

    #[test]
    fn launch_configurations_come_back_last_first_and_only_once() {
        let launch = |x| Launch {
            grid: dim3 { x, y: 1, z: 1 },
            block: dim3 { x: 32, y: 1, z: 1 },
            shared_bytes: 0,
            stream: cudaStream_t(0),
        };
        assert_eq!(push_launch(launch(1)), Ok(()));
        assert_eq!(push_launch(launch(2)), Ok(()));
        let popped = || pop_launch().map(|launch| launch.grid.x);
        assert_eq!(popped(), Ok(2));
        assert_eq!(popped(), Ok(1));
        assert_eq!(popped(), Err(Error::MISSING_CONFIGURATION));
    }
}
