//! What nodes are to do: from the structures of C to the one form that travels.
//!
//! The structures differ by version in how much follows, not in where things stand, so they are
//! read by their offsets.

use std::mem::offset_of;

use vgpu_abi::cuda::{
    CUDA_KERNEL_NODE_PARAMS_v2, CUDA_MEMCPY3D_v2, CUDA_MEMSET_NODE_PARAMS_v1, CUcontext,
    CUgraphNodeParams, CUgraphNodeType as Type, CUmemorytype, Error,
};
use vgpu_guest::convert::{Kept, Memory, Readable};
use vgpu_guest::wire::cuda::{Dim3, KernelLaunch, NodeCopy, NodeCopyEnd, NodeParams, NodeSet};

use crate::borrowed::{Borrowed, HostCopy, NodeFunction, Way};
use crate::callback::HostFunction;
use crate::code::function::function;
use crate::code::{arguments, limits};
use crate::volume::{self, Layout, Shape};
use crate::{contexts, ranges, spans};

/// Where the union of `CUgraphNodeParams` stands.
const UNION: usize = offset_of!(CUgraphNodeParams, unnamed16);

/// Where `CUDA_MEMCPY3D` stands in `CUDA_MEMCPY_NODE_PARAMS`, behind flags and context.
const COPY: usize = 16;

/// What a node of some kind does that is fully named by a handle, or by nothing.
pub(super) fn plain(kind: Type, handle: u64) -> NodeParams {
    NodeParams {
        kind: kind.0,
        context: 0,
        launch: Vec::new(),
        copy: Vec::new(),
        set: Vec::new(),
        handle,
    }
}

/// Says how much a structure of a kernel node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Up to the arguments.
    One,
    /// The kernel of a library, and a context, too.
    Two,
}

/// Reads a kernel node's structure: packs the arguments, and checks the launch as
/// `cuLaunchKernel` does.
pub(super) fn launch(params: Memory<'_>, version: Version) -> Result<NodeParams, Error> {
    launch_at(params.readable(), 0, version)
}

fn launch_at(params: Readable<'_>, at: usize, version: Version) -> Result<NodeParams, Error> {
    use CUDA_KERNEL_NODE_PARAMS_v2 as P;
    let word = |offset: usize| params.value::<u32, Error>(at + offset);
    let dim = |x, y, z| Ok::<_, Error>(Dim3 { x: word(x)?, y: word(y)?, z: word(z)? });
    let mut handle = params.value::<u64, Error>(at + offset_of!(P, func))?;
    let mut context = 0;
    if version == Version::Two {
        if handle == 0 {
            handle = params.value::<_, Error>(at + offset_of!(P, kern))?;
        }
        context = params.value::<_, Error>(at + offset_of!(P, ctx))?;
    }
    let known = function(handle)?;
    let context = known.context.unwrap_or(context);
    let (context, device) = match context {
        0 => contexts::current().map(|(handle, context)| (handle, context.device))?,
        handle => (handle, contexts::find(handle)?.device),
    };
    let list = params.follow::<Error>(at + offset_of!(P, kernelParams))?;
    let extra = params.follow::<Error>(at + offset_of!(P, extra))?;
    let launch = KernelLaunch {
        function: handle,
        grid: dim(offset_of!(P, gridDimX), offset_of!(P, gridDimY), offset_of!(P, gridDimZ))?,
        block: dim(offset_of!(P, blockDimX), offset_of!(P, blockDimY), offset_of!(P, blockDimZ))?,
        shared_bytes: word(offset_of!(P, sharedMemBytes))?,
        attributes: Vec::new(),
        arguments: arguments::pack(&known.parameters, known.argument_bytes(), list, extra)?,
    };
    limits::check(&launch, &known, device)?;
    Ok(NodeParams { context, launch: vec![launch], ..plain(Type::KERNEL, 0) })
}

/// Reads a `CUDA_MEMCPY3D` whose ends the host sees, both of them.
///
/// # Errors
/// NOT_SUPPORTED where one end is other memory of the program.
pub(super) fn copy_in_sight(params: Memory<'_>, context: CUcontext) -> Result<NodeParams, Error> {
    let params = params.readable();
    let mut copy = read_copy(params, 0)?;
    match program_end(params, 0, &mut copy)? {
        None => checked(copy, context.0),
        Some(_) => Err(Error::NOT_SUPPORTED),
    }
}

/// Reads a `CUDA_MEMCPY3D`, of which one end may be memory of the program: if the host does not
/// see it, a place on the device stands in for it.
pub(super) fn copy(
    params: Memory<'_>,
    context: CUcontext,
) -> Result<(NodeParams, Option<Borrowed>), Error> {
    copy_at(params.readable(), 0, context.0)
}

fn copy_at(
    params: Readable<'_>,
    at: usize,
    context: u64,
) -> Result<(NodeParams, Option<Borrowed>), Error> {
    let mut copy = read_copy(params, at)?;
    let Some(program) = program_end(params, at, &mut copy)? else {
        return Ok((checked(copy, context)?, None));
    };
    let ProgramEnd { way, base, layout, shape } = program;
    let host = HostCopy::new(way, base, layout, shape)?;
    let end = end_of(&mut copy, way);
    *end =
        NodeCopyEnd { level: end.level, ..host.packed().end(CUmemorytype::DEVICE, host.stand_in) };
    Ok((checked(copy, context)?, Some(Borrowed::Copy(host))))
}

/// An end of a copy that is memory of the program.
struct ProgramEnd {
    way: Way,
    base: Kept,
    layout: Layout,
    shape: Shape,
}

fn end_of(copy: &mut NodeCopy, way: Way) -> &mut NodeCopyEnd {
    match way {
        Way::In => &mut copy.from,
        Way::Out => &mut copy.to,
    }
}

/// Finds the end of a copy that is memory of the program. One that the host sees, too, becomes a
/// span and is none.
fn program_end(
    params: Readable<'_>,
    at: usize,
    copy: &mut NodeCopy,
) -> Result<Option<ProgramEnd>, Error> {
    use CUDA_MEMCPY3D_v2 as P;
    let (way, host, unified) = match (is_program(&copy.from), is_program(&copy.to)) {
        (false, false) => return Ok(None),
        // A copy within the program, which no device does.
        (true, true) => return Err(Error::NOT_SUPPORTED),
        (true, false) => (Way::In, offset_of!(P, srcHost), offset_of!(P, srcDevice)),
        (false, true) => (Way::Out, offset_of!(P, dstHost), offset_of!(P, dstDevice)),
    };
    let size = |size: u64| usize::try_from(size).map_err(|_| Error::INVALID_VALUE);
    let (width, height) = (size(copy.width_bytes)?, size(copy.height)?);
    let shape = Shape { width, height, depth: size(copy.depth)? };
    let end = end_of(copy, way);
    let is_host = CUmemorytype(end.kind) == CUmemorytype::HOST;
    let base = params.follow::<Error>(at + if is_host { host } else { unified })?.keep();
    let layout = Layout {
        x: size(end.x_bytes)?,
        y: size(end.y)?,
        z: size(end.z)?,
        pitch: size(end.pitch)?,
        height: size(end.height)?,
    };
    volume::check_program(&base.memory(), &layout, &shape)?;
    if let Some(span) = spans::end(base.memory().address(), &layout, &shape)? {
        *end = NodeCopyEnd { level: end.level, ..span };
        return Ok(None);
    }
    Ok(Some(ProgramEnd { way, base, layout, shape }))
}

fn is_program(end: &NodeCopyEnd) -> bool {
    match CUmemorytype(end.kind) {
        CUmemorytype::HOST => true,
        CUmemorytype::UNIFIED => ranges::find(end.address).is_none(),
        _ => false,
    }
}

fn checked(copy: NodeCopy, context: u64) -> Result<NodeParams, Error> {
    check_end(&copy.from)?;
    check_end(&copy.to)?;
    Ok(NodeParams { context, copy: vec![copy], ..plain(Type::MEMCPY, 0) })
}

fn read_copy(params: Readable<'_>, at: usize) -> Result<NodeCopy, Error> {
    use CUDA_MEMCPY3D_v2 as P;
    let word = |offset: usize| params.value::<u64, Error>(at + offset);
    let kind = |offset: usize| params.value::<u32, Error>(at + offset);
    let from = NodeCopyEnd {
        kind: kind(offset_of!(P, srcMemoryType))?,
        address: word(offset_of!(P, srcDevice))?,
        x_bytes: word(offset_of!(P, srcXInBytes))?,
        y: word(offset_of!(P, srcY))?,
        z: word(offset_of!(P, srcZ))?,
        level: word(offset_of!(P, srcLOD))?,
        pitch: word(offset_of!(P, srcPitch))?,
        height: word(offset_of!(P, srcHeight))?,
    };
    let to = NodeCopyEnd {
        kind: kind(offset_of!(P, dstMemoryType))?,
        address: word(offset_of!(P, dstDevice))?,
        x_bytes: word(offset_of!(P, dstXInBytes))?,
        y: word(offset_of!(P, dstY))?,
        z: word(offset_of!(P, dstZ))?,
        level: word(offset_of!(P, dstLOD))?,
        pitch: word(offset_of!(P, dstPitch))?,
        height: word(offset_of!(P, dstHeight))?,
    };
    let (width_bytes, height) = (word(offset_of!(P, WidthInBytes))?, word(offset_of!(P, Height))?);
    let depth = word(offset_of!(P, Depth))?;
    if width_bytes == 0 || height == 0 || depth == 0 {
        return Err(Error::INVALID_VALUE);
    }
    Ok(NodeCopy { from, to, width_bytes, height, depth })
}

/// Checks that an end of a copy lies where a launch can reach it, on a device or in a span; arrays
/// are not carried.
fn check_end(end: &NodeCopyEnd) -> Result<(), Error> {
    match CUmemorytype(end.kind) {
        CUmemorytype::DEVICE | CUmemorytype::HOST => Ok(()),
        CUmemorytype::UNIFIED if ranges::find(end.address).is_some() => Ok(()),
        CUmemorytype::UNIFIED | CUmemorytype::ARRAY => Err(Error::NOT_SUPPORTED),
        _ => Err(Error::INVALID_VALUE),
    }
}

/// Reads a `CUDA_MEMSET_NODE_PARAMS`.
pub(super) fn set(params: Memory<'_>, context: CUcontext) -> Result<NodeParams, Error> {
    set_at(params.readable(), 0, context.0)
}

fn set_at(params: Readable<'_>, at: usize, context: u64) -> Result<NodeParams, Error> {
    use CUDA_MEMSET_NODE_PARAMS_v1 as P;
    let word = |offset: usize| params.value::<u64, Error>(at + offset);
    let set = NodeSet {
        to: word(offset_of!(P, dst))?,
        pitch: word(offset_of!(P, pitch))?,
        value: params.value::<_, Error>(at + offset_of!(P, value))?,
        element_bytes: params.value::<_, Error>(at + offset_of!(P, elementSize))?,
        width: word(offset_of!(P, width))?,
        height: word(offset_of!(P, height))?,
    };
    if set.width == 0 || set.height == 0 {
        return Err(Error::INVALID_VALUE);
    }
    Ok(NodeParams { context, set: vec![set], ..plain(Type::MEMSET, 0) })
}

/// Reads a `CUgraphNodeParams`.
///
/// # Errors
/// NOT_SUPPORTED for a kind of node that is not carried.
pub(super) fn any(params: Memory<'_>) -> Result<(NodeParams, Option<Borrowed>), Error> {
    /// CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE.
    const CLONE: u32 = 0;
    let params = params.readable();
    let word = |offset: usize| params.value::<u64, Error>(UNION + offset);
    let kind = Type(params.value::<u32, Error>(offset_of!(CUgraphNodeParams, r#type))?);
    let params = match kind {
        Type::KERNEL => launch_at(params, UNION, Version::Two)?,
        Type::MEMCPY if word(0)? != 0 => return Err(Error::INVALID_VALUE),
        Type::MEMCPY => return copy_at(params, UNION + COPY, word(8)?),
        Type::MEMSET => set_at(params, UNION, word(size_of::<CUDA_MEMSET_NODE_PARAMS_v1>())?)?,
        Type::GRAPH if params.value::<u32, Error>(UNION + 8)? != CLONE => {
            return Err(Error::NOT_SUPPORTED);
        }
        Type::GRAPH | Type::WAIT_EVENT | Type::EVENT_RECORD => plain(kind, word(0)?),
        Type::HOST => {
            let [function, data] = [word(0)?, word(8)?].map(|word| word as usize);
            let function = HostFunction::new(
                std::ptr::with_exposed_provenance(function),
                std::ptr::with_exposed_provenance_mut(data),
            );
            let function = NodeFunction::new(function.ok_or(Error::INVALID_VALUE)?)?;
            let params = plain(kind, function.ticket);
            return Ok((params, Some(Borrowed::Function(function))));
        }
        Type::EMPTY => plain(kind, 0),
        _ => return Err(Error::NOT_SUPPORTED),
    };
    Ok((params, None))
}
