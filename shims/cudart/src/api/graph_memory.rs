//! Nodes that copy and set memory (CUDA Runtime API, "Graph Management").

use vgpu_abi::cudart::{
    cudaGraph_t, cudaGraphExec_t, cudaGraphNode_t, cudaMemcpy3DParms, cudaMemcpyKind,
};
use vgpu_guest::convert::{Memory, Pointing};

use super::copy::Kind;
use super::symbol;
use super::volume::{from_driver, to_driver};
use crate::driver::{Address, Copy3D, Side3D};
use crate::primary;
use crate::result::{Error, Result};

/// Adds a node that copies slices of rows.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn graph_add_memcpy_node(
    node: Memory<'_>,
    graph: cudaGraph_t,
    dependencies: Memory<'_>,
    count: usize,
    copy: Pointing<'_, cudaMemcpy3DParms>,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let copy = to_driver(driver, &copy)?;
    driver.graph_add_memcpy_node(node.into(), graph, dependencies.into(), count, &copy, context)
}

/// Lets a node copy slices of rows.
pub fn graph_memcpy_node_set_params(
    node: cudaGraphNode_t,
    copy: Pointing<'_, cudaMemcpy3DParms>,
) -> Result<()> {
    let driver = primary::current()?;
    let copy = to_driver(driver, &copy)?;
    driver.graph_memcpy_node_set_params(node, &copy)
}

/// Lets a node of an executable graph copy slices of rows.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn graph_exec_memcpy_node_set_params(
    exec: cudaGraphExec_t,
    node: cudaGraphNode_t,
    copy: Pointing<'_, cudaMemcpy3DParms>,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let copy = to_driver(driver, &copy)?;
    driver.graph_exec_memcpy_node_set_params(exec, node, &copy, context)
}

/// Adds a node that copies bytes.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn graph_add_memcpy_node1_d(
    node: Memory<'_>,
    graph: cudaGraph_t,
    dependencies: Memory<'_>,
    count: usize,
    target: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let copy = line(target.into(), source.into(), bytes, Kind::new(kind)?)?;
    driver.graph_add_memcpy_node(node.into(), graph, dependencies.into(), count, &copy, context)
}

/// Lets a node copy bytes.
pub fn graph_memcpy_node_set_params1_d(
    node: cudaGraphNode_t,
    target: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let driver = primary::current()?;
    let copy = line(target.into(), source.into(), bytes, Kind::new(kind)?)?;
    driver.graph_memcpy_node_set_params(node, &copy)
}

/// Lets a node of an executable graph copy bytes.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn graph_exec_memcpy_node_set_params1_d(
    exec: cudaGraphExec_t,
    node: cudaGraphNode_t,
    target: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let copy = line(target.into(), source.into(), bytes, Kind::new(kind)?)?;
    driver.graph_exec_memcpy_node_set_params(exec, node, &copy, context)
}

/// Adds a node that copies bytes into a variable.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn graph_add_memcpy_node_to_symbol(
    node: Memory<'_>,
    graph: cudaGraph_t,
    dependencies: Memory<'_>,
    count: usize,
    symbol: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let copy = into_symbol(&symbol, source, bytes, offset, kind)?;
    driver.graph_add_memcpy_node(node.into(), graph, dependencies.into(), count, &copy, context)
}

/// Lets a node copy bytes into a variable.
pub fn graph_memcpy_node_set_params_to_symbol(
    node: cudaGraphNode_t,
    symbol: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let driver = primary::current()?;
    let copy = into_symbol(&symbol, source, bytes, offset, kind)?;
    driver.graph_memcpy_node_set_params(node, &copy)
}

/// Lets a node of an executable graph copy bytes into a variable.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn graph_exec_memcpy_node_set_params_to_symbol(
    exec: cudaGraphExec_t,
    node: cudaGraphNode_t,
    symbol: Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let copy = into_symbol(&symbol, source, bytes, offset, kind)?;
    driver.graph_exec_memcpy_node_set_params(exec, node, &copy, context)
}

/// Adds a node that copies bytes out of a variable.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn graph_add_memcpy_node_from_symbol(
    node: Memory<'_>,
    graph: cudaGraph_t,
    dependencies: Memory<'_>,
    count: usize,
    target: Memory<'_>,
    symbol: Memory<'_>,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let copy = out_of_symbol(target, &symbol, bytes, offset, kind)?;
    driver.graph_add_memcpy_node(node.into(), graph, dependencies.into(), count, &copy, context)
}

/// Lets a node copy bytes out of a variable.
pub fn graph_memcpy_node_set_params_from_symbol(
    node: cudaGraphNode_t,
    target: Memory<'_>,
    symbol: Memory<'_>,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let driver = primary::current()?;
    let copy = out_of_symbol(target, &symbol, bytes, offset, kind)?;
    driver.graph_memcpy_node_set_params(node, &copy)
}

/// Lets a node of an executable graph copy bytes out of a variable.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn graph_exec_memcpy_node_set_params_from_symbol(
    exec: cudaGraphExec_t,
    node: cudaGraphNode_t,
    target: Memory<'_>,
    symbol: Memory<'_>,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let copy = out_of_symbol(target, &symbol, bytes, offset, kind)?;
    driver.graph_exec_memcpy_node_set_params(exec, node, &copy, context)
}

/// Returns what a node copies.
pub fn graph_memcpy_node_get_params(node: cudaGraphNode_t) -> Result<cudaMemcpy3DParms> {
    let driver = primary::current()?;
    let mut copy = Copy3D::default();
    driver.graph_memcpy_node_get_params(node, &mut copy)?;
    from_driver(driver, &copy)
}

/// Adds a node that sets memory; its structure is the driver's own.
pub fn graph_add_memset_node(
    node: Memory<'_>,
    graph: cudaGraph_t,
    dependencies: Memory<'_>,
    count: usize,
    parameters: Memory<'_>,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    let (node, dependencies) = (node.into(), dependencies.into());
    driver.graph_add_memset_node(node, graph, dependencies, count, parameters.into(), context)
}

/// Gives what a node sets.
pub fn graph_memset_node_get_params(node: cudaGraphNode_t, parameters: Memory<'_>) -> Result<()> {
    primary::current()?.graph_memset_node_get_params(node, parameters.into())
}

/// Lets a node set other memory.
pub fn graph_memset_node_set_params(node: cudaGraphNode_t, parameters: Memory<'_>) -> Result<()> {
    primary::current()?.graph_memset_node_set_params(node, parameters.into())
}

/// Lets a node of an executable graph set other memory.
pub fn graph_exec_memset_node_set_params(
    exec: cudaGraphExec_t,
    node: cudaGraphNode_t,
    parameters: Memory<'_>,
) -> Result<()> {
    let (driver, context) = primary::context()?;
    driver.graph_exec_memset_node_set_params(exec, node, parameters.into(), context)
}

/// Describes a copy of bytes as one of a single row.
fn line(target: Address, source: Address, bytes: usize, kind: Kind) -> Result<Copy3D> {
    let (to, from) = kind.sides();
    if target == Address::NULL || source == Address::NULL {
        return Err(Error::INVALID_VALUE);
    }
    Ok(Copy3D {
        source: Side3D::memory(source, from, bytes, 1),
        target: Side3D::memory(target, to, bytes, 1),
        width_bytes: bytes,
        height: 1,
        depth: 1,
    })
}

fn into_symbol(
    symbol: &Memory<'_>,
    source: Memory<'_>,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<Copy3D> {
    let kind = symbol::kind_into(kind)?;
    line(symbol::part(symbol, bytes, offset)?, source.into(), bytes, kind)
}

fn out_of_symbol(
    target: Memory<'_>,
    symbol: &Memory<'_>,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
) -> Result<Copy3D> {
    let kind = symbol::kind_out_of(kind)?;
    line(target.into(), symbol::part(symbol, bytes, offset)?, bytes, kind)
}
