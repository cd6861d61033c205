//! What streams have to do whose end a program can see.
//!
//! A copy of a captured source and a set change nothing but device memory, in stream order: no
//! program can tell whether they are done, except by an error, which comes with a later call. A
//! stream that was given nothing else since it was last waited for need not be waited for again:
//! the host is told to do all that comes later behind it, in whatever stream (docs/decisions/0024).

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use vgpu_abi::cuda::{CUcontext, CUstream, CUstream_flags, Error};

use crate::handles::{self, Lane};

/// Most lanes that are remembered: 4,096. When there are more all are forgotten, which costs waits
/// and nothing else.
const LANES_MAX: usize = 4096;

static WORK: Mutex<Option<Work>> = Mutex::new(None);

impl Lane {
    fn is_legacy(self) -> bool {
        self.stream == CUstream::LEGACY.0
    }

    /// Says whether who waits for this lane also waits for the other one.
    fn covers(self, other: Self, blocks: bool) -> bool {
        self == other || blocks && self.is_legacy() && self.context == other.context
    }
}

#[derive(Debug, Default)]
struct Work {
    /// Counts all that was given to streams.
    given: u64,
    /// When something was last given to no stream in particular.
    anywhere: u64,
    /// When something was last given to a lane.
    lanes: FxHashMap<Lane, u64>,
    /// Up to when each lane was waited for.
    done: FxHashMap<Lane, u64>,
    /// When a lane was last given what nobody sees the end of, unless that is settled, and whether
    /// it and the legacy one wait for each other.
    unseen: FxHashMap<Lane, (u64, bool)>,
}

/// What a synchronisation with a lane has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// To order what comes later behind what the lane was given.
    Settle,
    Wait,
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

    fn need(&self, lane: Lane, blocks: bool) -> Need {
        if self.is_pending(lane, blocks) {
            Need::Wait
        } else if self.unseen.iter().any(|(other, (_, blocks))| lane.covers(*other, *blocks)) {
            Need::Settle
        } else {
            Need::Nothing
        }
    }

    fn give(&mut self, lane: Lane) {
        self.given += 1;
        if self.lanes.len() >= LANES_MAX {
            self.forget_whose();
        }
        self.lanes.insert(lane, self.given);
    }

    fn give_unseen(&mut self, lane: Lane, blocks: bool) {
        self.given += 1;
        if self.unseen.len() >= LANES_MAX {
            self.forget_whose();
        }
        self.unseen.insert(lane, (self.given, blocks));
    }

    /// Takes all that was given as if it had been given to any of the lanes.
    fn forget_whose(&mut self) {
        self.anywhere = self.given;
        self.lanes.clear();
        self.unseen.clear();
    }

    /// Takes up that a lane was waited for, or settled: what it was given up to then needs no
    /// other.
    fn settled(&mut self, lane: Lane, until: u64) {
        self.unseen.retain(|other, (at, blocks)| !lane.covers(*other, *blocks) || *at > until);
    }

    fn waited(&mut self, lane: Lane, until: u64) {
        if self.done.len() >= LANES_MAX {
            self.done.clear();
        }
        self.done.insert(lane, until);
        // What was given to the lane is done; what came meanwhile is not.
        if self.lanes.get(&lane).is_some_and(|at| *at <= until) {
            self.lanes.remove(&lane);
        }
        self.settled(lane, until);
    }

    fn forget(&mut self, stream: u64) {
        let gone = |lane: &Lane| lane.stream == stream;
        // Its work goes on, and the legacy stream waits for it as before.
        if self.lanes.keys().chain(self.unseen.keys()).any(gone) {
            self.given += 1;
            self.anywhere = self.given;
        }
        self.lanes.retain(|lane, _| !gone(lane));
        self.unseen.retain(|lane, _| !gone(lane));
        self.done.retain(|lane, _| !gone(lane));
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
    Ok((Lane::of(known.context, stream), blocks))
}

/// Gives a stream work whose end can be seen, by `send`.
///
/// Noted when it is sent: were it noted before, another thread that synchronises between the two
/// would take for done what the host has not heard of.
pub(crate) fn give<T>(
    stream: CUstream,
    send: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let (lane, _) = lane(stream)?;
    let sent = send();
    lock().get_or_insert_default().give(lane);
    sent
}

/// As [`give`], for work whose end nobody can see.
pub(crate) fn give_unseen<T>(
    stream: CUstream,
    send: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let (lane, blocks) = lane(stream)?;
    let sent = send();
    lock().get_or_insert_default().give_unseen(lane, blocks);
    sent
}

/// As [`give`], for work of streams that nobody names.
pub(crate) fn give_anywhere<T>(send: impl FnOnce() -> T) -> T {
    let sent = send();
    let mut work = lock();
    let work = work.get_or_insert_default();
    work.given += 1;
    work.anywhere = work.given;
    sent
}

/// Waits by `wait`, unless the stream has nothing to do whose end can be seen; `settle` then tells
/// the host to do what comes later behind what the stream was given.
pub(crate) fn wait_for(
    stream: CUstream,
    wait: impl FnOnce() -> Result<(), Error>,
    settle: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let (lane, blocks) = lane(stream)?;
    let (need, until) = match &*lock() {
        Some(work) => (work.need(lane, blocks), work.given),
        None => (Need::Nothing, 0),
    };
    // Noted when it is sent, or done: another thread that synchronises meanwhile does so, too.
    match need {
        Need::Nothing => {}
        Need::Settle => {
            settle()?;
            lock().get_or_insert_default().settled(lane, until);
        }
        Need::Wait => {
            wait()?;
            lock().get_or_insert_default().waited(lane, until);
        }
    }
    Ok(())
}

/// Forgets the streams of a context that is gone.
pub(crate) fn forget_context(context: CUcontext) {
    if let Some(work) = &mut *lock() {
        work.lanes.retain(|lane, _| lane.context != context.0);
        work.unseen.retain(|lane, _| lane.context != context.0);
        work.done.retain(|lane, _| lane.context != context.0);
    }
}

/// Says whether a stream has something to do whose end can be seen.
pub(crate) fn is_pending(stream: CUstream) -> Result<bool, Error> {
    let (lane, blocks) = lane(stream)?;
    Ok(lock().as_ref().is_some_and(|work| work.is_pending(lane, blocks)))
}

/// Forgets a stream that is gone, but not that it may still have something to do.
pub(crate) fn forget(stream: CUstream) {
    if let Some(work) = &mut *lock() {
        work.forget(stream.0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use vgpu_guest::current;

    use super::*;
    use crate::contexts;

    const LEGACY: Lane = Lane::legacy(1);
    const ONE: Lane = Lane { context: 1, stream: 77, thread: 0 };
    const OTHER: Lane = Lane { context: 1, stream: 78, thread: 0 };

    fn work(given: &[(Lane, u64)], anywhere: u64, done: &[(Lane, u64)]) -> Work {
        Work {
            given: 99,
            anywhere,
            lanes: given.iter().copied().collect(),
            done: done.iter().copied().collect(),
            unseen: FxHashMap::default(),
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

    #[test]
    fn what_nobody_sees_the_end_of_is_settled_once_and_not_waited_for() {
        let mut work = work(&[], 0, &[]);
        work.give_unseen(ONE, true);
        work.give_unseen(OTHER, false);
        assert_eq!(work.need(ONE, true), Need::Settle);
        assert_eq!(work.need(LEGACY, true), Need::Settle, "it waits for those that block");
        work.settled(LEGACY, 99);
        assert_eq!(work.need(ONE, true), Need::Settle, "it came after what was settled");
        work.settled(LEGACY, 101);
        assert_eq!(work.need(ONE, true), Need::Nothing);
        assert_eq!(work.need(LEGACY, true), Need::Nothing);
        assert_eq!(work.need(OTHER, false), Need::Settle, "the legacy one does not wait for it");
        work.give(OTHER);
        assert_eq!(work.need(OTHER, false), Need::Wait);
        work.waited(OTHER, 102);
        assert_eq!(work.need(OTHER, false), Need::Nothing);
    }

    #[test]
    fn what_is_sent_while_another_thread_synchronises_is_waited_for_after() {
        let stream = CUstream(0);
        contexts::insert(77, 0, 0, true);
        assert!(current::push(77));
        let needs = |expected| {
            let asked = Cell::new(Need::Nothing);
            let note = |need| {
                asked.set(need);
                Ok(())
            };
            wait_for(stream, || note(Need::Wait), || note(Need::Settle)).expect("it answers");
            assert_eq!(asked.get(), expected);
        };
        // What another thread does between the two steps of this one.
        let synchronise = || wait_for(stream, || Ok(()), || Ok(()));
        give(stream, synchronise).expect("it is sent");
        needs(Need::Wait);
        needs(Need::Nothing);
        give_unseen(stream, synchronise).expect("it is sent");
        needs(Need::Settle);
        needs(Need::Nothing);
        contexts::remove(77);
    }

    #[test]
    fn the_legacy_stream_waits_for_a_stream_that_was_destroyed_at_work() {
        let mut work = work(&[(ONE, 1)], 0, &[(ONE, 1)]);
        work.give(ONE);
        work.forget(ONE.stream);
        assert_eq!(work.need(LEGACY, true), Need::Wait);
        work.waited(LEGACY, work.given);
        work.forget(OTHER.stream);
        assert_eq!(work.need(LEGACY, true), Need::Nothing, "one that had nothing to do");
    }
}
