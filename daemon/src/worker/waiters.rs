//! Threads that wait for the device, so that the dispatch thread does not.
//!
//! What one guest thread leaves for later is done in order, by one thread; different guest threads
//! wait at the same time. A thread is started when one is needed and none is idle.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::dispatch::Answer;

/// Most threads that wait at once: 256. More guest threads than that, all waiting at the same
/// moment, hold up the others as long as they do.
const THREADS_MAX: usize = 256;

/// Most that guest threads may have left for later: 65,536. Ours ask for at most 64 MiB in pieces
/// before they wait; a client that asks on and on must not fill the memory.
const LEFT_MAX: usize = 1 << 16;

/// Stack of a thread that waits: 256 KiB, for a call into a driver.
const STACK_BYTES: usize = 256 << 10;

/// Waits, and does what is to be done then; the buffers of the answer are the thread's own.
pub(crate) type Job = Box<dyn FnOnce(&mut Answer) + Send>;

/// The threads that wait for one client.
pub(crate) struct Waiters {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What each guest thread left for later; an entry lasts as long as somebody works on it.
    left: HashMap<u32, VecDeque<Job>>,
    /// Guest threads whose work nobody has begun.
    fresh: VecDeque<u32>,
    /// How many jobs are left, those that are being done among them.
    jobs: usize,
    idle: usize,
    threads: usize,
    is_over: bool,
}

impl Waiters {
    /// Starts without a thread.
    pub fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Says whether a guest thread has left something that is not done yet.
    pub fn has_left(&self, thread: u32) -> bool {
        self.shared.lock().left.contains_key(&thread)
    }

    /// Does a job behind what the guest thread left before.
    ///
    /// # Errors
    /// Gives the job back if no thread is free and none can be started, or too much is left.
    pub fn run(&self, thread: u32, job: Job) -> Result<(), Job> {
        let mut state = self.shared.lock();
        if state.jobs >= LEFT_MAX {
            return Err(job);
        }
        if let Some(left) = state.left.get_mut(&thread) {
            left.push_back(job);
            state.jobs += 1;
            return Ok(());
        }
        if state.idle <= state.fresh.len() && !self.start_another(&mut state) {
            return Err(job);
        }
        state.left.insert(thread, VecDeque::from([job]));
        state.jobs += 1;
        state.fresh.push_back(thread);
        self.shared.changed.notify_one();
        Ok(())
    }

    fn start_another(&self, state: &mut State) -> bool {
        if state.threads >= THREADS_MAX {
            return false;
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("waiter".into()).stack_size(STACK_BYTES);
        let is_started = thread.spawn(move || shared.work()).is_ok();
        state.threads += usize::from(is_started);
        is_started
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        // Those that wait for the device end when it does; the others at once.
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No job runs under the lock, and each change is whole before the next can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work of one guest thread after the other, until the session is over.
    fn work(&self) {
        let mut answer = Answer::default();
        let mut state = self.lock();
        loop {
            let Some(thread) = state.fresh.pop_front() else {
                if state.is_over {
                    return;
                }
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            while let Some(job) = state.left.get_mut(&thread).and_then(VecDeque::pop_front) {
                drop(state);
                job(&mut answer);
                state = self.lock();
                state.jobs -= 1;
            }
            state.left.remove(&thread);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A job that waits to be let go, then says who it is.
    fn job(name: u32, gate: Receiver<()>, done: &Sender<u32>) -> Job {
        let done = done.clone();
        Box::new(move |_| {
            gate.recv_timeout(LIMIT).expect("the test lets it go");
            done.send(name).expect("the test listens");
        })
    }

    fn accepted(run: Result<(), Job>) {
        assert!(run.is_ok(), "there is a thread for it");
    }

    #[test]
    fn one_guest_thread_waits_in_order_and_does_not_hold_up_another() {
        let waiters = Waiters::new();
        let (done, is_done) = mpsc::channel();
        let (let_first, first) = mpsc::channel();
        let (let_second, second) = mpsc::channel();
        let (let_other, other) = mpsc::channel();
        accepted(waiters.run(1, job(11, first, &done)));
        accepted(waiters.run(1, job(12, second, &done)));
        accepted(waiters.run(2, job(21, other, &done)));
        let_second.send(()).unwrap();
        let_other.send(()).unwrap();
        assert_eq!(is_done.recv_timeout(LIMIT), Ok(21), "the first one of thread 1 still waits");
        assert!(waiters.has_left(1));
        let_first.send(()).unwrap();
        let rest = [is_done.recv_timeout(LIMIT).unwrap(), is_done.recv_timeout(LIMIT).unwrap()];
        assert_eq!(rest, [11, 12]);
    }

    #[test]
    fn there_are_as_many_threads_as_wait_at_once_and_no_more_than_the_limit() {
        let waiters = Waiters::new();
        let (done, is_done) = mpsc::channel();
        for round in 0..50 {
            let (go, gate) = mpsc::channel();
            go.send(()).unwrap();
            accepted(waiters.run(7, job(round, gate, &done)));
            assert_eq!(is_done.recv_timeout(LIMIT), Ok(round));
            // The job is done a moment before its thread is idle again.
            while waiters.has_left(7) {
                std::thread::yield_now();
            }
        }
        assert!(waiters.shared.lock().threads <= 2);
        let mut gates = Vec::new();
        for thread in 0..THREADS_MAX as u32 {
            let (go, gate) = mpsc::channel();
            gates.push(go);
            accepted(waiters.run(thread, job(thread, gate, &done)));
        }
        let (_go, gate) = mpsc::channel();
        assert!(waiters.run(9999, job(0, gate, &done)).is_err());
        gates.iter().for_each(|go| go.send(()).unwrap());
        let finished: Vec<u32> =
            gates.iter().map(|_| is_done.recv_timeout(LIMIT).unwrap()).collect();
        assert_eq!(finished.len(), THREADS_MAX);
    }

    #[test]
    fn a_client_that_leaves_more_and_more_is_not_taken_on() {
        let waiters = Waiters::new();
        let (done, is_done) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        accepted(waiters.run(7, job(0, gate, &done)));
        for _ in 1..LEFT_MAX {
            accepted(waiters.run(7, Box::new(|_| {})));
        }
        assert!(waiters.run(7, Box::new(|_| {})).is_err());
        assert!(waiters.run(8, Box::new(|_| {})).is_err(), "for all threads together");
        go.send(()).unwrap();
        assert_eq!(is_done.recv_timeout(LIMIT), Ok(0));
        while waiters.has_left(7) {
            std::thread::yield_now();
        }
        accepted(waiters.run(8, Box::new(|_| {})));
    }
}
