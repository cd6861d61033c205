//! A session with a device that the test plays.

use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use vgpu_link::wire::control::{
    Capabilities, Collected, Delivery, DeviceStateReply, DueFunction, SnapshotReply,
};
use vgpu_link::wire::{Malformed, Text};
use vgpu_link::{Link, Sender, memory_pair};

use super::*;
use crate::device::{Deliveries, Functions};
use crate::dispatch::Wait;

const LIMIT: Duration = Duration::from_secs(20);

/// What the device does at a message: answers a code, or waits first.
enum Act {
    Answer(u32),
    Wait(mpsc::Receiver<()>, Result<(), Error>),
    Panic,
    /// A stream has come to this function.
    Function(u64),
}

/// Does what the script says for an opcode, once each; all else succeeds. The copy with ticket 1
/// waits to be collected.
struct Played(HashMap<u32, Act>, Arc<Deliveries>, Arc<Functions>, SnapshotReply);

fn no_devices() -> SnapshotReply {
    SnapshotReply {
        driver_version: 13000,
        nvml_driver_version: Text::cut("999.1"),
        nvml_version: Text::cut("13.999.1"),
        capabilities: Capabilities::MEMORY,
        devices: Vec::new(),
    }
}

impl Devices for Played {
    fn snapshot(&self) -> &SnapshotReply {
        &self.3
    }

    fn state(&self, _: u32) -> Result<DeviceStateReply, Error> {
        Err(Error::INVALID_DEVICE)
    }

    fn is_alive(&self, _: u64) -> bool {
        false
    }

    fn deliveries(&self) -> &Arc<Deliveries> {
        &self.1
    }

    fn functions(&self) -> &Arc<Functions> {
        &self.2
    }

    fn answer(
        &mut self,
        _: &Call,
        opcode: u32,
        _: &[u8],
        _: &[u8],
        answer: &mut Answer,
    ) -> Result<Option<Finish>, Malformed> {
        let act = self.0.remove(&opcode);
        if let Some(Act::Function(ticket)) = act {
            self.2.launch(ticket, Holds::Stream).expect("there is room");
            self.2.come_to(ticket, 0);
            return Ok(None);
        }
        answer.wait::<(), (), Error>(&[], |(), _| match act {
            None | Some(Act::Function(_)) => Ok(Wait::Done(())),
            Some(Act::Answer(code)) => Error::new(code).map_or(Ok(Wait::Done(())), Err),
            Some(Act::Wait(gate, outcome)) => Ok(Wait::later(move |_| {
                gate.recv_timeout(LIMIT).expect("the test opens the gate");
                outcome
            })),
            Some(Act::Panic) => Ok(Wait::later(|_| panic!("on purpose, by the test"))),
        })
    }
}

/// Serves `script` to a client that the test plays; returns how the session ended.
fn against(
    script: impl IntoIterator<Item = (u32, Act)>,
    client: impl FnOnce(&mut dyn Link),
) -> LinkError {
    let (mut near, far) = memory_pair();
    let script = script.into_iter().collect();
    let mut device = Played(script, Arc::default(), Arc::default(), no_devices());
    device.1.take_on(7, (1, 3), || Ok(Box::new(vec![7; 3]))).expect("there is room");
    thread::scope(|scope| {
        let session = scope.spawn(move || {
            let (sender, receiver) = Box::new(far).split();
            Session::new(receiver, Arc::new(Replies::new(sender)), &mut device, None).serve()
        });
        near.wait_until(Some(Instant::now() + LIMIT));
        client(&mut near);
        drop(near);
        session.join().expect("no panic").expect_err("the client went")
    })
}

/// Sends a message whose fields matter.
fn say<R: Request>(link: &mut dyn Sender, kind: Kind, request: &R, thread: u32) {
    let header = Header { sequence: R::OPCODE, context: 7, thread, ..Header::new(kind, R::OPCODE) };
    link.send(&header, &request.to_payload(), &[]).expect("the worker reads");
}

fn ask(link: &mut dyn Sender, kind: Kind, opcode: u32, thread: u32) {
    let header = Header { sequence: opcode, context: 7, thread, ..Header::new(kind, opcode) };
    link.send(&header, &[], &[]).expect("the worker reads");
}

/// Receives an answer: which call it is for, and its status.
fn answer(link: &mut dyn Link) -> (u32, u16) {
    let header = link.receive(&mut Vec::new(), Bulk::Into(&mut [])).expect("an answer");
    (header.sequence, header.status)
}

const SLOW: u32 = cuda::StreamSynchronize::OPCODE;
const SLOWER: u32 = cuda::EventSynchronize::OPCODE;
const QUICK: u32 = cuda::MemGetInfoV2::OPCODE;

#[test]
fn a_call_that_waits_does_not_hold_up_other_threads() {
    let (open, gate) = mpsc::channel();
    let (open_other, other_gate) = mpsc::channel();
    let script =
        [(SLOW, Act::Wait(gate, Ok(()))), (SLOWER, Act::Wait(other_gate, Err(Error::NOT_READY)))];
    against(script, |link| {
        ask(link, Kind::Call, SLOW, 1);
        ask(link, Kind::Call, SLOWER, 2);
        ask(link, Kind::Call, QUICK, 3);
        assert_eq!(answer(link), (QUICK, 0));
        open_other.send(()).unwrap();
        assert_eq!(answer(link), (SLOWER, 600), "it waited beside the first");
        open.send(()).unwrap();
        assert_eq!(answer(link), (SLOW, 0));
    });
}

#[test]
fn what_one_thread_waits_for_is_answered_in_order() {
    let (open, gate) = mpsc::channel();
    let (open_second, second_gate) = mpsc::channel();
    let script = [(SLOW, Act::Wait(gate, Ok(()))), (SLOWER, Act::Wait(second_gate, Ok(())))];
    against(script, |link| {
        ask(link, Kind::Call, SLOW, 1);
        ask(link, Kind::Call, SLOWER, 1);
        open_second.send(()).unwrap();
        ask(link, Kind::Call, QUICK, 2);
        assert_eq!(answer(link).0, QUICK);
        open.send(()).unwrap();
        assert_eq!([answer(link).0, answer(link).0], [SLOW, SLOWER]);
    });
}

#[test]
fn an_error_that_a_wait_finds_breaks_the_context() {
    let (open, gate) = mpsc::channel();
    let ends = cuda::CtxDestroyV2::OPCODE;
    let script = [
        (SLOW, Act::Wait(gate, Err(Error::ILLEGAL_ADDRESS))),
        // A post to a broken context is not done: this one would change the error.
        (cuda::MemFreeV2::OPCODE, Act::Answer(Error::LAUNCH_FAILED.code())),
    ];
    against(script, |link| {
        ask(link, Kind::Call, SLOW, 1);
        open.send(()).unwrap();
        assert_eq!(answer(link), (SLOW, 700));
        ask(link, Kind::Call, QUICK, 1);
        assert_eq!(answer(link), (QUICK, 700));
        ask(link, Kind::Post, cuda::MemFreeV2::OPCODE, 1);
        ask(link, Kind::Call, SLOWER, 2);
        assert_eq!(answer(link), (SLOWER, 700));
        ask(link, Kind::Call, ends, 1);
        assert_eq!(answer(link), (ends, 0));
        ask(link, Kind::Call, QUICK, 1);
        assert_eq!(answer(link), (QUICK, 0), "it was the context's, which ended");
    });
}

#[test]
fn the_error_of_a_post_is_reported_by_the_next_call_that_waits() {
    let script = [(cuda::MemFreeV2::OPCODE, Act::Answer(Error::INVALID_VALUE.code()))];
    against(script, |link| {
        ask(link, Kind::Post, cuda::MemFreeV2::OPCODE, 1);
        for (opcode, status) in [(QUICK, 0), (SLOW, 1), (SLOW, 0)] {
            ask(link, Kind::Call, opcode, 2);
            assert_eq!(answer(link), (opcode, status));
        }
    });
}

#[test]
fn a_wait_that_fails_in_our_own_code_ends_the_connection() {
    let ended = against([(SLOW, Act::Panic)], |link| {
        ask(link, Kind::Call, SLOW, 1);
        let answered = link.receive(&mut Vec::new(), Bulk::Into(&mut []));
        assert!(matches!(answered, Err(LinkError::Closed)), "{answered:?}");
    });
    assert!(matches!(ended, LinkError::Closed), "{ended}");
}

#[test]
fn a_collect_behind_a_call_that_waits_is_answered_behind_it() {
    let (open, gate) = mpsc::channel();
    let collect = opcode::COLLECT;
    against([(SLOW, Act::Wait(gate, Ok(())))], |link| {
        ask(link, Kind::Call, SLOW, 1);
        ask(link, Kind::Call, collect, 1);
        ask(link, Kind::Call, QUICK, 2);
        assert_eq!(answer(link).0, QUICK);
        open.send(()).unwrap();
        assert_eq!(answer(link), (SLOW, 0));
        let (mut payload, mut bulk) = (Vec::new(), Vec::new());
        let header = link.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("an answer");
        assert_eq!((header.sequence, header.status, &bulk[..]), (collect, 0, &[7; 3][..]));
        let collected = Collected::from_payload(&payload).expect("it decodes");
        assert_eq!(collected.deliveries, [Delivery { ticket: 1, bytes: 3 }]);
    });
}

#[test]
fn streams_wait_for_a_function_and_other_calls_go_on() {
    let launch = cuda::LaunchHostFunction::OPCODE;
    let free = cuda::MemFreeV2::OPCODE;
    let script = [(launch, Act::Function(5)), (free, Act::Answer(Error::INVALID_VALUE.code()))];
    let next = |link: &mut dyn Link, done| {
        let header = Header { sequence: 8, thread: 9, ..Header::new(Kind::Call, 8) };
        link.send(&header, &NextFunction { done }.to_payload(), &[]).expect("the worker reads");
    };
    against(script, |link| {
        next(link, 0);
        say(link, Kind::Post, &cuda::LaunchHostFunction { stream: 70, ticket: 5 }, 1);
        let mut payload = Vec::new();
        let header = link.receive(&mut payload, Bulk::Into(&mut [])).expect("it is due");
        assert_eq!((header.sequence, header.thread), (8, 9));
        let due = DueFunction::from_payload(&payload).expect("it decodes");
        assert_eq!(due, DueFunction { ticket: 5, status: 0 });
        say(link, Kind::Call, &cuda::StreamSynchronize { stream: 71 }, 2);
        assert_eq!(answer(link), (SLOW, 0), "another stream goes on");
        say(link, Kind::Post, &cuda::EventRecord { event: 9, stream: 70 }, 1);
        ask(link, Kind::Post, free, 1);
        ask(link, Kind::Call, SLOW, 1);
        ask(link, Kind::Call, opcode::COLLECT, 1);
        ask(link, Kind::Call, QUICK, 2);
        assert_eq!(answer(link), (QUICK, 0));
        ask(link, Kind::Post, cuda::MemsetD8Async::OPCODE, 2);
        say(link, Kind::Call, &cuda::EventQuery { event: 9 }, 2);
        ask(link, Kind::Call, opcode::COLLECT, 2);
        assert_eq!(answer(link), (cuda::EventQuery::OPCODE, 600));
        let mut collected = |link: &mut dyn Link| {
            let mut bulk = Vec::new();
            let header = link.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("an answer");
            assert_eq!((header.opcode, header.status), (opcode::COLLECT, 0));
            (header.thread, bulk)
        };
        assert_eq!(collected(link), (2, vec![7; 3]), "only its post is held");
        next(link, 5);
        assert_eq!(answer(link), (SLOW, 1), "the free before it was done, and failed");
        assert_eq!(collected(link), (1, vec![]), "behind the call that it came with");
        ask(link, Kind::Call, SLOW, 1);
        assert_eq!(answer(link), (SLOW, 0), "nothing is held any more");
    });
}

#[test]
fn a_function_in_a_broken_context_is_due_with_the_error() {
    let launch = cuda::LaunchHostFunction::OPCODE;
    let broken = Error::ILLEGAL_ADDRESS.code();
    against([(cuda::MemsetD8Async::OPCODE, Act::Answer(broken))], |link| {
        ask(link, Kind::Post, cuda::MemsetD8Async::OPCODE, 1);
        let header = Header { context: 7, thread: 1, ..Header::new(Kind::Post, launch) };
        let function = cuda::LaunchHostFunction { stream: 0, ticket: 5 };
        link.send(&header, &function.to_payload(), &[]).expect("the worker reads");
        let header = Header { thread: 9, ..Header::new(Kind::Call, NextFunction::OPCODE) };
        link.send(&header, &NextFunction { done: 0 }.to_payload(), &[]).expect("the worker reads");
        let mut payload = Vec::new();
        link.receive(&mut payload, Bulk::Into(&mut [])).expect("it is due");
        let due = DueFunction::from_payload(&payload).expect("it decodes");
        assert_eq!(due, DueFunction { ticket: 5, status: broken });
    });
}

#[test]
fn a_function_that_the_device_refuses_is_due_with_the_error() {
    let launch = cuda::LaunchHostFunction::OPCODE;
    let refused = Error::INVALID_HANDLE.code();
    against([(launch, Act::Answer(refused))], |link| {
        say(link, Kind::Post, &cuda::LaunchHostFunction { stream: 70, ticket: 5 }, 1);
        say(link, Kind::Call, &NextFunction { done: 0 }, 9);
        let mut payload = Vec::new();
        link.receive(&mut payload, Bulk::Into(&mut [])).expect("it is due");
        let due = DueFunction::from_payload(&payload).expect("it decodes");
        assert_eq!(due, DueFunction { ticket: 5, status: refused });
        say(link, Kind::Call, &NextFunction { done: 5 }, 9);
        ask(link, Kind::Call, SLOW, 1);
        assert_eq!(answer(link), (SLOW, 400), "and nothing waits for it");
    });
}

/// Serves a client that begins with a function that never returns, and with a call of thread 1
/// that waits for it.
fn behind_a_function(client: impl FnOnce(&mut dyn Link)) -> LinkError {
    let launch = cuda::LaunchHostFunction::OPCODE;
    against([(launch, Act::Function(5))], |link| {
        say(link, Kind::Post, &cuda::LaunchHostFunction { stream: 70, ticket: 5 }, 1);
        say(link, Kind::Call, &cuda::StreamSynchronize { stream: 70 }, 1);
        client(link);
        // What was sent is read before the end is seen.
        let answered = link.receive(&mut Vec::new(), Bulk::Grow(&mut Vec::new()));
        assert!(answered.is_err(), "{answered:?}");
    })
}

fn collect(link: &mut dyn Link, bulk: &[u8]) {
    let header = Header { thread: 1, ..Header::new(Kind::Call, opcode::COLLECT) };
    link.send(&header, &Collect.to_payload(), bulk).expect("the worker reads");
}

/// Each `Collect` was once kept with what came along, however much was kept already.
#[test]
fn a_collect_that_brings_contents_ends_the_connection() {
    let ended = behind_a_function(|link| {
        collect(link, &[]);
        collect(link, &[1; 64]);
    });
    assert!(matches!(ended, LinkError::BulkMismatch { bytes: 64, room: 0 }), "{ended}");
}

#[test]
fn a_client_that_collects_where_nothing_more_can_be_held_is_parted_with() {
    let contents = vec![1; vgpu_link::wire::header::BULK_BYTES_MAX];
    let ended = behind_a_function(|link| {
        let copy = cuda::MemcpyHtoDAsyncV2 { dst_device: 0, stream: 70 };
        let header =
            Header { thread: 2, ..Header::new(Kind::Post, cuda::MemcpyHtoDAsyncV2::OPCODE) };
        let mut bytes = 0;
        while bytes < crate::worker::held::BYTES_MAX {
            collect(link, &[]);
            link.send(&header, &copy.to_payload(), &contents).expect("the worker reads");
            bytes += contents.len();
        }
        collect(link, &[]);
    });
    assert!(matches!(ended, LinkError::Unexpected { opcode: opcode::COLLECT, .. }), "{ended}");
}
