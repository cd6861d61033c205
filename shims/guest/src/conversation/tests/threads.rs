//! Many threads speak at once, over every kind of link there is.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use vgpu_link::wire::control::DeviceState;
use vgpu_link::wire::{Header, Kind, Malformed, Payload, Reader, Request, Writer};
use vgpu_link::{Bulk, Link, LinkError, memory_pair, socket_link};

use super::CALLER;
use crate::conversation::Conversation;
use crate::session::Failure;

/// Longest that a test waits for what must happen.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Fetches memory contents, each byte of which is `value`.
struct Fetch {
    value: u32,
    bytes: u32,
}

impl Payload for Fetch {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.value);
        writer.u32(self.bytes);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { value: reader.u32()?, bytes: reader.u32()? })
    }
}

impl Request for Fetch {
    const OPCODE: u32 = 0xfff1;
    type Reply = ();
}

/// Brings memory contents, each byte of which is `value`.
struct Store {
    value: u32,
}

impl Payload for Store {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { value: reader.u32()? })
    }
}

impl Request for Store {
    const OPCODE: u32 = 0xfff2;
    type Reply = ();
}

/// Both ends of each kind of link.
pub(super) fn links() -> [(Box<dyn Link>, Box<dyn Link>); 2] {
    let (near, far) = memory_pair();
    let (left, right) = UnixStream::pair().unwrap();
    let unix = |socket| Box::new(socket_link(OwnedFd::from(socket)));
    [(Box::new(near), Box::new(far)), (unix(left), unix(right))]
}

/// Answers one request after the other, and reads nothing while it sends, until the guest goes.
fn serve(mut link: Box<dyn Link>) {
    let (mut payload, mut bulk) = (Vec::new(), Vec::new());
    loop {
        link.wait_until(Some(Instant::now() + LIMIT));
        let asked = match link.receive(&mut payload, Bulk::Grow(&mut bulk)) {
            Ok(asked) => asked,
            Err(LinkError::Closed) => return,
            Err(error) => panic!("{error}"),
        };
        let (mut status, mut contents) = (0, Vec::new());
        match asked.opcode {
            Fetch::OPCODE => {
                let Fetch { value, bytes } = Fetch::from_payload(&payload).unwrap();
                contents = vec![value as u8; bytes as usize];
            }
            Store::OPCODE => {
                let Store { value } = Store::from_payload(&payload).unwrap();
                assert!(bulk.iter().all(|byte| *byte == value as u8));
            }
            _ => status = DeviceState::from_payload(&payload).unwrap().device as u16,
        }
        if asked.kind == Kind::Call {
            let header = Header {
                sequence: asked.sequence,
                status,
                ..Header::new(Kind::Reply, asked.opcode)
            };
            link.send(&header, &[], &contents).unwrap();
        }
    }
}

/// What one of many threads does: all kinds of requests, each answer unlike any other's.
fn be_busy(host: &Conversation, thread: u32) {
    let mut place = vec![0; 900_000];
    let contents = vec![thread as u8; 2_000_000];
    for round in 0..8 {
        let code = thread * 100 + round + 1;
        let refused = host.call(CALLER, &DeviceState { device: code });
        assert_eq!(refused.unwrap_err(), Failure::Refused { code: code as u16 });
        host.post(CALLER, &Store { value: thread }, &contents).unwrap();
        let parts = place.chunks_mut(90_000);
        let parts = parts.map(|part| (Fetch { value: code, bytes: part.len() as u32 }, part));
        host.fetch_parts(CALLER, parts).unwrap();
        assert!(place.iter().all(|byte| *byte == code as u8));
        let parts = contents.chunks(300_000).map(|part| (Store { value: thread }, part));
        host.send_parts(CALLER, parts).unwrap();
    }
}

/// Both directions are full nearly all the time: were anybody to wait for room with answers
/// unread, this would stand still.
#[test]
fn many_threads_call_post_and_copy_at_once() {
    for (near, far) in links() {
        let (done, ends) = mpsc::channel();
        let busy = thread::spawn(move || {
            thread::scope(|scope| {
                scope.spawn(move || serve(far));
                let host = Conversation::new(near);
                thread::scope(|scope| {
                    for thread in 0..12 {
                        let host = &host;
                        scope.spawn(move || be_busy(host, thread));
                    }
                });
                drop(host);
            });
            done.send(()).unwrap();
        });
        assert_ne!(ends.recv_timeout(LIMIT), Err(RecvTimeoutError::Timeout), "it stands still");
        busy.join().unwrap();
    }
}

#[test]
fn a_thread_that_waits_long_does_not_hold_up_another() {
    for (near, mut far) in links() {
        let host = Conversation::new(near);
        thread::scope(|scope| {
            scope.spawn(move || {
                far.wait_until(Some(Instant::now() + LIMIT));
                let mut receive = || super::receive(&mut *far).0;
                let (slow, quick) = (receive(), receive());
                super::answer(&mut *far, &quick, 2, &[]);
                // Only who has the answer to the quick one sends this.
                assert_eq!(super::receive(&mut *far).0.kind, Kind::Post);
                super::answer(&mut *far, &slow, 1, &[]);
            });
            let (sent, is_sent) = mpsc::channel();
            let host = &host;
            let slow = scope.spawn(move || {
                let due = host.outbox().unwrap().send(
                    &host.inbox,
                    CALLER,
                    &DeviceState { device: 1 },
                    &[],
                    Some(0),
                );
                sent.send(()).unwrap();
                due.unwrap().unwrap().wait(&mut []).unwrap().header.status
            });
            is_sent.recv().unwrap();
            let quick = host.call(CALLER, &DeviceState { device: 2 });
            assert_eq!(quick.unwrap_err(), Failure::Refused { code: 2 });
            host.post(CALLER, &DeviceState { device: 3 }, &[]).unwrap();
            assert_eq!(slow.join().unwrap(), 1);
        });
    }
}

#[test]
fn a_lost_connection_wakes_everybody_who_waits() {
    for (near, mut far) in links() {
        let host = Conversation::new(near);
        thread::scope(|scope| {
            scope.spawn(move || {
                far.wait_until(Some(Instant::now() + LIMIT));
                for _ in 0..5 {
                    super::receive(&mut *far);
                }
            });
            for device in 0..5 {
                let host = &host;
                scope.spawn(move || {
                    let lost = host.call(CALLER, &DeviceState { device });
                    assert_eq!(lost.unwrap_err(), Failure::Lost);
                });
            }
        });
    }
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_is_dropped() {
    for (near, far) in links() {
        let host = Conversation::new(near);
        thread::scope(|scope| {
            scope.spawn(move || serve(far));
            let request = Fetch { value: 1, bytes: 70_000 };
            let unwanted =
                host.outbox().unwrap().send(&host.inbox, CALLER, &request, &[], Some(70_000));
            drop(unwanted.unwrap());
            let refused = host.call(CALLER, &DeviceState { device: 9 });
            assert_eq!(refused.unwrap_err(), Failure::Refused { code: 9 });
            drop(host);
        });
    }
}
