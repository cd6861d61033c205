//! Whether a stream is being captured (CUDA Runtime API, "Stream Management").
//!
//! Beginning a capture is not implemented here. A program may still begin one through the driver
//! API, so the driver is asked; of a capture that is going on only the status is told.

use std::ptr;

use vgpu_abi::cudart::{
    cudaGraph_t, cudaGraphEdgeData, cudaGraphNode_t, cudaStreamCaptureStatus as Status,
};

use crate::driver::Stream;
use crate::primary;
use crate::result::{Error, Result};

/// What is told of a stream that nobody captures: status, id, graph, dependencies, their number.
type Info = (Status, u64, cudaGraph_t, *const cudaGraphNode_t, usize);

/// The same with the data of edges, which stands before the number.
type InfoWithEdges =
    (Status, u64, cudaGraph_t, *const cudaGraphNode_t, *const cudaGraphEdgeData, usize);

/// Tells whether a stream is being captured.
pub fn stream_is_capturing(stream: Stream) -> Result<Status> {
    let mut status = 0;
    primary::current()?.stream_is_capturing(stream, &mut status)?;
    Ok(Status(status))
}

/// Returns the state of a stream that nobody captures.
///
/// # Errors
/// `NOT_SUPPORTED` if it is being captured.
pub fn stream_get_capture_info_v2(stream: Stream) -> Result<Info> {
    match stream_is_capturing(stream)? {
        Status::NONE => Ok((Status::NONE, 0, cudaGraph_t::default(), ptr::null(), 0)),
        _ => Err(Error::NOT_SUPPORTED),
    }
}

/// As [`stream_get_capture_info_v2`], in the form of CUDA 12.3 and later.
pub fn stream_get_capture_info_v3(stream: Stream) -> Result<InfoWithEdges> {
    let (status, id, graph, dependencies, count) = stream_get_capture_info_v2(stream)?;
    Ok((status, id, graph, dependencies, ptr::null(), count))
}

/// As [`stream_get_capture_info_v3`]: CUDA 13 calls that form by the plain name.
pub fn stream_get_capture_info(stream: Stream) -> Result<InfoWithEdges> {
    stream_get_capture_info_v3(stream)
}
