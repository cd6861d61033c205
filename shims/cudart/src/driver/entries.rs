//! The functions of the driver library; the only place that opens it and calls into it.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::copies::Copy2D;
use super::structs::{Address, Context, Event, Stream, Text};
use crate::result::{Error, Result, from_driver};

/// The file that every CUDA client asks for by this name.
const LIBRARY: &str = "libcuda.so.1";

/// Declares functions of the driver: the group's table, and a method of [`Driver`] for each.
macro_rules! entries {
    ($(#[$about:meta])* $group:ident in $field:ident:
        $($(#[$doc:meta])* $name:ident = $symbol:literal ($($argument:ident: $kind:ty),*);)*) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $group {
            $($name: Option<unsafe extern "C" fn($($kind),*) -> u32>,)*
        }

        impl $group {
            /// Looks the functions up; one that the driver lacks is `None`.
            pub(super) fn find(library: &Library) -> Self {
                $(
                    // SAFETY: each declaration below has the documented prototype of its symbol.
                    let $name = unsafe { library.get($symbol.as_bytes()) }.ok().map(|entry| *entry);
                )*
                Self { $($name,)* }
            }
        }

        impl Driver {
            $(
                $(#[$doc])*
                #[doc = ""]
                #[doc = concat!("Calls `", $symbol, "`.")]
                #[allow(clippy::too_many_arguments)] // the driver's own argument lists
                pub fn $name(&self, $($argument: $kind),*) -> Result<()> {
                    let entry = self.$field.$name.ok_or(Error::INSUFFICIENT_DRIVER)?;
                    // SAFETY: references are valid by type, an Address carries the promise that
                    // the caller of the runtime API gave, handles are checked by the driver.
                    from_driver(unsafe { entry($($argument),*) })
                }
            )*
        }
    };
}

mod code;
mod graph;
mod memory;

/// The driver library and what it exports; a function that it lacks is `INSUFFICIENT_DRIVER`.
#[derive(Debug)]
pub struct Driver {
    _library: Library,
    base: Base,
    code: code::Code,
    graphs: graph::Graphs,
    memory: memory::Memory,
}

impl Driver {
    /// Opens the library; it stays open, for its functions are called until the end.
    pub(super) fn open() -> Result<Self> {
        // SAFETY: opening runs the constructors of the file that the machine's owner
        // installed under the driver's name, as for every CUDA client.
        let library = unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|_| Error::INSUFFICIENT_DRIVER)?;
        Ok(Self {
            base: Base::find(&library),
            code: code::Code::find(&library),
            graphs: graph::Graphs::find(&library),
            memory: memory::Memory::find(&library),
            _library: library,
        })
    }
}

entries! {
    /// Devices, contexts, memory, streams and events.
    Base in base:

    /// Initialises the driver for this process.
    init = "cuInit"(flags: u32);
    /// Gives the newest CUDA version that the driver supports, as 1000 * major + 10 * minor.
    driver_get_version = "cuDriverGetVersion"(version: &mut i32);
    /// Finds another function of the driver by name, version and flags.
    proc_address = "cuGetProcAddress_v2"(
        name: Text<'_>, function: &mut u64, version: i32, flags: u64, status: &mut u32);

    /// Gives the number of devices.
    device_get_count = "cuDeviceGetCount"(count: &mut i32);
    /// Gives the handle of a device.
    device_get = "cuDeviceGet"(device: &mut i32, ordinal: i32);
    /// Gives one attribute of a device.
    device_get_attribute = "cuDeviceGetAttribute"(value: &mut i32, attribute: i32, device: i32);
    /// Gives the name of a device.
    device_get_name = "cuDeviceGetName"(name: &mut [u8; 256], length: i32, device: i32);
    /// Gives the UUID of a device; under MIG that of the instance.
    device_get_uuid_v2 = "cuDeviceGetUuid_v2"(uuid: &mut [u8; 16], device: i32);
    /// Gives the UUID of a device.
    device_get_uuid = "cuDeviceGetUuid"(uuid: &mut [u8; 16], device: i32);
    /// Gives the size of a device's memory in bytes.
    device_total_mem = "cuDeviceTotalMem_v2"(bytes: &mut usize, device: i32);
    /// Gives the PCI bus id of a device as text.
    device_get_pci_bus_id = "cuDeviceGetPCIBusId"(text: &mut [u8; 32], length: i32, device: i32);
    /// Finds a device by its PCI bus id.
    device_get_by_pci_bus_id = "cuDeviceGetByPCIBusId"(device: &mut i32, text: Text<'_>);
    /// Tells whether one device can reach the memory of another.
    device_can_access_peer = "cuDeviceCanAccessPeer"(can: &mut i32, device: i32, peer: i32);
    /// Gives one attribute of the way between two devices.
    device_get_p2p_attribute = "cuDeviceGetP2PAttribute"(
        value: &mut i32, attribute: i32, source: i32, target: i32);
    /// Takes a reference to a device's primary context, which makes it.
    primary_ctx_retain = "cuDevicePrimaryCtxRetain"(context: &mut Context, device: i32);
    /// Destroys what a device's primary context holds.
    primary_ctx_reset = "cuDevicePrimaryCtxReset_v2"(device: i32);
    /// Gives the flags of a device's primary context, and whether it is active.
    primary_ctx_get_state = "cuDevicePrimaryCtxGetState"(
        device: i32, flags: &mut u32, active: &mut i32);
    /// Sets the flags of a device's primary context.
    primary_ctx_set_flags = "cuDevicePrimaryCtxSetFlags_v2"(device: i32, flags: u32);

    /// Gives the calling thread's context.
    ctx_get_current = "cuCtxGetCurrent"(context: &mut Context);
    /// Sets the calling thread's context.
    ctx_set_current = "cuCtxSetCurrent"(context: Context);
    /// Gives the device of the current context.
    ctx_get_device = "cuCtxGetDevice"(device: &mut i32);
    /// Gives the flags of the current context.
    ctx_get_flags = "cuCtxGetFlags"(flags: &mut u32);
    /// Waits for all work of the current context.
    ctx_synchronize = "cuCtxSynchronize"();
    /// Gives a limit of the current context.
    ctx_get_limit = "cuCtxGetLimit"(value: &mut usize, limit: u32);
    /// Sets a limit of the current context.
    ctx_set_limit = "cuCtxSetLimit"(limit: u32, value: usize);
    /// Gives the preferred cache configuration.
    ctx_get_cache_config = "cuCtxGetCacheConfig"(config: &mut u32);
    /// Sets the preferred cache configuration.
    ctx_set_cache_config = "cuCtxSetCacheConfig"(config: u32);
    /// Gives the bank size of shared memory.
    ctx_get_shared_mem_config = "cuCtxGetSharedMemConfig"(config: &mut u32);
    /// Sets the bank size of shared memory.
    ctx_set_shared_mem_config = "cuCtxSetSharedMemConfig"(config: u32);
    /// Gives the least and greatest stream priority.
    ctx_get_stream_priority_range = "cuCtxGetStreamPriorityRange"(
        least: &mut i32, greatest: &mut i32);
    /// Resets lines that persist in the L2 cache.
    ctx_reset_persisting_l2_cache = "cuCtxResetPersistingL2Cache"();
    /// Lets the current context reach the memory of a peer.
    ctx_enable_peer_access = "cuCtxEnablePeerAccess"(peer: Context, flags: u32);
    /// Ends what [`Self::ctx_enable_peer_access`] began.
    ctx_disable_peer_access = "cuCtxDisablePeerAccess"(peer: Context);

    /// Gives the free and total device memory in bytes.
    mem_get_info = "cuMemGetInfo_v2"(free: &mut usize, total: &mut usize);
    /// Allocates device memory.
    mem_alloc = "cuMemAlloc_v2"(pointer: &mut u64, bytes: usize);
    /// Allocates device memory in rows.
    mem_alloc_pitch = "cuMemAllocPitch_v2"(
        pointer: &mut u64, pitch: &mut usize, width: usize, height: usize, element: u32);
    /// Allocates memory that host and devices share.
    mem_alloc_managed = "cuMemAllocManaged"(pointer: &mut u64, bytes: usize, flags: u32);
    /// Frees device memory.
    mem_free = "cuMemFree_v2"(pointer: u64);
    /// Allocates pinned host memory.
    mem_host_alloc = "cuMemHostAlloc"(pointer: &mut u64, bytes: usize, flags: u32);
    /// Frees pinned host memory.
    mem_free_host = "cuMemFreeHost"(pointer: Address);
    /// Pins memory of the program.
    mem_host_register = "cuMemHostRegister_v2"(pointer: Address, bytes: usize, flags: u32);
    /// Ends what [`Self::mem_host_register`] began.
    mem_host_unregister = "cuMemHostUnregister"(pointer: Address);
    /// Gives the device's address of pinned host memory.
    mem_host_get_device_pointer = "cuMemHostGetDevicePointer_v2"(
        pointer: &mut u64, host: Address, flags: u32);
    /// Gives the flags of pinned host memory.
    mem_host_get_flags = "cuMemHostGetFlags"(flags: &mut u32, host: Address);
    /// Gives one attribute of an address; `value` must be as wide as the attribute says.
    pointer_get_attribute = "cuPointerGetAttribute"(value: &mut u64, attribute: u32, pointer: u64);

    /// Sets bytes of device memory.
    memset_d8 = "cuMemsetD8_v2"(target: u64, value: u8, count: usize);
    /// Sets bytes of device memory, on the thread's own default stream.
    memset_d8_ptds = "cuMemsetD8_v2_ptds"(target: u64, value: u8, count: usize);
    /// Sets bytes of device memory in stream order.
    memset_d8_async = "cuMemsetD8Async"(target: u64, value: u8, count: usize, stream: Stream);
    /// Sets rows of device memory.
    memset_d2d8 = "cuMemsetD2D8_v2"(
        target: u64, pitch: usize, value: u8, width: usize, height: usize);
    /// Sets rows of device memory, on the thread's own default stream.
    memset_d2d8_ptds = "cuMemsetD2D8_v2_ptds"(
        target: u64, pitch: usize, value: u8, width: usize, height: usize);
    /// Sets rows of device memory in stream order.
    memset_d2d8_async = "cuMemsetD2D8Async"(
        target: u64, pitch: usize, value: u8, width: usize, height: usize, stream: Stream);

    /// Copies; the driver finds out where the two places lie.
    memcpy = "cuMemcpy"(target: Address, source: Address, bytes: usize);
    /// Copies on the thread's own default stream; the driver finds out where the places lie.
    memcpy_ptds = "cuMemcpy_ptds"(target: Address, source: Address, bytes: usize);
    /// Copies in stream order; the driver finds out where the places lie.
    memcpy_async = "cuMemcpyAsync"(
        target: Address, source: Address, bytes: usize, stream: Stream);
    /// Copies from the program to a device.
    memcpy_htod = "cuMemcpyHtoD_v2"(target: Address, source: Address, bytes: usize);
    /// Copies from the program to a device, on the thread's own default stream.
    memcpy_htod_ptds = "cuMemcpyHtoD_v2_ptds"(target: Address, source: Address, bytes: usize);
    /// Copies from the program to a device in stream order.
    memcpy_htod_async = "cuMemcpyHtoDAsync_v2"(
        target: Address, source: Address, bytes: usize, stream: Stream);
    /// Copies from a device to the program.
    memcpy_dtoh = "cuMemcpyDtoH_v2"(target: Address, source: Address, bytes: usize);
    /// Copies from a device to the program, on the thread's own default stream.
    memcpy_dtoh_ptds = "cuMemcpyDtoH_v2_ptds"(target: Address, source: Address, bytes: usize);
    /// Copies from a device to the program in stream order.
    memcpy_dtoh_async = "cuMemcpyDtoHAsync_v2"(
        target: Address, source: Address, bytes: usize, stream: Stream);
    /// Copies within a device.
    memcpy_dtod = "cuMemcpyDtoD_v2"(target: Address, source: Address, bytes: usize);
    /// Copies within a device, on the thread's own default stream.
    memcpy_dtod_ptds = "cuMemcpyDtoD_v2_ptds"(target: Address, source: Address, bytes: usize);
    /// Copies within a device in stream order.
    memcpy_dtod_async = "cuMemcpyDtoDAsync_v2"(
        target: Address, source: Address, bytes: usize, stream: Stream);
    /// Copies between two devices.
    memcpy_peer = "cuMemcpyPeer"(
        target: u64, target_context: Context, source: u64, source_context: Context, bytes: usize);
    /// Copies between two devices in stream order.
    memcpy_peer_async = "cuMemcpyPeerAsync"(
        target: u64, target_context: Context, source: u64, source_context: Context, bytes: usize,
        stream: Stream);
    /// Copies rows that need not be aligned.
    memcpy_2d = "cuMemcpy2DUnaligned_v2"(copy: &Copy2D);
    /// Copies rows that need not be aligned, on the thread's own default stream.
    memcpy_2d_ptds = "cuMemcpy2DUnaligned_v2_ptds"(copy: &Copy2D);
    /// Copies rows in stream order.
    memcpy_2d_async = "cuMemcpy2DAsync_v2"(copy: &Copy2D, stream: Stream);

    /// Makes a stream of a priority.
    stream_create_with_priority = "cuStreamCreateWithPriority"(
        stream: &mut Stream, flags: u32, priority: i32);
    /// Makes a stream.
    stream_create = "cuStreamCreate"(stream: &mut Stream, flags: u32);
    /// Destroys a stream once its work is done.
    stream_destroy = "cuStreamDestroy_v2"(stream: Stream);
    /// Asks whether the work of a stream is done.
    stream_query = "cuStreamQuery"(stream: Stream);
    /// Waits for the work of a stream.
    stream_synchronize = "cuStreamSynchronize"(stream: Stream);
    /// Lets a stream wait for an event.
    stream_wait_event = "cuStreamWaitEvent"(stream: Stream, event: Event, flags: u32);
    /// Gives the flags of a stream.
    stream_get_flags = "cuStreamGetFlags"(stream: Stream, flags: &mut u32);
    /// Gives the priority of a stream.
    stream_get_priority = "cuStreamGetPriority"(stream: Stream, priority: &mut i32);
    /// Gives the number of a stream, unique in the process.
    stream_get_id = "cuStreamGetId"(stream: Stream, id: &mut u64);
    /// Gives the device of a stream.
    stream_get_device = "cuStreamGetDevice"(stream: Stream, device: &mut i32);
    /// Tells whether a stream is being captured.
    stream_is_capturing = "cuStreamIsCapturing"(stream: Stream, status: &mut u32);

    /// Makes an event.
    event_create = "cuEventCreate"(event: &mut Event, flags: u32);
    /// Destroys an event.
    event_destroy = "cuEventDestroy_v2"(event: Event);
    /// Records an event in a stream.
    event_record = "cuEventRecord"(event: Event, stream: Stream);
    /// Records an event in a stream, with flags.
    event_record_with_flags = "cuEventRecordWithFlags"(event: Event, stream: Stream, flags: u32);
    /// Asks whether an event has happened.
    event_query = "cuEventQuery"(event: Event);
    /// Waits for an event.
    event_synchronize = "cuEventSynchronize"(event: Event);
    /// Gives the time between two events in milliseconds.
    event_elapsed_time = "cuEventElapsedTime"(milliseconds: &mut f32, start: Event, end: Event);
}
