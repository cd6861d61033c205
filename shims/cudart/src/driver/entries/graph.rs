//! Stream capture and graphs.
//!
//! Structures whose layout driver and runtime share, and places for results, are passed on as the
//! caller gave them.

use libloading::os::unix::Library;
use vgpu_abi::cudart::{
    cudaEvent_t, cudaGraph_t, cudaGraphExec_t, cudaGraphMemAttributeType, cudaGraphNode_t,
    cudaHostFn_t, cudaLaunchAttributeID, cudaStream_t, cudaStreamCaptureMode, cudaUserObject_t,
};

use super::Driver;
use crate::driver::copies::Copy3D;
use crate::driver::structs::{Address, Context, KernelNode, Text};
use crate::result::{Error, Result, from_driver};

entries! {
    /// Stream capture and graphs.
    Graphs in graphs:

    stream_begin_capture = "cuStreamBeginCapture_v2"(
        stream: cudaStream_t, mode: cudaStreamCaptureMode);
    stream_begin_capture_to_graph = "cuStreamBeginCaptureToGraph"(
        stream: cudaStream_t, graph: cudaGraph_t, dependencies: Address, edges: Address,
        count: usize, mode: cudaStreamCaptureMode);
    stream_end_capture = "cuStreamEndCapture"(stream: cudaStream_t, graph: Address);
    thread_exchange_stream_capture_mode = "cuThreadExchangeStreamCaptureMode"(mode: Address);
    stream_get_capture_info_v2 = "cuStreamGetCaptureInfo_v2"(
        stream: cudaStream_t, status: Address, id: Address, graph: Address, dependencies: Address,
        count: Address);
    stream_get_capture_info_v3 = "cuStreamGetCaptureInfo_v3"(
        stream: cudaStream_t, status: Address, id: Address, graph: Address, dependencies: Address,
        edges: Address, count: Address);
    stream_update_capture_dependencies = "cuStreamUpdateCaptureDependencies"(
        stream: cudaStream_t, dependencies: Address, count: usize, flags: u32);
    stream_update_capture_dependencies_v2 = "cuStreamUpdateCaptureDependencies_v2"(
        stream: cudaStream_t, dependencies: Address, edges: Address, count: usize, flags: u32);
    graph_create = "cuGraphCreate"(graph: Address, flags: u32);
    graph_destroy = "cuGraphDestroy"(graph: cudaGraph_t);
    graph_clone = "cuGraphClone"(clone: Address, original: cudaGraph_t);
    graph_node_find_in_clone = "cuGraphNodeFindInClone"(
        node: Address, original: cudaGraphNode_t, clone: cudaGraph_t);
    graph_instantiate = "cuGraphInstantiateWithFlags"(
        exec: Address, graph: cudaGraph_t, flags: u64);
    graph_instantiate_with_flags = "cuGraphInstantiateWithFlags"(
        exec: Address, graph: cudaGraph_t, flags: u64);
    graph_instantiate_with_params = "cuGraphInstantiateWithParams"(
        exec: Address, graph: cudaGraph_t, parameters: Address);
    graph_instantiate_with_params_ptsz = "cuGraphInstantiateWithParams_ptsz"(
        exec: Address, graph: cudaGraph_t, parameters: Address);
    graph_exec_get_flags = "cuGraphExecGetFlags"(exec: cudaGraphExec_t, flags: Address);
    graph_exec_update = "cuGraphExecUpdate_v2"(
        exec: cudaGraphExec_t, graph: cudaGraph_t, info: Address);
    graph_exec_destroy = "cuGraphExecDestroy"(exec: cudaGraphExec_t);
    graph_launch = "cuGraphLaunch"(exec: cudaGraphExec_t, stream: cudaStream_t);
    graph_upload = "cuGraphUpload"(exec: cudaGraphExec_t, stream: cudaStream_t);
    graph_debug_dot_print = "cuGraphDebugDotPrint"(graph: cudaGraph_t, path: Text<'_>, flags: u32);
    graph_retain_user_object = "cuGraphRetainUserObject"(
        graph: cudaGraph_t, object: cudaUserObject_t, count: u32, flags: u32);
    graph_release_user_object = "cuGraphReleaseUserObject"(
        graph: cudaGraph_t, object: cudaUserObject_t, count: u32);
    user_object_create = "cuUserObjectCreate"(
        object: Address, pointer: Address, destroy: cudaHostFn_t, references: u32, flags: u32);
    user_object_retain = "cuUserObjectRetain"(object: cudaUserObject_t, count: u32);
    user_object_release = "cuUserObjectRelease"(object: cudaUserObject_t, count: u32);
    graph_get_id = "cuGraphGetId"(graph: cudaGraph_t, id: Address);
    graph_exec_get_id = "cuGraphExecGetId"(exec: cudaGraphExec_t, id: Address);
    graph_add_empty_node = "cuGraphAddEmptyNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize);
    graph_add_host_node = "cuGraphAddHostNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize,
        parameters: Address);
    graph_host_node_get_params = "cuGraphHostNodeGetParams"(
        node: cudaGraphNode_t, parameters: Address);
    graph_host_node_set_params = "cuGraphHostNodeSetParams"(
        node: cudaGraphNode_t, parameters: Address);
    graph_exec_host_node_set_params = "cuGraphExecHostNodeSetParams"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, parameters: Address);
    graph_add_child_graph_node = "cuGraphAddChildGraphNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize, child: cudaGraph_t);
    graph_child_graph_node_get_graph = "cuGraphChildGraphNodeGetGraph"(
        node: cudaGraphNode_t, graph: Address);
    graph_exec_child_graph_node_set_params = "cuGraphExecChildGraphNodeSetParams"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, child: cudaGraph_t);
    graph_add_event_record_node = "cuGraphAddEventRecordNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize, event: cudaEvent_t);
    graph_event_record_node_get_event = "cuGraphEventRecordNodeGetEvent"(
        node: cudaGraphNode_t, event: Address);
    graph_event_record_node_set_event = "cuGraphEventRecordNodeSetEvent"(
        node: cudaGraphNode_t, event: cudaEvent_t);
    graph_exec_event_record_node_set_event = "cuGraphExecEventRecordNodeSetEvent"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, event: cudaEvent_t);
    graph_add_event_wait_node = "cuGraphAddEventWaitNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize, event: cudaEvent_t);
    graph_event_wait_node_get_event = "cuGraphEventWaitNodeGetEvent"(
        node: cudaGraphNode_t, event: Address);
    graph_event_wait_node_set_event = "cuGraphEventWaitNodeSetEvent"(
        node: cudaGraphNode_t, event: cudaEvent_t);
    graph_exec_event_wait_node_set_event = "cuGraphExecEventWaitNodeSetEvent"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, event: cudaEvent_t);
    graph_add_mem_alloc_node = "cuGraphAddMemAllocNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize,
        parameters: Address);
    graph_mem_alloc_node_get_params = "cuGraphMemAllocNodeGetParams"(
        node: cudaGraphNode_t, parameters: Address);
    graph_add_mem_free_node = "cuGraphAddMemFreeNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize, pointer: Address);
    graph_mem_free_node_get_params = "cuGraphMemFreeNodeGetParams"(
        node: cudaGraphNode_t, pointer: Address);
    graph_destroy_node = "cuGraphDestroyNode"(node: cudaGraphNode_t);
    graph_node_get_type = "cuGraphNodeGetType"(node: cudaGraphNode_t, kind: Address);
    graph_node_set_enabled = "cuGraphNodeSetEnabled"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, enabled: u32);
    graph_node_get_enabled = "cuGraphNodeGetEnabled"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, enabled: Address);
    graph_get_nodes = "cuGraphGetNodes"(graph: cudaGraph_t, nodes: Address, count: Address);
    graph_get_root_nodes = "cuGraphGetRootNodes"(
        graph: cudaGraph_t, nodes: Address, count: Address);
    graph_get_edges = "cuGraphGetEdges"(
        graph: cudaGraph_t, from: Address, to: Address, count: Address);
    graph_get_edges_v2 = "cuGraphGetEdges_v2"(
        graph: cudaGraph_t, from: Address, to: Address, edges: Address, count: Address);
    graph_node_get_dependencies = "cuGraphNodeGetDependencies"(
        node: cudaGraphNode_t, dependencies: Address, count: Address);
    graph_node_get_dependencies_v2 = "cuGraphNodeGetDependencies_v2"(
        node: cudaGraphNode_t, dependencies: Address, edges: Address, count: Address);
    graph_node_get_dependent_nodes = "cuGraphNodeGetDependentNodes"(
        node: cudaGraphNode_t, nodes: Address, count: Address);
    graph_node_get_dependent_nodes_v2 = "cuGraphNodeGetDependentNodes_v2"(
        node: cudaGraphNode_t, nodes: Address, edges: Address, count: Address);
    graph_add_dependencies = "cuGraphAddDependencies"(
        graph: cudaGraph_t, from: Address, to: Address, count: usize);
    graph_add_dependencies_v2 = "cuGraphAddDependencies_v2"(
        graph: cudaGraph_t, from: Address, to: Address, edges: Address, count: usize);
    graph_remove_dependencies = "cuGraphRemoveDependencies"(
        graph: cudaGraph_t, from: Address, to: Address, count: usize);
    graph_remove_dependencies_v2 = "cuGraphRemoveDependencies_v2"(
        graph: cudaGraph_t, from: Address, to: Address, edges: Address, count: usize);
    graph_node_get_containing_graph = "cuGraphNodeGetContainingGraph"(
        node: cudaGraphNode_t, graph: Address);
    graph_node_get_local_id = "cuGraphNodeGetLocalId"(node: cudaGraphNode_t, id: Address);
    graph_node_get_tools_id = "cuGraphNodeGetToolsId"(node: cudaGraphNode_t, id: Address);
    graph_kernel_node_copy_attributes = "cuGraphKernelNodeCopyAttributes"(
        target: cudaGraphNode_t, source: cudaGraphNode_t);
    graph_kernel_node_get_attribute = "cuGraphKernelNodeGetAttribute"(
        node: cudaGraphNode_t, attribute: cudaLaunchAttributeID, value: Address);
    graph_kernel_node_set_attribute = "cuGraphKernelNodeSetAttribute"(
        node: cudaGraphNode_t, attribute: cudaLaunchAttributeID, value: Address);

    device_graph_mem_trim = "cuDeviceGraphMemTrim"(device: i32);
    device_get_graph_mem_attribute = "cuDeviceGetGraphMemAttribute"(
        device: i32, attribute: cudaGraphMemAttributeType, value: Address);
    device_set_graph_mem_attribute = "cuDeviceSetGraphMemAttribute"(
        device: i32, attribute: cudaGraphMemAttributeType, value: Address);
    graph_conditional_handle_create = "cuGraphConditionalHandleCreate"(
        handle: &mut u64, graph: cudaGraph_t, context: Context, value: u32, flags: u32);
    graph_add_kernel_node = "cuGraphAddKernelNode_v2"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize,
        parameters: &KernelNode);
    graph_kernel_node_get_params = "cuGraphKernelNodeGetParams_v2"(
        node: cudaGraphNode_t, parameters: &mut KernelNode);
    graph_kernel_node_set_params = "cuGraphKernelNodeSetParams_v2"(
        node: cudaGraphNode_t, parameters: &KernelNode);
    graph_exec_kernel_node_set_params = "cuGraphExecKernelNodeSetParams_v2"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, parameters: &KernelNode);
    graph_add_memcpy_node = "cuGraphAddMemcpyNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize,
        copy: &Copy3D, context: Context);
    graph_memcpy_node_get_params = "cuGraphMemcpyNodeGetParams"(
        node: cudaGraphNode_t, copy: &mut Copy3D);
    graph_memcpy_node_set_params = "cuGraphMemcpyNodeSetParams"(
        node: cudaGraphNode_t, copy: &Copy3D);
    graph_exec_memcpy_node_set_params = "cuGraphExecMemcpyNodeSetParams"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, copy: &Copy3D, context: Context);
    graph_add_memset_node = "cuGraphAddMemsetNode"(
        node: Address, graph: cudaGraph_t, dependencies: Address, count: usize,
        parameters: Address, context: Context);
    graph_memset_node_get_params = "cuGraphMemsetNodeGetParams"(
        node: cudaGraphNode_t, parameters: Address);
    graph_memset_node_set_params = "cuGraphMemsetNodeSetParams"(
        node: cudaGraphNode_t, parameters: Address);
    graph_exec_memset_node_set_params = "cuGraphExecMemsetNodeSetParams"(
        exec: cudaGraphExec_t, node: cudaGraphNode_t, parameters: Address, context: Context);
}
