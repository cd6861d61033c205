//! Copies in one dimension (CUDA Driver API, Memory Management).
//!
//! A copy longer than a frame's bulk part travels as several messages, in order.
//!
//! Between memory that the host sees, too, and a device nothing travels (`spans`): that is read and
//! written when the stream comes to the copy.
//!
//! What another asynchronous copy promises: the source of a copy to the device is captured before
//! the call returns; a copy to the program is complete when a call has synchronised with it. What
//! is too much for that (`session::post_copy`) is complete when the call returns, as copies to
//! pageable memory may be.

use vgpu_abi::cuda::{CUcontext, CUdeviceptr, CUstream, Error};
use vgpu_guest::convert::{Kept, Memory};
use vgpu_guest::destination::Destination;
use vgpu_guest::wire::cuda::{
    CopyToGuest, MemcpyDtoDAsyncV2, MemcpyDtoDV2, MemcpyDtoHV2, MemcpyHtoDAsyncV2, MemcpyHtoDV2,
    StreamSynchronize,
};
use vgpu_guest::wire::header::BULK_BYTES_MAX;
use vgpu_guest::{reach, reserve, session};

use super::{capture, host_function};
use crate::borrowed::Way;
use crate::{captures, contexts, handles, pinned, ranges, remote, spans, work};

/// Longest synchronous copy to the device that is not waited for: 64 KiB, as CUDA itself does not
/// wait for such copies (CUDA Driver API, API synchronization behavior).
const POSTED_BYTES_MAX: usize = 64 << 10;

/// The stream that synchronous copies are ordered by.
const LEGACY: CUstream = CUstream(0);

/// Copies memory of the program to the device, and waits until it is there or need not.
pub(crate) fn memcpy_hto_d_v2(target: CUdeviceptr, source: &[u8]) -> Result<(), Error> {
    remote::ready()?;
    ranges::check(target, source.len() as u64)?;
    check_own(source)?;
    captures::check_unsafe()?;
    await_functions(LEGACY)?;
    if session::has_copies_into(start(source), source.len() as u64)? {
        await_stream(LEGACY)?;
    }
    let is_small = (1..=POSTED_BYTES_MAX).contains(&source.len());
    let is_idle = !captures::any() && !work::is_pending(LEGACY)? && !session::has_copies()?;
    if is_small && is_idle {
        // Captured when this returns, and its range is right: nothing is to wait for. Streams that
        // do not wait for the legacy one find it there all the same.
        let request = MemcpyHtoDAsyncV2 { dst_device: target, stream: LEGACY.0 };
        let mut reached = Reached::default();
        session::post_parts(reached.readable(source, request).into_iter())?;
        remote::settle(LEGACY)?;
        return reached.check();
    }
    if let Some(copy) = spans::line(Way::In, start(source), target, source.len())? {
        return spans::copy(copy, None);
    }
    let parts = source.chunks(BULK_BYTES_MAX).zip(offsets());
    let request = |offset| MemcpyHtoDV2 { dst_device: target + offset };
    let mut reached = Reached::default();
    let parts = parts.map_while(|(part, offset)| reached.readable(part, request(offset)));
    remote::send_parts(parts)?;
    reached.check()
}

/// Copies memory of the device to the program.
pub(crate) fn memcpy_dto_h_v2(target: &mut [u8], source: CUdeviceptr) -> Result<(), Error> {
    remote::ready()?;
    ranges::check(source, target.len() as u64)?;
    check_own(target)?;
    captures::check_unsafe()?;
    if let Some(copy) = spans::line(Way::Out, start(target), source, target.len())? {
        return spans::copy(copy, None);
    }
    fetch(target, source)
}

/// Copies memory of the device to the program at once.
pub(crate) fn fetch(target: &mut [u8], source: CUdeviceptr) -> Result<(), Error> {
    let parts = target.chunks_mut(BULK_BYTES_MAX).zip(offsets());
    let request = |offset, bytes: usize| MemcpyDtoHV2 {
        src_device: source + offset,
        byte_count: bytes as u64,
    };
    let mut reached = Reached::default();
    let parts = parts.map_while(|(part, offset)| {
        let request = request(offset, part.len());
        reached.writable(part, request)
    });
    remote::fetch_parts(parts)?;
    reached.check()
}

/// Copies memory of the device to the device.
pub(crate) fn memcpy_dto_d_v2(
    target: CUdeviceptr,
    source: CUdeviceptr,
    bytes: usize,
) -> Result<(), Error> {
    remote::ready()?;
    ranges::check(target, bytes as u64)?;
    ranges::check(source, bytes as u64)?;
    remote::call(&MemcpyDtoDV2 { dst_device: target, src_device: source, byte_count: bytes as u64 })
}

/// Copies memory of the program to the device behind what the stream does already.
pub(crate) fn memcpy_hto_d_async_v2(
    target: CUdeviceptr,
    source: &[u8],
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    ranges::check(target, source.len() as u64)?;
    check_own(source)?;
    if source.is_empty() {
        return Ok(());
    }
    if capture::is_active(stream)? {
        return capture::copy(Way::In, Kept::of(source), target, source.len(), stream);
    }
    // One that nothing in its stream holds up may be read at once, and then nobody need wait for
    // it: so are those that are short.
    if (source.len() > POSTED_BYTES_MAX || work::is_pending(stream)?)
        && let Some(copy) = spans::line(Way::In, start(source), target, source.len())?
    {
        return spans::copy(copy, Some(stream));
    }
    await_source(start(source), source.len() as u64, stream)?;
    send_behind(target, source, stream)
}

fn start(place: &[u8]) -> u64 {
    place.as_ptr().addr() as u64
}

/// Waits for what a stream does, if the source of a copy behind it may yet be written: by a copy
/// that is under way, and if it is pinned, by functions of the program that have not returned.
/// Other memory may be read at once (API synchronization behavior, Memcpy), and is: a function may
/// wait for the thread that copies it.
pub(crate) fn await_source(source: u64, bytes: u64, stream: CUstream) -> Result<(), Error> {
    let place = pinned::find(source);
    let is_shared = place.is_some_and(|place| place.offset.is_some());
    if is_shared && work::is_pending(stream)? || session::has_copies_into(source, bytes)? {
        return await_stream(stream);
    }
    if place.is_some() { await_functions(stream) } else { Ok(()) }
}

/// Waits for what a stream does, while functions of the program have not returned.
pub(crate) fn await_functions(stream: CUstream) -> Result<(), Error> {
    if host_function::are_launched() { await_stream(stream) } else { Ok(()) }
}

fn await_stream(stream: CUstream) -> Result<(), Error> {
    if captures::any() {
        // Not by way of `remote`, which would take it for an unsafe call of the program.
        return Ok(session::call_and_collect(&StreamSynchronize { stream: stream.0 })?);
    }
    super::stream::stream_synchronize(stream)
}

/// Sends memory of the program behind what the stream does already.
pub(crate) fn send_behind(
    target: CUdeviceptr,
    source: &[u8],
    stream: CUstream,
) -> Result<(), Error> {
    let parts = source.chunks(BULK_BYTES_MAX).zip(offsets());
    let request = |offset| MemcpyHtoDAsyncV2 { dst_device: target + offset, stream: stream.0 };
    let mut reached = Reached::default();
    let parts = parts.map_while(|(part, offset)| reached.readable(part, request(offset)));
    remote::post_parts(stream, parts)?;
    reached.check()
}

/// Copies memory of the device to the program behind what the stream does already.
pub(crate) fn memcpy_dto_h_async_v2(
    target: Memory<'_>,
    source: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    ranges::check(source, bytes as u64)?;
    if bytes == 0 {
        return Ok(());
    }
    if reserve::holds(target.address()) {
        return Err(Error::INVALID_VALUE);
    }
    if capture::is_active(stream)? {
        return capture::copy(Way::Out, target.keep(), source, bytes, stream);
    }
    if let Some(copy) = spans::line(Way::Out, target.address(), source, bytes)? {
        return spans::copy(copy, Some(stream));
    }
    if !reach::is_writable(std::ptr::without_provenance(target.address() as usize), bytes) {
        return Err(Error::INVALID_VALUE);
    }
    fetch_behind(target, source, bytes, stream)
}

/// Asks for memory of the device behind what the stream does already; what there is no room to
/// keep in mind, at once.
pub(crate) fn fetch_behind(
    target: Memory<'_>,
    source: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    let (all, mut done) = (bytes, 0);
    let mut left = Some(Destination::new::<Error>(target.further(0), all)?);
    while let Some(mut part) = left {
        left = part.split_off(BULK_BYTES_MAX);
        let (from, bytes) = (source + done as u64, part.bytes());
        let request =
            |ticket| CopyToGuest { source: from, bytes: bytes as u64, stream: stream.0, ticket };
        if !work::give(stream, || Ok(session::post_copy(part, request)?))? {
            super::stream::stream_synchronize(stream)?;
            let rest = all - done;
            return fetch(target.further(done).bytes_mut::<Error>(rest)?, from);
        }
        done += bytes;
    }
    Ok(())
}

/// Copies memory of the device to the device behind what the stream does already.
pub(crate) fn memcpy_dto_d_async_v2(
    target: CUdeviceptr,
    source: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    ranges::check(target, bytes as u64)?;
    ranges::check(source, bytes as u64)?;
    remote::post_to(
        stream,
        &MemcpyDtoDAsyncV2 {
            dst_device: target,
            src_device: source,
            byte_count: bytes as u64,
            stream: stream.0,
        },
    )
}

/// Copies between any two addresses, and waits; where each of them lies is looked up.
pub(crate) fn memcpy(target: Memory<'_>, source: Memory<'_>, bytes: usize) -> Result<(), Error> {
    remote::ready()?;
    match (is_device(&target, bytes)?, is_device(&source, bytes)?) {
        (true, true) => memcpy_dto_d_v2(target.address(), source.address(), bytes),
        (true, false) => memcpy_hto_d_v2(target.address(), source.bytes::<Error>(bytes)?),
        (false, true) => memcpy_dto_h_v2(target.bytes_mut::<Error>(bytes)?, source.address()),
        (false, false) => within_the_program(target, source, bytes),
    }
}

/// Copies between any two addresses behind what the stream does already.
pub(crate) fn memcpy_async(
    target: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    match (is_device(&target, bytes)?, is_device(&source, bytes)?) {
        (true, true) => memcpy_dto_d_async_v2(target.address(), source.address(), bytes, stream),
        (true, false) => {
            memcpy_hto_d_async_v2(target.address(), source.bytes::<Error>(bytes)?, stream)
        }
        (false, true) => memcpy_dto_h_async_v2(target, source.address(), bytes, stream),
        (false, false) => {
            // Behind the stream's work, which may still have to fill the source.
            super::stream::stream_synchronize(stream)?;
            within_the_program(target, source, bytes)
        }
    }
}

/// Copies between two contexts, of one device or two: an address says whose it is.
pub(crate) fn memcpy_peer(
    target: CUdeviceptr,
    target_context: CUcontext,
    source: CUdeviceptr,
    source_context: CUcontext,
    bytes: usize,
) -> Result<(), Error> {
    check_contexts(target_context, source_context)?;
    memcpy_dto_d_v2(target, source, bytes)
}

/// As [`memcpy_peer`], behind what the stream does already.
pub(crate) fn memcpy_peer_async(
    target: CUdeviceptr,
    target_context: CUcontext,
    source: CUdeviceptr,
    source_context: CUcontext,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    check_contexts(target_context, source_context)?;
    memcpy_dto_d_async_v2(target, source, bytes, stream)
}

fn check_contexts(one: CUcontext, other: CUcontext) -> Result<(), Error> {
    remote::ready()?;
    contexts::find(one.0)?;
    contexts::find(other.0).map(drop)
}

/// Copies memory of the program to other memory of it.
pub(crate) fn within_the_program(
    target: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
) -> Result<(), Error> {
    let from = source.further(0).bytes::<Error>(bytes)?.as_ptr();
    let to = target.further(0).bytes::<Error>(bytes)?.as_ptr();
    if !reach::is_readable(from, bytes) || !reach::is_writable(to, bytes) {
        return Err(Error::INVALID_VALUE);
    }
    source.copy_to(target, bytes)
}

/// Looks at each part of a copy before it travels: memory that the program does not have is
/// INVALID_VALUE, and what was copied before it stays copied.
#[derive(Debug, Default)]
struct Reached {
    failed: bool,
}

impl Reached {
    fn readable<'a, R>(&mut self, part: &'a [u8], request: R) -> Option<(R, &'a [u8])> {
        self.failed = !reach::is_readable(part.as_ptr(), part.len());
        (!self.failed).then_some((request, part))
    }

    fn writable<'a, R>(&mut self, part: &'a mut [u8], request: R) -> Option<(R, &'a mut [u8])> {
        self.failed = !reach::is_writable(part.as_ptr(), part.len());
        (!self.failed).then_some((request, part))
    }

    fn check(self) -> Result<(), Error> {
        if self.failed { Err(Error::INVALID_VALUE) } else { Ok(()) }
    }
}

/// Tells on which side a place of some bytes lies. An address of device memory that was freed is
/// INVALID_VALUE: the program has nothing there.
fn is_device(memory: &Memory<'_>, bytes: usize) -> Result<bool, Error> {
    if bytes == 0 || ranges::find(memory.address()).is_some() {
        return Ok(bytes != 0);
    }
    if reserve::holds(memory.address()) { Err(Error::INVALID_VALUE) } else { Ok(false) }
}

/// Checks that a place of the program is none of a device, where its memory cannot be reached.
fn check_own(place: &[u8]) -> Result<(), Error> {
    let is_own = place.is_empty() || !reserve::holds(place.as_ptr().addr() as u64);
    if is_own { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Where each part of a copy begins.
fn offsets() -> impl Iterator<Item = u64> {
    (0..).map(|index| index * BULK_BYTES_MAX as u64)
}
