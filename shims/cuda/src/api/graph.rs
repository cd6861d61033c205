//! Graphs, their nodes and edges (CUDA Driver API, Graph Management).

use std::collections::HashSet;

use vgpu_abi::cuda::{CUgraph, CUgraphEdgeData, CUgraphNode, Error};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cuda::{
    GraphAddEdges, GraphClone, GraphDestroy, GraphEdge, GraphEdges, GraphLink, GraphNodeEdges,
    GraphNodes, GraphRemoveEdges,
};

use crate::{borrowed, graphs, remote};

/// Most dependencies of a message: what its lists hold.
const EDGES_MAX: usize = 32_768;

/// No edge data: all of the node before all of the one behind.
const DEFAULT: [u8; 8] = [0; 8];

/// Copies a graph.
///
/// # Errors
/// NOT_SUPPORTED where nodes copy memory of the program: which nodes of the clone do is not known
/// here.
pub(crate) fn graph_clone(original: CUgraph) -> Result<CUgraph, Error> {
    remote::ready()?;
    if borrowed::copies_any(original) {
        return Err(Error::NOT_SUPPORTED);
    }
    let clone = remote::call(&GraphClone { original_graph: original.0 })?.graph_clone;
    borrowed::insert_clone(CUgraph(clone), original);
    Ok(CUgraph(clone))
}

/// Destroys a graph with its nodes.
pub(crate) fn graph_destroy(graph: CUgraph) -> Result<(), Error> {
    // Programs may hold pointers to the arguments of its kernel nodes; seldom, so that there is
    // mostly nothing to ask.
    let nodes = if graphs::any_arguments() { nodes_of(graph)? } else { Vec::new() };
    remote::call(&GraphDestroy { graph: graph.0 })?;
    nodes.into_iter().for_each(graphs::forget_arguments);
    borrowed::forget_graph(graph);
    Ok(())
}

/// Lists a graph's nodes in the order in which they were added.
pub(super) fn nodes_of(graph: CUgraph) -> Result<Vec<CUgraphNode>, Error> {
    let ask = |first| {
        let part = remote::call(&GraphNodes { graph: graph.0, first })?;
        Ok((part.count, part.nodes))
    };
    Ok(whole(ask)?.into_iter().map(CUgraphNode).collect())
}

/// Lists a graph's edges.
pub(crate) fn edges_of(graph: CUgraph) -> Result<Vec<GraphLink>, Error> {
    whole(|first| {
        let part = remote::call(&GraphEdges { graph: graph.0, first })?;
        Ok((part.count, part.edges))
    })
}

/// Lists what a node depends on, or what depends on it.
fn neighbours(node: CUgraphNode, is_dependent: bool) -> Result<Vec<GraphEdge>, Error> {
    whole(|first| {
        let request = GraphNodeEdges { node: node.0, is_dependent: is_dependent.into(), first };
        let part = remote::call(&request)?;
        Ok((part.count, part.edges))
    })
}

/// Asks for a list that may be longer than one answer.
fn whole<T>(ask: impl Fn(u64) -> Result<(u64, Vec<T>), Error>) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    loop {
        let (count, part) = ask(all.len() as u64)?;
        let is_empty = part.is_empty();
        all.extend(part);
        if all.len() as u64 >= count || is_empty {
            return Ok(all);
        }
    }
}

/// Stores a list as CUDA's queries do: without a place for it, only its length; with one, as much
/// as fits, zeroes in what is left of it, and how many were stored.
fn store_list<T: Copy + Default>(
    list: &[T],
    place: Memory<'_>,
    capacity: usize,
) -> Result<(), Error> {
    if place.address() == 0 {
        return Ok(());
    }
    let mut stored = list[..list.len().min(capacity)].to_vec();
    stored.resize(capacity.min(SPARE_MAX.max(stored.len())), T::default());
    place.store(&stored)
}

/// Most entries that are filled with zeroes behind a list, whatever room the program says there
/// is: a million, more than a graph of ours has.
const SPARE_MAX: usize = 1 << 20;

fn counted(list: usize, is_asked: bool, count: &mut usize) {
    *count = if is_asked { list.min(*count) } else { list };
}

fn answer(nodes: &[CUgraphNode], place: Memory<'_>, count: &mut usize) -> Result<(), Error> {
    let is_asked = place.address() != 0;
    store_list(nodes, place, *count)?;
    counted(nodes.len(), is_asked, count);
    Ok(())
}

/// Stores a graph's nodes.
pub(crate) fn graph_get_nodes(
    graph: CUgraph,
    place: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    answer(&nodes_of(graph)?, place, count)
}

/// Stores a graph's nodes that depend on none.
pub(crate) fn graph_get_root_nodes(
    graph: CUgraph,
    place: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    let mut nodes = nodes_of(graph)?;
    let dependent: HashSet<u64> = edges_of(graph)?.into_iter().map(|edge| edge.to).collect();
    nodes.retain(|node| !dependent.contains(&node.0));
    answer(&nodes, place, count)
}

/// Stores a graph's edges.
///
/// # Errors
/// LOSSY_QUERY if one has edge data, for which there is no place here.
pub(crate) fn graph_get_edges(
    graph: CUgraph,
    from: Memory<'_>,
    to: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    graph_get_edges_v2(graph, from, to, Memory::NONE, count)
}

/// As [`graph_get_edges`], with edge data.
pub(crate) fn graph_get_edges_v2(
    graph: CUgraph,
    from: Memory<'_>,
    to: Memory<'_>,
    data: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    let is_asked = from.address() != 0;
    if is_asked != (to.address() != 0) || !is_asked && data.address() != 0 {
        return Err(Error::INVALID_VALUE);
    }
    let edges = edges_of(graph)?;
    check_lossless(edges.iter().map(|edge| edge.data), is_asked, &data)?;
    let column = |pick: fn(&GraphLink) -> u64| -> Vec<CUgraphNode> {
        edges.iter().map(|edge| CUgraphNode(pick(edge))).collect()
    };
    store_list(&column(|edge| edge.from), from, *count)?;
    store_list(&column(|edge| edge.to), to, *count)?;
    store_list(&edges.iter().map(|edge| edge.data).collect::<Vec<_>>(), data, *count)?;
    counted(edges.len(), is_asked, count);
    Ok(())
}

fn check_lossless(
    mut all: impl Iterator<Item = [u8; 8]>,
    is_asked: bool,
    place: &Memory<'_>,
) -> Result<(), Error> {
    let is_lossy = is_asked && place.address() == 0 && all.any(|data| data != DEFAULT);
    if is_lossy { Err(Error::LOSSY_QUERY) } else { Ok(()) }
}

fn answer_edges(
    edges: &[GraphEdge],
    place: Memory<'_>,
    data: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    let is_asked = place.address() != 0;
    check_lossless(edges.iter().map(|edge| edge.data), is_asked, &data)?;
    store_list(&edges.iter().map(|edge| edge.data).collect::<Vec<_>>(), data, *count)?;
    let nodes: Vec<CUgraphNode> = edges.iter().map(|edge| CUgraphNode(edge.node)).collect();
    answer(&nodes, place, count)
}

/// Stores what a node depends on.
///
/// # Errors
/// LOSSY_QUERY if an edge has data, for which there is no place here.
pub(crate) fn graph_node_get_dependencies(
    node: CUgraphNode,
    place: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    answer_edges(&neighbours(node, false)?, place, Memory::NONE, count)
}

/// As [`graph_node_get_dependencies`], with edge data.
pub(crate) fn graph_node_get_dependencies_v2(
    node: CUgraphNode,
    place: Memory<'_>,
    data: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    answer_edges(&neighbours(node, false)?, place, data, count)
}

/// Stores what depends on a node.
///
/// # Errors
/// LOSSY_QUERY if an edge has data, for which there is no place here.
pub(crate) fn graph_node_get_dependent_nodes(
    node: CUgraphNode,
    place: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    answer_edges(&neighbours(node, true)?, place, Memory::NONE, count)
}

/// As [`graph_node_get_dependent_nodes`], with edge data.
pub(crate) fn graph_node_get_dependent_nodes_v2(
    node: CUgraphNode,
    place: Memory<'_>,
    data: Memory<'_>,
    count: &mut usize,
) -> Result<(), Error> {
    answer_edges(&neighbours(node, true)?, place, data, count)
}

/// Adds edges between a graph's nodes.
pub(crate) fn graph_add_dependencies(
    graph: CUgraph,
    from: &[CUgraphNode],
    to: &[CUgraphNode],
) -> Result<(), Error> {
    graph_add_dependencies_v2(graph, from, to, Memory::NONE)
}

/// As [`graph_add_dependencies`], with edge data.
pub(crate) fn graph_add_dependencies_v2(
    graph: CUgraph,
    from: &[CUgraphNode],
    to: &[CUgraphNode],
    data: Memory<'_>,
) -> Result<(), Error> {
    let edges = links(from, to, data)?;
    remote::call(&GraphAddEdges { graph: graph.0, edges })
}

/// Removes edges between a graph's nodes.
pub(crate) fn graph_remove_dependencies(
    graph: CUgraph,
    from: &[CUgraphNode],
    to: &[CUgraphNode],
) -> Result<(), Error> {
    graph_remove_dependencies_v2(graph, from, to, Memory::NONE)
}

/// As [`graph_remove_dependencies`], with edge data, which must be the edges'.
pub(crate) fn graph_remove_dependencies_v2(
    graph: CUgraph,
    from: &[CUgraphNode],
    to: &[CUgraphNode],
    data: Memory<'_>,
) -> Result<(), Error> {
    let edges = links(from, to, data)?;
    remote::call(&GraphRemoveEdges { graph: graph.0, edges })
}

fn links(
    from: &[CUgraphNode],
    to: &[CUgraphNode],
    data: Memory<'_>,
) -> Result<Vec<GraphLink>, Error> {
    let link = |(edge, to): (GraphEdge, &CUgraphNode)| GraphLink {
        from: edge.node,
        to: to.0,
        data: edge.data,
    };
    Ok(edges(from, data)?.into_iter().zip(to).map(link).collect())
}

/// Puts dependencies into a message; with edge data unless the program gave NULL for it.
pub(super) fn edges(nodes: &[CUgraphNode], data: Memory<'_>) -> Result<Vec<GraphEdge>, Error> {
    let mut edges = plain_edges(nodes)?;
    if data.address() != 0 {
        let data = data.bytes::<Error>(nodes.len() * size_of::<CUgraphEdgeData>())?;
        for (edge, data) in edges.iter_mut().zip(data.as_chunks().0) {
            edge.data = *data;
        }
    }
    Ok(edges)
}

/// Puts dependencies without edge data into a message.
pub(super) fn plain_edges(nodes: &[CUgraphNode]) -> Result<Vec<GraphEdge>, Error> {
    if nodes.len() > EDGES_MAX {
        return Err(Error::NOT_SUPPORTED);
    }
    Ok(nodes.iter().map(|node| GraphEdge { node: node.0, data: DEFAULT }).collect())
}

/// Reads edge data from a message.
pub(super) fn edge_data(data: [u8; 8]) -> CUgraphEdgeData {
    let [from_port, to_port, r#type, reserved @ ..] = data;
    CUgraphEdgeData { from_port, to_port, r#type, reserved }
}
