//! Stream capture (CUDA Runtime API, "Stream Management").
//!
//! The driver keeps all of it; where a result is wanted, it writes to the caller's place itself.

use vgpu_abi::cudart::{
    cudaGraph_t, cudaStream_t, cudaStreamCaptureMode, cudaStreamCaptureStatus as Status,
};
use vgpu_guest::convert::Memory;

use crate::driver::Stream;
use crate::primary;
use crate::result::Result;

forwarded! {
    /// Begins to record what a stream is given instead of doing it.
    stream_begin_capture(stream: cudaStream_t, mode: cudaStreamCaptureMode);
    /// Begins a capture whose nodes are added to a graph, behind some of its nodes.
    stream_begin_capture_to_graph(
        stream: cudaStream_t, graph: cudaGraph_t, dependencies: Memory<'_>, edges: Memory<'_>,
        count: usize, mode: cudaStreamCaptureMode);
    /// Ends a capture and gives its graph; none if the capture was invalidated.
    stream_end_capture(stream: cudaStream_t, graph: Memory<'_>);
    /// Exchanges what the calling thread forbids while a capture is going on.
    thread_exchange_stream_capture_mode(mode: Memory<'_>);
    /// Gives the state of a capture: status, id, graph, and what the next node would depend on.
    stream_get_capture_info_v2(
        stream: cudaStream_t, status: Memory<'_>, id: Memory<'_>, graph: Memory<'_>,
        dependencies: Memory<'_>, count: Memory<'_>);
    /// As [`stream_get_capture_info_v2`], with the data of edges: the form of CUDA 12.3 and later.
    stream_get_capture_info_v3(
        stream: cudaStream_t, status: Memory<'_>, id: Memory<'_>, graph: Memory<'_>,
        dependencies: Memory<'_>, edges: Memory<'_>, count: Memory<'_>);
    /// Adds to, or replaces, what the next captured node depends on.
    stream_update_capture_dependencies(
        stream: cudaStream_t, dependencies: Memory<'_>, count: usize, flags: u32);
    /// As [`stream_update_capture_dependencies`], with the data of edges.
    stream_update_capture_dependencies_v2(
        stream: cudaStream_t, dependencies: Memory<'_>, edges: Memory<'_>, count: usize,
        flags: u32);
}

/// Tells whether a stream is being captured.
pub fn stream_is_capturing(stream: Stream) -> Result<Status> {
    let mut status = 0;
    primary::current()?.stream_is_capturing(stream, &mut status)?;
    Ok(Status(status))
}
