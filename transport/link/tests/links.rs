//! One body of tests over every link: frames arrive whole, and whatever a peer does wrong ends in
//! its own typed error, on both sides where the peer still listens.

#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::thread;
use std::time::{Duration, Instant};

use vgpu_link::wire::control::{Hello, Reason, Refusal, Role, Welcome, opcode};
use vgpu_link::wire::header::{BULK_BYTES_MAX, HEADER_BYTES, PAYLOAD_BYTES_MAX, VERSION};
use vgpu_link::wire::{Header, Kind, Payload, Text};
use vgpu_link::{Bulk, Link, LinkError, Receiver, Sender, StreamLink, handshake};

#[path = "device/mod.rs"]
#[allow(dead_code, reason = "the tests of the device itself look into it")]
mod device;
#[path = "made/ends.rs"]
mod ends;
#[path = "made/loss.rs"]
mod loss;
#[path = "made/machine.rs"]
mod machine;
#[path = "made/mod.rs"]
mod made;
#[path = "made/pci.rs"]
mod slots;
#[path = "made/subject.rs"]
mod subject;
#[path = "device/ends.rs"]
mod tunnel;

pub(crate) use loss::a_peer_that_goes_after_any_message_has_closed;
pub(crate) use subject::Subject;

/// Expands one body over every link.
macro_rules! over_every_link {
    ($($name:ident)*) => {
        mod memory { $(#[test] fn $name() { super::$name::<vgpu_link::MemoryStream>(); })* }
        mod pci { $(#[test] fn $name() { super::$name::<super::ends::PciEnd>(); })* }
        mod pci_turned { $(#[test] fn $name() { super::$name::<super::ends::PciTurned>(); })* }
        mod tls {
            use vgpu_link::{Squeezed, tls::TlsStream};
            $(#[test] fn $name() { super::$name::<Squeezed<TlsStream>>(); })*
        }
        mod ring {
            use vgpu_ring::{Duplex, SocketBell};
            $(#[test] fn $name() { super::$name::<Duplex<SocketBell>>(); })*
        }
        mod unix { $(#[test] fn $name() { super::$name::<vgpu_link::Socket>(); })* }
        mod device_to_host {
            use super::tunnel::Tunnel;
            $(#[test] fn $name() { super::$name::<Tunnel<true>>(); })*
        }
        mod host_to_device {
            use super::tunnel::Tunnel;
            $(#[test] fn $name() { super::$name::<Tunnel<false>>(); })*
        }
    };
}

/// Names the whole body, for the macro that expands it over its links.
macro_rules! every_rule {
    ($over:ident) => {
        $over! {
            frames_arrive_whole_and_in_order
            a_bulk_part_of_the_largest_size_lands_in_the_given_memory
            a_frame_above_the_limits_is_not_sent
            more_bulk_than_room_is_refused
            a_peer_that_goes_between_frames_has_closed
            a_peer_that_goes_within_a_frame_has_truncated_it
            a_peer_that_goes_after_any_message_has_closed
            an_oversized_length_is_named_before_anything_is_allocated
            garbage_is_malformed
            a_silent_peer_is_given_up_at_the_limit
            a_peer_that_dribbles_is_given_up_at_the_limit
            the_handshake_introduces_both_sides
            a_guest_of_another_version_is_refused_on_both_sides
            a_first_frame_that_is_no_introduction_is_told_so
            a_refusal_is_heard_even_by_a_guest_that_still_sends
            a_goodbye_gives_its_reason
            the_halves_of_a_link_are_used_at_once
            closing_wakes_who_waits_on_either_half
        }
    };
}

every_rule!(over_every_link);

fn call(opcode: u32, sequence: u32) -> Header {
    Header { sequence, ..Header::new(Kind::Call, opcode) }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn hello() -> Hello {
    Hello { role: Role::Guest, pid: 4711, exe: Text::cut("ollama") }
}

fn receive(link: &mut dyn Link) -> Result<Header, LinkError> {
    link.wait_until(Some(soon()));
    link.receive(&mut Vec::new(), Bulk::Into(&mut []))
}

pub(crate) fn frames_arrive_whole_and_in_order<S: Subject>() {
    let (mut left, mut right) = S::link_pair();
    let sender = thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(1);
        for sequence in 0..300 {
            let payload = vec![sequence as u8; random.usize(..3000)];
            let bulk = vec![!sequence as u8; random.usize(..30_000)];
            left.send(&call(7, sequence), &payload, &bulk).expect("the peer reads");
        }
    });
    let mut random = fastrand::Rng::with_seed(1);
    let (mut payload, mut bulk) = (Vec::new(), Vec::new());
    for sequence in 0..300_u32 {
        let header = right.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("a frame");
        assert_eq!((header.opcode, header.sequence), (7, sequence));
        assert_eq!(payload, vec![sequence as u8; random.usize(..3000)]);
        assert_eq!(bulk, vec![!sequence as u8; random.usize(..30_000)]);
    }
    sender.join().expect("the sender is done");
    assert!(matches!(receive(&mut right), Err(LinkError::Closed)));
}

pub(crate) fn a_bulk_part_of_the_largest_size_lands_in_the_given_memory<S: Subject>() {
    let (mut left, mut right) = S::link_pair();
    let mut sent = vec![0; BULK_BYTES_MAX];
    fastrand::Rng::with_seed(2).fill(&mut sent);
    let expected = sent.clone();
    let sender = thread::spawn(move || left.send(&call(1, 0), b"fields", &sent));
    let (mut payload, mut room) = (Vec::new(), vec![0xaa; BULK_BYTES_MAX + 9]);
    let header = right.receive(&mut payload, Bulk::Into(&mut room)).expect("a frame");
    assert_eq!((header.bulk_bytes as usize, &payload[..]), (BULK_BYTES_MAX, &b"fields"[..]));
    assert!(room[..BULK_BYTES_MAX] == expected && room[BULK_BYTES_MAX..] == [0xaa; 9]);
    sender.join().expect("no panic").expect("the peer reads");
}

pub(crate) fn a_frame_above_the_limits_is_not_sent<S: Subject>() {
    let (mut left, mut right) = S::link_pair();
    let payload = vec![0; PAYLOAD_BYTES_MAX + 1];
    let error = left.send(&call(1, 0), &payload, &[]).expect_err("too large");
    assert!(matches!(error, LinkError::TooLarge { part: "payload", .. }), "{error}");
    let bulk = vec![0; BULK_BYTES_MAX + 1];
    let error = left.send(&call(1, 0), &[], &bulk).expect_err("too large");
    assert!(matches!(error, LinkError::TooLarge { part: "bulk part", .. }), "{error}");
    left.send(&call(2, 0), &[], &[]).expect("the link is still good");
    assert_eq!(receive(&mut right).expect("only the small frame").opcode, 2);
}

pub(crate) fn more_bulk_than_room_is_refused<S: Subject>() {
    let (mut left, mut right) = S::link_pair();
    left.send(&call(1, 0), &[], &[0; 100]).expect("the peer reads");
    let error = right.receive(&mut Vec::new(), Bulk::Into(&mut [0; 99])).expect_err("no room");
    assert!(matches!(error, LinkError::BulkMismatch { bytes: 100, room: 99 }), "{error}");
}

pub(crate) fn a_peer_that_goes_between_frames_has_closed<S: Subject>() {
    let (left, mut right) = S::link_pair();
    drop(left);
    let error = receive(&mut right).expect_err("nobody is there");
    assert!(matches!(error, LinkError::Closed) && error.is_retryable(), "{error}");
    let error = right.send(&call(1, 0), &[], &[]).expect_err("nobody is there");
    assert!(matches!(error, LinkError::Closed), "{error}");
}

pub(crate) fn a_peer_that_goes_within_a_frame_has_truncated_it<S: Subject>() {
    let header = Header { payload_bytes: 100, bulk_bytes: 50, ..call(1, 0) };
    let mut frame = header.to_bytes().to_vec();
    frame.extend([1; 150]);
    for (cut, part, received, expected) in [
        (1, "header", 1, HEADER_BYTES),
        (31, "header", 31, HEADER_BYTES),
        (32, "payload", 0, 100),
        (131, "payload", 99, 100),
        (132, "bulk part", 0, 50),
        (181, "bulk part", 49, 50),
    ] {
        let (raw, right) = S::ends();
        raw.write_raw(&frame[..cut]);
        drop(raw);
        let mut right = StreamLink::new(right);
        right.wait_until(Some(soon()));
        let error =
            right.receive(&mut Vec::new(), Bulk::Grow(&mut Vec::new())).expect_err("truncated");
        match error {
            LinkError::Truncated { part: p, received: r, expected: e } => {
                assert_eq!((p, r, e), (part, received, expected), "cut at {cut}");
            }
            other => panic!("cut at {cut}: {other}"),
        }
    }
}

pub(crate) fn an_oversized_length_is_named_before_anything_is_allocated<S: Subject>() {
    for (at, part) in [(0, "payload"), (4, "bulk part")] {
        let (raw, right) = S::ends();
        let mut header = call(1, 0).to_bytes();
        header[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        raw.write_raw(&header);
        let mut payload = Vec::new();
        let error = StreamLink::new(right)
            .receive(&mut payload, Bulk::Grow(&mut Vec::new()))
            .expect_err("too large");
        assert!(matches!(error, LinkError::Oversized { part: p, .. } if p == part), "{error}");
        assert_eq!(payload.capacity(), 0);
    }
}

pub(crate) fn garbage_is_malformed<S: Subject>() {
    let mut header = call(1, 0).to_bytes();
    header[30] = 3;
    let (raw, right) = S::ends();
    raw.write_raw(&header);
    match receive(&mut StreamLink::new(right)) {
        Err(LinkError::Malformed { what: "frame header", source }) => assert_eq!(source.offset, 30),
        other => panic!("{other:?}"),
    }
    let (raw, right) = S::ends();
    raw.write_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let error = receive(&mut StreamLink::new(right)).expect_err("not our protocol");
    assert!(matches!(error, LinkError::Oversized { .. }), "{error}");
}

pub(crate) fn a_silent_peer_is_given_up_at_the_limit<S: Subject>() {
    let (_left, mut right) = S::link_pair();
    let limit = Instant::now() + Duration::from_millis(20);
    let error = handshake::meet(&mut right, limit).expect_err("nothing is said");
    assert!(matches!(error, LinkError::TimedOut) && Instant::now() >= limit, "{error}");
}

/// A limit per read would be renewed by every byte, and a client could hold a worker for ever.
pub(crate) fn a_peer_that_dribbles_is_given_up_at_the_limit<S: Subject>() {
    let (raw, right) = S::ends();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let dribble = thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(5))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            if raw.write(&[IoSlice::new(&[0])], Some(soon())).is_err() {
                break;
            }
        }
    });
    let mut link = StreamLink::new(right);
    let error =
        handshake::meet(&mut link, Instant::now() + Duration::from_millis(60)).expect_err("slow");
    assert!(matches!(error, LinkError::TimedOut), "{error}");
    drop(stop);
    dribble.join().expect("the dribbler ends");
}

pub(crate) fn the_handshake_introduces_both_sides<S: Subject>() {
    let (mut guest, mut host) = S::link_pair();
    let answer = Welcome { host_version: Text::cut("0.1.0"), epoch: 5, session: 6 };
    let sent = answer.clone();
    let host = thread::spawn(move || {
        let met = handshake::meet(&mut host, soon()).expect("a Hello");
        handshake::welcome(&mut host, &sent).expect("the guest reads");
        met
    });
    assert_eq!(handshake::introduce(&mut guest, &hello(), soon()).expect("a Welcome"), answer);
    assert_eq!(host.join().expect("no panic"), hello());
}

pub(crate) fn a_guest_of_another_version_is_refused_on_both_sides<S: Subject>() {
    let (mut guest, mut host) = S::link_pair();
    let host = thread::spawn(move || handshake::meet(&mut host, soon()));
    let mut payload = hello().to_payload();
    payload[4..6].copy_from_slice(&(VERSION + 1).to_le_bytes());
    payload.extend(b"fields that only a later version knows");
    guest.send(&call(opcode::HELLO, 0), &payload, &[]).expect("the host reads");
    let mut answer = Vec::new();
    let header = guest.receive(&mut answer, Bulk::Into(&mut [])).expect("an answer");
    assert_eq!(header.opcode, opcode::REFUSED);
    let refused = vgpu_link::wire::control::Refused::from_payload(&answer).expect("a Refused");
    assert_eq!((refused.refusal, refused.version), (Refusal::Version, VERSION));
    let error = host.join().expect("no panic").expect_err("another version");
    assert!(
        matches!(error, LinkError::WrongVersion { theirs, ours }
            if theirs == VERSION + 1 && ours == VERSION),
        "{error}"
    );
    assert!(error.hint().is_some());
}

pub(crate) fn a_first_frame_that_is_no_introduction_is_told_so<S: Subject>() {
    let (mut guest, mut host) = S::link_pair();
    let host = thread::spawn(move || handshake::meet(&mut host, soon()));
    guest.send(&call(opcode::SNAPSHOT, 0), &[], &[]).expect("the host reads");
    let error = receive(&mut guest).expect_err("a Goodbye");
    assert!(matches!(error, LinkError::Goodbye { reason: Reason::Unexpected, .. }), "{error}");
    let error = host.join().expect("no panic").expect_err("no Hello");
    assert!(matches!(error, LinkError::Unexpected { opcode: opcode::SNAPSHOT, .. }), "{error}");
}

/// A host that is full refuses without reading: the guest's own Hello then fails with a broken
/// pipe, and the reason must not be lost behind it.
pub(crate) fn a_refusal_is_heard_even_by_a_guest_that_still_sends<S: Subject>() {
    let (mut guest, mut host) = S::link_pair();
    handshake::refuse(&mut host, Refusal::Full, "16 clients are served").expect("it is queued");
    drop(host);
    let error = handshake::introduce(&mut guest, &hello(), soon()).expect_err("refused");
    assert!(
        matches!(&error, LinkError::Refused { refusal: Refusal::Full, text, .. }
            if text == "16 clients are served"),
        "{error}"
    );
    assert!(error.is_retryable());
}

pub(crate) fn a_goodbye_gives_its_reason<S: Subject>() {
    let (mut left, mut right) = S::link_pair();
    handshake::goodbye(&mut left, Reason::Stopping, "the host is being stopped").expect("sent");
    let error = receive(&mut right).expect_err("it ended");
    assert!(error.to_string().contains("the host is being stopped"), "{error}");
    assert!(error.is_retryable());
    drop(left);
    let (mut left, mut right) = S::link_pair();
    handshake::goodbye(&mut left, Reason::Done, "").expect("sent");
    assert!(matches!(receive(&mut right), Err(LinkError::Closed)));
}

/// Both ends send far more than any buffer holds before either has read all: only halves that work
/// at the same time get through.
pub(crate) fn the_halves_of_a_link_are_used_at_once<S: Subject>() {
    const FRAMES: u32 = 20;
    let (left, right) = S::link_pair();
    thread::scope(|scope| {
        for end in [left, right] {
            let (mut sender, mut receiver) = Box::new(end).split();
            scope.spawn(move || {
                for sequence in 0..FRAMES {
                    sender.send(&call(1, sequence), &[], &vec![1; 1 << 20]).expect("it reads");
                }
                // Kept open until the peer has read all.
                sender
            });
            scope.spawn(move || {
                receiver.limit_waits(Some(soon()));
                let mut bulk = Vec::new();
                for sequence in 0..FRAMES {
                    let header = receiver.receive(&mut Vec::new(), Bulk::Grow(&mut bulk));
                    assert_eq!(header.expect("a frame").sequence, sequence);
                    assert!(bulk.len() == 1 << 20 && bulk.iter().all(|byte| *byte == 1));
                }
            });
        }
    });
}

pub(crate) fn closing_wakes_who_waits_on_either_half<S: Subject>() {
    let (left, right) = S::link_pair();
    let (mut sender, mut receiver) = Box::new(left).split();
    let closer = sender.closer();
    let (told, tells) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let tell = told.clone();
        scope.spawn(move || {
            // Nobody reads: this fills the buffers, then waits.
            let sent = (0..).map(|at| sender.send(&call(1, at), &[], &vec![0; 1 << 20]));
            tell.send(sent.filter_map(Result::err).next().expect("it ends")).expect("heard");
        });
        scope.spawn(move || {
            let error = receiver.receive(&mut Vec::new(), Bulk::Into(&mut []));
            told.send(error.expect_err("nothing was sent")).expect("heard");
        });
        assert!(tells.recv_timeout(Duration::from_millis(20)).is_err(), "both wait");
        closer.close();
        for _ in 0..2 {
            let error = tells.recv_timeout(Duration::from_secs(20)).expect("it is woken");
            assert!(matches!(error, LinkError::Closed), "{error}");
        }
    });
    drop(right);
}
