//! Nodes of graphs (CUDA Driver API, Graph Management).

use vgpu_abi::cuda::{
    CUDA_KERNEL_NODE_PARAMS_v1, CUDA_KERNEL_NODE_PARAMS_v2, CUDA_MEMCPY3D_v2,
    CUDA_MEMSET_NODE_PARAMS_v1, CUcontext, CUevent, CUgraph, CUgraphNode, CUgraphNodeParams,
    CUgraphNodeType as Type, CUkernelNodeAttrID, CUkernelNodeAttrValue, Error,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cuda::{
    GraphAddNode, GraphAttribute, GraphAttributeChange, GraphChildGraphNodeGetGraph,
    GraphDestroyNode, GraphEdge, GraphNodeChange, GraphNodeParams, NodeParams,
};

use super::graph::{edges, plain_edges};
use super::node_params::{self, Version};
use super::node_told;
use crate::borrowed::{self, Borrowed};
use crate::code::limits;
use crate::{graphs, handles, remote};

/// Adds a node, and takes up what it borrows of the program.
pub(super) fn add(
    graph: CUgraph,
    dependencies: Vec<GraphEdge>,
    params: NodeParams,
    borrowed: Option<Borrowed>,
) -> Result<CUgraphNode, Error> {
    let child = (Type(params.kind) == Type::GRAPH).then_some(CUgraph(params.handle));
    child.map_or(Ok(()), check_child)?;
    if borrowed.is_some() || child.is_some_and(borrowed::calls_any) {
        borrowed::check_outer(graph)?;
    }
    let node = remote::call(&GraphAddNode { graph: graph.0, dependencies, params })?.node;
    let node = CUgraphNode(node);
    if let Some(borrowed) = borrowed {
        borrowed::insert(graph, node, borrowed, false);
    }
    if let Some(child) = child {
        borrowed::insert_child(graph, node, child);
    }
    Ok(node)
}

/// Adds a node that does nothing.
pub(crate) fn graph_add_empty_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
) -> Result<CUgraphNode, Error> {
    add(graph, plain_edges(dependencies)?, node_params::plain(Type::EMPTY, 0), None)
}

/// Adds a node that does all of a graph, as that is now.
pub(crate) fn graph_add_child_graph_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    child: CUgraph,
) -> Result<CUgraphNode, Error> {
    add(graph, plain_edges(dependencies)?, node_params::plain(Type::GRAPH, child.0), None)
}

/// Checks a graph that is to be inside a node: which nodes of its copy would copy memory of the
/// program is not known here.
pub(super) fn check_child(child: CUgraph) -> Result<(), Error> {
    if borrowed::copies_any(child) { Err(Error::NOT_SUPPORTED) } else { Ok(()) }
}

/// Returns the graph inside a node, which belongs to the node.
pub(crate) fn graph_child_graph_node_get_graph(node: CUgraphNode) -> Result<CUgraph, Error> {
    let graph = remote::call(&GraphChildGraphNodeGetGraph { node: node.0 })?.graph;
    borrowed::insert_inner(CUgraph(graph));
    Ok(CUgraph(graph))
}

/// Adds a node that records an event.
pub(crate) fn graph_add_event_record_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    event: CUevent,
) -> Result<CUgraphNode, Error> {
    add(graph, plain_edges(dependencies)?, of_event(Type::EVENT_RECORD, event)?, None)
}

/// Adds a node that waits for an event.
pub(crate) fn graph_add_event_wait_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    event: CUevent,
) -> Result<CUgraphNode, Error> {
    add(graph, plain_edges(dependencies)?, of_event(Type::WAIT_EVENT, event)?, None)
}

/// Describes a node about an event that is alive.
pub(super) fn of_event(kind: Type, event: CUevent) -> Result<NodeParams, Error> {
    remote::ready()?;
    handles::event(event)?;
    Ok(node_params::plain(kind, event.0))
}

/// Adds a node that launches a kernel.
pub(crate) fn graph_add_kernel_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    params: Memory<'_>,
) -> Result<CUgraphNode, Error> {
    add(graph, plain_edges(dependencies)?, node_params::launch(params, Version::One)?, None)
}

/// As [`graph_add_kernel_node`], also of a library's kernel.
pub(crate) fn graph_add_kernel_node_v2(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    params: Memory<'_>,
) -> Result<CUgraphNode, Error> {
    add(graph, plain_edges(dependencies)?, node_params::launch(params, Version::Two)?, None)
}

/// Adds a node that copies.
pub(crate) fn graph_add_memcpy_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    params: Memory<'_>,
    context: CUcontext,
) -> Result<CUgraphNode, Error> {
    remote::ready()?;
    let (params, borrowed) = node_params::copy(params, context)?;
    add(graph, plain_edges(dependencies)?, params, borrowed)
}

/// Adds a node that sets memory.
pub(crate) fn graph_add_memset_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    params: Memory<'_>,
    context: CUcontext,
) -> Result<CUgraphNode, Error> {
    add(graph, plain_edges(dependencies)?, node_params::set(params, context)?, None)
}

/// Adds a node of any kind.
pub(crate) fn graph_add_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    params: Memory<'_>,
) -> Result<CUgraphNode, Error> {
    let (params, borrowed) = node_params::any(params)?;
    add(graph, plain_edges(dependencies)?, params, borrowed)
}

/// As [`graph_add_node`], with edge data.
pub(crate) fn graph_add_node_v2(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    data: Memory<'_>,
    params: Memory<'_>,
) -> Result<CUgraphNode, Error> {
    let (params, borrowed) = node_params::any(params)?;
    add(graph, edges(dependencies, data)?, params, borrowed)
}

/// As [`graph_add_node_v2`].
pub(crate) fn graph_add_node_v3(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    data: Memory<'_>,
    params: Memory<'_>,
) -> Result<CUgraphNode, Error> {
    graph_add_node_v2(graph, dependencies, data, params)
}

/// Destroys a node, and the edges that begin or end there.
pub(crate) fn graph_destroy_node(node: CUgraphNode) -> Result<(), Error> {
    remote::call(&GraphDestroyNode { node: node.0 })?;
    graphs::forget_arguments(node);
    borrowed::forget_node(node);
    Ok(())
}

/// Asks what a node does; one of another kind is INVALID_VALUE.
fn ask(node: CUgraphNode, kind: Option<Type>) -> Result<NodeParams, Error> {
    let params = remote::call(&GraphNodeParams { node: node.0 })?.params;
    let is_meant = kind.is_none_or(|kind| kind.0 == params.kind);
    if is_meant { Ok(params) } else { Err(Error::INVALID_VALUE) }
}

/// Returns what a kernel node launches.
pub(crate) fn graph_kernel_node_get_params(
    node: CUgraphNode,
) -> Result<CUDA_KERNEL_NODE_PARAMS_v1, Error> {
    let it = graph_kernel_node_get_params_v2(node)?;
    Ok(CUDA_KERNEL_NODE_PARAMS_v1 {
        // A library's kernel is good in the place of a function.
        func: if it.func.0 == 0 { vgpu_abi::cuda::CUfunction(it.kern.0) } else { it.func },
        gridDimX: it.gridDimX,
        gridDimY: it.gridDimY,
        gridDimZ: it.gridDimZ,
        blockDimX: it.blockDimX,
        blockDimY: it.blockDimY,
        blockDimZ: it.blockDimZ,
        sharedMemBytes: it.sharedMemBytes,
        kernelParams: it.kernelParams,
        extra: it.extra,
    })
}

/// As [`graph_kernel_node_get_params`], also of a library's kernel.
pub(crate) fn graph_kernel_node_get_params_v2(
    node: CUgraphNode,
) -> Result<CUDA_KERNEL_NODE_PARAMS_v2, Error> {
    node_told::to_launch(node, &ask(node, Some(Type::KERNEL))?)
}

/// Returns what a node copies.
pub(crate) fn graph_memcpy_node_get_params(node: CUgraphNode) -> Result<CUDA_MEMCPY3D_v2, Error> {
    node_told::to_copy(&ask(node, Some(Type::MEMCPY))?)
}

/// Returns what a node sets.
pub(crate) fn graph_memset_node_get_params(
    node: CUgraphNode,
) -> Result<CUDA_MEMSET_NODE_PARAMS_v1, Error> {
    node_told::to_set(&ask(node, Some(Type::MEMSET))?)
}

/// Returns the event that a node records.
pub(crate) fn graph_event_record_node_get_event(node: CUgraphNode) -> Result<CUevent, Error> {
    Ok(CUevent(ask(node, Some(Type::EVENT_RECORD))?.handle))
}

/// Returns the event that a node waits for.
pub(crate) fn graph_event_wait_node_get_event(node: CUgraphNode) -> Result<CUevent, Error> {
    Ok(CUevent(ask(node, Some(Type::WAIT_EVENT))?.handle))
}

/// Returns what a node of any kind does.
pub(crate) fn graph_node_get_params(node: CUgraphNode) -> Result<CUgraphNodeParams, Error> {
    node_told::to_any(node, &ask(node, None)?)
}

fn change(node: CUgraphNode, params: NodeParams) -> Result<(), Error> {
    remote::call(&GraphNodeChange { node: node.0, params })?;
    graphs::forget_arguments(node);
    borrowed::forget_node(node);
    Ok(())
}

/// Changes what a kernel node launches.
pub(crate) fn graph_kernel_node_set_params(
    node: CUgraphNode,
    params: Memory<'_>,
) -> Result<(), Error> {
    change(node, node_params::launch(params, Version::One)?)
}

/// As [`graph_kernel_node_set_params`], also to a library's kernel.
pub(crate) fn graph_kernel_node_set_params_v2(
    node: CUgraphNode,
    params: Memory<'_>,
) -> Result<(), Error> {
    change(node, node_params::launch(params, Version::Two)?)
}

/// Changes what a node copies.
pub(crate) fn graph_memcpy_node_set_params(
    node: CUgraphNode,
    params: Memory<'_>,
) -> Result<(), Error> {
    change(node, node_params::copy_in_sight(params, CUcontext(0))?)
}

/// Changes what a node sets.
pub(crate) fn graph_memset_node_set_params(
    node: CUgraphNode,
    params: Memory<'_>,
) -> Result<(), Error> {
    change(node, node_params::set(params, CUcontext(0))?)
}

/// Changes the event that a node records.
pub(crate) fn graph_event_record_node_set_event(
    node: CUgraphNode,
    event: CUevent,
) -> Result<(), Error> {
    change(node, of_event(Type::EVENT_RECORD, event)?)
}

/// Changes the event that a node waits for.
pub(crate) fn graph_event_wait_node_set_event(
    node: CUgraphNode,
    event: CUevent,
) -> Result<(), Error> {
    change(node, of_event(Type::WAIT_EVENT, event)?)
}

/// Changes what a node of any kind does.
pub(crate) fn graph_node_set_params(node: CUgraphNode, params: Memory<'_>) -> Result<(), Error> {
    let (params, borrowed) = node_params::any(params)?;
    match borrowed {
        None => change(node, params),
        Some(Borrowed::Function(function)) => {
            remote::call(&GraphNodeChange { node: node.0, params })?;
            borrowed::change_function(node, function);
            Ok(())
        }
        // The graph, which would borrow the memory, is not known here.
        Some(Borrowed::Copy(_)) => Err(Error::NOT_SUPPORTED),
    }
}

/// As [`graph_node_set_params`].
pub(crate) fn graph_node_set_params_v2(node: CUgraphNode, params: Memory<'_>) -> Result<(), Error> {
    graph_node_set_params(node, params)
}

/// Returns an attribute of a kernel node.
pub(crate) fn graph_kernel_node_get_attribute(
    node: CUgraphNode,
    attribute: CUkernelNodeAttrID,
) -> Result<CUkernelNodeAttrValue, Error> {
    let value = remote::call(&GraphAttribute { node: node.0, id: attribute.0 })?.value;
    let (words, _) = value.as_chunks::<8>();
    let mut bytes = [0; 8];
    for (to, word) in bytes.iter_mut().zip(words) {
        *to = u64::from_ne_bytes(*word);
    }
    Ok(CUkernelNodeAttrValue { bytes })
}

/// Changes an attribute of a kernel node.
pub(crate) fn graph_kernel_node_set_attribute(
    node: CUgraphNode,
    attribute: CUkernelNodeAttrID,
    value: CUkernelNodeAttrValue,
) -> Result<(), Error> {
    let mut bytes = [0; 64];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(value.bytes) {
        *to = word.to_ne_bytes();
    }
    let attribute = limits::attribute(attribute.0, bytes);
    remote::call(&GraphAttributeChange { node: node.0, attribute })
}
