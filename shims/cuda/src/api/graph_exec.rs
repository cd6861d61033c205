//! Executable graphs (CUDA Driver API, Graph Management). A launch does not wait.

use vgpu_abi::cuda::{
    CUDA_GRAPH_INSTANTIATE_PARAMS, CUcontext, CUevent, CUgraph, CUgraphExec,
    CUgraphExecUpdateResult, CUgraphExecUpdateResultInfo, CUgraphInstantiate_flags as Flags,
    CUgraphInstantiateResult, CUgraphNode, CUgraphNodeType as Type, CUstream, Error,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cuda::{
    GraphExecDestroy, GraphExecGetFlags, GraphExecNodeChange, GraphExecUpdate,
    GraphExecUpdateReply, GraphInstantiate, GraphInstantiateReply, GraphLaunch,
    GraphNodeGetEnabled, GraphNodeSetEnabled, GraphUpload, NodeParams,
};

use super::capture;
use super::node::{check_child, of_event};
use super::node_params::{self, Version};
use crate::borrowed::{self, Borrowed, Needs};
use crate::{graphs, handles, remote};

/// Makes an executable graph. The node that stands in the way, if one does, is stored; there is
/// no log, so its text is empty.
pub(crate) fn graph_instantiate(
    graph: CUgraph,
    error_node: Memory<'_>,
    log: Memory<'_>,
    log_bytes: usize,
) -> Result<CUgraphExec, Error> {
    let (needs, made) = instantiate(graph, 0, CUstream(0))?;
    if error_node.address() != 0 {
        error_node.store::<_, Error>(&[CUgraphNode(made.error_node)])?;
    }
    if log.address() != 0 && log_bytes > 0 {
        log.store::<_, Error>(&[0_u8])?;
    }
    taken_up(needs, &made)
}

/// As [`graph_instantiate`].
pub(crate) fn graph_instantiate_v2(
    graph: CUgraph,
    error_node: Memory<'_>,
    log: Memory<'_>,
    log_bytes: usize,
) -> Result<CUgraphExec, Error> {
    graph_instantiate(graph, error_node, log, log_bytes)
}

/// Makes an executable graph with flags; that to upload it needs a stream, so it is not for here.
pub(crate) fn graph_instantiate_with_flags(
    graph: CUgraph,
    flags: u64,
) -> Result<CUgraphExec, Error> {
    remote::ready()?;
    if flags & u64::from(Flags::UPLOAD.0) != 0 {
        return Err(Error::INVALID_VALUE);
    }
    let (needs, made) = instantiate(graph, flags, CUstream(0))?;
    taken_up(needs, &made)
}

/// Makes an executable graph, and says what stands in the way if something does.
pub(crate) fn graph_instantiate_with_params(
    graph: CUgraph,
    params: &mut CUDA_GRAPH_INSTANTIATE_PARAMS,
) -> Result<CUgraphExec, Error> {
    params.hErrNode_out = CUgraphNode(0);
    params.result_out = CUgraphInstantiateResult::ERROR;
    remote::ready()?;
    if params.flags & u64::from(Flags::UPLOAD.0) != 0 {
        handles::stream(params.hUploadStream)?;
    }
    let (needs, made) = instantiate(graph, params.flags, params.hUploadStream)?;
    params.hErrNode_out = CUgraphNode(made.error_node);
    params.result_out = CUgraphInstantiateResult(made.result);
    taken_up(needs, &made)
}

fn instantiate(
    graph: CUgraph,
    flags: u64,
    upload: CUstream,
) -> Result<(Needs, GraphInstantiateReply), Error> {
    remote::ready()?;
    let needs = borrowed::needs(graph)?;
    let made = remote::call(&GraphInstantiate { graph: graph.0, flags, upload: upload.0 })?;
    Ok((needs, made))
}

fn taken_up(needs: Needs, made: &GraphInstantiateReply) -> Result<CUgraphExec, Error> {
    if let Some(error) = Error::new(made.code) {
        return Err(error);
    }
    let exec = CUgraphExec(made.exec);
    graphs::insert_exec(exec);
    borrowed::make(exec, needs);
    Ok(exec)
}

/// Launches an executable graph in a stream.
pub(crate) fn graph_launch(exec: CUgraphExec, stream: CUstream) -> Result<(), Error> {
    check(exec, stream)?;
    if !borrowed::any_in_exec(exec) {
        return remote::post_to(stream, &GraphLaunch { graph_exec: exec.0, stream: stream.0 });
    }
    if !capture::is_active(stream)? {
        return borrowed::launch(exec, stream);
    }
    check_nodes_are_the_hosts(exec)?;
    let request = GraphLaunch { graph_exec: exec.0, stream: stream.0 };
    let (graph, node) = capture::recorded(stream, || remote::call(&request))?;
    borrowed::insert_exec(graph, node, exec);
    Ok(())
}

/// Prepares the launch of an executable graph in a stream.
pub(crate) fn graph_upload(exec: CUgraphExec, stream: CUstream) -> Result<(), Error> {
    check(exec, stream)?;
    remote::post_to(stream, &GraphUpload { graph_exec: exec.0, stream: stream.0 })
}

fn check(exec: CUgraphExec, stream: CUstream) -> Result<(), Error> {
    remote::ready()?;
    graphs::check_exec(exec)?;
    handles::stream(stream).map(drop)
}

/// Destroys an executable graph when its launches are done.
pub(crate) fn graph_exec_destroy(exec: CUgraphExec) -> Result<(), Error> {
    remote::ready()?;
    graphs::remove_exec(exec)?;
    remote::post(&GraphExecDestroy { graph_exec: exec.0 })?;
    borrowed::forget_exec(exec);
    Ok(())
}

/// Lets an executable graph do what another graph says, if the two are alike enough; stores the
/// node that is not, and why.
pub(crate) fn graph_exec_update(
    exec: CUgraphExec,
    graph: CUgraph,
    error_node: Memory<'_>,
    result: Memory<'_>,
) -> Result<(), Error> {
    if error_node.address() == 0 || result.address() == 0 {
        return Err(Error::INVALID_VALUE);
    }
    let updated = update(exec, graph)?;
    error_node.store::<_, Error>(&[CUgraphNode(updated.error_node)])?;
    result.store::<_, Error>(&[CUgraphExecUpdateResult(updated.result)])?;
    Error::new(updated.code).map_or(Ok(()), Err)
}

/// As [`graph_exec_update`], and stores the edge if it is about one.
pub(crate) fn graph_exec_update_v2(
    exec: CUgraphExec,
    graph: CUgraph,
    info: &mut CUgraphExecUpdateResultInfo,
) -> Result<(), Error> {
    info.result = CUgraphExecUpdateResult::ERROR;
    info.errorNode = CUgraphNode(0);
    info.errorFromNode = CUgraphNode(0);
    let updated = update(exec, graph)?;
    info.result = CUgraphExecUpdateResult(updated.result);
    info.errorNode = CUgraphNode(updated.error_node);
    info.errorFromNode = CUgraphNode(updated.error_from_node);
    Error::new(updated.code).map_or(Ok(()), Err)
}

fn update(exec: CUgraphExec, graph: CUgraph) -> Result<GraphExecUpdateReply, Error> {
    remote::ready()?;
    graphs::check_exec(exec)?;
    let needs = borrowed::needs(graph)?;
    let updated = remote::call(&GraphExecUpdate { exec: exec.0, graph: graph.0 })?;
    if updated.code == 0 {
        borrowed::make(exec, needs);
    }
    Ok(updated)
}

/// Returns the flags that an executable graph was made with.
pub(crate) fn graph_exec_get_flags(exec: CUgraphExec) -> Result<u64, Error> {
    remote::ready()?;
    graphs::check_exec(exec)?;
    Ok(remote::call(&GraphExecGetFlags { graph_exec: exec.0 })?.flags)
}

/// Enables or disables a node of an executable graph.
pub(crate) fn graph_node_set_enabled(
    exec: CUgraphExec,
    node: CUgraphNode,
    is_enabled: u32,
) -> Result<(), Error> {
    remote::ready()?;
    graphs::check_exec(exec)?;
    check_nodes_are_the_hosts(exec)?;
    remote::call(&GraphNodeSetEnabled { graph_exec: exec.0, node: node.0, is_enabled })
}

/// Tells whether a node of an executable graph is enabled.
pub(crate) fn graph_node_get_enabled(exec: CUgraphExec, node: CUgraphNode) -> Result<u32, Error> {
    remote::ready()?;
    graphs::check_exec(exec)?;
    Ok(remote::call(&GraphNodeGetEnabled { graph_exec: exec.0, node: node.0 })?.is_enabled)
}

/// Refuses what would change copies of the program's memory one by one: which node of the
/// executable graph is which of them is not known here.
fn check_nodes_are_the_hosts(exec: CUgraphExec) -> Result<(), Error> {
    if borrowed::exec_copies_any(exec) { Err(Error::NOT_SUPPORTED) } else { Ok(()) }
}

fn change(exec: CUgraphExec, node: CUgraphNode, params: NodeParams) -> Result<(), Error> {
    graphs::check_exec(exec)?;
    if [Type::MEMCPY, Type::GRAPH].contains(&Type(params.kind)) {
        check_nodes_are_the_hosts(exec)?;
    }
    remote::call(&GraphExecNodeChange { exec: exec.0, node: node.0, params })
}

/// Changes what a kernel node of an executable graph launches.
pub(crate) fn graph_exec_kernel_node_set_params(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: Memory<'_>,
) -> Result<(), Error> {
    remote::ready()?;
    change(exec, node, node_params::launch(params, Version::One)?)
}

/// As [`graph_exec_kernel_node_set_params`], also to a library's kernel.
pub(crate) fn graph_exec_kernel_node_set_params_v2(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: Memory<'_>,
) -> Result<(), Error> {
    remote::ready()?;
    change(exec, node, node_params::launch(params, Version::Two)?)
}

/// Changes what a node of an executable graph copies.
pub(crate) fn graph_exec_memcpy_node_set_params(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: Memory<'_>,
    context: CUcontext,
) -> Result<(), Error> {
    remote::ready()?;
    change(exec, node, node_params::copy_in_sight(params, context)?)
}

/// Changes what a node of an executable graph sets.
pub(crate) fn graph_exec_memset_node_set_params(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: Memory<'_>,
    context: CUcontext,
) -> Result<(), Error> {
    remote::ready()?;
    change(exec, node, node_params::set(params, context)?)
}

/// Changes what the nodes of a child graph in an executable graph do.
pub(crate) fn graph_exec_child_graph_node_set_params(
    exec: CUgraphExec,
    node: CUgraphNode,
    child: CUgraph,
) -> Result<(), Error> {
    remote::ready()?;
    change_child(exec, node, child)
}

/// Lets the nodes of a child graph do what another graph says, and calls its functions.
///
/// # Errors
/// NOT_SUPPORTED where nodes of that copy memory of the program, which no launch would send.
fn change_child(exec: CUgraphExec, node: CUgraphNode, child: CUgraph) -> Result<(), Error> {
    check_child(child)?;
    let functions = borrowed::functions_alone(child)?;
    change(exec, node, node_params::plain(Type::GRAPH, child.0))?;
    borrowed::add_functions(exec, functions);
    Ok(())
}

/// Changes the event that a node of an executable graph records.
pub(crate) fn graph_exec_event_record_node_set_event(
    exec: CUgraphExec,
    node: CUgraphNode,
    event: CUevent,
) -> Result<(), Error> {
    change(exec, node, of_event(Type::EVENT_RECORD, event)?)
}

/// Changes the event that a node of an executable graph waits for.
pub(crate) fn graph_exec_event_wait_node_set_event(
    exec: CUgraphExec,
    node: CUgraphNode,
    event: CUevent,
) -> Result<(), Error> {
    change(exec, node, of_event(Type::WAIT_EVENT, event)?)
}

/// Changes what a node of an executable graph does, of whatever kind.
pub(crate) fn graph_exec_node_set_params(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: Memory<'_>,
) -> Result<(), Error> {
    remote::ready()?;
    let (params, borrowed) = node_params::any(params)?;
    match borrowed {
        Some(Borrowed::Copy(_)) => return Err(Error::NOT_SUPPORTED),
        Some(Borrowed::Function(function)) => {
            check_nodes_are_the_hosts(exec)?;
            change(exec, node, params)?;
            borrowed::add_functions(exec, vec![function]);
        }
        None if Type(params.kind) == Type::GRAPH => {
            change_child(exec, node, CUgraph(params.handle))?;
        }
        None => change(exec, node, params)?,
    }
    Ok(())
}
