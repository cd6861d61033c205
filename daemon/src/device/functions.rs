//! Functions of the client's program in its streams.
//!
//! A device says that one is launched, and that a stream has come to it; the client asks for it,
//! runs it, and says when it has returned.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::Error;
use vgpu_link::wire::control::DueFunction;

/// Most functions that are launched and not returned: 65,536.
const FUNCTIONS_MAX: usize = 1 << 16;

/// The functions of one client, shared by its device and its worker.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many no stream has come to.
    ahead: usize,
    due: VecDeque<DueFunction>,
    running: Vec<u64>,
    is_over: bool,
}

impl Functions {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Entries go in and out whole, so a panic elsewhere leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a stream will come to a function.
    ///
    /// # Errors
    /// OUT_OF_MEMORY if too many have not returned.
    pub fn launch(&self) -> Result<(), Error> {
        let mut state = self.lock();
        if state.ahead + state.due.len() + state.running.len() >= FUNCTIONS_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        state.ahead += 1;
        Ok(())
    }

    /// Notes that no stream will come to a function that was launched.
    pub fn withdraw(&self) {
        self.lock().ahead -= 1;
    }

    /// Notes that a stream has come to a function that was launched, with the stream's result code.
    pub fn come_to(&self, ticket: u64, status: u32) {
        let mut state = self.lock();
        state.ahead -= 1;
        state.due.push_back(DueFunction { ticket, status });
        self.changed.notify_all();
    }

    /// Says whether a function is launched and has not returned.
    pub fn are_pending(&self) -> bool {
        let state = self.lock();
        let is_idle = state.ahead == 0 && state.due.is_empty() && state.running.is_empty();
        !(state.is_over || is_idle)
    }

    /// Notes that a function has returned.
    pub fn returned(&self, ticket: u64) {
        self.lock().running.retain(|running| *running != ticket);
        self.changed.notify_all();
    }

    /// Waits for a function that is due, which then runs; `None` if the client is gone.
    pub fn next(&self) -> Option<DueFunction> {
        let mut state = self.lock();
        while !state.is_over {
            if let Some(function) = state.due.pop_front() {
                state.running.push(function.ticket);
                return Some(function);
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
        functions.launch().expect("there is room");
        assert!(functions.are_pending());
        functions.launch().expect("there is room");
        functions.come_to(1, 0);
        functions.come_to(2, 700);
        let due = [(1, 0), (2, 700)].map(|(ticket, status)| Some(DueFunction { ticket, status }));
        assert_eq!([functions.next(), functions.next()], due);
        functions.returned(1);
        functions.returned(99);
        assert!(functions.are_pending());
        functions.returned(2);
        assert!(!functions.are_pending());
        functions.launch().expect("there is room");
        functions.withdraw();
        assert!(!functions.are_pending());
    }

    #[test]
    fn the_end_of_the_client_lets_everybody_go_on() {
        let functions = Functions::default();
        functions.launch().expect("there is room");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| functions.next());
            functions.end();
            assert_eq!(waits.join().expect("no panic"), None);
        });
        functions.come_to(1, 0);
        assert!(!functions.are_pending());
    }

    #[test]
    fn a_client_that_launches_too_many_is_refused() {
        let functions = Functions::default();
        while functions.launch().is_ok() {}
        assert_eq!(functions.lock().ahead, FUNCTIONS_MAX);
    }
}
