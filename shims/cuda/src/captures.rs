//! The captures of this process that go on, and the rules about threads that come with them
//! (CUDA Driver API, `cuThreadExchangeStreamCaptureMode`).
//!
//! The host takes all messages of a process in one thread, so it captures relaxed; who may do what
//! meanwhile is decided here. While nothing is captured, all of it costs one look at a counter.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUcontext, CUstream, CUstreamCaptureMode as Mode, Error};
use vgpu_guest::wire::Request;
use vgpu_guest::wire::cuda;
use vgpu_guest::{current, session};

use crate::handles::Lane;

/// Calls that are "potentially unsafe" during a capture: they are done at once, in no stream, and
/// a launch of the graph would not do them again; or they wait for work that is not there.
const UNSAFE: &[u32] = &[
    cuda::MemAllocV2::OPCODE,
    cuda::MemAllocPitchV2::OPCODE,
    cuda::MemFreeV2::OPCODE,
    cuda::MemcpyHtoDV2::OPCODE,
    cuda::MemcpyDtoHV2::OPCODE,
    cuda::SpanCopy::OPCODE,
    cuda::MemcpyDtoDV2::OPCODE,
    cuda::VolumeToDevice::OPCODE,
    cuda::VolumeToHost::OPCODE,
    cuda::VolumeWithin::OPCODE,
    cuda::ArrayCreate::OPCODE,
    cuda::ArrayDestroy::OPCODE,
    cuda::MemsetD8V2::OPCODE,
    cuda::MemsetD16V2::OPCODE,
    cuda::MemsetD32V2::OPCODE,
    cuda::MemsetD2D8V2::OPCODE,
    cuda::MemsetD2D16V2::OPCODE,
    cuda::MemsetD2D32V2::OPCODE,
    cuda::StreamSynchronize::OPCODE,
    cuda::StreamQuery::OPCODE,
    cuda::EventSynchronize::OPCODE,
    cuda::EventQuery::OPCODE,
    cuda::CtxSynchronize::OPCODE,
    cuda::CtxSynchronizeV2::OPCODE,
    cuda::CtxDestroyV2::OPCODE,
    cuda::DevicePrimaryCtxReleaseV2::OPCODE,
    cuda::DevicePrimaryCtxResetV2::OPCODE,
    cuda::CtxSetLimit::OPCODE,
];

/// A capture that goes on.
#[derive(Debug)]
struct Capture {
    origin: Lane,
    mode: Mode,
    /// The thread that began it.
    thread: u32,
}

/// Posts whose errors belong to the call, because programs fork and join captures by them.
const TOLD_AT_ONCE: [u32; 3] =
    [cuda::EventRecord::OPCODE, cuda::EventRecordWithFlags::OPCODE, cuda::StreamWaitEvent::OPCODE];

static GOING_ON: AtomicUsize = AtomicUsize::new(0);

/// Whether work of any stream may be refused because of a capture: one has failed, or one of a
/// blocking stream goes on, beside which the legacy stream is not used.
static IS_TOUCHY: AtomicBool = AtomicBool::new(false);
static CAPTURES: Mutex<Vec<Capture>> = Mutex::new(Vec::new());

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::GLOBAL) };
}

fn lock() -> MutexGuard<'static, Vec<Capture>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    CAPTURES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exchanges the calling thread's mode.
pub(crate) fn exchange_mode(mode: Mode) -> Mode {
    MODE.replace(mode)
}

/// Says whether anything is being captured; while nothing is, the host need not be asked.
pub(crate) fn any() -> bool {
    GOING_ON.load(Ordering::Acquire) > 0
}

fn change(work: impl FnOnce(&mut Vec<Capture>)) {
    let mut captures = lock();
    work(&mut captures);
    GOING_ON.store(captures.len(), Ordering::Release);
    if captures.is_empty() {
        IS_TOUCHY.store(false, Ordering::Release);
    }
}

/// Checks a flag (CU_EVENT_RECORD_EXTERNAL, CU_EVENT_WAIT_EXTERNAL: both 1) that only streams in
/// captures know.
pub(crate) fn check_flag(flags: u32) -> Result<(), Error> {
    match flags {
        0 => Ok(()),
        1 if any() => Ok(()),
        _ => Err(Error::INVALID_VALUE),
    }
}

/// Says whether to wait for the answer to something that is else posted. Launches, copies and sets
/// of a capture that goes well are posts as always.
pub(crate) fn is_told_at_once<R: Request>() -> bool {
    any() && (IS_TOUCHY.load(Ordering::Acquire) || TOLD_AT_ONCE.contains(&R::OPCODE))
}

/// Notices an error that the host gave: those of captures say that one has failed.
pub(crate) fn notice(error: Error) {
    let of_captures = Error::STREAM_CAPTURE_UNSUPPORTED.code()..=Error::CAPTURED_EVENT.code();
    if any() && of_captures.contains(&error.code()) {
        IS_TOUCHY.store(true, Ordering::Release);
    }
}

/// Takes up a capture that the host has begun.
pub(crate) fn begin(context: u64, stream: CUstream, is_blocking: bool, mode: Mode) {
    if is_blocking {
        IS_TOUCHY.store(true, Ordering::Release);
    }
    let capture =
        Capture { origin: Lane::of(context, stream), mode, thread: current::thread_number() };
    change(|captures| captures.push(capture));
}

/// Checks that the calling thread may end the capture that began in a stream.
///
/// # Errors
/// STREAM_CAPTURE_WRONG_THREAD if another thread began it and not in relaxed mode.
pub(crate) fn check_end(context: u64, stream: CUstream) -> Result<(), Error> {
    let (lane, thread) = (Lane::of(context, stream), current::thread_number());
    let is_barred =
        |one: &Capture| one.origin == lane && one.mode != Mode::RELAXED && one.thread != thread;
    if lock().iter().any(is_barred) { Err(Error::STREAM_CAPTURE_WRONG_THREAD) } else { Ok(()) }
}

/// Forgets the capture that began in a stream.
pub(crate) fn end(context: u64, stream: CUstream) {
    let lane = Lane::of(context, stream);
    change(|captures| captures.retain(|capture| capture.origin != lane));
}

/// Forgets the captures that began in a stream that is gone.
pub(crate) fn forget_stream(stream: CUstream) {
    if any() {
        change(|captures| captures.retain(|capture| capture.origin.stream != stream.0));
    }
}

/// Forgets the captures of a context that is gone.
pub(crate) fn forget_context(context: CUcontext) {
    if any() {
        change(|captures| captures.retain(|capture| capture.origin.context != context.0));
    }
}

/// Checks that the calling thread may ask for something that the host is told of by a message.
pub(crate) fn check_request<R: Request>() -> Result<(), Error> {
    if any() && UNSAFE.contains(&R::OPCODE) { check_unsafe() } else { Ok(()) }
}

/// Checks that the calling thread may make a potentially unsafe call.
///
/// # Errors
/// STREAM_CAPTURE_UNSUPPORTED if a capture forbids it, which is then invalid.
pub(crate) fn check_unsafe() -> Result<(), Error> {
    if !any() {
        return Ok(());
    }
    let (mode, thread) = (MODE.get(), current::thread_number());
    let spoiled: Vec<Lane> = lock()
        .iter()
        .filter(|capture| forbids(capture, mode, thread))
        .map(|capture| capture.origin)
        .collect();
    if spoiled.is_empty() {
        return Ok(());
    }
    IS_TOUCHY.store(true, Ordering::Release);
    for lane in spoiled {
        session::call(&cuda::CaptureInvalidate { stream: lane.stream, thread: lane.thread })?;
    }
    Err(Error::STREAM_CAPTURE_UNSUPPORTED)
}

fn forbids(capture: &Capture, mode: Mode, thread: u32) -> bool {
    match mode {
        Mode::RELAXED => false,
        _ if capture.thread == thread => capture.mode != Mode::RELAXED,
        Mode::GLOBAL => capture.mode == Mode::GLOBAL,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_forbids_unsafe_calls_by_its_mode_and_the_mode_of_the_thread() {
        use Mode as M;
        let cases = [
            // The thread's mode, the capture's, and whether it forbids: its own thread, another.
            (M::GLOBAL, M::GLOBAL, true, true),
            (M::GLOBAL, M::THREAD_LOCAL, true, false),
            (M::GLOBAL, M::RELAXED, false, false),
            (M::THREAD_LOCAL, M::GLOBAL, true, false),
            (M::THREAD_LOCAL, M::THREAD_LOCAL, true, false),
            (M::THREAD_LOCAL, M::RELAXED, false, false),
            (M::RELAXED, M::GLOBAL, false, false),
            (M::RELAXED, M::THREAD_LOCAL, false, false),
        ];
        for (thread_mode, mode, own, other) in cases {
            let capture =
                Capture { origin: Lane { context: 1, stream: 3, thread: 0 }, mode, thread: 7 };
            assert_eq!(forbids(&capture, thread_mode, 7), own, "{thread_mode:?} {mode:?}");
            assert_eq!(forbids(&capture, thread_mode, 8), other, "{thread_mode:?} {mode:?}");
        }
    }
}
