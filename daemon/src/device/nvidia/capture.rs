//! Stream capture by the genuine driver, always relaxed: the guest keeps the rules about threads,
//! which the driver could not see, as one thread calls it for all of them.

use vgpu_abi::cuda::{CUstreamCaptureMode as Mode, Error};
use vgpu_link::wire::cuda::{
    CaptureDependencies, CaptureInfo, CaptureInfoReply, CaptureInvalidate, CaptureToGraph,
    GraphEdge,
};

use super::Nvidia;
use super::foreign::{Pointer, Raw, given};
use super::handles::Kind;
use crate::dispatch::Call;

/// First driver whose functions know edge data: CUDA 12.3.
pub(super) const EDGE_DATA: i32 = 12030;

/// The driver's words for dependencies: nodes, and the data of their edges.
pub(super) struct Edges {
    pub nodes: Vec<Pointer>,
    data: Vec<[u8; 8]>,
}

impl Edges {
    /// The edge data; none where no edge has any.
    pub fn data(&self) -> Raw<'_> {
        if self.is_plain() { Raw::NULL } else { Raw::read(&self.data) }
    }

    /// Says whether no edge has data.
    pub fn is_plain(&self) -> bool {
        self.data.iter().all(|data| *data == [0; 8])
    }
}

impl Nvidia {
    /// Looks the nodes of dependencies up.
    pub(super) fn edges(&self, edges: &[GraphEdge]) -> Result<Edges, Error> {
        let node = |edge: &GraphEdge| self.handles.find(Kind::Node, edge.node);
        let nodes = edges.iter().map(node).collect::<Result<_, _>>()?;
        Ok(Edges { nodes, data: edges.iter().map(|edge| edge.data).collect() })
    }
}

pub(super) fn capture_info(
    nvidia: &mut Nvidia,
    call: &Call,
    r: CaptureInfo,
) -> Result<CaptureInfoReply, Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    let (mut status, mut id, mut count) = (0, 0, 0);
    let (mut graph, mut nodes, mut data) =
        (Pointer::default(), Pointer::default(), Pointer::default());
    if nvidia.snapshot.driver_version >= EDGE_DATA {
        nvidia.driver.stream_get_capture_info_v3(
            stream,
            &mut status,
            &mut id,
            &mut graph,
            &mut nodes,
            &mut data,
            &mut count,
        )?;
    } else {
        nvidia.driver.stream_get_capture_info_v2(
            stream,
            &mut status,
            &mut id,
            &mut graph,
            &mut nodes,
            &mut count,
        )?;
    }
    if graph == Pointer::default() {
        return Ok(CaptureInfoReply { status, id: 0, graph: 0, dependencies: Vec::new() });
    }
    let graph = nvidia.handles.keep(Kind::Graph, graph, call.context)?;
    let data: Vec<[u8; 8]> = match data {
        Pointer(0) => vec![[0; 8]; count],
        data => given(data, count),
    };
    let nodes = given::<{ size_of::<usize>() }>(nodes, count).into_iter().zip(data);
    let dependencies = nodes
        .map(|(node, data)| {
            let node = Pointer(usize::from_ne_bytes(node));
            Ok(GraphEdge { node: nvidia.handles.keep(Kind::Node, node, graph)?, data })
        })
        .collect::<Result<_, Error>>()?;
    Ok(CaptureInfoReply { status, id, graph, dependencies })
}

pub(super) fn capture_to_graph(
    nvidia: &mut Nvidia,
    call: &Call,
    r: CaptureToGraph,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    let graph = nvidia.handles.find(Kind::Graph, r.graph)?;
    let edges = nvidia.edges(&r.dependencies)?;
    let (nodes, count) = (Raw::read(&edges.nodes), edges.nodes.len());
    let mode = Mode::RELAXED.0;
    nvidia.driver.stream_begin_capture_to_graph(stream, graph, nodes, edges.data(), count, mode)
}

pub(super) fn capture_dependencies(
    nvidia: &mut Nvidia,
    call: &Call,
    r: CaptureDependencies,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(call, r.stream)?;
    let edges = nvidia.edges(&r.dependencies)?;
    let (nodes, count) = (Raw::read(&edges.nodes), edges.nodes.len());
    if edges.is_plain() && nvidia.snapshot.driver_version < EDGE_DATA {
        return nvidia.driver.stream_update_capture_dependencies(stream, nodes, count, r.flags);
    }
    let data = edges.data();
    nvidia.driver.stream_update_capture_dependencies_v2(stream, nodes, data, count, r.flags)
}

/// Asks what may not be asked of a stream that is captured, which invalidates its capture.
pub(super) fn capture_invalidate(
    nvidia: &mut Nvidia,
    call: &Call,
    r: CaptureInvalidate,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let stream = nvidia.stream(&Call { thread: r.thread, ..*call }, r.stream)?;
    match nvidia.driver.stream_query(stream) {
        Err(
            Error::STREAM_CAPTURE_UNSUPPORTED
            | Error::STREAM_CAPTURE_INVALIDATED
            // It has ended meanwhile.
            | Error::NOT_READY,
        ) => Ok(()),
        other => other,
    }
}
