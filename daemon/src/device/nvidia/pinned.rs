//! Pinned memory of the client: spans of the memory that it shares with us, registered with the
//! driver, and copies from and to them.
//!
//! A span is registered once, when the client pins it, and copies are given its address: the device
//! reads and writes what the client reads and writes, with nothing in between. A registration ends
//! with the context in which it was made; then the next copy makes it again. Where that fails the
//! driver copies from memory that is not pinned.

use vgpu_abi::cuda::{CUmemorytype, Error};
use vgpu_link::wire::cuda::{NodeCopy, SpanCopy, SpanCopyAsync, SpanPin, SpanUnpin};

use super::Nvidia;
use super::foreign::{Bytes, Pointer, Raw};
use super::generated::driver::Driver;
use super::node::COPY_BYTES;
use crate::device::spans;
use crate::dispatch::{Call, Wait};

/// CU_MEMHOSTREGISTER_PORTABLE: pinned memory to all contexts, as what `cuMemHostAlloc` gives is
/// under unified addressing.
const PORTABLE: u32 = 1;

/// The number of the context in which a span is registered; none where that has ended.
pub(super) type Registered = Option<u64>;

pub(super) fn span_pin(nvidia: &mut Nvidia, call: &Call, r: SpanPin) -> Result<(), Error> {
    nvidia.enter(call)?;
    nvidia.spans.may_pin(r.offset, r.bytes)?;
    nvidia.bank.pin(r.bytes)?;
    let pinned = nvidia.spans.pin(r.offset, r.bytes, None).and_then(|()| {
        nvidia.register(r.offset, r.bytes).inspect_err(|_| {
            // Taken up two lines above. The client does without, and its copies are staged.
            let _ = nvidia.spans.unpin(r.offset, r.bytes);
        })
    });
    pinned.inspect_err(|_| nvidia.bank.unpin(r.bytes))
}

/// The client has waited for its copies. One that has not spoils its own memory only: the pages
/// stay with the driver until it lets go of them.
pub(super) fn span_unpin(nvidia: &mut Nvidia, _: &Call, r: SpanUnpin) -> Result<(), Error> {
    let registered = nvidia.spans.unpin(r.offset, r.bytes)?;
    if let Some(context) = registered {
        nvidia.unregister(context, r.offset, r.bytes).inspect_err(|_| {
            // Its place is free, and it still is what it was: the client must not use it for
            // others.
            let _ = nvidia.spans.pin(r.offset, r.bytes, registered);
        })?;
    }
    nvidia.bank.unpin(r.bytes);
    Ok(())
}

pub(super) fn span_copy(nvidia: &mut Nvidia, call: &Call, r: SpanCopy) -> Result<Wait<()>, Error> {
    nvidia.enter(call)?;
    let work = nvidia.span_work(&r.copy)?;
    Ok(nvidia.later(move |driver, _| match work {
        Work::To(line) => driver.memcpy_hto_d_v2(line.device, line.host(), line.bytes),
        Work::From(line) => driver.memcpy_dto_h_v2(line.host(), line.device, line.bytes),
        Work::Rows(mut copy) => driver.memcpy3_d_v2(&mut copy),
    }))
}

pub(super) fn span_copy_async(
    nvidia: &mut Nvidia,
    call: &Call,
    r: SpanCopyAsync,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let work = nvidia.span_work(&r.copy)?;
    let stream = nvidia.stream(call, r.stream)?;
    work.begin(&nvidia.driver, stream)
}

/// A copy between a span and the device.
enum Work {
    /// To the device, in one row.
    To(Line),
    /// From it.
    From(Line),
    /// In rows.
    Rows(Bytes<COPY_BYTES>),
}

/// One row.
#[derive(Clone, Copy)]
struct Line {
    address: u64,
    device: u64,
    bytes: usize,
}

impl Line {
    fn host(&self) -> Raw<'static> {
        Raw::shared(self.address)
    }
}

impl Work {
    /// Has it done behind what a stream does already; in a capture it becomes a node, which reads
    /// or writes the span at each launch.
    fn begin(self, driver: &Driver, stream: Pointer) -> Result<(), Error> {
        match self {
            Self::To(line) => {
                driver.memcpy_hto_d_async_v2(line.device, line.host(), line.bytes, stream)
            }
            Self::From(line) => {
                driver.memcpy_dto_h_async_v2(line.host(), line.device, line.bytes, stream)
            }
            Self::Rows(mut copy) => driver.memcpy3_d_async_v2(&mut copy, stream),
        }
    }
}

impl Nvidia {
    fn register(&mut self, offset: u64, bytes: u64) -> Result<(), Error> {
        let address = self.spans.address(offset, bytes)?;
        self.driver.mem_host_register_v2(Raw::shared(address), bytes as usize, PORTABLE)?;
        let (_, _, registered) = self.spans.holder(offset, bytes)?;
        *registered = Some(self.current);
        Ok(())
    }

    fn unregister(&mut self, context: u64, offset: u64, bytes: u64) -> Result<(), Error> {
        self.enter_context(context)?;
        let address = self.spans.address(offset, bytes)?;
        self.driver.mem_host_unregister(Raw::shared(address))
    }

    /// Lets go of what is registered in a context that is about to end, and is current.
    pub(super) fn unregister_all(&mut self, context: u64) {
        let all = self.spans.all().filter(|(.., registered)| **registered == Some(context));
        let ending: Vec<(u64, u64)> = all
            .map(|(offset, bytes, registered)| {
                *registered = None;
                (offset, bytes)
            })
            .collect();
        for (offset, bytes) in ending {
            // What fails here the end of the context does.
            let _ = self.unregister(context, offset, bytes);
        }
    }

    /// Says whether a span is registered in a context.
    pub(super) fn is_registered_in(&mut self, context: u64) -> bool {
        self.spans.all().any(|(.., registered)| *registered == Some(context))
    }

    /// The address of a place of the client's pinned memory.
    ///
    /// # Errors
    /// INVALID_VALUE if it does not lie in one span.
    pub(super) fn span_address(&mut self, first: u64, bytes: u64) -> Result<u64, Error> {
        let (offset, length, registered) = self.spans.holder(first, bytes)?;
        if registered.is_none() {
            // Its context has ended. Copied it is all the same.
            let _ = self.register(offset, length);
        }
        self.spans.address(first, bytes)
    }

    fn span_work(&mut self, copy: &NodeCopy) -> Result<Work, Error> {
        let is_span = |kind| CUmemorytype(kind) == CUmemorytype::HOST;
        if is_span(copy.from.kind) == is_span(copy.to.kind) {
            return Err(Error::INVALID_VALUE);
        }
        let to_device = is_span(copy.from.kind);
        let (span, device) =
            if to_device { (&copy.from, &copy.to) } else { (&copy.to, &copy.from) };
        let is_line = copy.height == 1 && copy.depth == 1;
        if !is_line || device.kind != CUmemorytype::DEVICE.0 {
            return self.copy_work(copy).map(Work::Rows);
        }
        let (first, bytes) = spans::extent(span, copy)?;
        let address = self.span_address(first, bytes)?;
        let (device, _) = spans::extent(device, copy)?;
        let line = Line { address, device, bytes: bytes as usize };
        Ok(if to_device { Work::To(line) } else { Work::From(line) })
    }
}
