//! What the simulated device answers about graphs and their nodes.

use std::sync::Arc;

use vgpu_abi::cuda::{CUgraphNodeType as Type, Error};
use vgpu_link::wire::cuda::{
    GraphAddEdges, GraphAddNode, GraphAddNodeReply, GraphAttribute, GraphAttributeChange,
    GraphAttributeReply, GraphChildGraphNodeGetGraph, GraphChildGraphNodeGetGraphReply, GraphClone,
    GraphCloneReply, GraphCreate, GraphCreateReply, GraphDestroy, GraphDestroyNode, GraphEdges,
    GraphEdgesReply, GraphKernelNodeCopyAttributes, GraphLink, GraphNodeChange, GraphNodeEdges,
    GraphNodeEdgesReply, GraphNodeFindInClone, GraphNodeFindInCloneReply, GraphNodeGetType,
    GraphNodeGetTypeReply, GraphNodeParams, GraphNodeParamsReply, GraphNodes, GraphNodesReply,
    GraphRemoveEdges, KernelLaunch, NodeParams,
};

use super::super::graph::{Dependency, Work};
use super::super::operation::Operation;
use super::capture::{dependencies, edges};
use crate::device::Sim;
use crate::dispatch::{Call, GraphCalls};

/// Most nodes of one answer, and most edges: what the messages' lists hold.
const NODES_MAX: usize = 65_536;
const EDGES_MAX: usize = 32_768;

/// Most attributes of a launch: what the message's list holds.
const ATTRIBUTES_MAX: usize = 64;

impl GraphCalls for Sim {
    fn graph_create(&mut self, _: &Call, r: GraphCreate) -> Result<GraphCreateReply, Error> {
        // "Flags must be 0".
        if r.flags != 0 {
            return Err(Error::INVALID_VALUE);
        }
        Ok(GraphCreateReply { graph: self.graphs.create()? })
    }

    fn graph_clone(&mut self, _: &Call, r: GraphClone) -> Result<GraphCloneReply, Error> {
        Ok(GraphCloneReply { graph_clone: self.graphs.copy(r.original_graph)? })
    }

    fn graph_destroy(&mut self, _: &Call, r: GraphDestroy) -> Result<(), Error> {
        self.graphs.destroy(r.graph)
    }

    fn graph_nodes(&mut self, _: &Call, r: GraphNodes) -> Result<GraphNodesReply, Error> {
        let nodes = &self.graphs.find(r.graph)?.nodes;
        let listed = part(nodes, r.first, NODES_MAX);
        Ok(GraphNodesReply { count: nodes.len() as u64, nodes: listed })
    }

    fn graph_edges(&mut self, _: &Call, r: GraphEdges) -> Result<GraphEdgesReply, Error> {
        let mut links = Vec::new();
        for &to in &self.graphs.find(r.graph)?.nodes {
            let dependencies = &self.graphs.node(to)?.dependencies;
            links.extend(dependencies.iter().map(|one| GraphLink {
                from: one.node,
                to,
                data: one.data,
            }));
        }
        let edges = part(&links, r.first, EDGES_MAX);
        Ok(GraphEdgesReply { count: links.len() as u64, edges })
    }

    fn graph_node_edges(
        &mut self,
        _: &Call,
        r: GraphNodeEdges,
    ) -> Result<GraphNodeEdgesReply, Error> {
        let node = self.graphs.node(r.node)?;
        let mut found = node.dependencies.clone();
        if r.is_dependent != 0 {
            found.clear();
            for &other in &self.graphs.find(node.graph)?.nodes {
                let mut edges = self.graphs.node(other)?.dependencies.iter();
                if let Some(edge) = edges.find(|edge| edge.node == r.node) {
                    found.push(Dependency { node: other, data: edge.data });
                }
            }
        }
        let listed = part(&found, r.first, EDGES_MAX);
        Ok(GraphNodeEdgesReply { count: found.len() as u64, edges: edges(&listed) })
    }

    fn graph_add_edges(&mut self, _: &Call, r: GraphAddEdges) -> Result<(), Error> {
        self.graphs.add_edges(r.graph, &links(&r.edges))
    }

    fn graph_remove_edges(&mut self, _: &Call, r: GraphRemoveEdges) -> Result<(), Error> {
        self.graphs.remove_edges(r.graph, &links(&r.edges))
    }

    fn graph_add_node(&mut self, call: &Call, r: GraphAddNode) -> Result<GraphAddNodeReply, Error> {
        let context = if r.params.context == 0 { call.context } else { r.params.context };
        self.contexts.find(context)?;
        let dependencies = dependencies(&r.dependencies);
        self.graphs.check_dependencies(r.graph, &dependencies)?;
        if Type(r.params.kind) == Type::GRAPH {
            let inner = self.graphs.copy(r.params.handle)?;
            let added = self.graphs.add(r.graph, context, Work::Graph(inner), dependencies);
            let node = added.inspect_err(|_| self.graphs.bury(inner))?;
            return Ok(GraphAddNodeReply { node });
        }
        let operation = operation(r.params)?;
        self.examine(context, &operation)?;
        let work = Work::Operation(Arc::new(operation));
        Ok(GraphAddNodeReply { node: self.graphs.add(r.graph, context, work, dependencies)? })
    }

    fn graph_node_params(
        &mut self,
        _: &Call,
        r: GraphNodeParams,
    ) -> Result<GraphNodeParamsReply, Error> {
        let node = self.graphs.node(r.node)?;
        Ok(GraphNodeParamsReply { params: params(node.context, &node.work)? })
    }

    fn graph_node_change(&mut self, _: &Call, r: GraphNodeChange) -> Result<(), Error> {
        let node = self.graphs.node(r.node)?;
        let context = node.context;
        let Work::Operation(old) = &node.work else {
            // What a child graph's node does is changed in that graph.
            return Err(Error::INVALID_VALUE);
        };
        self.check_context_of(&r.params)?;
        let mut new = operation(r.params)?;
        if kind(&new) != kind(old) {
            return Err(Error::INVALID_VALUE);
        }
        keep_attributes(&mut new, old);
        self.examine(context, &new)?;
        self.graphs.node_mut(r.node)?.work = Work::Operation(Arc::new(new));
        Ok(())
    }

    fn graph_destroy_node(&mut self, _: &Call, r: GraphDestroyNode) -> Result<(), Error> {
        self.graphs.destroy_node(r.node)
    }

    fn graph_node_get_type(
        &mut self,
        _: &Call,
        r: GraphNodeGetType,
    ) -> Result<GraphNodeGetTypeReply, Error> {
        Ok(GraphNodeGetTypeReply { kind: kind_of(&self.graphs.node(r.node)?.work).0 })
    }

    fn graph_node_find_in_clone(
        &mut self,
        _: &Call,
        r: GraphNodeFindInClone,
    ) -> Result<GraphNodeFindInCloneReply, Error> {
        let node = self.graphs.find_in_copy(r.original_node, r.cloned_graph)?;
        Ok(GraphNodeFindInCloneReply { node })
    }

    fn graph_child_graph_node_get_graph(
        &mut self,
        _: &Call,
        r: GraphChildGraphNodeGetGraph,
    ) -> Result<GraphChildGraphNodeGetGraphReply, Error> {
        match self.graphs.node(r.node)?.work {
            Work::Graph(graph) => Ok(GraphChildGraphNodeGetGraphReply { graph }),
            Work::Operation(_) => Err(Error::INVALID_VALUE),
        }
    }

    fn graph_kernel_node_copy_attributes(
        &mut self,
        _: &Call,
        r: GraphKernelNodeCopyAttributes,
    ) -> Result<(), Error> {
        let attributes = self.kernel_node(r.src)?.attributes;
        self.change_kernel_node(r.dst, |launch| {
            launch.attributes = attributes;
            Ok(())
        })
    }

    fn graph_attribute(
        &mut self,
        _: &Call,
        r: GraphAttribute,
    ) -> Result<GraphAttributeReply, Error> {
        let attributes = self.kernel_node(r.node)?.attributes;
        let value = attributes.iter().find(|one| one.id == r.id).map_or([0; 64], |one| one.value);
        Ok(GraphAttributeReply { value })
    }

    fn graph_attribute_change(&mut self, _: &Call, r: GraphAttributeChange) -> Result<(), Error> {
        self.change_kernel_node(r.node, |launch| {
            launch.attributes.retain(|one| one.id != r.attribute.id);
            if launch.attributes.len() >= ATTRIBUTES_MAX {
                return Err(Error::INVALID_VALUE);
            }
            launch.attributes.push(r.attribute);
            Ok(())
        })
    }
}

impl Sim {
    fn kernel_node(&self, node: u64) -> Result<KernelLaunch, Error> {
        match &self.graphs.node(node)?.work {
            Work::Operation(operation) => match &**operation {
                Operation::Launch(launch) => Ok(launch.into()),
                _ => Err(Error::INVALID_VALUE),
            },
            Work::Graph(_) => Err(Error::INVALID_VALUE),
        }
    }

    fn change_kernel_node(
        &mut self,
        node: u64,
        change: impl FnOnce(&mut KernelLaunch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut launch = self.kernel_node(node)?;
        change(&mut launch)?;
        let operation = Operation::Launch(launch.into());
        self.examine(self.graphs.node(node)?.context, &operation)?;
        self.graphs.node_mut(node)?.work = Work::Operation(Arc::new(operation));
        Ok(())
    }
}

/// Takes a part of a list that may be longer than one answer.
fn part<T: Clone>(all: &[T], first: u64, count_max: usize) -> Vec<T> {
    let first = usize::try_from(first).unwrap_or(usize::MAX);
    all.iter().skip(first).take(count_max).cloned().collect()
}

fn links(edges: &[GraphLink]) -> Vec<(Dependency, u64)> {
    let link = |edge: &GraphLink| (Dependency { node: edge.from, data: edge.data }, edge.to);
    edges.iter().map(link).collect()
}

/// Keeps the attributes that a node has: its parameters are changed without them.
pub(super) fn keep_attributes(new: &mut Operation, old: &Operation) {
    if let (Operation::Launch(new), Operation::Launch(old)) = (new, old)
        && new.attributes.is_empty()
    {
        let attributes = KernelLaunch::from(old).attributes;
        *new = KernelLaunch { attributes, ..KernelLaunch::from(&*new) }.into();
    }
}

/// Reads what a node of any kind but a child graph's is to do.
///
/// # Errors
/// NOT_SUPPORTED for a kind of node that is not carried, INVALID_VALUE if something is missing.
pub(super) fn operation(mut params: NodeParams) -> Result<Operation, Error> {
    let missing = Error::INVALID_VALUE;
    match Type(params.kind) {
        Type::KERNEL => {
            params.launch.pop().map(|launch| Operation::Launch(launch.into())).ok_or(missing)
        }
        Type::MEMCPY => params.copy.pop().map(Operation::Copy).ok_or(missing),
        Type::MEMSET => params.set.pop().map(Operation::Set).ok_or(missing),
        Type::EMPTY => Ok(Operation::Empty),
        Type::WAIT_EVENT => Ok(Operation::EventWait(params.handle)),
        Type::EVENT_RECORD => Ok(Operation::EventRecord(params.handle)),
        Type::HOST => Ok(Operation::Host(params.handle)),
        _ => Err(Error::NOT_SUPPORTED),
    }
}

fn kind(operation: &Operation) -> Type {
    match operation {
        Operation::Empty => Type::EMPTY,
        // What a library launches are kernels, whichever they are.
        Operation::Launch(_) | Operation::Blas(_) => Type::KERNEL,
        Operation::Copy(_) => Type::MEMCPY,
        Operation::Set(_) => Type::MEMSET,
        Operation::EventRecord(_) => Type::EVENT_RECORD,
        Operation::EventWait(_) => Type::WAIT_EVENT,
        Operation::Host(_) => Type::HOST,
    }
}

fn kind_of(work: &Work) -> Type {
    match work {
        Work::Operation(operation) => kind(operation),
        Work::Graph(_) => Type::GRAPH,
    }
}

/// Describes what a node does.
///
/// # Errors
/// NOT_SUPPORTED for a call of cuBLAS: here it is no kernel whose parameters could be told.
fn params(context: u64, work: &Work) -> Result<NodeParams, Error> {
    let mut params = NodeParams {
        kind: kind_of(work).0,
        context,
        launch: Vec::new(),
        copy: Vec::new(),
        set: Vec::new(),
        handle: 0,
    };
    match work {
        Work::Graph(graph) => params.handle = *graph,
        Work::Operation(operation) => match &**operation {
            Operation::Empty => {}
            Operation::Blas(_) => return Err(Error::NOT_SUPPORTED),
            Operation::Launch(launch) => params.launch.push(launch.into()),
            Operation::Copy(copy) => params.copy.push(copy.clone()),
            Operation::Set(set) => params.set.push(set.clone()),
            Operation::EventRecord(handle)
            | Operation::EventWait(handle)
            | Operation::Host(handle) => params.handle = *handle,
        },
    }
    Ok(params)
}
