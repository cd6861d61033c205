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
    static HAS_ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Counts the calls of one exported function.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    calls: AtomicU64,
    local: AtomicU64,
    posts: AtomicU64,
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
            local: AtomicU64::new(0),
            posts: AtomicU64::new(0),
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

    /// Returns how often the function returned without a word to the host.
    pub fn local(&self) -> u64 {
        self.local.load(Relaxed)
    }

    /// Returns how many messages the function sent that are not answered.
    pub fn posts(&self) -> u64 {
        self.posts.load(Relaxed)
    }

    /// Returns how often the function waited for the host.
    pub fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// Returns how long the function waited for the host, in microseconds.
    pub fn waited_us(&self) -> u64 {
        self.waited_ns.load(Relaxed) / 1000
    }

    /// Records a call of an unimplemented function; the first one is logged at debug level.
    pub(crate) fn note_unimplemented(&self) {
        if !self.unimplemented.swap(true, Relaxed) {
            log::debug(format_args!("{} is not implemented, answering NOT_SUPPORTED", self.name));
        }
    }
}

/// Marks the function that the thread is in; the one before comes back when it is dropped.
pub(crate) struct Scope {
    before: Option<&'static Counter>,
    had_asked: bool,
}

impl Drop for Scope {
    fn drop(&mut self) {
        let has_asked = HAS_ASKED.try_with(|asked| asked.replace(self.had_asked | asked.get()));
        if let Ok(Some(counter)) = CURRENT.try_with(|current| current.replace(self.before))
            && has_asked == Ok(false)
        {
            counter.local.fetch_add(1, Relaxed);
        }
    }
}

/// Counts a call, and attributes what the thread asks of the host to it until the scope is dropped.
pub(crate) fn enter(counter: &'static Counter) -> Scope {
    if counter.calls.fetch_add(1, Relaxed) == 0 {
        lock_known().push(counter);
        process::print_statistics_at_exit();
    }
    let before = CURRENT.try_with(|current| current.replace(Some(counter))).unwrap_or(None);
    let had_asked = HAS_ASKED.try_with(|asked| asked.replace(false)).unwrap_or(false);
    Scope { before, had_asked }
}

/// Attributes one message that is not answered to the function that the thread is in.
pub(crate) fn note_post() {
    if let Some(counter) = asking() {
        counter.posts.fetch_add(1, Relaxed);
    }
}

/// Attributes one wait for the host to the function that the thread is in.
pub(crate) fn note_wait(waited: Duration) {
    if let Some(counter) = asking() {
        counter.waits.fetch_add(1, Relaxed);
        counter.waited_ns.fetch_add(waited.as_nanos() as u64, Relaxed);
    }
}

fn asking() -> Option<&'static Counter> {
    let _ = HAS_ASKED.try_with(|asked| asked.set(true));
    CURRENT.try_with(Cell::get).ok().flatten()
}

/// Returns the unimplemented functions that were called, with the number of calls.
pub fn unimplemented_calls() -> Vec<(&'static str, u64)> {
    let known = lock_known();
    let asked = known.iter().filter(|counter| counter.unimplemented.load(Relaxed));
    asked.map(|counter| (counter.name, counter.calls())).collect()
}

/// Renders the table that `VGPU_STATS=1` prints: most calls first, and the sum.
pub(crate) fn table() -> String {
    let mut rows = lock_known().clone();
    rows.sort_by_key(|counter| std::cmp::Reverse(counter.calls()));
    let mut table = String::from("vgpu: calls    local    posts    waits   waited µs  function\n");
    let mut sum = [0; 5];
    for counter in rows {
        let row = figures(counter);
        sum.iter_mut().zip(row).for_each(|(sum, figure)| *sum += figure);
        let missing = if counter.unimplemented.load(Relaxed) { " (not implemented)" } else { "" };
        write_row(&mut table, row, &format!("{}{missing}", counter.name));
    }
    write_row(&mut table, sum, "all functions");
    table
}

fn figures(counter: &Counter) -> [u64; 5] {
    [counter.calls(), counter.local(), counter.posts(), counter.waits(), counter.waited_us()]
}

fn write_row(table: &mut String, row: [u64; 5], name: &str) {
    let [calls, local, posts, waits, waited_us] = row;
    let _ = writeln!(table, "{calls:11} {local:8} {posts:8} {waits:8} {waited_us:11}  {name}");
}

/// Renders the line that `VGPU_STATS=json:FILE` appends: one object for this library, whose
/// members are functions. Names of C functions need no escapes.
pub(crate) fn json() -> String {
    let mut rows = lock_known().clone();
    rows.sort_by_key(|counter| counter.name);
    let members: Vec<String> = rows
        .into_iter()
        .map(|counter| {
            let [calls, local, posts, waits, waited_us] = figures(counter);
            let implemented = !counter.unimplemented.load(Relaxed);
            format!(
                "\"{}\":{{\"calls\":{calls},\"local\":{local},\"posts\":{posts},\
                 \"waits\":{waits},\"waited_us\":{waited_us},\"implemented\":{implemented}}}",
                counter.name
            )
        })
        .collect();
    format!("{{\"pid\":{},\"functions\":{{{}}}}}\n", std::process::id(), members.join(","))
}

fn lock_known() -> std::sync::MutexGuard<'static, Vec<&'static Counter>> {
    // A push either happened or did not: a panic elsewhere cannot leave the list half-written.
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_the_host_is_attributed_to_the_function_that_asked() {
        static OUTER: Counter = Counter::new("outer_function");
        static INNER: Counter = Counter::new("inner_function");
        let outer = enter(&OUTER);
        let inner = enter(&INNER);
        note_wait(Duration::from_micros(5));
        drop(inner);
        drop(enter(&INNER));
        note_wait(Duration::from_micros(7));
        note_wait(Duration::from_micros(7));
        note_post();
        drop(outer);
        note_wait(Duration::from_micros(9));
        assert_eq!((OUTER.waits(), INNER.waits()), (2, 1));
        let table = table();
        let row = |name| {
            let row = table.lines().find(|line| line.ends_with(name)).expect("it was called");
            row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("outer_function"), ["1", "0", "1", "2", "14", "outer_function"]);
        assert_eq!(row("inner_function"), ["2", "1", "0", "1", "5", "inner_function"]);
        assert!(row("all functions").len() == 7);
        let expected = "\"inner_function\":{\"calls\":2,\"local\":1,\"posts\":0,\"waits\":1,\
                        \"waited_us\":5,\"implemented\":true}";
        assert!(json().contains(expected), "{}", json());
    }
}
