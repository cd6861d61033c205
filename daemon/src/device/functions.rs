//! Functions of the client's program in its streams.
//!
//! A device says that one is launched, and that a stream has come to it; the client asks for it,
//! runs it, and says when it has returned. The functions of a graph's nodes run within a run of
//! the graph, which is launched like a function and comes last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::Error;
use vgpu_link::wire::control::DueFunction;

/// Most functions that are launched and not returned: 65,536.
const FUNCTIONS_MAX: usize = 1 << 16;

/// What may not go on before a function has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// What comes behind it in its stream.
    Stream,
    /// The same, and what waits for an event: its graph may yet record it.
    Run,
    /// Whatever may wait for a stream: the device itself waits for the function.
    All,
}

/// The functions of one client, shared by its device and its worker.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By number: those that have not returned, but for those within runs.
    launched: BTreeMap<u64, Holds>,
    due: VecDeque<DueFunction>,
    /// Those that the client runs, in the order in which it asked for them.
    running: Vec<u64>,
    is_over: bool,
}

impl State {
    fn is_under_way(&self, ticket: u64) -> bool {
        self.running.contains(&ticket) || self.due.iter().any(|due| due.ticket == ticket)
    }
}

impl Functions {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Entries go in and out whole, so a panic elsewhere leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a stream will come to a function.
    ///
    /// # Errors
    /// INVALID_VALUE for a number that is in use; OUT_OF_MEMORY if too many have not returned.
    pub fn launch(&self, ticket: u64, holds: Holds) -> Result<(), Error> {
        let mut state = self.lock();
        if state.launched.contains_key(&ticket) {
            return Err(Error::INVALID_VALUE);
        }
        if state.launched.len() >= FUNCTIONS_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        state.launched.insert(ticket, holds);
        Ok(())
    }

    /// Notes that no stream will come to a function that was launched.
    pub fn withdraw(&self, ticket: u64) {
        self.lock().launched.remove(&ticket);
    }

    /// Notes that a stream has come to a function, with the stream's result code.
    pub fn come_to(&self, ticket: u64, status: u32) {
        self.lock().due.push_back(DueFunction { ticket, status });
        self.changed.notify_all();
    }

    /// Comes to a function within a run, and waits until it has returned or the client is gone.
    pub fn call(&self, ticket: u64) {
        let mut state = self.lock();
        // Never a second time while it runs: the two could not be told apart.
        state = self.wait_while(state, |state| state.is_under_way(ticket));
        state.due.push_back(DueFunction { ticket, status: 0 });
        self.changed.notify_all();
        drop(self.wait_while(state, |state| state.is_under_way(ticket)));
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        is_early: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_while(state, |state| !state.is_over && is_early(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what a function that was launched and has not returned holds up; `None` for others.
    pub fn holds(&self, ticket: u64) -> Option<Holds> {
        let state = self.lock();
        if state.is_over { None } else { state.launched.get(&ticket).copied() }
    }

    /// Notes that a function has returned; says whether the client ran it.
    pub fn returned(&self, ticket: u64) -> bool {
        let mut state = self.lock();
        let Some(at) = state.running.iter().position(|running| *running == ticket) else {
            return false;
        };
        state.running.remove(at);
        state.launched.remove(&ticket);
        self.changed.notify_all();
        true
    }

    /// Waits for a function that is due, which then runs; `None` if the client is gone.
    pub fn next(&self) -> Option<DueFunction> {
        let mut state = self.wait_while(self.lock(), |state| state.due.is_empty());
        if state.is_over {
            return None;
        }
        let function = state.due.pop_front()?;
        state.running.push(function.ticket);
        Some(function)
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
    fn a_function_holds_its_stream_until_it_has_returned() {
        let functions = Functions::default();
        functions.launch(1, Holds::Stream).expect("there is room");
        functions.launch(2, Holds::All).expect("there is room");
        assert_eq!(functions.launch(2, Holds::All), Err(Error::INVALID_VALUE));
        functions.come_to(1, 0);
        functions.come_to(2, 700);
        let due = [(1, 0), (2, 700)].map(|(ticket, status)| Some(DueFunction { ticket, status }));
        assert_eq!([functions.next(), functions.next()], due);
        assert!(functions.returned(1) && !functions.returned(1) && !functions.returned(99));
        assert_eq!((functions.holds(1), functions.holds(2)), (None, Some(Holds::All)));
        assert!(functions.returned(2));
        assert_eq!(functions.holds(2), None);
        functions.launch(3, Holds::Stream).expect("there is room");
        functions.withdraw(3);
        assert_eq!(functions.holds(3), None);
    }

    #[test]
    fn who_calls_a_function_within_a_run_goes_on_when_it_has_returned() {
        let functions = Functions::default();
        std::thread::scope(|scope| {
            let calls = scope.spawn(|| functions.call(4));
            assert_eq!(functions.next(), Some(DueFunction { ticket: 4, status: 0 }));
            assert!(!calls.is_finished());
            assert!(functions.returned(4));
            calls.join().expect("no panic");
        });
    }

    #[test]
    fn the_end_of_the_client_lets_everybody_go_on() {
        let functions = Functions::default();
        functions.launch(1, Holds::Stream).expect("there is room");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| functions.next());
            functions.end();
            assert_eq!(waits.join().expect("no panic"), None);
            functions.call(2);
        });
        functions.come_to(1, 0);
        assert_eq!(functions.holds(1), None);
    }

    #[test]
    fn a_client_that_launches_too_many_is_refused() {
        let functions = Functions::default();
        let launched = (0..).take_while(|ticket| functions.launch(*ticket, Holds::All).is_ok());
        assert_eq!(launched.count(), FUNCTIONS_MAX);
    }
}
