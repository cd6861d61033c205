//! The loss of a peer after each message of a conversation.

use vgpu_link::wire::control::opcode;
use vgpu_link::wire::{Header, Kind};
use vgpu_link::{Bulk, Link as _, LinkError, Receiver as _, Sender as _};

use super::{Subject, soon};

/// What is said, by whom (the guest, or else the host), and how long its bulk part is.
const CONVERSATION: [(bool, Kind, u32, usize); 7] = [
    (true, Kind::Call, opcode::HELLO, 0),
    (false, Kind::Reply, opcode::WELCOME, 0),
    (true, Kind::Call, opcode::SNAPSHOT, 0),
    (false, Kind::Reply, opcode::SNAPSHOT, 0),
    (true, Kind::Post, 1000, 3000),
    (true, Kind::Call, 1001, 3000),
    (false, Kind::Reply, 1001, 3000),
];

/// Whatever was said last, whoever goes after it, and whether it has arrived by then: the other one
/// hears all of it, then that nobody is there, and can say nothing more.
pub(crate) fn a_peer_that_goes_after_any_message_has_closed<S: Subject>() {
    for said in 0..=CONVERSATION.len() {
        for guest_goes in [true, false] {
            let (guest, host) = S::link_pair();
            let mut ends = [Some(host), Some(guest)];
            let mut is_due = None;
            for (sequence, (by_guest, kind, opcode, bulk)) in (0..).zip(&CONVERSATION[..said]) {
                let header = Header { sequence, ..Header::new(*kind, *opcode) };
                let by = usize::from(*by_guest);
                let sender = ends[by].as_mut().expect("nobody is gone yet");
                sender.send(&header, b"fields", &vec![7; *bulk]).expect("the peer is there");
                let is_last = sequence as usize + 1 == said;
                if is_last && *by_guest == guest_goes {
                    is_due = Some(*opcode);
                } else {
                    let receiver = ends[1 - by].as_mut().expect("nobody is gone yet");
                    receiver.wait_until(Some(soon()));
                    hear(receiver, *opcode);
                }
            }
            drop(ends[usize::from(guest_goes)].take());
            let mut left = ends[usize::from(!guest_goes)].take().expect("it stays");
            left.wait_until(Some(soon()));
            is_due.into_iter().for_each(|opcode| hear(&mut left, opcode));
            let case = format!("{said} messages, guest goes: {guest_goes}");
            let error = left.receive(&mut Vec::new(), Bulk::Into(&mut [])).expect_err(&case);
            assert!(matches!(error, LinkError::Closed), "{case}: {error}");
            let header = Header::new(Kind::Post, 1000);
            let error = left.send(&header, &[], &[]).expect_err(&case);
            assert!(matches!(error, LinkError::Closed), "{case}: {error}");
        }
    }
}

/// Receives one whole frame.
fn hear<S: Subject>(link: &mut vgpu_link::StreamLink<S>, opcode: u32) {
    let (mut payload, mut bulk) = (Vec::new(), Vec::new());
    let header = link.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("a frame");
    assert_eq!((header.opcode, &payload[..]), (opcode, &b"fields"[..]));
    assert_eq!(bulk, vec![7; header.bulk_bytes as usize]);
}
