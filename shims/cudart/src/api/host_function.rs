//! Functions of the program that are called in stream order (CUDA Runtime API, "Execution
//! Control").

use vgpu_abi::cudart::{cudaHostFn_t, cudaStream_t, cudaStreamCallback_t};
use vgpu_guest::convert::Memory;

use crate::primary;
use crate::result::Result;

forwarded! {
    /// Calls a function of the program in stream order.
    launch_host_func(stream: cudaStream_t, function: cudaHostFn_t, data: Memory<'_>);
    /// As [`launch_host_func`], with a way of waiting.
    launch_host_func_v2(stream: cudaStream_t, function: cudaHostFn_t, data: Memory<'_>, mode: u32);
    /// Calls a function of the program in stream order, with the stream and its state.
    stream_add_callback(
        stream: cudaStream_t, callback: cudaStreamCallback_t, data: Memory<'_>, flags: u32);
}
