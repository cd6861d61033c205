//! Models for loom: every order of two threads' steps, up to so many preemptions, with every value
//! that the memory model lets a load see.
//!
//! The lanes are of 4 bytes, so that they fill up and wrap at once. A lost wake-up is a deadlock,
//! and a byte read before it is surely written is a race: loom reports both.
//! Run by `cargo xtask test models`.

use std::io::IoSlice;

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use crate::lane::{Consumer, Producer};
use crate::layout::{HEAD_BYTES, Lane};
use crate::{Bells, Duplex, Region, Side, ThreadBell};

const LANE_BYTES: u64 = 4;

type End = Arc<Duplex<ThreadBell>>;

fn ends() -> (End, End) {
    let region = Region::heap(HEAD_BYTES + 2 * LANE_BYTES as usize);
    let (data, room) = (ThreadBell::pair(), ThreadBell::pair());
    let end = |side: Side, data, room| {
        let lane = |writer| Lane::new(&region, writer, LANE_BYTES);
        let incoming = Consumer::new(lane(side.other()));
        let bells = Bells { data, room };
        Arc::new(Duplex::over(&region, side, incoming, Producer::new(lane(side)), bells))
    };
    (end(Side::Host, data.0, room.0), end(Side::Guest, data.1, room.1))
}

/// Explores all runs with at most `preemptions` switches away from a thread that could go on.
fn explore(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

fn write_all(end: &End, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = end.write(&[IoSlice::new(bytes)], None).expect("the peer reads");
        bytes = &bytes[count..];
    }
}

fn read_all(end: &End, into: &mut [u8]) {
    let mut done = 0;
    while done < into.len() {
        let count = end.read(&mut into[done..], None).expect("the peer writes");
        assert_ne!(count, 0, "the peer has not closed");
        done += count;
    }
}

#[test]
fn a_reader_that_falls_asleep_is_woken_by_what_is_written() {
    explore(3, || {
        let (host, guest) = ends();
        let writer = Arc::clone(&guest);
        let writer = thread::spawn(move || {
            write_all(&writer, &[1]);
            write_all(&writer, &[2]);
        });
        let mut found = [0; 2];
        read_all(&host, &mut found);
        assert_eq!(found, [1, 2]);
        writer.join().expect("no panic");
    });
}

#[test]
fn a_writer_that_waits_for_room_is_woken_and_no_byte_is_torn_or_doubled() {
    explore(2, || {
        let (host, guest) = ends();
        let writer = Arc::clone(&guest);
        let writer = thread::spawn(move || write_all(&writer, &[1, 2, 3, 4, 5, 6]));
        let mut found = [0; 6];
        read_all(&host, &mut found);
        assert_eq!(found, [1, 2, 3, 4, 5, 6]);
        writer.join().expect("no panic");
    });
}

#[test]
fn both_directions_at_once_answer_each_other() {
    explore(2, || {
        let (host, guest) = ends();
        let answerer = Arc::clone(&guest);
        let answerer = thread::spawn(move || {
            let mut asked = [0];
            read_all(&answerer, &mut asked);
            write_all(&answerer, &[asked[0] + 1]);
        });
        write_all(&host, &[7]);
        let mut answer = [0];
        read_all(&host, &mut answer);
        assert_eq!(answer, [8]);
        answerer.join().expect("no panic");
    });
}

#[test]
fn a_close_wakes_the_peers_reader_who_hears_what_came_before() {
    explore(3, || {
        let (host, guest) = ends();
        let closer = Arc::clone(&guest);
        let closer = thread::spawn(move || {
            write_all(&closer, &[1]);
            closer.close();
        });
        let mut found = [0; 2];
        assert_eq!(host.read(&mut found, None).expect("a byte, then the end"), 1);
        assert_eq!(found, [1, 0]);
        assert_eq!(host.read(&mut found, None).expect("the end"), 0);
        closer.join().expect("no panic");
    });
}

#[test]
fn a_close_wakes_our_own_reader() {
    explore(3, || {
        let (host, _guest) = ends();
        let closer = Arc::clone(&host);
        let closer = thread::spawn(move || closer.close());
        assert_eq!(host.read(&mut [0; 2], None).expect("the end"), 0);
        closer.join().expect("no panic");
    });
}

#[test]
fn a_close_wakes_a_writer_that_waits_for_room() {
    explore(2, || {
        let (host, guest) = ends();
        write_all(&guest, &[1, 2, 3, 4]);
        let closer = Arc::clone(&host);
        let closer = thread::spawn(move || closer.close());
        let error = guest.write(&[IoSlice::new(&[5])], None).expect_err("nobody reads");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        closer.join().expect("no panic");
    });
}

/// Two clients and one slot; the host frees it once the claim on it is void.
#[test]
fn a_slot_is_never_of_two_clients_at_a_time() {
    use loom::sync::atomic::{AtomicBool, Ordering};

    use crate::slots::{Word, claim, let_go, stands, word};

    explore(3, || {
        let head = Region::heap(8);
        let taken = Arc::new(AtomicBool::new(false));
        let client = |thread: u32| {
            let (head, taken) = (head.clone(), Arc::clone(&taken));
            thread::spawn(move || {
                if let Some((slot, claim)) = claim(&head, 1, thread, 1, |_| {}) {
                    assert!(!taken.swap(true, Ordering::Relaxed), "somebody has it");
                    taken.store(false, Ordering::Relaxed);
                    let_go(&head, slot, claim);
                }
            })
        };
        let clients = [client(1), client(2)];
        let at = word(0, Word::Claim);
        let found = head.load(at, Ordering::Acquire);
        if found != 0 && !stands(found) {
            head.store(at, 0, Ordering::Release);
        }
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
    });
}
