//! The way to the host, with the driver API's rules about who may ask.

use vgpu_abi::cuda::{CUstream, Error};
use vgpu_guest::wire::{Request, cuda};
use vgpu_guest::{Failure, session};

use crate::api::host_function;
use crate::{captures, contexts, devices, work};

/// Calls that tell how far earlier work is, beside those that wait for it.
const ASKING: [u32; 2] = [cuda::StreamQuery::OPCODE, cuda::EventQuery::OPCODE];

/// Posts that name no stream and whose end no program can see (`work`).
const UNSEEN: [u32; 4] = [
    cuda::GraphExecDestroy::OPCODE,
    cuda::MemFreeV2::OPCODE,
    cuda::EventDestroyV2::OPCODE,
    cuda::StreamDestroyV2::OPCODE,
];

/// Calls that are answered when their work is in the legacy stream, not when it is done: "the
/// function is asynchronous with respect to the host" (CUDA Driver API, API synchronization
/// behavior).
const LEAVING: [u32; 2] = [cuda::MemcpyDtoDV2::OPCODE, cuda::VolumeWithin::OPCODE];

/// The same, where no program can see the end of the work (`work`).
const LEAVING_UNSEEN: [u32; 6] = [
    cuda::MemsetD8V2::OPCODE,
    cuda::MemsetD16V2::OPCODE,
    cuda::MemsetD32V2::OPCODE,
    cuda::MemsetD2D8V2::OPCODE,
    cuda::MemsetD2D16V2::OPCODE,
    cuda::MemsetD2D32V2::OPCODE,
];

/// Asks and waits; the calling thread needs a current context (CUDA Driver API, Context
/// Management: most functions work on it).
pub(crate) fn call<R: Request>(request: &R) -> Result<R::Reply, Error> {
    ready()?;
    if LEAVING.contains(&R::OPCODE) {
        work::give(CUstream::LEGACY, || ask(request))
    } else if LEAVING_UNSEEN.contains(&R::OPCODE) {
        work::give_unseen(CUstream::LEGACY, || ask(request))
    } else {
        ask(request)
    }
}

/// As [`call`], for what gives a stream work whose end no program can see (`work`).
pub(crate) fn call_unseen<R: Request>(stream: CUstream, request: &R) -> Result<R::Reply, Error> {
    ready()?;
    work::give_unseen(stream, || ask(request))
}

/// Asks without waiting; an error is reported by a later synchronising call. Beside a capture some
/// requests wait after all (`captures`).
pub(crate) fn post<R: Request>(request: &R) -> Result<(), Error> {
    ready()?;
    if captures::is_told_at_once::<R>() || UNSEEN.contains(&R::OPCODE) {
        return send(request);
    }
    work::give_anywhere(|| send(request))
}

/// As [`post`], for what gives work to one stream.
pub(crate) fn post_to<R: Request>(stream: CUstream, request: &R) -> Result<(), Error> {
    ready()?;
    work::give(stream, || send(request))
}

/// As [`post_to`], for work whose end no program can see (`work`).
pub(crate) fn post_unseen<R: Request>(stream: CUstream, request: &R) -> Result<(), Error> {
    ready()?;
    work::give_unseen(stream, || send(request))
}

fn send<R: Request>(request: &R) -> Result<(), Error> {
    if captures::is_told_at_once::<R>() {
        return ask(request).map(drop);
    }
    captures::check_request::<R>()?;
    Ok(session::post(request)?)
}

/// Posts memory contents in parts, for a stream to do something with.
pub(crate) fn post_parts<'a, R: Request>(
    stream: CUstream,
    parts: impl Iterator<Item = (R, &'a [u8])>,
) -> Result<(), Error> {
    work::give_unseen(stream, || Ok(session::post_parts(parts)?))
}

/// Tells the host to do all that comes later behind what a stream was given.
pub(crate) fn settle(stream: CUstream) -> Result<(), Error> {
    Ok(session::post(&cuda::StreamSettle { stream: stream.0 })?)
}

/// Asks and waits, with or without a current context.
pub(crate) fn call_without_context<R: Request>(request: &R) -> Result<R::Reply, Error> {
    ready_without_context()?;
    ask(request)
}

/// Asks without waiting, with or without a current context.
pub(crate) fn post_without_context<R: Request>(request: &R) -> Result<(), Error> {
    ready_without_context()?;
    Ok(session::post(request)?)
}

/// Asks; a call that synchronises also brings the contents of copies that are complete then.
fn ask<R: Request>(request: &R) -> Result<R::Reply, Error> {
    captures::check_request::<R>()?;
    let answered = if cuda::WAITING.contains(&R::OPCODE) || ASKING.contains(&R::OPCODE) {
        session::call_and_collect(request)
    } else {
        session::call(request)
    };
    noticed(answered)
}

/// Takes up what an answer says beyond its own call: that a capture has failed, or that the
/// context is broken.
fn noticed<T>(answered: Result<T, Failure>) -> Result<T, Error> {
    answered.map_err(Error::from).inspect_err(|error| {
        captures::notice(*error);
        contexts::note_broken(*error);
    })
}

/// Sends memory contents in parts and waits until all are done, and what was asked for before.
pub(crate) fn send_parts<'a, R: Request>(
    parts: impl Iterator<Item = (R, &'a [u8])>,
) -> Result<(), Error> {
    noticed(session::send_parts(parts))?;
    Ok(session::collect()?)
}

/// Fetches memory contents in parts, and those of copies that are complete then.
pub(crate) fn fetch_parts<'a, R: Request>(
    parts: impl Iterator<Item = (R, &'a mut [u8])>,
) -> Result<(), Error> {
    noticed(session::fetch_parts(parts))?;
    Ok(session::collect()?)
}

/// Checks that the driver is initialised and that the thread's current context is alive.
pub(crate) fn ready() -> Result<(), Error> {
    ready_without_context()?;
    match contexts::current()?.1.broken {
        // What broke it has been told: posts, which are not answered, must not seem to be done.
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Checks that the driver is initialised, and that no function in a stream asks.
pub(crate) fn ready_without_context() -> Result<(), Error> {
    devices::known()?;
    host_function::check_not_within()
}
