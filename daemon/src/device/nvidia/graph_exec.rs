//! Executable graphs of the genuine driver.

use std::mem::offset_of;

use vgpu_abi::cuda::{CUDA_GRAPH_INSTANTIATE_PARAMS, CUgraphExecUpdateResultInfo, CUstream, Error};
use vgpu_link::wire::cuda::{
    GraphExecNodeChange, GraphExecUpdate, GraphExecUpdateReply, GraphInstantiate,
    GraphInstantiateReply,
};

use super::Nvidia;
use super::foreign::{Bytes, Pointer};
use super::handles::Kind;
use super::node::Work;
use crate::dispatch::Call;

pub(super) fn graph_instantiate(
    nvidia: &mut Nvidia,
    call: &Call,
    r: GraphInstantiate,
) -> Result<GraphInstantiateReply, Error> {
    type Params = CUDA_GRAPH_INSTANTIATE_PARAMS;
    nvidia.enter(call)?;
    let graph = nvidia.handles.find(Kind::Graph, r.graph)?;
    // Only where something is uploaded is a stream looked at.
    let upload = match r.upload {
        0 => Pointer(CUstream::default().0 as usize),
        stream => nvidia.stream(call, stream)?,
    };
    let mut params = Bytes([0; size_of::<Params>()]);
    params.put(offset_of!(Params, flags), r.flags.to_ne_bytes());
    params.put(offset_of!(Params, hUploadStream), upload.0.to_ne_bytes());
    let mut exec = Pointer::default();
    let made = nvidia.driver.graph_instantiate_with_params(&mut exec, graph, &mut params);
    let result = u32::from_ne_bytes(params.take(offset_of!(Params, result_out)));
    let node = usize::from_ne_bytes(params.take(offset_of!(Params, hErrNode_out)));
    let (exec, error_node) = match made {
        Ok(()) => (nvidia.handles.keep(Kind::Exec, exec, call.context)?, 0),
        Err(_) => (0, node_number(nvidia, node, r.graph)?),
    };
    let code = made.err().map_or(0, Error::code);
    Ok(GraphInstantiateReply { code, result, error_node, exec })
}

/// Names a node that the driver complains of; there may be none.
fn node_number(nvidia: &mut Nvidia, node: usize, graph: u64) -> Result<u64, Error> {
    match node {
        0 => Ok(0),
        node => nvidia.handles.keep(Kind::Node, Pointer(node), graph),
    }
}

pub(super) fn graph_exec_update(
    nvidia: &mut Nvidia,
    call: &Call,
    r: GraphExecUpdate,
) -> Result<GraphExecUpdateReply, Error> {
    type Info = CUgraphExecUpdateResultInfo;
    nvidia.enter(call)?;
    let exec = nvidia.handles.find(Kind::Exec, r.exec)?;
    let graph = nvidia.handles.find(Kind::Graph, r.graph)?;
    let mut info = Bytes([0; size_of::<Info>()]);
    let updated = nvidia.driver.graph_exec_update_v2(exec, graph, &mut info);
    let result = u32::from_ne_bytes(info.take(offset_of!(Info, result)));
    let node = usize::from_ne_bytes(info.take(offset_of!(Info, errorNode)));
    let from = usize::from_ne_bytes(info.take(offset_of!(Info, errorFromNode)));
    Ok(GraphExecUpdateReply {
        code: updated.err().map_or(0, Error::code),
        result,
        error_node: node_number(nvidia, node, r.graph)?,
        error_from_node: node_number(nvidia, from, r.graph)?,
    })
}

pub(super) fn graph_exec_node_change(
    nvidia: &mut Nvidia,
    call: &Call,
    r: GraphExecNodeChange,
) -> Result<(), Error> {
    nvidia.enter(call)?;
    let exec = nvidia.handles.find(Kind::Exec, r.exec)?;
    let node = nvidia.handles.find(Kind::Node, r.node)?;
    let (work, context) = nvidia.work(call.context, r.params)?;
    let driver = &nvidia.driver;
    match work {
        Work::Kernel(mut kernel) => {
            driver.graph_exec_kernel_node_set_params_v2(exec, node, &mut kernel.bytes)
        }
        Work::Copy(mut copy) => {
            driver.graph_exec_memcpy_node_set_params(exec, node, &mut copy, context)
        }
        Work::Set(mut set) => {
            driver.graph_exec_memset_node_set_params(exec, node, &mut set, context)
        }
        Work::Graph(child) => driver.graph_exec_child_graph_node_set_params(exec, node, child),
        Work::EventRecord(event) => {
            driver.graph_exec_event_record_node_set_event(exec, node, event)
        }
        Work::EventWait(event) => driver.graph_exec_event_wait_node_set_event(exec, node, event),
        Work::Host(mut host) => driver.graph_exec_host_node_set_params(exec, node, &mut host),
        Work::Empty => Err(Error::INVALID_VALUE),
    }
}
