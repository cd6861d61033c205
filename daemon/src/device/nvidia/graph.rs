//! Graphs of the genuine driver, their nodes and edges.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    GraphAddEdges, GraphAddNode, GraphAddNodeReply, GraphAttribute, GraphAttributeChange,
    GraphAttributeReply, GraphEdge, GraphEdges, GraphEdgesReply, GraphLink, GraphNodeChange,
    GraphNodeEdges, GraphNodeEdgesReply, GraphNodeParams, GraphNodeParamsReply, GraphNodes,
    GraphNodesReply, GraphRemoveEdges,
};

use super::Nvidia;
use super::capture::EDGE_DATA;
use super::foreign::{Bytes, Pointer, Raw};
use super::handles::Kind;
use super::node::Work;
use crate::dispatch::Call;

/// Most nodes of one answer, and most edges: what the messages' lists hold.
const NODES_MAX: usize = 65_536;
const EDGES_MAX: usize = 32_768;

/// Most edges that are asked for at all: 16 million, some 400 MiB.
const COUNT_MAX: usize = 1 << 24;

/// Nodes, as the driver lists them, with the data of their edges.
type Listed = (Vec<Pointer>, Vec<[u8; 8]>);

pub(super) fn graph_nodes(
    nvidia: &mut Nvidia,
    _: &Call,
    r: GraphNodes,
) -> Result<GraphNodesReply, Error> {
    let graph = nvidia.handles.find(Kind::Graph, r.graph)?;
    let mut count = 0;
    nvidia.driver.graph_get_nodes(graph, Raw::NULL, &mut count)?;
    let mut list = vec![Pointer::default(); bounded(count)?];
    if count > 0 {
        nvidia.driver.graph_get_nodes(graph, Raw::write(&mut list), &mut count)?;
    }
    let mut nodes = Vec::new();
    for node in list.iter().skip(r.first as usize).take(NODES_MAX) {
        nodes.push(nvidia.handles.keep(Kind::Node, *node, r.graph)?);
    }
    Ok(GraphNodesReply { count: list.len() as u64, nodes })
}

fn bounded(count: usize) -> Result<usize, Error> {
    if count <= COUNT_MAX { Ok(count) } else { Err(Error::OUT_OF_MEMORY) }
}

impl Nvidia {
    fn knows_edge_data(&self) -> bool {
        self.snapshot.driver_version >= EDGE_DATA
    }
}

pub(super) fn graph_edges(
    nvidia: &mut Nvidia,
    _: &Call,
    r: GraphEdges,
) -> Result<GraphEdgesReply, Error> {
    let graph = nvidia.handles.find(Kind::Graph, r.graph)?;
    let (driver, knows) = (&nvidia.driver, nvidia.knows_edge_data());
    let mut count = 0;
    let nothing = Raw::NULL;
    if knows {
        driver.graph_get_edges_v2(graph, nothing, nothing, nothing, &mut count)?;
    } else {
        driver.graph_get_edges(graph, nothing, nothing, &mut count)?;
    }
    let mut from = vec![Pointer::default(); bounded(count)?];
    let (mut to, mut data) = (from.clone(), vec![[0; 8]; count]);
    if count > 0 {
        let (begins, ends) = (Raw::write(&mut from), Raw::write(&mut to));
        if knows {
            driver.graph_get_edges_v2(graph, begins, ends, Raw::write(&mut data), &mut count)?;
        } else {
            driver.graph_get_edges(graph, begins, ends, &mut count)?;
        }
    }
    let total = from.len() as u64;
    let mut edges = Vec::new();
    let all = from.into_iter().zip(to).zip(data);
    for ((from, to), data) in all.skip(r.first as usize).take(EDGES_MAX) {
        edges.push(GraphLink {
            from: nvidia.handles.keep(Kind::Node, from, r.graph)?,
            to: nvidia.handles.keep(Kind::Node, to, r.graph)?,
            data,
        });
    }
    Ok(GraphEdgesReply { count: total, edges })
}

pub(super) fn graph_node_edges(
    nvidia: &mut Nvidia,
    _: &Call,
    r: GraphNodeEdges,
) -> Result<GraphNodeEdgesReply, Error> {
    let node = nvidia.handles.find(Kind::Node, r.node)?;
    let (nodes, data) = neighbours(nvidia, node, r.is_dependent != 0)?;
    let graph = nvidia.handles.owner(r.node);
    let total = nodes.len() as u64;
    let mut edges = Vec::new();
    for (node, data) in nodes.into_iter().zip(data).skip(r.first as usize).take(EDGES_MAX) {
        edges.push(GraphEdge { node: nvidia.handles.keep(Kind::Node, node, graph)?, data });
    }
    Ok(GraphNodeEdgesReply { count: total, edges })
}

fn neighbours(nvidia: &Nvidia, node: Pointer, is_dependent: bool) -> Result<Listed, Error> {
    let driver = &nvidia.driver;
    let ask = |nodes, data, count: &mut usize| match (nvidia.knows_edge_data(), is_dependent) {
        (true, false) => driver.graph_node_get_dependencies_v2(node, nodes, data, count),
        (true, true) => driver.graph_node_get_dependent_nodes_v2(node, nodes, data, count),
        (false, false) => driver.graph_node_get_dependencies(node, nodes, count),
        (false, true) => driver.graph_node_get_dependent_nodes(node, nodes, count),
    };
    let mut count = 0;
    ask(Raw::NULL, Raw::NULL, &mut count)?;
    let mut nodes = vec![Pointer::default(); bounded(count)?];
    let mut data = vec![[0; 8]; count];
    if count > 0 {
        ask(Raw::write(&mut nodes), Raw::write(&mut data), &mut count)?;
    }
    Ok((nodes, data))
}

pub(super) fn graph_add_edges(
    nvidia: &mut Nvidia,
    _: &Call,
    r: GraphAddEdges,
) -> Result<(), Error> {
    change_edges(nvidia, r.graph, &r.edges, true)
}

pub(super) fn graph_remove_edges(
    nvidia: &mut Nvidia,
    _: &Call,
    r: GraphRemoveEdges,
) -> Result<(), Error> {
    change_edges(nvidia, r.graph, &r.edges, false)
}

fn change_edges(
    nvidia: &Nvidia,
    graph: u64,
    edges: &[GraphLink],
    is_added: bool,
) -> Result<(), Error> {
    let graph = nvidia.handles.find(Kind::Graph, graph)?;
    let find = |node| nvidia.handles.find(Kind::Node, node);
    let from = edges.iter().map(|edge| find(edge.from)).collect::<Result<Vec<_>, _>>()?;
    let to = edges.iter().map(|edge| find(edge.to)).collect::<Result<Vec<_>, _>>()?;
    let data: Vec<[u8; 8]> = edges.iter().map(|edge| edge.data).collect();
    let (begins, ends, count) = (Raw::read(&from), Raw::read(&to), edges.len());
    let driver = &nvidia.driver;
    if data.iter().all(|data| *data == [0; 8]) {
        return match is_added {
            true => driver.graph_add_dependencies(graph, begins, ends, count),
            false => driver.graph_remove_dependencies(graph, begins, ends, count),
        };
    }
    let data = Raw::read(&data);
    match is_added {
        true => driver.graph_add_dependencies_v2(graph, begins, ends, data, count),
        false => driver.graph_remove_dependencies_v2(graph, begins, ends, data, count),
    }
}

pub(super) fn graph_add_node(
    nvidia: &mut Nvidia,
    call: &Call,
    r: GraphAddNode,
) -> Result<GraphAddNodeReply, Error> {
    nvidia.enter(call)?;
    let graph = nvidia.handles.find(Kind::Graph, r.graph)?;
    let edges = nvidia.edges(&r.dependencies)?;
    let (work, context) = nvidia.work(call.context, r.params)?;
    // Only the newest function takes edge data and all kinds of nodes; so edges with data are
    // added behind the node.
    let plain = edges.is_plain();
    let (nodes, count) = match plain {
        true => (Raw::read(&edges.nodes), edges.nodes.len()),
        false => (Raw::NULL, 0),
    };
    let added = add(nvidia, (graph, context), nodes, count, work)?;
    let node = nvidia.handles.keep(Kind::Node, added, r.graph)?;
    if !plain {
        let link = |edge: &GraphEdge| GraphLink { from: edge.node, to: node, data: edge.data };
        let links: Vec<GraphLink> = r.dependencies.iter().map(link).collect();
        if let Err(error) = change_edges(nvidia, r.graph, &links, true) {
            nvidia.handles.end(node);
            nvidia.driver.graph_destroy_node(added)?;
            return Err(error);
        }
    }
    Ok(GraphAddNodeReply { node })
}

fn add(
    nvidia: &Nvidia,
    (graph, context): (Pointer, Pointer),
    nodes: Raw<'_>,
    count: usize,
    work: Work,
) -> Result<Pointer, Error> {
    let driver = &nvidia.driver;
    let mut node = Pointer::default();
    let place = &mut node;
    match work {
        Work::Kernel(mut kernel) => {
            driver.graph_add_kernel_node_v2(place, graph, nodes, count, &mut kernel.bytes)?;
            for attribute in &kernel.launch.attributes {
                let mut value = nvidia.attribute_value(attribute)?;
                driver.graph_kernel_node_set_attribute(node, attribute.id, &mut value)?;
            }
        }
        Work::Copy(mut copy) => {
            driver.graph_add_memcpy_node(place, graph, nodes, count, &mut copy, context)?;
        }
        Work::Set(mut set) => {
            driver.graph_add_memset_node(place, graph, nodes, count, &mut set, context)?;
        }
        Work::Empty => driver.graph_add_empty_node(place, graph, nodes, count)?,
        Work::Graph(child) => {
            driver.graph_add_child_graph_node(place, graph, nodes, count, child)?;
        }
        Work::EventRecord(event) => {
            driver.graph_add_event_record_node(place, graph, nodes, count, event)?;
        }
        Work::EventWait(event) => {
            driver.graph_add_event_wait_node(place, graph, nodes, count, event)?;
        }
        Work::Host(mut host) => {
            driver.graph_add_host_node(place, graph, nodes, count, &mut host)?;
        }
    }
    Ok(node)
}

pub(super) fn graph_node_params(
    nvidia: &mut Nvidia,
    call: &Call,
    r: GraphNodeParams,
) -> Result<GraphNodeParamsReply, Error> {
    nvidia.enter(call)?;
    Ok(GraphNodeParamsReply { params: nvidia.node_params(r.node)? })
}

pub(super) fn graph_node_change(
    nvidia: &mut Nvidia,
    call: &Call,
    r: GraphNodeChange,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let node = nvidia.handles.find(Kind::Node, r.node)?;
    let (work, _) = nvidia.work(call.context, r.params)?;
    let driver = &nvidia.driver;
    match work {
        Work::Kernel(mut kernel) => driver.graph_kernel_node_set_params_v2(node, &mut kernel.bytes),
        Work::Copy(mut copy) => driver.graph_memcpy_node_set_params(node, &mut copy),
        Work::Set(mut set) => driver.graph_memset_node_set_params(node, &mut set),
        Work::EventRecord(event) => driver.graph_event_record_node_set_event(node, event),
        Work::EventWait(event) => driver.graph_event_wait_node_set_event(node, event),
        Work::Host(mut host) => driver.graph_host_node_set_params(node, &mut host),
        // What a child graph's node does is changed in that graph.
        Work::Empty | Work::Graph(_) => Err(Error::INVALID_VALUE),
    }
}

pub(super) fn graph_attribute(
    nvidia: &mut Nvidia,
    call: &Call,
    r: GraphAttribute,
) -> Result<GraphAttributeReply, Error> {
    nvidia.enter(call)?;
    let node = nvidia.handles.find(Kind::Node, r.node)?;
    nvidia.check_plain(r.id)?;
    let mut value = Bytes([0; 64]);
    nvidia.driver.graph_kernel_node_get_attribute(node, r.id, &mut value)?;
    Ok(GraphAttributeReply { value: value.0 })
}

pub(super) fn graph_attribute_change(
    nvidia: &mut Nvidia,
    call: &Call,
    r: GraphAttributeChange,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let node = nvidia.handles.find(Kind::Node, r.node)?;
    let mut value = nvidia.attribute_value(&r.attribute)?;
    nvidia.driver.graph_kernel_node_set_attribute(node, r.attribute.id, &mut value)
}
