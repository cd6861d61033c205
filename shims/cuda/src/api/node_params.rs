//! What nodes do: between the structures of C and the one form that travels.
//!
//! The structures differ by version in how much follows, not in where things stand, so they are
//! read by their offsets.

use std::mem::offset_of;

use vgpu_abi::cuda::{
    CUDA_KERNEL_NODE_PARAMS_v2, CUDA_MEMCPY3D_v2, CUDA_MEMSET_NODE_PARAMS_v1, CUarray, CUcontext,
    CUfunction, CUgraphNode, CUgraphNodeParams, CUgraphNodeType as Type, CUkernel, CUmemorytype,
    Error,
};
use vgpu_guest::convert::{Memory, Readable};
use vgpu_guest::wire::cuda::{Dim3, KernelLaunch, NodeCopy, NodeCopyEnd, NodeParams, NodeSet};

use crate::code::function::{function, kernel};
use crate::code::{Function, arguments, limits};
use crate::{contexts, graphs, ranges};

/// Where the union of `CUgraphNodeParams` stands.
const UNION: usize = offset_of!(CUgraphNodeParams, unnamed16);

/// Where `CUDA_MEMCPY3D` stands in `CUDA_MEMCPY_NODE_PARAMS`, behind flags and context.
const COPY: usize = 16;

/// Words of a `CUDA_MEMCPY3D`.
const COPY_WORDS: usize = size_of::<CUDA_MEMCPY3D_v2>() / 8;

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

/// Reads a `CUDA_MEMCPY3D`.
pub(super) fn copy(params: Memory<'_>, context: CUcontext) -> Result<NodeParams, Error> {
    copy_at(params.readable(), 0, context.0)
}

fn copy_at(params: Readable<'_>, at: usize, context: u64) -> Result<NodeParams, Error> {
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
    check_end(&from)?;
    check_end(&to)?;
    let copy = NodeCopy { from, to, width_bytes, height, depth };
    Ok(NodeParams { context, copy: vec![copy], ..plain(Type::MEMCPY, 0) })
}

/// Checks that an end of a copy lies on a device: memory of the program is not where a launch
/// could read it, and arrays are not carried.
fn check_end(end: &NodeCopyEnd) -> Result<(), Error> {
    match CUmemorytype(end.kind) {
        CUmemorytype::DEVICE => Ok(()),
        CUmemorytype::UNIFIED if ranges::find(end.address).is_some() => Ok(()),
        CUmemorytype::UNIFIED | CUmemorytype::HOST | CUmemorytype::ARRAY => {
            Err(Error::NOT_SUPPORTED)
        }
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
pub(super) fn any(params: Memory<'_>) -> Result<NodeParams, Error> {
    /// CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE.
    const CLONE: u32 = 0;
    let params = params.readable();
    let word = |offset: usize| params.value::<u64, Error>(UNION + offset);
    let kind = Type(params.value::<u32, Error>(offset_of!(CUgraphNodeParams, r#type))?);
    match kind {
        Type::KERNEL => launch_at(params, UNION, Version::Two),
        Type::MEMCPY if word(0)? != 0 => Err(Error::INVALID_VALUE),
        Type::MEMCPY => copy_at(params, UNION + COPY, word(8)?),
        Type::MEMSET => set_at(params, UNION, word(size_of::<CUDA_MEMSET_NODE_PARAMS_v1>())?),
        Type::GRAPH if params.value::<u32, Error>(UNION + 8)? != CLONE => Err(Error::NOT_SUPPORTED),
        Type::GRAPH | Type::WAIT_EVENT | Type::EVENT_RECORD => Ok(plain(kind, word(0)?)),
        Type::EMPTY => Ok(plain(kind, 0)),
        _ => Err(Error::NOT_SUPPORTED),
    }
}

/// Writes a kernel node's structure, whose arguments are kept until the node ends or is changed.
pub(super) fn to_launch(
    node: CUgraphNode,
    params: &NodeParams,
) -> Result<CUDA_KERNEL_NODE_PARAMS_v2, Error> {
    let launch = params.launch.first().ok_or(Error::INVALID_VALUE)?;
    let known: std::sync::Arc<Function> =
        function(launch.function).or_else(|_| kernel(launch.function))?;
    let offsets = known.parameters.iter().map(|parameter| parameter.offset as usize);
    let (func, kern) = match known.context {
        Some(_) => (CUfunction(launch.function), CUkernel(0)),
        None => (CUfunction(0), CUkernel(launch.function)),
    };
    Ok(CUDA_KERNEL_NODE_PARAMS_v2 {
        func,
        gridDimX: launch.grid.x,
        gridDimY: launch.grid.y,
        gridDimZ: launch.grid.z,
        blockDimX: launch.block.x,
        blockDimY: launch.block.y,
        blockDimZ: launch.block.z,
        sharedMemBytes: launch.shared_bytes,
        kernelParams: graphs::keep_arguments(node, &launch.arguments, offsets),
        extra: std::ptr::null_mut(),
        kern,
        ctx: CUcontext(params.context),
    })
}

/// Writes a `CUDA_MEMCPY3D`.
pub(super) fn to_copy(params: &NodeParams) -> Result<CUDA_MEMCPY3D_v2, Error> {
    let copy = params.copy.first().ok_or(Error::INVALID_VALUE)?;
    let (from, to) = (&copy.from, &copy.to);
    Ok(CUDA_MEMCPY3D_v2 {
        srcXInBytes: from.x_bytes as usize,
        srcY: from.y as usize,
        srcZ: from.z as usize,
        srcLOD: from.level as usize,
        srcMemoryType: CUmemorytype(from.kind),
        srcHost: std::ptr::null(),
        srcDevice: from.address,
        srcArray: CUarray(0),
        reserved0: std::ptr::null_mut(),
        srcPitch: from.pitch as usize,
        srcHeight: from.height as usize,
        dstXInBytes: to.x_bytes as usize,
        dstY: to.y as usize,
        dstZ: to.z as usize,
        dstLOD: to.level as usize,
        dstMemoryType: CUmemorytype(to.kind),
        dstHost: std::ptr::null_mut(),
        dstDevice: to.address,
        dstArray: CUarray(0),
        reserved1: std::ptr::null_mut(),
        dstPitch: to.pitch as usize,
        dstHeight: to.height as usize,
        WidthInBytes: copy.width_bytes as usize,
        Height: copy.height as usize,
        Depth: copy.depth as usize,
    })
}

/// Writes a `CUDA_MEMSET_NODE_PARAMS`.
pub(super) fn to_set(params: &NodeParams) -> Result<CUDA_MEMSET_NODE_PARAMS_v1, Error> {
    let set = params.set.first().ok_or(Error::INVALID_VALUE)?;
    Ok(CUDA_MEMSET_NODE_PARAMS_v1 {
        dst: set.to,
        pitch: set.pitch as usize,
        value: set.value,
        elementSize: set.element_bytes,
        width: set.width as usize,
        height: set.height as usize,
    })
}

/// Writes a `CUgraphNodeParams`.
pub(super) fn to_any(node: CUgraphNode, params: &NodeParams) -> Result<CUgraphNodeParams, Error> {
    let kind = Type(params.kind);
    let mut union = [0; 29];
    match kind {
        Type::KERNEL => {
            let it = to_launch(node, params)?;
            let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
            union[..9].copy_from_slice(&[
                it.func.0,
                pair(it.gridDimX, it.gridDimY),
                pair(it.gridDimZ, it.blockDimX),
                pair(it.blockDimY, it.blockDimZ),
                it.sharedMemBytes.into(),
                it.kernelParams.expose_provenance() as u64,
                0,
                it.kern.0,
                it.ctx.0,
            ]);
        }
        Type::MEMCPY => {
            union[1] = params.context;
            let words = copy_words(params.copy.first().ok_or(Error::INVALID_VALUE)?);
            union[2..2 + COPY_WORDS].copy_from_slice(&words);
        }
        Type::MEMSET => {
            let it = to_set(params)?;
            let value = u64::from(it.value) | u64::from(it.elementSize) << 32;
            let (pitch, width, height) = (it.pitch as u64, it.width as u64, it.height as u64);
            union[..6].copy_from_slice(&[it.dst, pitch, value, width, height, params.context]);
        }
        _ => union[0] = params.handle,
    }
    Ok(CUgraphNodeParams { r#type: kind, reserved0: [0; 3], unnamed16: union, reserved2: 0 })
}

/// Writes a `CUDA_MEMCPY3D` word by word; its pointers to memory of the program are NULL.
fn copy_words(copy: &NodeCopy) -> [u64; COPY_WORDS] {
    let half = |end: &NodeCopyEnd| {
        let kind = u64::from(end.kind);
        let place = [end.x_bytes, end.y, end.z, end.level, kind, 0, end.address, 0, 0];
        let mut words = [0; 11];
        words[..9].copy_from_slice(&place);
        words[9..].copy_from_slice(&[end.pitch, end.height]);
        words
    };
    let mut words = [0; COPY_WORDS];
    words[..11].copy_from_slice(&half(&copy.from));
    words[11..22].copy_from_slice(&half(&copy.to));
    words[22..].copy_from_slice(&[copy.width_bytes, copy.height, copy.depth]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_copy_stand_where_its_fields_do() {
        use CUDA_MEMCPY3D_v2 as P;
        let end = |first| NodeCopyEnd {
            kind: 2,
            address: first,
            x_bytes: first + 1,
            y: first + 2,
            z: first + 3,
            level: first + 4,
            pitch: first + 5,
            height: first + 6,
        };
        let copy = NodeCopy { from: end(10), to: end(20), width_bytes: 30, height: 31, depth: 32 };
        let words = copy_words(&copy);
        for (offset, value) in [
            (offset_of!(P, srcDevice), 10),
            (offset_of!(P, srcXInBytes), 11),
            (offset_of!(P, srcLOD), 14),
            (offset_of!(P, srcPitch), 15),
            (offset_of!(P, srcHeight), 16),
            (offset_of!(P, dstDevice), 20),
            (offset_of!(P, dstMemoryType), 2),
            (offset_of!(P, dstPitch), 25),
            (offset_of!(P, dstHeight), 26),
            (offset_of!(P, WidthInBytes), 30),
            (offset_of!(P, Depth), 32),
        ] {
            assert_eq!(words[offset / 8], value, "{offset}");
        }
    }
}
