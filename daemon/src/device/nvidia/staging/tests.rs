use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::*;

/// A driver whose streams come to their events when the test says so.
#[derive(Default)]
struct Fake {
    pinned: RefCell<BTreeSet<usize>>,
    pins: Cell<usize>,
    pins_max: Option<usize>,
    events: Cell<usize>,
    /// Events to come, with their streams.
    due: RefCell<Vec<(Pointer, Pointer)>>,
    waits: RefCell<Vec<Pointer>>,
    refuses_events: Cell<bool>,
    refuses_unpinning: Cell<bool>,
    drains: Cell<usize>,
}

impl Pinning for Fake {
    fn pin(&self, pages: &mut [u8]) -> Result<(), Error> {
        if self.pins_max.is_some_and(|max| self.pinned.borrow().len() >= max) {
            return Err(Error::OUT_OF_MEMORY);
        }
        assert_eq!(pages.len(), PIECE_BYTES);
        assert!(self.pinned.borrow_mut().insert(pages.as_ptr().addr()), "pinned twice");
        self.pins.set(self.pins.get() + 1);
        Ok(())
    }

    fn unpin(&self, pages: &mut [u8]) -> Result<(), Error> {
        if self.refuses_unpinning.get() {
            return Err(Error::INVALID_CONTEXT);
        }
        assert!(self.pinned.borrow_mut().remove(&pages.as_ptr().addr()), "it was not pinned");
        Ok(())
    }

    fn event(&self) -> Result<Pointer, Error> {
        self.events.set(self.events.get() + 1);
        Ok(Pointer(self.events.get()))
    }

    fn end_event(&self, event: Pointer) {
        assert!(!self.is_due(event), "somebody still waits for it");
    }

    fn record(&self, event: Pointer, stream: Pointer) -> Result<(), Error> {
        if self.refuses_events.get() {
            return Err(Error::LAUNCH_FAILED);
        }
        self.due.borrow_mut().retain(|(other, _)| *other != event);
        self.due.borrow_mut().push((event, stream));
        Ok(())
    }

    fn is_due(&self, event: Pointer) -> bool {
        self.due.borrow().iter().any(|(other, _)| *other == event)
    }

    fn wait(&self, event: Pointer) -> Result<(), Error> {
        self.waits.borrow_mut().push(event);
        self.due.borrow_mut().retain(|(other, _)| *other != event);
        Ok(())
    }

    fn drain(&self, stream: Pointer) -> Result<(), Error> {
        self.drains.set(self.drains.get() + 1);
        self.come_to_the_end_of(stream);
        Ok(())
    }
}

impl Fake {
    fn come_to_the_end_of(&self, stream: Pointer) {
        self.due.borrow_mut().retain(|(_, of)| *of != stream);
    }
}

const CONTEXT: u64 = 7;

fn user(stream: usize) -> (User, Pointer) {
    (User { context: CONTEXT, stream: stream as u64, thread: 0 }, Pointer(stream))
}

/// Sends contents and returns where in pinned memory the parts lay, with their contents.
fn send(
    inward: &mut Inward,
    fake: &Fake,
    user: (User, Pointer),
    contents: &[u8],
) -> Vec<(usize, Vec<u8>)> {
    let mut parts = Vec::new();
    let sent = inward.send(fake, user, contents, |before, part| {
        assert_eq!(before, parts.iter().map(|(_, part): &(_, Vec<u8>)| part.len()).sum::<usize>());
        parts.push((part.as_ptr().addr(), part.to_vec()));
        Ok(())
    });
    let all: Vec<u8> = parts.iter().flat_map(|(_, part)| part.clone()).collect();
    assert_eq!(sent, Ok(all.len()));
    assert_eq!(all, contents[..all.len()]);
    parts
}

fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at + seed) % 251) as u8).collect()
}

#[test]
fn small_copies_of_a_stream_share_a_piece_and_never_a_byte() {
    let (fake, mut inward) = (Fake::default(), Inward::default());
    let mut seen = Vec::new();
    for bytes in [1, 3, 255, 256, 257, 4096, 1] {
        let parts = send(&mut inward, &fake, user(1), &pattern(bytes, bytes));
        seen.extend(parts.into_iter().map(|(at, part)| (at, at + part.len())));
    }
    seen.sort_unstable();
    assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{seen:?}");
    assert_eq!(fake.pins.get(), 1);
    assert_eq!(send(&mut inward, &fake, user(1), &[]), [], "nothing to copy");
}

#[test]
fn a_piece_is_not_written_again_before_its_copies_have_read_it() {
    let (fake, mut inward) = (Fake::default(), Inward::default());
    let whole = pattern(PIECE_BYTES, 0);
    let mut places = BTreeSet::new();
    for _ in 0..PIECES_MAX {
        places.insert(send(&mut inward, &fake, user(1), &whole)[0].0);
    }
    assert_eq!((places.len(), fake.pins.get()), (PIECES_MAX, PIECES_MAX));
    assert!(fake.waits.borrow().is_empty());
    // All are being read: the stream's own next copy waits for the first of them.
    let first = fake.due.borrow()[0].0;
    send(&mut inward, &fake, user(1), &whole);
    assert_eq!(*fake.waits.borrow(), [first]);
    assert_eq!(fake.pins.get(), PIECES_MAX, "never more than that");
    // Another stream's does not wait for this one; it finds room when that has come to its end.
    assert_eq!(send(&mut inward, &fake, user(2), &[1]), []);
    fake.come_to_the_end_of(Pointer(1));
    assert_eq!(send(&mut inward, &fake, user(2), &[1]).len(), 1);
    assert_eq!((fake.waits.borrow().len(), fake.pins.get()), (1, PIECES_MAX));
}

#[test]
fn a_copy_larger_than_all_pieces_goes_through_them_in_turn() {
    let (fake, mut inward) = (Fake::default(), Inward::default());
    let large = pattern(3 * PIECES_MAX * PIECE_BYTES + 5, 3);
    let parts = send(&mut inward, &fake, user(1), &large);
    assert_eq!(parts.len(), 3 * PIECES_MAX + 1);
    assert_eq!((fake.pins.get(), fake.waits.borrow().len()), (PIECES_MAX, 2 * PIECES_MAX + 1));
}

#[test]
fn a_stream_at_the_address_of_an_older_one_does_not_pass_for_it() {
    let (fake, mut inward) = (Fake::default(), Inward::default());
    let old = send(&mut inward, &fake, user(1), &[1; 8]);
    let newer = (User { stream: 9, ..user(1).0 }, Pointer(1));
    let new = send(&mut inward, &fake, newer, &[2; 8]);
    assert!(old[0].0.abs_diff(new[0].0) >= PIECE_BYTES, "each has a piece and an event");
    assert_eq!(fake.due.borrow().len(), 2);
}

#[test]
fn where_nothing_can_be_pinned_nothing_is_sent_and_that_is_no_error() {
    let fake = Fake { pins_max: Some(0), ..Fake::default() };
    let (mut inward, mut outward) = (Inward::default(), Outward::default());
    assert_eq!(send(&mut inward, &fake, user(1), &[1; 8]), []);
    assert!(outward.take(&fake, CONTEXT, 8).is_none());
    let fake = Fake { pins_max: Some(2), ..Fake::default() };
    let (mut inward, mut outward) = (Inward::default(), Outward::default());
    let large = pattern(5 * PIECE_BYTES, 0);
    assert_eq!(send(&mut inward, &fake, user(1), &large).len(), 5, "two pieces are enough");
    assert!(outward.take(&fake, CONTEXT, 8).is_none(), "and no other is left");
}

#[test]
fn an_event_that_cannot_be_recorded_is_made_up_for_by_waiting() {
    let (fake, mut inward) = (Fake::default(), Inward::default());
    send(&mut inward, &fake, user(1), &[1; 8]);
    fake.refuses_events.set(true);
    let refused = inward.send(&fake, user(1), &[1; 8], |_, _| Ok(()));
    assert_eq!((refused, fake.drains.get()), (Err(Error::LAUNCH_FAILED), 1));
    let wrong = inward.send(&fake, user(1), &[1; 8], |_, _| Err(Error::INVALID_VALUE));
    assert_eq!((wrong, fake.drains.get()), (Err(Error::INVALID_VALUE), 1));
}

#[test]
fn a_context_takes_what_is_pinned_in_it_along_and_gives_way_to_others() {
    let (fake, mut inward) = (Fake::default(), Inward::default());
    let mut outward = Outward::default();
    let all = pattern(PIECES_MAX * PIECE_BYTES, 0);
    send(&mut inward, &fake, user(1), &all);
    let places = outward.take(&fake, CONTEXT, all.len()).expect("room");
    let other = (User { context: 8, ..user(2).0 }, Pointer(2));
    assert_eq!(send(&mut inward, &fake, other, &[1]), [], "all is in use");
    assert!(outward.take(&fake, 8, 1).is_none());
    fake.come_to_the_end_of(Pointer(1));
    drop(places);
    assert_eq!(send(&mut inward, &fake, other, &[1]).len(), 1);
    assert!(outward.take(&fake, 8, 1).is_some());
    assert_eq!(fake.pinned.borrow().len(), 2 * PIECES_MAX, "one was exchanged each way");
    let mut staging = Staging { inward, outward, ..Staging::default() };
    staging.end_context(&fake, CONTEXT);
    assert!(staging.is_used_by(8) && !staging.is_used_by(CONTEXT));
    assert_eq!(fake.pinned.borrow().len(), 2);
}

#[test]
fn what_stays_pinned_in_a_context_is_given_back_when_that_has_ended() {
    let (fake, mut staging) = (Fake::default(), Staging::default());
    let whole = pattern(PIECE_BYTES, 0);
    send(&mut staging.inward, &fake, user(1), &whole);
    send(&mut staging.inward, &fake, user(2), &whole);
    fake.come_to_the_end_of(Pointer(2));
    let held = staging.outward.take(&fake, CONTEXT, PIECE_BYTES).expect("room");
    drop(staging.outward.take(&fake, CONTEXT, PIECE_BYTES).expect("room"));
    staging.end_context(&fake, CONTEXT);
    assert!(!staging.is_used_by(CONTEXT));
    // One piece is read yet, in one somebody has a place; the others are unpinned.
    assert_eq!((fake.pinned.borrow().len(), staging.ending.len()), (2, 2));
    drop(held);
    staging.bury_context(CONTEXT + 1);
    assert_eq!(staging.ending.len(), 2);
    staging.bury_context(CONTEXT);
    assert_eq!(staging.ending.len(), 0);
}

#[test]
fn what_cannot_be_unpinned_is_no_other_memory() {
    let (fake, mut staging) = (Fake::default(), Staging::default());
    let all = pattern(PIECES_MAX * PIECE_BYTES, 0);
    send(&mut staging.inward, &fake, user(1), &all);
    fake.come_to_the_end_of(Pointer(1));
    drop(staging.outward.take(&fake, CONTEXT, all.len()).expect("room"));
    fake.refuses_unpinning.set(true);
    let other = (User { context: 8, ..user(2).0 }, Pointer(2));
    assert_eq!(send(&mut staging.inward, &fake, other, &[1]), []);
    assert!(staging.outward.take(&fake, 8, 1).is_none());
    assert_eq!(send(&mut staging.inward, &fake, user(1), &all).len(), PIECES_MAX, "it is there");
    assert!(staging.outward.take(&fake, CONTEXT, all.len()).is_some());
    fake.come_to_the_end_of(Pointer(1));
    staging.end_context(&fake, CONTEXT);
    assert_eq!(staging.ending.len(), 2 * PIECES_MAX);
}

#[test]
fn a_place_is_nobody_elses_until_it_is_dropped() {
    let (fake, mut outward) = (Fake::default(), Outward::default());
    assert!(outward.take(&fake, CONTEXT, 0).is_some_and(|places| places.is_empty()));
    let all = PIECES_MAX * PIECE_BYTES;
    assert!(outward.take(&fake, CONTEXT, all + 1).is_none(), "never more than that");
    let mut places = outward.take(&fake, CONTEXT, all - 1).expect("what was not given is free");
    let sizes = places.iter().map(Place::bytes);
    assert_eq!((sizes.sum::<usize>(), places.len()), (all - 1, PIECES_MAX));
    assert!(outward.take(&fake, CONTEXT, 1).is_none());
    let mut bulk = vec![9];
    places[3].lend(|to| assert!(!to.address().is_null()));
    places[3].append_to(&mut bulk);
    assert_eq!(bulk, [&[9][..], &[0; PIECE_BYTES]].concat());
    places.remove(3);
    let small: Vec<_> = (0..4).map(|_| outward.take(&fake, CONTEXT, 100).expect("room")).collect();
    let mut ranges: Vec<_> = small.iter().map(|places| places[0].lend(|to| to.address())).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[1].addr() - pair[0].addr() >= 100));
    assert_eq!(fake.pins.get(), PIECES_MAX);
}
