//! Launches (CUDA Driver API, Execution Control).
//!
//! Everything that the guest can know is checked before a launch is sent; what only the device
//! finds out is reported at a later synchronising call.

use std::sync::Arc;

use vgpu_abi::cuda::{
    CUdevice, CUfunction, CUlaunchAttribute, CUlaunchAttributeID as Id, CUlaunchConfig, CUstream,
    Error,
};
use vgpu_guest::convert::{Memory, Pointing};
use vgpu_guest::wire::cuda::{Dim3, KernelLaunch, LaunchAttribute, LaunchKernel};

use crate::api::occupancy;
use crate::code::function::function;
use crate::code::{Function, arguments, limits};
use crate::{contexts, handles, remote};

/// Most attributes of a launch: 64, more than CUDA has.
const ATTRIBUTES_MAX: u32 = 64;

/// Launches a function, or a kernel in its place.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub(crate) fn launch_kernel(
    handle: CUfunction,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared_bytes: u32,
    stream: CUstream,
    list: Memory<'_>,
    extra: Memory<'_>,
) -> Result<(), Error> {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    send(plain(handle, grid, block, shared_bytes), stream, list, extra)
}

/// Describes a launch that has neither attributes nor, yet, arguments.
fn plain(handle: CUfunction, grid: [u32; 3], block: [u32; 3], shared_bytes: u32) -> KernelLaunch {
    let dim = |[x, y, z]: [u32; 3]| Dim3 { x, y, z };
    KernelLaunch {
        function: handle.0,
        grid: dim(grid),
        block: dim(block),
        shared_bytes,
        attributes: Vec::new(),
        arguments: Vec::new(),
    }
}

/// As [`launch_kernel`], with all blocks on the device at once.
#[allow(clippy::too_many_arguments, reason = "the parameters are C's")]
pub(crate) fn launch_cooperative_kernel(
    handle: CUfunction,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared_bytes: u32,
    stream: CUstream,
    list: Memory<'_>,
) -> Result<(), Error> {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    let mut value = [0; 64];
    value[0] = 1;
    let attributes = vec![LaunchAttribute { id: Id::COOPERATIVE.0, value }];
    let launch = KernelLaunch { attributes, ..plain(handle, grid, block, shared_bytes) };
    send(launch, stream, list, Memory::NONE)
}

/// As [`launch_kernel`], with attributes.
pub(crate) fn launch_kernel_ex(
    config: Pointing<'_, CUlaunchConfig>,
    handle: CUfunction,
    list: Memory<'_>,
    extra: Memory<'_>,
) -> Result<(), Error> {
    remote::ready()?;
    let (launch, stream) = configured(&config, handle)?;
    send(launch, stream, list, extra)
}

/// Reads a configuration; the launch has no arguments yet.
pub(crate) fn configured(
    config: &Pointing<'_, CUlaunchConfig>,
    handle: CUfunction,
) -> Result<(KernelLaunch, CUstream), Error> {
    let it = config.value();
    if it.numAttrs > ATTRIBUTES_MAX {
        return Err(Error::INVALID_VALUE);
    }
    let list = config.memory(|it| it.attrs.cast_const().cast(), 0).readable();
    let mut attributes = Vec::new();
    for index in 0..it.numAttrs as usize {
        let at = index * size_of::<CUlaunchAttribute>();
        let id = list.value::<u32, Error>(at)?;
        if id != Id::IGNORE.0 {
            attributes.push(limits::attribute(id, list.value::<_, Error>(at + 8)?));
        }
    }
    let grid = [it.gridDimX, it.gridDimY, it.gridDimZ];
    let block = [it.blockDimX, it.blockDimY, it.blockDimZ];
    let launch = plain(handle, grid, block, it.sharedMemBytes);
    Ok((KernelLaunch { attributes, ..launch }, it.hStream))
}

fn send(
    launch: KernelLaunch,
    stream: CUstream,
    list: Memory<'_>,
    extra: Memory<'_>,
) -> Result<(), Error> {
    remote::ready()?;
    let (known, device) = on_stream(CUfunction(launch.function), stream)?;
    let arguments = arguments::pack(&known.parameters, known.argument_bytes(), list, extra)?;
    post(KernelLaunch { arguments, ..launch }, stream, &known, device)
}

/// Finds the function of a launch and the device that it runs on. A stream of another context
/// than the function's is INVALID_HANDLE.
pub(crate) fn on_stream(
    handle: CUfunction,
    stream: CUstream,
) -> Result<(Arc<Function>, CUdevice), Error> {
    let context = handles::stream(stream)?.context;
    let known = function(handle.0)?;
    if known.context.is_some_and(|own| own != context) {
        return Err(Error::INVALID_HANDLE);
    }
    Ok((known, contexts::find(context)?.device))
}

/// Checks a launch whose arguments are packed, and sends it.
pub(crate) fn post(
    launch: KernelLaunch,
    stream: CUstream,
    known: &Function,
    device: CUdevice,
) -> Result<(), Error> {
    limits::check(&launch, known, device)?;
    let is_cooperative = |one: &LaunchAttribute| one.id == Id::COOPERATIVE.0 && one.value[0] != 0;
    if launch.attributes.iter().any(is_cooperative) {
        occupancy::check_at_once(&launch, known, device)?;
    }
    remote::post_to(stream, &LaunchKernel { stream: stream.0, launch })
}
