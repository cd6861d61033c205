//! Memory and events of other processes (CUDA Runtime API, "Device Management"): what the driver
//! makes of it. Ours refuses: a guest's process has no device of its own to share.

use vgpu_abi::cudart::{cudaEvent_t, cudaIpcEventHandle_t, cudaIpcMemHandle_t};
use vgpu_guest::convert::Memory;

use crate::primary;
use crate::result::Result;

forwarded! {
    /// Names memory for another process.
    ipc_get_mem_handle(handle: Memory<'_>, pointer: Memory<'_>);
    /// Maps memory of another process.
    ipc_open_mem_handle(pointer: Memory<'_>, handle: cudaIpcMemHandle_t, flags: u32);
    /// Ends what [`ipc_open_mem_handle`] began.
    ipc_close_mem_handle(pointer: Memory<'_>);
    /// Names an event for another process.
    ipc_get_event_handle(handle: Memory<'_>, event: cudaEvent_t);
    /// Gives an event of another process.
    ipc_open_event_handle(event: Memory<'_>, handle: cudaIpcEventHandle_t);
}
