//! What nodes do: from the one form that travels to the structures of C.

use std::sync::Arc;

use vgpu_abi::cuda::{
    CUDA_KERNEL_NODE_PARAMS_v2, CUDA_MEMCPY3D_v2, CUDA_MEMSET_NODE_PARAMS_v1, CUarray, CUcontext,
    CUfunction, CUgraphNode, CUgraphNodeParams, CUgraphNodeType as Type, CUkernel, CUmemorytype,
    Error,
};
use vgpu_guest::wire::cuda::{NodeCopy, NodeCopyEnd, NodeParams};

use super::host_node;
use crate::code::Function;
use crate::code::function::{function, kernel};
use crate::volume::Layout;
use crate::{borrowed, graphs, spans};

/// Words of a `CUDA_MEMCPY3D`.
const COPY_WORDS: usize = size_of::<CUDA_MEMCPY3D_v2>() / 8;

/// Writes a kernel node's structure, whose arguments are kept until the node ends or is changed.
pub(super) fn to_launch(
    node: CUgraphNode,
    params: &NodeParams,
) -> Result<CUDA_KERNEL_NODE_PARAMS_v2, Error> {
    let launch = params.launch.first().ok_or(Error::INVALID_VALUE)?;
    let known: Arc<Function> = function(launch.function).or_else(|_| kernel(launch.function))?;
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
    let (source, target) = (program(from), program(to));
    let kind = |place: Option<(usize, Layout)>, kind| {
        if place.is_some() { CUmemorytype::HOST } else { CUmemorytype(kind) }
    };
    let (from, to) = (&told_end(from), &told_end(to));
    Ok(CUDA_MEMCPY3D_v2 {
        srcXInBytes: from.x_bytes as usize,
        srcY: from.y as usize,
        srcZ: from.z as usize,
        srcLOD: from.level as usize,
        srcMemoryType: kind(source, from.kind),
        srcHost: std::ptr::with_exposed_provenance(source.map_or(0, |it| it.0)),
        srcDevice: if source.is_some() { 0 } else { from.address },
        srcArray: CUarray(0),
        reserved0: std::ptr::null_mut(),
        srcPitch: from.pitch as usize,
        srcHeight: from.height as usize,
        dstXInBytes: to.x_bytes as usize,
        dstY: to.y as usize,
        dstZ: to.z as usize,
        dstLOD: to.level as usize,
        dstMemoryType: kind(target, to.kind),
        dstHost: std::ptr::with_exposed_provenance_mut(target.map_or(0, |it| it.0)),
        dstDevice: if target.is_some() { 0 } else { to.address },
        dstArray: CUarray(0),
        reserved1: std::ptr::null_mut(),
        dstPitch: to.pitch as usize,
        dstHeight: to.height as usize,
        WidthInBytes: copy.width_bytes as usize,
        Height: copy.height as usize,
        Depth: copy.depth as usize,
    })
}

/// Finds the memory of the program that an end is, or is stood in for, and how its rows lie.
fn program(end: &NodeCopyEnd) -> Option<(usize, Layout)> {
    if CUmemorytype(end.kind) != CUmemorytype::HOST {
        return borrowed::place(end.address);
    }
    let NodeCopyEnd { x_bytes, y, z, pitch, height, .. } = *end;
    let [x, y, z, pitch, height] = [x_bytes, y, z, pitch, height].map(|size| size as usize);
    Some((spans::address(end)?, Layout { x, y, z, pitch, height }))
}

/// Lays an end out as the program did, where it is memory of the program.
fn told_end(end: &NodeCopyEnd) -> NodeCopyEnd {
    let Some((_, layout)) = program(end) else { return end.clone() };
    NodeCopyEnd { level: end.level, ..layout.end(CUmemorytype(end.kind), end.address) }
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
        Type::HOST => {
            let it = host_node::told(params.handle)?;
            union[0] = it.r#fn.expose_provenance() as u64;
            union[1] = it.userData.expose_provenance() as u64;
        }
        _ => union[0] = params.handle,
    }
    Ok(CUgraphNodeParams { r#type: kind, reserved0: [0; 3], unnamed16: union, reserved2: 0 })
}

/// Writes a `CUDA_MEMCPY3D` word by word.
fn copy_words(copy: &NodeCopy) -> [u64; COPY_WORDS] {
    let half = |end: &NodeCopyEnd| {
        let program = program(end);
        let end = told_end(end);
        let kind = program.map_or(u64::from(end.kind), |_| CUmemorytype::HOST.0.into());
        let (host, device) = program.map_or((0, end.address), |place| (place.0 as u64, 0));
        let place = [end.x_bytes, end.y, end.z, end.level, kind, host, device, 0, 0];
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
    use std::mem::offset_of;

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
