//! Graphs, and what can be launched of them (CUDA Runtime API, "Graph Management").
//!
//! Handles, flags and structures are the driver's own.

use std::ffi::CStr;

use vgpu_abi::cudart::{
    cudaGraph_t, cudaGraphExec_t, cudaGraphMemAttributeType, cudaGraphNode_t, cudaHostFn_t,
    cudaStream_t, cudaUserObject_t,
};
use vgpu_guest::convert::Memory;

use crate::driver;
use crate::primary;
use crate::result::Result;

forwarded! {
    /// Makes an empty graph.
    graph_create(graph: Memory<'_>, flags: u32);
    /// Destroys a graph with its nodes.
    graph_destroy(graph: cudaGraph_t);
    /// Copies a graph.
    graph_clone(clone: Memory<'_>, original: cudaGraph_t);
    /// Finds the copy of a node in the copy of its graph.
    graph_node_find_in_clone(node: Memory<'_>, original: cudaGraphNode_t, clone: cudaGraph_t);
    /// Makes an executable graph: the form of CUDA 12 and 13 alike.
    graph_instantiate(exec: Memory<'_>, graph: cudaGraph_t, flags: u64);
    /// Makes an executable graph.
    graph_instantiate_with_flags(exec: Memory<'_>, graph: cudaGraph_t, flags: u64);
    /// Makes an executable graph and says what went wrong where.
    graph_instantiate_with_params(exec: Memory<'_>, graph: cudaGraph_t, parameters: Memory<'_>);
    /// As [`graph_instantiate_with_params`]; upload stream 0 is the thread's own default stream.
    graph_instantiate_with_params_ptsz(
        exec: Memory<'_>, graph: cudaGraph_t, parameters: Memory<'_>);
    /// Gives the flags that an executable graph was made with.
    graph_exec_get_flags(exec: cudaGraphExec_t, flags: Memory<'_>);
    /// Gives an executable graph the parameters of a graph of the same shape.
    graph_exec_update(exec: cudaGraphExec_t, graph: cudaGraph_t, info: Memory<'_>);
    /// Destroys an executable graph once it is done.
    graph_exec_destroy(exec: cudaGraphExec_t);
    /// Launches an executable graph in a stream.
    graph_launch(exec: cudaGraphExec_t, stream: cudaStream_t);
    /// Brings an executable graph to the device before its first launch.
    graph_upload(exec: cudaGraphExec_t, stream: cudaStream_t);
    /// Writes a graph to a file in the language of Graphviz.
    graph_debug_dot_print(graph: cudaGraph_t, path: &CStr, flags: u32);
    /// Lets a graph hold references to an object of the program.
    graph_retain_user_object(graph: cudaGraph_t, object: cudaUserObject_t, count: u32, flags: u32);
    /// Takes references to an object of the program from a graph.
    graph_release_user_object(graph: cudaGraph_t, object: cudaUserObject_t, count: u32);
    /// Makes an object that ends by a call of the program's function.
    user_object_create(
        object: Memory<'_>, pointer: Memory<'_>, destroy: cudaHostFn_t, references: u32,
        flags: u32);
    /// Takes references to an object.
    user_object_retain(object: cudaUserObject_t, count: u32);
    /// Gives references to an object back.
    user_object_release(object: cudaUserObject_t, count: u32);
    /// Gives the number of a graph.
    graph_get_id(graph: cudaGraph_t, id: Memory<'_>);
    /// Gives the number of an executable graph.
    graph_exec_get_id(exec: cudaGraphExec_t, id: Memory<'_>);
}

/// Gives memory that graphs of a device no longer use back.
pub fn device_graph_mem_trim(device: i32) -> Result<()> {
    let (driver, handle) = driver::device(device)?;
    driver.device_graph_mem_trim(handle)
}

/// Gives how much memory the graphs of a device use.
pub fn device_get_graph_mem_attribute(
    device: i32,
    attribute: cudaGraphMemAttributeType,
    value: Memory<'_>,
) -> Result<()> {
    let (driver, handle) = driver::device(device)?;
    driver.device_get_graph_mem_attribute(handle, attribute, value.into())
}

/// Resets a high mark of the memory that the graphs of a device use.
pub fn device_set_graph_mem_attribute(
    device: i32,
    attribute: cudaGraphMemAttributeType,
    value: Memory<'_>,
) -> Result<()> {
    let (driver, handle) = driver::device(device)?;
    driver.device_set_graph_mem_attribute(handle, attribute, value.into())
}

/// Makes a condition that kernels of a graph set and conditional nodes read.
pub fn graph_conditional_handle_create(graph: cudaGraph_t, value: u32, flags: u32) -> Result<u64> {
    let (driver, context) = primary::context()?;
    let mut handle = 0;
    driver.graph_conditional_handle_create(&mut handle, graph, context, value, flags)?;
    Ok(handle)
}
