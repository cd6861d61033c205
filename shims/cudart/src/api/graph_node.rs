//! Nodes of every kind, and the edges between them (CUDA Runtime API, "Graph Management").
//!
//! Handles, numbers and structures are the driver's own.

use vgpu_abi::cudart::{cudaEvent_t, cudaGraph_t, cudaGraphExec_t, cudaGraphNode_t};
use vgpu_guest::convert::Memory;

use crate::primary;
use crate::result::Result;

forwarded! {
    /// Adds a node that does nothing.
    graph_add_empty_node(
        node: Memory<'_>, graph: cudaGraph_t, dependencies: Memory<'_>, count: usize);
    /// Adds a node that calls a function of the program.
    graph_add_host_node(
        node: Memory<'_>, graph: cudaGraph_t, dependencies: Memory<'_>, count: usize,
        parameters: Memory<'_>);
    /// Gives what a host node calls.
    graph_host_node_get_params(node: cudaGraphNode_t, parameters: Memory<'_>);
    /// Sets what a host node calls.
    graph_host_node_set_params(node: cudaGraphNode_t, parameters: Memory<'_>);
    /// Sets what a host node of an executable graph calls.
    graph_exec_host_node_set_params(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, parameters: Memory<'_>);
    /// Adds a node that is a copy of a graph.
    graph_add_child_graph_node(
        node: Memory<'_>, graph: cudaGraph_t, dependencies: Memory<'_>, count: usize,
        child: cudaGraph_t);
    /// Gives the graph within a node.
    graph_child_graph_node_get_graph(node: cudaGraphNode_t, graph: Memory<'_>);
    /// Gives a child of an executable graph the parameters of another graph.
    graph_exec_child_graph_node_set_params(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, child: cudaGraph_t);
    /// Adds a node that records an event.
    graph_add_event_record_node(
        node: Memory<'_>, graph: cudaGraph_t, dependencies: Memory<'_>, count: usize,
        event: cudaEvent_t);
    /// Gives the event that a node records.
    graph_event_record_node_get_event(node: cudaGraphNode_t, event: Memory<'_>);
    /// Sets the event that a node records.
    graph_event_record_node_set_event(node: cudaGraphNode_t, event: cudaEvent_t);
    /// Sets the event that a node of an executable graph records.
    graph_exec_event_record_node_set_event(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, event: cudaEvent_t);
    /// Adds a node that waits for an event.
    graph_add_event_wait_node(
        node: Memory<'_>, graph: cudaGraph_t, dependencies: Memory<'_>, count: usize,
        event: cudaEvent_t);
    /// Gives the event that a node waits for.
    graph_event_wait_node_get_event(node: cudaGraphNode_t, event: Memory<'_>);
    /// Sets the event that a node waits for.
    graph_event_wait_node_set_event(node: cudaGraphNode_t, event: cudaEvent_t);
    /// Sets the event that a node of an executable graph waits for.
    graph_exec_event_wait_node_set_event(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, event: cudaEvent_t);
    /// Adds a node that allocates memory.
    graph_add_mem_alloc_node(
        node: Memory<'_>, graph: cudaGraph_t, dependencies: Memory<'_>, count: usize,
        parameters: Memory<'_>);
    /// Gives what a node allocates.
    graph_mem_alloc_node_get_params(node: cudaGraphNode_t, parameters: Memory<'_>);
    /// Adds a node that frees memory of the graph.
    graph_add_mem_free_node(
        node: Memory<'_>, graph: cudaGraph_t, dependencies: Memory<'_>, count: usize,
        pointer: Memory<'_>);
    /// Gives what a node frees.
    graph_mem_free_node_get_params(node: cudaGraphNode_t, pointer: Memory<'_>);
    /// Takes a node out of its graph.
    graph_destroy_node(node: cudaGraphNode_t);
    /// Gives the kind of a node.
    graph_node_get_type(node: cudaGraphNode_t, kind: Memory<'_>);
    /// Says whether a node of an executable graph does its work.
    graph_node_set_enabled(exec: cudaGraphExec_t, node: cudaGraphNode_t, enabled: u32);
    /// Tells whether a node of an executable graph does its work.
    graph_node_get_enabled(exec: cudaGraphExec_t, node: cudaGraphNode_t, enabled: Memory<'_>);
    /// Lists the nodes of a graph, or counts them.
    graph_get_nodes(graph: cudaGraph_t, nodes: Memory<'_>, count: Memory<'_>);
    /// Lists the nodes that depend on nothing, or counts them.
    graph_get_root_nodes(graph: cudaGraph_t, nodes: Memory<'_>, count: Memory<'_>);
    /// Lists the edges of a graph, or counts them.
    graph_get_edges(graph: cudaGraph_t, from: Memory<'_>, to: Memory<'_>, count: Memory<'_>);
    /// As [`graph_get_edges`], with the data of edges.
    graph_get_edges_v2(
        graph: cudaGraph_t, from: Memory<'_>, to: Memory<'_>, edges: Memory<'_>, count: Memory<'_>);
    /// Lists what a node depends on, or counts it.
    graph_node_get_dependencies(
        node: cudaGraphNode_t, dependencies: Memory<'_>, count: Memory<'_>);
    /// As [`graph_node_get_dependencies`], with the data of edges.
    graph_node_get_dependencies_v2(
        node: cudaGraphNode_t, dependencies: Memory<'_>, edges: Memory<'_>, count: Memory<'_>);
    /// Lists what depends on a node, or counts it.
    graph_node_get_dependent_nodes(node: cudaGraphNode_t, nodes: Memory<'_>, count: Memory<'_>);
    /// As [`graph_node_get_dependent_nodes`], with the data of edges.
    graph_node_get_dependent_nodes_v2(
        node: cudaGraphNode_t, nodes: Memory<'_>, edges: Memory<'_>, count: Memory<'_>);
    /// Adds edges.
    graph_add_dependencies(graph: cudaGraph_t, from: Memory<'_>, to: Memory<'_>, count: usize);
    /// As [`graph_add_dependencies`], with the data of edges.
    graph_add_dependencies_v2(
        graph: cudaGraph_t, from: Memory<'_>, to: Memory<'_>, edges: Memory<'_>, count: usize);
    /// Removes edges.
    graph_remove_dependencies(graph: cudaGraph_t, from: Memory<'_>, to: Memory<'_>, count: usize);
    /// As [`graph_remove_dependencies`], with the data of edges.
    graph_remove_dependencies_v2(
        graph: cudaGraph_t, from: Memory<'_>, to: Memory<'_>, edges: Memory<'_>, count: usize);
    /// Gives the graph of a node.
    graph_node_get_containing_graph(node: cudaGraphNode_t, graph: Memory<'_>);
    /// Gives the number of a node in its graph.
    graph_node_get_local_id(node: cudaGraphNode_t, id: Memory<'_>);
    /// Gives the number by which tools know a node.
    graph_node_get_tools_id(node: cudaGraphNode_t, id: Memory<'_>);
}
