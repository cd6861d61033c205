//! Nodes that call functions of the program (CUDA Driver API, Graph Management).

use vgpu_abi::cuda::{
    CUDA_HOST_NODE_PARAMS_v1, CUgraph, CUgraphExec, CUgraphNode, CUgraphNodeType as Type, Error,
};
use vgpu_guest::wire::cuda::{GraphExecNodeChange, GraphNodeChange, GraphNodeParams};

use super::graph::plain_edges;
use super::{host_function, node, node_params};
use crate::borrowed::{self, Borrowed, NodeFunction};
use crate::callback::HostFunction;
use crate::{graphs, remote};

/// What the program wants a node to call.
type Params = CUDA_HOST_NODE_PARAMS_v1;

/// Adds a node that calls a function.
pub(crate) fn graph_add_host_node(
    graph: CUgraph,
    dependencies: &[CUgraphNode],
    params: Params,
) -> Result<CUgraphNode, Error> {
    remote::ready()?;
    let function = taken(params)?;
    let params = node_params::plain(Type::HOST, function.ticket);
    node::add(graph, plain_edges(dependencies)?, params, Some(Borrowed::Function(function)))
}

/// Takes up the function that a node is to call; NULL is INVALID_VALUE.
fn taken(params: Params) -> Result<std::sync::Arc<NodeFunction>, Error> {
    let function = HostFunction::new(params.r#fn, params.userData).ok_or(Error::INVALID_VALUE)?;
    NodeFunction::new(function)
}

/// Returns what a node calls.
pub(crate) fn graph_host_node_get_params(node: CUgraphNode) -> Result<Params, Error> {
    let params = remote::call(&GraphNodeParams { node: node.0 })?.params;
    if Type(params.kind) != Type::HOST {
        return Err(Error::INVALID_VALUE);
    }
    told(params.handle)
}

/// Tells what the program gave for a function's number.
pub(super) fn told(ticket: u64) -> Result<Params, Error> {
    let function = host_function::of_node(ticket).ok_or(Error::INVALID_VALUE)?;
    let (r#fn, data) = function.function().given();
    Ok(Params { r#fn, userData: data })
}

/// Changes what a node calls.
pub(crate) fn graph_host_node_set_params(node: CUgraphNode, params: Params) -> Result<(), Error> {
    remote::ready()?;
    let function = taken(params)?;
    let params = node_params::plain(Type::HOST, function.ticket);
    remote::call(&GraphNodeChange { node: node.0, params })?;
    borrowed::change_function(node, function);
    Ok(())
}

/// Changes what a node of an executable graph calls.
///
/// # Errors
/// NOT_SUPPORTED where nodes copy memory of the program, which travels next to the functions.
pub(crate) fn graph_exec_host_node_set_params(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: Params,
) -> Result<(), Error> {
    remote::ready()?;
    graphs::check_exec(exec)?;
    let function = taken(params)?;
    if borrowed::exec_copies_any(exec) {
        return Err(Error::NOT_SUPPORTED);
    }
    let params = node_params::plain(Type::HOST, function.ticket);
    remote::call(&GraphExecNodeChange { exec: exec.0, node: node.0, params })?;
    borrowed::add_functions(exec, vec![function]);
    Ok(())
}
