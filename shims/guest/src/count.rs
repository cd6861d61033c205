//! Counts calls, waits, and what was asked for but is not implemented.
//!
//! A counter is a static beside its exported function. Counting is one relaxed addition; the
//! list of counters is touched only by the first call of each function.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{log, process};

static KNOWN: Mutex<Vec<&'static Counter>> = Mutex::new(Vec::new());

thread_local! {
    static CURRENT: Cell<Option<&'static Counter>> = const { Cell::new(None) };
}

/// Counts the calls of one exported function.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    calls: AtomicU64,
    waits: AtomicU64,
    waited_ns: AtomicU64,
    unimplemented: AtomicBool,
}

impl Counter {
    /// Makes the counter of the function that C calls `name`.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            calls: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            unimplemented: AtomicBool::new(false),
        }
    }

    /// Returns the exported name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns how often the function was called in this process.
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Returns how often the function waited for the host.
    pub fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// Records a call of an unimplemented function; the first one is logged at debug level.
    pub(crate) fn note_unimplemented(&self) {
        if !self.unimplemented.swap(true, Relaxed) {
            log::debug(format_args!("{} is not implemented, answering NOT_SUPPORTED", self.name));
        }
    }
}

/// Marks the function that the thread is in; the one before comes back when it is dropped.
pub(crate) struct Scope(Option<&'static Counter>);

impl Drop for Scope {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.set(self.0));
    }
}

/// Counts a call, and attributes the thread's waits to it until the scope is dropped.
pub(crate) fn enter(counter: &'static Counter) -> Scope {
    if counter.calls.fetch_add(1, Relaxed) == 0 {
        lock_known().push(counter);
        process::print_statistics_at_exit();
    }
    Scope(CURRENT.try_with(|current| current.replace(Some(counter))).unwrap_or(None))
}

/// Attributes one wait for the host to the function that the thread is in.
pub fn note_wait(waited: Duration) {
    if let Ok(Some(counter)) = CURRENT.try_with(Cell::get) {
        counter.waits.fetch_add(1, Relaxed);
        counter.waited_ns.fetch_add(waited.as_nanos() as u64, Relaxed);
    }
}

/// Returns the unimplemented functions that were called, with the number of calls.
pub fn unimplemented_calls() -> Vec<(&'static str, u64)> {
    let known = lock_known();
    let asked = known.iter().filter(|counter| counter.unimplemented.load(Relaxed));
    asked.map(|counter| (counter.name, counter.calls())).collect()
}

/// Renders the table that `VGPU_STATS=1` prints: most calls first.
pub(crate) fn table() -> String {
    let mut rows = lock_known().clone();
    rows.sort_by_key(|counter| std::cmp::Reverse(counter.calls()));
    let mut table = String::from("vgpu: calls    waits   waited µs  function\n");
    for counter in rows {
        let missing = if counter.unimplemented.load(Relaxed) { " (not implemented)" } else { "" };
        let waited_us = counter.waited_ns.load(Relaxed) / 1000;
        let (calls, waits, name) = (counter.calls(), counter.waits(), counter.name);
        let _ = writeln!(table, "{calls:11} {waits:8} {waited_us:11}  {name}{missing}");
    }
    table
}

fn lock_known() -> std::sync::MutexGuard<'static, Vec<&'static Counter>> {
    // A push either happened or did not: a panic elsewhere cannot leave the list half-written.
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_attributed_to_the_function_that_waited() {
        static OUTER: Counter = Counter::new("outer_function");
        static INNER: Counter = Counter::new("inner_function");
        let outer = enter(&OUTER);
        let inner = enter(&INNER);
        note_wait(Duration::from_micros(5));
        drop(inner);
        note_wait(Duration::from_micros(7));
        note_wait(Duration::from_micros(7));
        drop(outer);
        note_wait(Duration::from_micros(9));
        assert_eq!((OUTER.waits(), INNER.waits()), (2, 1));
        let table = table();
        let row = table.lines().find(|line| line.ends_with("outer_function")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["1", "2", "14", "outer_function"]);
    }
}
