//! What streams have to do whose end a program can see.
//!
//! A copy of a captured source and a set change nothing but device memory, in stream order: no
//! program can tell whether they are done, except by an error, which comes with a later call. A
//! stream that was given nothing else since it was last waited for need not be waited for again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUstream, CUstream_flags, Error};
use vgpu_guest::current;

use crate::handles;

/// Most lanes that are remembered: 4,096. When there are more all are forgotten, which costs waits
/// and nothing else.
const LANES_MAX: usize = 4096;

static WORK: Mutex<Option<Work>> = Mutex::new(None);

/// A stream as it names one thing: the legacy stream has two names, and each thread has its own
/// per-thread stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lane {
    context: u64,
    stream: u64,
    thread: u32,
}

impl Lane {
    const fn legacy(context: u64) -> Self {
        Self { context, stream: CUstream::LEGACY.0, thread: 0 }
    }

    fn is_legacy(self) -> bool {
        self.stream == CUstream::LEGACY.0
    }
}

#[derive(Debug, Default)]
struct Work {
    /// Counts all that was given to streams.
    given: u64,
    /// When something was last given to no stream in particular.
    anywhere: u64,
    /// When something was last given to a lane.
    lanes: HashMap<Lane, u64>,
    /// Up to when each lane was waited for.
    done: HashMap<Lane, u64>,
}

impl Work {
    fn is_pending(&self, lane: Lane, blocks: bool) -> bool {
        let done = |lane| self.done.get(&lane).copied().unwrap_or(0);
        let has_more = |lane: &Lane, until: u64| self.lanes.get(lane).is_some_and(|at| *at > until);
        if self.anywhere > done(lane) || has_more(&lane, done(lane)) {
            return true;
        }
        // Blocking streams and the legacy one wait for each other.
        if lane.is_legacy() {
            self.lanes.iter().any(|(other, at)| {
                other.context == lane.context && *at > done(*other) && *at > done(lane)
            })
        } else {
            let legacy = Lane::legacy(lane.context);
            blocks && has_more(&legacy, done(lane)) && has_more(&legacy, done(legacy))
        }
    }
}

fn lock() -> MutexGuard<'static, Option<Work>> {
    // Each change is one insertion, so a panic elsewhere leaves no half of one.
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds a stream's lane, and whether it and the legacy stream wait for each other.
fn lane(stream: CUstream) -> Result<(Lane, bool), Error> {
    let known = handles::stream(stream)?;
    let blocks = known.flags & CUstream_flags::NON_BLOCKING.0 == 0;
    let lane = match stream {
        CUstream(0) | CUstream::LEGACY => Lane::legacy(known.context),
        CUstream::PER_THREAD => {
            Lane { context: known.context, stream: stream.0, thread: current::thread_number() }
        }
        _ => Lane { context: known.context, stream: stream.0, thread: 0 },
    };
    Ok((lane, blocks))
}

/// Notes that a stream is given work whose end can be seen. Called before it is sent.
pub(crate) fn give(stream: CUstream) -> Result<(), Error> {
    let (lane, _) = lane(stream)?;
    let mut work = lock();
    let work = work.get_or_insert_default();
    work.given += 1;
    if work.lanes.len() >= LANES_MAX {
        // As if it had been given to any of them.
        work.anywhere = work.given;
        work.lanes.clear();
    }
    work.lanes.insert(lane, work.given);
    Ok(())
}

/// Notes that work whose end can be seen is given to streams that nobody names.
pub(crate) fn give_anywhere() {
    let mut work = lock();
    let work = work.get_or_insert_default();
    work.given += 1;
    work.anywhere = work.given;
}

/// Waits by `wait`, unless the stream has nothing to do whose end can be seen.
pub(crate) fn wait_for(
    stream: CUstream,
    wait: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let (lane, blocks) = lane(stream)?;
    let until = {
        let work = lock();
        match &*work {
            Some(work) if work.is_pending(lane, blocks) => work.given,
            _ => return Ok(()),
        }
    };
    wait()?;
    if let Some(work) = &mut *lock() {
        if work.done.len() >= LANES_MAX {
            work.done.clear();
        }
        work.done.insert(lane, until);
        // What was given to the lane is done; what came meanwhile is not.
        if work.lanes.get(&lane).is_some_and(|at| *at <= until) {
            work.lanes.remove(&lane);
        }
    }
    Ok(())
}

/// Says whether a stream has something to do whose end can be seen.
pub(crate) fn is_pending(stream: CUstream) -> Result<bool, Error> {
    let (lane, blocks) = lane(stream)?;
    Ok(lock().as_ref().is_some_and(|work| work.is_pending(lane, blocks)))
}

/// Forgets a stream that is gone.
pub(crate) fn forget(stream: CUstream) {
    if let Some(work) = &mut *lock() {
        work.lanes.retain(|lane, _| lane.stream != stream.0);
        work.done.retain(|lane, _| lane.stream != stream.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGACY: Lane = Lane::legacy(1);
    const ONE: Lane = Lane { context: 1, stream: 77, thread: 0 };
    const OTHER: Lane = Lane { context: 1, stream: 78, thread: 0 };

    fn work(given: &[(Lane, u64)], anywhere: u64, done: &[(Lane, u64)]) -> Work {
        Work {
            given: 99,
            anywhere,
            lanes: given.iter().copied().collect(),
            done: done.iter().copied().collect(),
        }
    }

    #[test]
    fn a_lane_is_pending_until_it_was_waited_for_after_its_last_work() {
        for (work, expected) in [
            (work(&[], 0, &[]), false),
            (work(&[(ONE, 1)], 0, &[]), true),
            (work(&[(OTHER, 1)], 0, &[]), false),
            (work(&[(ONE, 1)], 0, &[(ONE, 1)]), false),
            (work(&[(ONE, 2)], 0, &[(ONE, 1)]), true),
            (work(&[], 1, &[]), true),
            (work(&[], 1, &[(ONE, 1)]), false),
            (work(&[], 2, &[(ONE, 1)]), true),
            (work(&[], 2, &[(OTHER, 2)]), true),
        ] {
            for blocks in [false, true] {
                assert_eq!(work.is_pending(ONE, blocks), expected, "{work:?}");
            }
        }
    }

    #[test]
    fn blocking_streams_and_the_legacy_one_wait_for_each_other() {
        let legacy_works = work(&[(LEGACY, 3)], 0, &[]);
        assert!(legacy_works.is_pending(ONE, true));
        assert!(!legacy_works.is_pending(ONE, false));
        assert!(!work(&[(LEGACY, 3)], 0, &[(LEGACY, 3)]).is_pending(ONE, true));
        assert!(!work(&[(LEGACY, 3)], 0, &[(ONE, 3)]).is_pending(ONE, true));
        assert!(work(&[(ONE, 3)], 0, &[]).is_pending(LEGACY, true));
        assert!(!work(&[(ONE, 3)], 0, &[(LEGACY, 3)]).is_pending(LEGACY, true));
        assert!(!work(&[(ONE, 3)], 0, &[(ONE, 3)]).is_pending(LEGACY, true));
        let elsewhere = Lane { context: 2, ..ONE };
        assert!(!work(&[(elsewhere, 3)], 0, &[]).is_pending(LEGACY, true));
    }
}
