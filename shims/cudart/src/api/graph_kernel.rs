//! Kernel nodes (CUDA Runtime API, "Graph Management").
//!
//! The program names a kernel by its stub, also when it asks a node for it.

use vgpu_abi::cudart::{
    cudaGraph_t, cudaGraphExec_t, cudaGraphNode_t, cudaKernelNodeParams as Parameters,
    cudaLaunchAttributeID, dim3,
};
use vgpu_guest::convert::{Memory, Pointing};

use super::memory::address;
use crate::code::{self, Code};
use crate::driver::{Driver, Function, Kernel, KernelNode};
use crate::primary;
use crate::result::{Error, Result};

forwarded! {
    /// Copies the attributes of one kernel node to another.
    graph_kernel_node_copy_attributes(target: cudaGraphNode_t, source: cudaGraphNode_t);
    /// Gives an attribute of a kernel node; numbers and values are the driver's own.
    graph_kernel_node_get_attribute(
        node: cudaGraphNode_t, attribute: cudaLaunchAttributeID, value: Memory<'_>);
    /// Sets an attribute of a kernel node.
    graph_kernel_node_set_attribute(
        node: cudaGraphNode_t, attribute: cudaLaunchAttributeID, value: Memory<'_>);
}

/// Adds a node that launches a kernel.
pub fn graph_add_kernel_node(
    node: Memory<'_>,
    graph: cudaGraph_t,
    dependencies: Memory<'_>,
    count: usize,
    parameters: Pointing<'_, Parameters>,
) -> Result<()> {
    let parameters = to_driver(&parameters)?;
    let driver = primary::current()?;
    driver.graph_add_kernel_node(node.into(), graph, dependencies.into(), count, &parameters)
}

/// Returns what a node launches; lists of arguments belong to the node.
pub fn graph_kernel_node_get_params(node: cudaGraphNode_t) -> Result<Parameters> {
    let driver = primary::current()?;
    let mut launch = KernelNode::default();
    driver.graph_kernel_node_get_params(node, &mut launch)?;
    from_driver(driver, &launch)
}

/// Sets what a node launches.
pub fn graph_kernel_node_set_params(
    node: cudaGraphNode_t,
    parameters: Pointing<'_, Parameters>,
) -> Result<()> {
    let parameters = to_driver(&parameters)?;
    primary::current()?.graph_kernel_node_set_params(node, &parameters)
}

/// Sets what a node of an executable graph launches.
pub fn graph_exec_kernel_node_set_params(
    exec: cudaGraphExec_t,
    node: cudaGraphNode_t,
    parameters: Pointing<'_, Parameters>,
) -> Result<()> {
    let parameters = to_driver(&parameters)?;
    primary::current()?.graph_exec_kernel_node_set_params(exec, node, &parameters)
}

fn to_driver(parameters: &Pointing<'_, Parameters>) -> Result<KernelNode> {
    let launch = parameters.value();
    let (function, kernel) = match code::of(launch.func.addr() as u64)? {
        Code::Kernel(kernel) => (Function::default(), kernel),
        Code::Function(function) => (function, Kernel::default()),
    };
    Ok(KernelNode {
        function,
        grid: [launch.gridDim.x, launch.gridDim.y, launch.gridDim.z],
        block: [launch.blockDim.x, launch.blockDim.y, launch.blockDim.z],
        shared_bytes: launch.sharedMemBytes,
        parameters: parameters.memory(|launch| launch.kernelParams.cast(), 0).into(),
        extra: parameters.memory(|launch| launch.extra.cast(), 0).into(),
        kernel,
        context: 0,
    })
}

fn from_driver(driver: &Driver, launch: &KernelNode) -> Result<Parameters> {
    let function = match (launch.kernel, launch.function) {
        (Kernel(0), Function(0)) => return Err(Error::INVALID_DEVICE_FUNCTION),
        (Kernel(0), function) => code::address_of(driver, Code::Function(function)),
        (kernel, _) => code::address_of(driver, Code::Kernel(kernel)),
    };
    let [[x, y, z], [block_x, block_y, block_z]] = [launch.grid, launch.block];
    Ok(Parameters {
        func: address(function),
        gridDim: dim3 { x, y, z },
        blockDim: dim3 { x: block_x, y: block_y, z: block_z },
        sharedMemBytes: launch.shared_bytes,
        kernelParams: address(launch.parameters.number()).cast(),
        extra: address(launch.extra.number()).cast(),
    })
}
