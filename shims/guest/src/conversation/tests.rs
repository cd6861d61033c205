//! A conversation with a host that the test plays, over a link in memory.

use std::thread;
use std::time::{Duration, Instant};

use vgpu_link::wire::control::{DeviceState, Reason, Snapshot, status};
use vgpu_link::wire::{Header, Kind, Malformed, Payload, Reader, Request, Writer};
use vgpu_link::{Bulk, Link, LinkError, memory_pair};

use crate::conversation::Conversation;
use crate::current::Caller;
use crate::session::Failure;

const CALLER: Caller = Caller { context: 7, thread: 3 };

mod copies;
mod threads;

/// A host's end on which the test answers what `play` says.
fn against<T: Send>(
    play: impl FnOnce(&mut dyn Link) + Send,
    guest: impl FnOnce(Conversation) -> T,
) -> T {
    let (near, mut far) = memory_pair();
    thread::scope(|scope| {
        scope.spawn(move || play(&mut far));
        guest(Conversation::new(Box::new(near)))
    })
}

fn receive(link: &mut dyn Link) -> (Header, Vec<u8>) {
    let mut bulk = Vec::new();
    let header = link.receive(&mut Vec::new(), Bulk::Grow(&mut bulk)).unwrap();
    (header, bulk)
}

fn answer(link: &mut dyn Link, to: &Header, status: u16, bulk: &[u8]) {
    let header = Header { sequence: to.sequence, status, ..Header::new(Kind::Reply, to.opcode) };
    link.send(&header, &[], bulk).unwrap();
}

/// A part of a copy: asks for nothing but to be done.
struct Part;

impl Payload for Part {
    fn write(&self, _: &mut Writer<'_>) {}

    fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

impl Request for Part {
    const OPCODE: u32 = 0xfff0;
    type Reply = ();
}

#[test]
fn a_request_carries_its_caller_and_counts_up() {
    let play = |link: &mut dyn Link| {
        for sequence in 1..3 {
            let (header, _) = receive(link);
            assert_eq!((header.context, header.thread, header.sequence), (7, 3, sequence));
        }
    };
    against(play, |host| {
        host.post(CALLER, &DeviceState { device: 0 }, &[]).unwrap();
        host.post(CALLER, &DeviceState { device: 0 }, &[]).unwrap();
    });
}

#[test]
fn a_host_that_only_shakes_hands_does_not_hold_up_the_beginning() {
    let (near, far) = memory_pair();
    let limit = Duration::from_millis(20);
    let begun = Conversation::begin(Box::new(near), Instant::now() + limit);
    assert!(matches!(begun.err(), Some(LinkError::TimedOut)));
    drop(far);
}

#[test]
fn a_refusal_is_the_hosts_own_code_and_the_conversation_goes_on() {
    let play = |link: &mut dyn Link| {
        for _ in 0..2 {
            let (header, _) = receive(link);
            answer(link, &header, status::NO_SUCH_DEVICE, &[]);
        }
    };
    against(play, |host| {
        for _ in 0..2 {
            let reply = host.call(CALLER, &DeviceState { device: 9 });
            assert_eq!(reply.unwrap_err(), Failure::Refused { code: 101 });
        }
    });
}

#[test]
fn an_answer_to_another_request_loses_the_connection() {
    let play = |link: &mut dyn Link| {
        let (header, _) = receive(link);
        let other = Header { sequence: header.sequence + 1, ..header };
        answer(link, &other, status::NO_SUCH_DEVICE, &[]);
    };
    against(play, |host| {
        assert_eq!(host.call(CALLER, &Snapshot).unwrap_err(), Failure::Lost);
    });
}

#[test]
fn memory_contents_of_another_length_lose_the_connection() {
    let play = |link: &mut dyn Link| {
        let (header, _) = receive(link);
        answer(link, &header, 0, &[1, 2, 3]);
    };
    against(play, |host| {
        let mut place = [0; 4];
        let parts = [(Part, &mut place[..])];
        assert_eq!(host.fetch_parts(CALLER, parts.into_iter()), Err(Failure::Lost));
    });
}

#[test]
fn a_host_that_answers_wrongly_is_told_so() {
    for (status, sequence, bulk, payload, reason) in [
        (0, 2, &[][..], &[][..], Reason::Unexpected),
        (0, 1, &[1], &[], Reason::Unexpected),
        (0, 1, &[], &[1, 2, 3], Reason::Malformed),
    ] {
        let play = |link: &mut dyn Link| {
            let (asked, _) = receive(link);
            let header = Header { sequence, status, ..Header::new(Kind::Reply, asked.opcode) };
            // The guest may have read enough of it to end the connection while it is still sent.
            let sent = link.send(&header, payload, bulk);
            match sent.and_then(|()| link.receive(&mut Vec::new(), Bulk::Into(&mut []))) {
                Err(LinkError::Goodbye { reason: told, .. }) => assert_eq!(told, reason),
                other => panic!("the guest said {other:?}"),
            }
        };
        against(play, |host| {
            let reply = host.call(CALLER, &DeviceState { device: 0 });
            assert_eq!(reply.unwrap_err(), Failure::Lost);
        });
    }
}

#[test]
fn a_host_that_goes_away_loses_the_connection() {
    against(
        |_| (),
        |host| {
            assert_eq!(host.call(CALLER, &Snapshot).unwrap_err(), Failure::Lost);
        },
    );
}

#[test]
fn no_part_is_sent_after_the_first_refusal() {
    // Refuses the second of nine parts; at most four are under way, so the sixth never comes.
    let play = |link: &mut dyn Link| {
        let headers: Vec<Header> = (0..4).map(|_| receive(link).0).collect();
        answer(link, &headers[0], 0, &[]);
        let (fifth, bulk) = receive(link);
        assert_eq!(bulk, [5]);
        answer(link, &headers[1], 700, &[]);
        for header in headers[2..].iter().chain([&fifth]) {
            answer(link, header, 1, &[]);
        }
        assert!(link.receive(&mut Vec::new(), Bulk::Into(&mut [])).is_err(), "a sixth part came");
    };
    against(play, |host| {
        let parts = [1u8, 2, 3, 4, 5, 6, 7, 8, 9];
        let outcome = host.send_parts(CALLER, parts.chunks(1).map(|part| (Part, part)));
        assert_eq!(outcome, Err(Failure::Refused { code: 700 }));
    });
}

#[test]
fn fetched_parts_land_in_their_places_in_order() {
    let play = |link: &mut dyn Link| {
        for part in 0..6u8 {
            let (header, _) = receive(link);
            answer(link, &header, 0, &[part; 3]);
        }
    };
    against(play, |host| {
        let mut place = [9; 18];
        let parts = place.chunks_mut(3).map(|part| (Part, part));
        assert_eq!(host.fetch_parts(CALLER, parts), Ok(()));
        let expected: Vec<u8> = (0..6).flat_map(|part| [part; 3]).collect();
        assert_eq!(place[..], expected[..]);
    });
}
