//! Stream capture, as long as nothing captures (CUDA Driver API, Stream Management).
//!
//! `cuStreamBeginCapture` is NOT_SUPPORTED, so no stream is ever in a capture, and programs that
//! ask before each launch are answered without a message.

use std::cell::Cell;
use std::ptr;

use vgpu_abi::cuda::{
    CUgraph, CUgraphEdgeData, CUgraphNode, CUstream, CUstreamCaptureMode as Mode,
    CUstreamCaptureStatus as Status, Error,
};

use crate::{devices, handles, remote};

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::GLOBAL) };
}

/// Tells that the stream is not in a capture.
pub(crate) fn stream_is_capturing(stream: CUstream) -> Result<Status, Error> {
    remote::ready()?;
    handles::stream(stream)?;
    Ok(Status::NONE)
}

/// Tells that the stream is not in a capture, which has no number then.
pub(crate) fn stream_get_capture_info(stream: CUstream) -> Result<(Status, u64), Error> {
    Ok((stream_is_capturing(stream)?, 0))
}

/// As [`stream_get_capture_info`], and that there is no graph.
pub(crate) fn stream_get_capture_info_v2(
    stream: CUstream,
) -> Result<(Status, u64, CUgraph, *const CUgraphNode, usize), Error> {
    Ok((stream_is_capturing(stream)?, 0, CUgraph(0), ptr::null(), 0))
}

/// As [`stream_get_capture_info_v2`], and that there are no edges.
pub(crate) fn stream_get_capture_info_v3(
    stream: CUstream,
) -> Result<(Status, u64, CUgraph, *const CUgraphNode, *const CUgraphEdgeData, usize), Error> {
    Ok((stream_is_capturing(stream)?, 0, CUgraph(0), ptr::null(), ptr::null(), 0))
}

/// Exchanges the calling thread's capture mode, which decides what a later capture forbids.
pub(crate) fn thread_exchange_stream_capture_mode(mode: &mut Mode) -> Result<(), Error> {
    devices::known()?;
    if ![Mode::GLOBAL, Mode::THREAD_LOCAL, Mode::RELAXED].contains(mode) {
        return Err(Error::INVALID_VALUE);
    }
    *mode = MODE.replace(*mode);
    Ok(())
}
