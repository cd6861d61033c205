//! Functions of the client's program that its streams have come to.
//!
//! A device says that one is due; the client asks for it, runs it, and says when it has returned.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::Error;

/// Most functions that are due and not returned: 65,536. A real device has one for each stream.
const FUNCTIONS_MAX: usize = 1 << 16;

/// The functions of one client, shared by its device and its worker.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: VecDeque<u64>,
    running: Vec<u64>,
    is_over: bool,
}

impl Functions {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Entries go in and out whole, so a panic elsewhere leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a stream has come to a function.
    ///
    /// # Errors
    /// OUT_OF_MEMORY if too many are due.
    pub fn come_to(&self, ticket: u64) -> Result<(), Error> {
        let mut state = self.lock();
        if state.due.len() + state.running.len() >= FUNCTIONS_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        state.due.push_back(ticket);
        self.changed.notify_all();
        Ok(())
    }

    /// Says whether a function is due or runs.
    pub fn are_pending(&self) -> bool {
        let state = self.lock();
        let is_idle = state.due.is_empty() && state.running.is_empty();
        !(state.is_over || is_idle)
    }

    /// Notes that a function has returned.
    pub fn returned(&self, ticket: u64) {
        self.lock().running.retain(|running| *running != ticket);
        self.changed.notify_all();
    }

    /// Waits for a function that is due, which then runs; `None` if the client is gone.
    pub fn next(&self) -> Option<u64> {
        let mut state = self.lock();
        while !state.is_over {
            if let Some(ticket) = state.due.pop_front() {
                state.running.push(ticket);
                return Some(ticket);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Lets everybody go on: the client is gone.
    pub fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_pending_until_it_has_returned() {
        let functions = Functions::default();
        assert!(!functions.are_pending());
        functions.come_to(1).expect("there is room");
        functions.come_to(2).expect("there is room");
        assert!(functions.are_pending());
        assert_eq!((functions.next(), functions.next()), (Some(1), Some(2)));
        functions.returned(1);
        functions.returned(99);
        assert!(functions.are_pending());
        functions.returned(2);
        assert!(!functions.are_pending());
    }

    #[test]
    fn the_end_of_the_client_lets_everybody_go_on() {
        let functions = Functions::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| functions.next());
            functions.end();
            assert_eq!(waits.join().expect("no panic"), None);
        });
        functions.come_to(1).expect("there is room");
        assert!(!functions.are_pending());
    }
}
