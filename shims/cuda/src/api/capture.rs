//! Stream capture (CUDA Driver API, Stream Management).
//!
//! The host captures; the rules about threads are kept here (`captures`). While nothing is
//! captured, programs that ask before each launch are answered without a message.

use std::collections::HashMap;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use vgpu_abi::cuda::{
    CUgraph, CUgraphEdgeData, CUgraphNode, CUstream, CUstream_flags, CUstreamCaptureMode as Mode,
    CUstreamCaptureStatus as Status, Error,
};
use vgpu_guest::convert::{Kept, Memory};
use vgpu_guest::current;
use vgpu_guest::wire::cuda::{
    CaptureDependencies, CaptureInfo, CaptureInfoReply, CaptureInvalidate, CaptureToGraph,
    MemcpyDtoDAsyncV2, StreamBeginCaptureV2, StreamEndCapture, StreamIsCapturing,
};

use super::graph::{edge_data, edges, plain_edges};
use crate::borrowed::{self, Borrowed, HostCopy, Way};
use crate::{captures, devices, handles, remote, spans};

/// What was last answered about a stream's dependencies. Programs are given pointers to it, which
/// hold "until the next API call which operates on the stream or until the capture is terminated".
type Answered = (Box<[CUgraphNode]>, Box<[CUgraphEdgeData]>);

static ANSWERED: Mutex<Option<HashMap<(u64, u64), Answered>>> = Mutex::new(None);

/// Begins to capture a stream.
pub(crate) fn stream_begin_capture_v2(stream: CUstream, mode: Mode) -> Result<(), Error> {
    let (context, is_blocking) = check_begin(stream, mode)?;
    remote::call(&StreamBeginCaptureV2 { stream: stream.0, mode: Mode::RELAXED.0 })?;
    captures::begin(context, stream, is_blocking, mode);
    Ok(())
}

/// As [`stream_begin_capture_v2`] in global mode: the function's first form has no other.
pub(crate) fn stream_begin_capture(stream: CUstream) -> Result<(), Error> {
    stream_begin_capture_v2(stream, Mode::GLOBAL)
}

/// Begins to capture a stream into a graph that is there.
pub(crate) fn stream_begin_capture_to_graph(
    stream: CUstream,
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    data: Memory<'_>,
    mode: Mode,
) -> Result<(), Error> {
    let (context, is_blocking) = check_begin(stream, mode)?;
    borrowed::check_outer(graph)?;
    let dependencies = edges(dependencies, data)?;
    remote::call(&CaptureToGraph { stream: stream.0, graph: graph.0, dependencies })?;
    borrowed::keep(graph);
    captures::begin(context, stream, is_blocking, mode);
    Ok(())
}

fn check_begin(stream: CUstream, mode: Mode) -> Result<(u64, bool), Error> {
    let context = context_of(stream)?;
    check_mode(mode)?;
    Ok((context, handles::stream(stream)?.flags & CUstream_flags::NON_BLOCKING.0 == 0))
}

fn context_of(stream: CUstream) -> Result<u64, Error> {
    remote::ready()?;
    Ok(handles::stream(stream)?.context)
}

fn check_mode(mode: Mode) -> Result<(), Error> {
    let is_known = [Mode::GLOBAL, Mode::THREAD_LOCAL, Mode::RELAXED].contains(&mode);
    if is_known { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Ends a capture; returns its graph.
pub(crate) fn stream_end_capture(stream: CUstream) -> Result<CUgraph, Error> {
    let context = context_of(stream)?;
    captures::check_end(context, stream)?;
    let ended = remote::call(&StreamEndCapture { stream: stream.0 });
    // It began in another stream, and goes on.
    if !matches!(ended, Err(Error::STREAM_CAPTURE_UNMATCHED)) {
        captures::end(context, stream);
        let graph = ended.as_ref().ok().map(|ended| CUgraph(ended.graph));
        borrowed::end_capture(graph, captures::any());
        answered(|answered| {
            answered.remove(&(context, stream.0));
            if !captures::any() {
                // Those of streams that had joined.
                answered.clear();
            }
        });
    }
    Ok(CUgraph(ended?.graph))
}

/// Tells whether the stream is being captured.
pub(crate) fn stream_is_capturing(stream: CUstream) -> Result<Status, Error> {
    context_of(stream)?;
    if !captures::any() {
        return Ok(Status::NONE);
    }
    Ok(Status(remote::call(&StreamIsCapturing { stream: stream.0 })?.capture_status))
}

/// Refuses work that cannot be captured, such as a copy of the program's memory, in a stream that
/// is being captured.
///
/// # Errors
/// NOT_SUPPORTED; STREAM_CAPTURE_INVALIDATED if the capture has failed already.
pub(crate) fn check_not_capturing(stream: CUstream) -> Result<(), Error> {
    if is_active(stream)? { Err(Error::NOT_SUPPORTED) } else { Ok(()) }
}

/// Says whether the stream is being captured.
///
/// # Errors
/// STREAM_CAPTURE_INVALIDATED if the capture has failed already.
pub(crate) fn is_active(stream: CUstream) -> Result<bool, Error> {
    match stream_is_capturing(stream)? {
        Status::NONE => Ok(false),
        Status::INVALIDATED => Err(Error::STREAM_CAPTURE_INVALIDATED),
        _ => Ok(true),
    }
}

/// Captures what borrows something of the program, and takes up its node.
pub(crate) fn borrow(
    borrowed: Borrowed,
    stream: CUstream,
    record: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let (graph, node) = recorded(stream, record)?;
    borrowed::insert(graph, node, borrowed, true);
    Ok(())
}

/// Captures something; returns the graph and the node.
pub(super) fn recorded(
    stream: CUstream,
    record: impl FnOnce() -> Result<(), Error>,
) -> Result<(CUgraph, CUgraphNode), Error> {
    let graph = CUgraph(info(stream)?.graph);
    record()?;
    // The latest of a stream's nodes is what its next one depends on, and it alone.
    let node = info(stream)?.dependencies.first().map(|one| one.node);
    Ok((graph, CUgraphNode(node.ok_or(Error::STREAM_CAPTURE_INVALIDATED)?)))
}

/// Captures a copy between the program's memory and a device, which lies there together.
pub(super) fn copy(
    way: Way,
    place: Kept,
    device: u64,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    if let Some(copy) = spans::line(way, place.memory().address(), device, bytes)? {
        return spans::copy(copy, Some(stream));
    }
    let copy = HostCopy::line(way, place, bytes)?;
    let (from, to) = way.order(copy.stand_in, device);
    let byte_count = bytes as u64;
    let request =
        MemcpyDtoDAsyncV2 { dst_device: to, src_device: from, byte_count, stream: stream.0 };
    borrow(Borrowed::Copy(copy), stream, || remote::call(&request))
}

/// Invalidates the capture that a stream is in, by something that may not be captured.
///
/// # Errors
/// STREAM_CAPTURE_UNSUPPORTED, always.
pub(super) fn invalidate(stream: CUstream) -> Result<(), Error> {
    let thread = current::thread_number();
    remote::call(&CaptureInvalidate { stream: stream.0, thread })?;
    captures::notice(Error::STREAM_CAPTURE_UNSUPPORTED);
    Err(Error::STREAM_CAPTURE_UNSUPPORTED)
}

/// Tells whether the stream is being captured, and the capture's number.
pub(crate) fn stream_get_capture_info(stream: CUstream) -> Result<(Status, u64), Error> {
    let info = info(stream)?;
    Ok((Status(info.status), info.id))
}

/// As [`stream_get_capture_info`], and the graph and what its next node will depend on.
///
/// # Errors
/// LOSSY_QUERY if a dependency has edge data, for which there is no place here.
pub(crate) fn stream_get_capture_info_v2(
    stream: CUstream,
) -> Result<(Status, u64, CUgraph, *const CUgraphNode, usize), Error> {
    let info = info(stream)?;
    if info.dependencies.iter().any(|one| one.data != [0; 8]) {
        return Err(Error::LOSSY_QUERY);
    }
    let (status, id, graph) = (Status(info.status), info.id, CUgraph(info.graph));
    let (nodes, _, count) = keep(stream, &info)?;
    Ok((status, id, graph, nodes, count))
}

/// As [`stream_get_capture_info_v2`], and the dependencies' edge data.
pub(crate) fn stream_get_capture_info_v3(
    stream: CUstream,
    data_place: Memory<'_>,
) -> Result<(Status, u64, CUgraph, *const CUgraphNode, usize), Error> {
    if data_place.address() == 0 {
        return stream_get_capture_info_v2(stream);
    }
    let info = info(stream)?;
    let (status, id, graph) = (Status(info.status), info.id, CUgraph(info.graph));
    let (nodes, data, count) = keep(stream, &info)?;
    data_place.store::<_, Error>(&[data])?;
    Ok((status, id, graph, nodes, count))
}

fn info(stream: CUstream) -> Result<CaptureInfoReply, Error> {
    context_of(stream)?;
    if captures::any() {
        return remote::call(&CaptureInfo { stream: stream.0 });
    }
    Ok(CaptureInfoReply { status: Status::NONE.0, id: 0, graph: 0, dependencies: Vec::new() })
}

/// Keeps the dependencies where the program may read them.
fn keep(
    stream: CUstream,
    info: &CaptureInfoReply,
) -> Result<(*const CUgraphNode, *const CUgraphEdgeData, usize), Error> {
    if info.dependencies.is_empty() {
        return Ok((ptr::null(), ptr::null(), 0));
    }
    let nodes: Box<[_]> = info.dependencies.iter().map(|one| CUgraphNode(one.node)).collect();
    let data: Box<[_]> = info.dependencies.iter().map(|one| edge_data(one.data)).collect();
    let (first, first_data, count) = (nodes.as_ptr(), data.as_ptr(), nodes.len());
    let key = (context_of(stream)?, stream.0);
    answered(|answered| answered.insert(key, (nodes, data)));
    Ok((first, first_data, count))
}

fn answered<T>(work: impl FnOnce(&mut HashMap<(u64, u64), Answered>) -> T) -> T {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    work(ANSWERED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Changes what the stream's next node will depend on.
pub(crate) fn stream_update_capture_dependencies(
    stream: CUstream,
    dependencies: &[CUgraphNode],
    flags: u32,
) -> Result<(), Error> {
    update(
        stream,
        CaptureDependencies { stream: stream.0, flags, dependencies: plain_edges(dependencies)? },
    )
}

/// As [`stream_update_capture_dependencies`], with edge data.
pub(crate) fn stream_update_capture_dependencies_v2(
    stream: CUstream,
    dependencies: &[CUgraphNode],
    data: Memory<'_>,
    flags: u32,
) -> Result<(), Error> {
    let dependencies = edges(dependencies, data)?;
    update(stream, CaptureDependencies { stream: stream.0, flags, dependencies })
}

fn update(stream: CUstream, request: CaptureDependencies) -> Result<(), Error> {
    context_of(stream)?;
    if captures::any() { remote::call(&request) } else { Err(Error::ILLEGAL_STATE) }
}

/// Exchanges the calling thread's capture mode, which decides what captures forbid it.
pub(crate) fn thread_exchange_stream_capture_mode(mode: &mut Mode) -> Result<(), Error> {
    devices::known()?;
    check_mode(*mode)?;
    *mode = captures::exchange_mode(*mode);
    Ok(())
}
