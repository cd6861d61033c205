//! Copies into the program's memory that come when a call has synchronised.

use std::thread;
use std::time::Instant;

use vgpu_link::wire::control::{Collect, Collected, Delivery, DeviceState, Reason, opcode};
use vgpu_link::wire::header::BULK_BYTES_MAX;
use vgpu_link::wire::{Header, Kind, Payload, Request};
use vgpu_link::{Bulk, Link, LinkError};

use super::threads::{LIMIT, links};
use super::{CALLER, Part, answer, receive};
use crate::conversation::Conversation;
use crate::destination::tests::of;
use crate::session::Failure;

/// Answers a `Collect` with the contents of some copies.
fn deliver(link: &mut dyn Link, copies: &[(u64, &[u8])], has_more: bool) -> Result<(), LinkError> {
    let (asked, _) = receive(link);
    assert_eq!((asked.kind, asked.opcode), (Kind::Call, opcode::COLLECT));
    let deliveries = copies
        .iter()
        .map(|(ticket, contents)| Delivery { ticket: *ticket, bytes: contents.len() as u32 });
    let collected = Collected { deliveries: deliveries.collect(), has_more };
    let bulk: Vec<u8> = copies.iter().flat_map(|(_, contents)| contents.to_vec()).collect();
    let header = Header { sequence: asked.sequence, ..Header::new(Kind::Reply, Collect::OPCODE) };
    link.send(&header, &collected.to_payload(), &bulk)
}

/// Posts a copy into `place` and returns its ticket.
fn post(host: &Conversation, place: &mut [u8]) -> u64 {
    let mut given = 0;
    let request = |ticket| {
        given = ticket;
        Part
    };
    assert!(host.post_copy(CALLER, of(place), request).unwrap());
    given
}

#[test]
fn copies_come_with_the_call_that_synchronises() {
    for (near, mut far) in links() {
        let host = Conversation::new(near);
        thread::scope(|scope| {
            scope.spawn(move || {
                far.wait_until(Some(Instant::now() + LIMIT));
                for _ in 0..3 {
                    assert_eq!(receive(&mut *far).0.kind, Kind::Post);
                }
                // The call and the collect are both here before either is answered.
                let (call, _) = receive(&mut *far);
                deliver(&mut *far, &[(2, &[2; 20_000]), (1, &[1; 3])], true).unwrap();
                answer(&mut *far, &call, 5, &[]);
                deliver(&mut *far, &[(3, &[])], false).unwrap();
            });
            let (mut one, mut two, mut three) = ([0; 3], vec![0; 20_000], [9; 4]);
            let tickets = [&mut one[..], &mut two, &mut three].map(|place| post(&host, place));
            assert_eq!(tickets, [1, 2, 3]);
            let refused = host.collect(CALLER, Some(&DeviceState { device: 1 }));
            assert_eq!(refused.unwrap_err(), Failure::Refused { code: 5 });
            assert_eq!((one, three), ([1; 3], [9; 4]), "the third could not be made");
            assert!(two.iter().all(|byte| *byte == 2));
            assert_eq!(host.copies_bytes(), None);
        });
    }
}

/// The thread that asks for the copy does not read yet when its contents come.
#[test]
fn whoever_reads_puts_copies_into_their_places() {
    for (near, mut far) in links() {
        let host = Conversation::new(near);
        thread::scope(|scope| {
            scope.spawn(move || {
                far.wait_until(Some(Instant::now() + LIMIT));
                assert_eq!(receive(&mut *far).0.kind, Kind::Post);
                deliver(&mut *far, &[(1, &[7; 100])], false).unwrap();
                let (call, _) = receive(&mut *far);
                answer(&mut *far, &call, 4, &[]);
            });
            let mut place = [0; 100];
            post(&host, &mut place);
            let room = Some(BULK_BYTES_MAX);
            let asked = host.outbox().unwrap().send(&host.inbox, CALLER, &Collect, &[], room);
            let refused = host.call(CALLER, &DeviceState { device: 1 });
            assert_eq!(refused.unwrap_err(), Failure::Refused { code: 4 });
            assert_eq!(place, [7; 100]);
            let answer = asked.unwrap().unwrap().wait(&mut []).unwrap();
            assert!(!Collected::from_payload(&answer.payload).unwrap().has_more);
        });
    }
}

#[test]
fn what_comes_for_memory_that_is_gone_is_dropped() {
    for (near, mut far) in links() {
        let host = Conversation::new(near);
        thread::scope(|scope| {
            scope.spawn(move || {
                far.wait_until(Some(Instant::now() + LIMIT));
                receive(&mut *far);
                deliver(&mut *far, &[(1, &[7; 10])], false).unwrap();
            });
            let mut place = [0; 10];
            post(&host, &mut place);
            host.give_up_copies_into(place.as_ptr().addr() as u64 + 9, 1);
            host.collect::<DeviceState>(CALLER, None).unwrap();
            assert_eq!(place, [0; 10]);
        });
    }
}

#[test]
fn contents_that_nobody_asked_for_lose_the_connection() {
    let cases: [&[(u64, &[u8])]; 3] =
        [&[(9, &[1])], &[(1, &[1; 11])], &[(1, &[1; 10]), (1, &[1; 10])]];
    for copies in cases {
        for (near, mut far) in links() {
            let host = Conversation::new(near);
            thread::scope(|scope| {
                scope.spawn(move || {
                    far.wait_until(Some(Instant::now() + LIMIT));
                    receive(&mut *far);
                    // The guest may end the connection while this is still sent.
                    let sent = deliver(&mut *far, copies, false);
                    match sent.and_then(|()| far.receive(&mut Vec::new(), Bulk::Into(&mut []))) {
                        Err(LinkError::Goodbye { reason: Reason::Unexpected, .. }) => {}
                        other => panic!("the guest said {other:?}"),
                    }
                });
                let mut place = [0; 10];
                post(&host, &mut place);
                let lost = host.collect::<DeviceState>(CALLER, None);
                assert_eq!(lost.unwrap_err(), Failure::Lost);
            });
        }
    }
}
