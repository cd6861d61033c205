//! What passes while functions have not returned, and what waits.

use vgpu_link::wire::Payload;

use super::*;

/// A stream of the client with a function that has not come back.
const BUSY: u64 = 70;
const OTHER: u64 = 71;
const TICKET: u64 = 5;

fn waiting(holds: Holds) -> (Held, Functions) {
    in_stream(BUSY, holds)
}

fn in_stream(stream: u64, holds: Holds) -> (Held, Functions) {
    let (mut held, functions) = (Held::default(), Functions::default());
    functions.launch(TICKET, holds).expect("there is room");
    let launch = cuda::LaunchHostFunction { stream, ticket: TICKET };
    let opcode = cuda::LaunchHostFunction::OPCODE;
    let touch = Touch::of(&Header::new(Kind::Post, opcode), &launch.to_payload());
    held.wait_for(TICKET, touch, &functions);
    (held, functions)
}

fn message<R: Request>(kind: Kind, request: &R) -> Message {
    let header = Header::new(kind, R::OPCODE);
    let payload = request.to_payload();
    let touch = Touch::of(&header, &payload);
    Message { header, payload, bulk: Vec::new(), touch, since: None }
}

fn judge<R: Request>(held: &Held, kind: Kind, request: &R) -> Verdict {
    let message = message(kind, request);
    held.judge(&message.header, message.touch)
}

fn record(stream: u64) -> cuda::EventRecord {
    cuda::EventRecord { event: 9, stream }
}

fn wait(stream: u64, event: u64) -> cuda::StreamWaitEvent {
    cuda::StreamWaitEvent { event, stream, flags: 0 }
}

#[test]
fn what_is_not_behind_the_function_passes() {
    let (held, _) = waiting(Holds::Stream);
    let [call, post] = [Kind::Call, Kind::Post];
    let bytesize = 1;
    assert_eq!(judge(&held, call, &cuda::MemAllocV2 { bytesize }), Verdict::Passes);
    assert_eq!(judge(&held, post, &record(OTHER)), Verdict::Passes);
    assert_eq!(judge(&held, post, &record(BUSY)), Verdict::Waits);
    assert_eq!(judge(&held, post, &record(0)), Verdict::Waits);
    let [busy, other] = [BUSY, OTHER].map(|stream| cuda::StreamQuery { stream });
    assert_eq!(judge(&held, call, &busy), Verdict::NotReady);
    assert_eq!(judge(&held, call, &other), Verdict::Passes);
    assert_eq!(judge(&held, call, &cuda::EventQuery { event: 9 }), Verdict::Passes);
    assert_eq!(judge(&held, call, &cuda::CtxSynchronize {}), Verdict::Waits);
    assert_eq!(judge(&held, post, &cuda::MemFreeV2 { dptr: 1 }), Verdict::Waits);
}

/// An event was recorded anew, or ended, before the work that was held and meant the old one:
/// a stream then waited for the wrong work, or found no event.
#[test]
fn an_event_that_is_meant_by_what_is_held_is_neither_recorded_anew_nor_ended() {
    let destroy = cuda::EventDestroyV2 { event: 9 };
    let query = cuda::EventQuery { event: 9 };
    for first in [message(Kind::Post, &record(BUSY)), message(Kind::Post, &wait(BUSY, 9))] {
        let (mut held, _) = waiting(Holds::Stream);
        let is_record = first.header.opcode == cuda::EventRecord::OPCODE;
        held.push(first);
        assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Waits);
        assert_eq!(judge(&held, Kind::Post, &destroy), Verdict::Waits);
        let asked = if is_record { Verdict::NotReady } else { Verdict::Passes };
        assert_eq!(judge(&held, Kind::Call, &query), asked);
    }
    let (held, _) = waiting(Holds::Stream);
    assert_eq!(judge(&held, Kind::Post, &destroy), Verdict::Passes);
}

#[test]
fn the_legacy_stream_and_those_that_block_wait_for_each_other() {
    let free = CUstream_flags::NON_BLOCKING.0;
    let (mut held, _) = in_stream(1, Holds::Stream);
    held.created(OTHER, free);
    held.created(72, 0);
    assert_eq!(judge(&held, Kind::Post, &record(0)), Verdict::Waits);
    assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Passes);
    assert_eq!(judge(&held, Kind::Post, &record(72)), Verdict::Waits);
    let (mut held, _) = waiting(Holds::Stream);
    assert_eq!(judge(&held, Kind::Post, &record(0)), Verdict::Waits);
    held.created(BUSY, free);
    assert_eq!(judge(&held, Kind::Post, &record(0)), Verdict::Passes);
    held.destroyed(BUSY);
    assert_eq!(judge(&held, Kind::Post, &record(0)), Verdict::Waits);
}

#[test]
fn what_depends_on_what_is_held_is_held() {
    let (mut held, _) = waiting(Holds::Stream);
    held.push(message(Kind::Call, &cuda::CtxSynchronize {}));
    assert_eq!(judge(&held, Kind::Post, &wait(OTHER, 9)), Verdict::Passes);
    held.push(message(Kind::Post, &record(BUSY)));
    let asked = judge(&held, Kind::Call, &cuda::EventQuery { event: 9 });
    assert_eq!(asked, Verdict::NotReady);
    assert_eq!(judge(&held, Kind::Post, &wait(OTHER, 8)), Verdict::Passes);
    held.push(message(Kind::Post, &wait(OTHER, 9)));
    assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Waits);
    let other = cuda::EventRecord { event: 8, stream: 72 };
    assert_eq!(judge(&held, Kind::Post, &other), Verdict::Passes);
    held.push(message(Kind::Post, &cuda::MemFreeV2 { dptr: 1 }));
    assert_eq!(judge(&held, Kind::Post, &other), Verdict::Waits, "the free comes first");
}

/// Nodes of a graph waited for the record of an event that was there before the one behind the
/// function, and what waited for an event did not wait for the graph that was to record it.
#[test]
fn the_launch_of_a_graph_may_be_about_any_event_that_is_held() {
    let launch = |stream| cuda::GraphLaunch { graph_exec: 3, stream };
    for first in [message(Kind::Post, &record(BUSY)), message(Kind::Post, &wait(BUSY, 9))] {
        let (mut held, _) = waiting(Holds::Stream);
        assert_eq!(judge(&held, Kind::Post, &launch(OTHER)), Verdict::Passes);
        held.push(first);
        assert_eq!(judge(&held, Kind::Post, &launch(OTHER)), Verdict::Waits);
    }
    let (mut held, _) = waiting(Holds::Stream);
    held.push(message(Kind::Post, &launch(BUSY)));
    let destroy = cuda::EventDestroyV2 { event: 9 };
    assert_eq!(judge(&held, Kind::Post, &wait(OTHER, 9)), Verdict::Waits);
    assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Waits);
    assert_eq!(judge(&held, Kind::Post, &destroy), Verdict::Waits);
    let settle = cuda::StreamSettle { stream: OTHER };
    assert_eq!(judge(&held, Kind::Post, &settle), Verdict::Passes);
}

#[test]
fn a_run_may_record_any_event_and_a_device_that_waits_does_nothing_else() {
    let (held, _) = waiting(Holds::Run);
    assert_eq!(judge(&held, Kind::Post, &wait(OTHER, 9)), Verdict::Waits);
    assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Passes);
    let (held, _) = waiting(Holds::All);
    assert_eq!(judge(&held, Kind::Post, &record(OTHER)), Verdict::Waits);
    let read = cuda::StandInRead { source: 1, bytes: 1 };
    assert_eq!(judge(&held, Kind::Call, &read), Verdict::Passes);
}

#[test]
fn all_is_judged_anew_when_a_function_has_returned() {
    let (mut held, functions) = waiting(Holds::Stream);
    held.push(message(Kind::Call, &cuda::CtxSynchronize {}));
    held.push(message(Kind::Post, &record(BUSY)));
    assert!(held.holds_call_of(0));
    functions.withdraw(TICKET);
    let opcodes: Vec<u32> =
        held.reopen(&functions).iter().map(|message| message.header.opcode).collect();
    assert_eq!(opcodes, [cuda::CtxSynchronize::OPCODE, cuda::EventRecord::OPCODE]);
    assert!(held.is_idle() && !held.holds_call_of(0));
    assert_eq!(judge(&held, Kind::Post, &record(BUSY)), Verdict::Passes);
}

#[test]
fn no_more_is_held_than_there_is_room_for() {
    let (mut held, functions) = waiting(Holds::Stream);
    while judge(&held, Kind::Post, &record(BUSY)) == Verdict::Waits {
        held.push(Message { bulk: vec![0; 8 << 20], ..message(Kind::Post, &record(BUSY)) });
    }
    assert!(held.bytes < BYTES_MAX + (9 << 20), "{}", held.bytes);
    assert!(!held.reopen(&functions).is_empty());
    assert_eq!(held.bytes, 0);
}
