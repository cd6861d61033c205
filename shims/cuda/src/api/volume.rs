//! Copies of rows and slices (CUDA Driver API, Memory Management, `CUDA_MEMCPY2D`,
//! `CUDA_MEMCPY3D`).

use std::ffi::c_void;

use vgpu_abi::cuda::{
    CUDA_MEMCPY2D, CUDA_MEMCPY3D, CUDA_MEMCPY3D_PEER, CUarray, CUmemorytype, CUstream, Error,
};
use vgpu_guest::convert::{Memory, Pointing};

use crate::volume::{Layout, Shape, Side, copy};
use crate::{contexts, handles, remote};

/// Copies rows and waits.
pub(crate) fn memcpy2_d_v2(it: Pointing<'_, CUDA_MEMCPY2D>) -> Result<(), Error> {
    remote::ready()?;
    let (target, source, shape) = in_two_dimensions(&it)?;
    copy(target, source, shape, None)
}

/// As [`memcpy2_d_v2`]: no alignment was asked for there either.
pub(crate) fn memcpy2_d_unaligned_v2(it: Pointing<'_, CUDA_MEMCPY2D>) -> Result<(), Error> {
    memcpy2_d_v2(it)
}

/// Copies rows behind what the stream does already.
pub(crate) fn memcpy2_d_async_v2(
    it: Pointing<'_, CUDA_MEMCPY2D>,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    let (target, source, shape) = in_two_dimensions(&it)?;
    copy(target, source, shape, Some(stream))
}

/// Copies slices and waits.
pub(crate) fn memcpy3_d_v2(it: Pointing<'_, CUDA_MEMCPY3D>) -> Result<(), Error> {
    remote::ready()?;
    let (target, source, shape) = in_three_dimensions(&it)?;
    copy(target, source, shape, None)
}

/// Copies slices behind what the stream does already.
pub(crate) fn memcpy3_d_async_v2(
    it: Pointing<'_, CUDA_MEMCPY3D>,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    let (target, source, shape) = in_three_dimensions(&it)?;
    copy(target, source, shape, Some(stream))
}

/// Copies slices between contexts and waits. Which device an address or array belongs to, it says
/// itself.
pub(crate) fn memcpy3_d_peer(it: Pointing<'_, CUDA_MEMCPY3D_PEER>) -> Result<(), Error> {
    remote::ready()?;
    let (target, source, shape) = between_contexts(&it)?;
    copy(target, source, shape, None)
}

/// Copies slices between contexts behind what the stream does already.
pub(crate) fn memcpy3_d_peer_async(
    it: Pointing<'_, CUDA_MEMCPY3D_PEER>,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    let (target, source, shape) = between_contexts(&it)?;
    copy(target, source, shape, Some(stream))
}

/// Target, source and shape of a copy.
type Parsed<'call> = Result<(Side<'call>, Side<'call>, Shape), Error>;

fn in_two_dimensions<'call>(copy: &Pointing<'call, CUDA_MEMCPY2D>) -> Parsed<'call> {
    let it = copy.value();
    let layout = |x, y, pitch| Layout { x, y, z: 0, pitch, height: 0 };
    let source = side(
        it.srcMemoryType,
        copy.memory(|it| it.srcHost, 0),
        copy.memory(|it| device(it.srcDevice), 0),
        it.srcArray,
        layout(it.srcXInBytes, it.srcY, it.srcPitch),
    )?;
    let target = side(
        it.dstMemoryType,
        copy.memory(|it| it.dstHost, 0),
        copy.memory(|it| device(it.dstDevice), 0),
        it.dstArray,
        layout(it.dstXInBytes, it.dstY, it.dstPitch),
    )?;
    Ok((target, source, Shape { width: it.WidthInBytes, height: it.Height, depth: 1 }))
}

/// Reads one of the two structures of a copy of slices, whose fields have the same names.
macro_rules! three_dimensions {
    ($copy:ident) => {{
        let it = $copy.value();
        check_levels(it.srcLOD, it.dstLOD)?;
        let layout = |x, y, z, pitch, height| Layout { x, y, z, pitch, height };
        let source = side(
            it.srcMemoryType,
            $copy.memory(|it| it.srcHost, 0),
            $copy.memory(|it| device(it.srcDevice), 0),
            it.srcArray,
            layout(it.srcXInBytes, it.srcY, it.srcZ, it.srcPitch, it.srcHeight),
        )?;
        let target = side(
            it.dstMemoryType,
            $copy.memory(|it| it.dstHost, 0),
            $copy.memory(|it| device(it.dstDevice), 0),
            it.dstArray,
            layout(it.dstXInBytes, it.dstY, it.dstZ, it.dstPitch, it.dstHeight),
        )?;
        Ok((target, source, Shape { width: it.WidthInBytes, height: it.Height, depth: it.Depth }))
    }};
}

fn in_three_dimensions<'call>(copy: &Pointing<'call, CUDA_MEMCPY3D>) -> Parsed<'call> {
    three_dimensions!(copy)
}

fn between_contexts<'call>(copy: &Pointing<'call, CUDA_MEMCPY3D_PEER>) -> Parsed<'call> {
    contexts::find(copy.value().srcContext.0)?;
    contexts::find(copy.value().dstContext.0)?;
    three_dimensions!(copy)
}

/// Both levels "must be set to 0" (CUDA Driver API, `CUDA_MEMCPY3D`): there are no mipmaps.
fn check_levels(source: usize, target: usize) -> Result<(), Error> {
    if source == 0 && target == 0 { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Chooses the place that the program says one side lies in. A unified address stands in the
/// device's field, wherever it lies.
fn side<'call>(
    kind: CUmemorytype,
    host: Memory<'call>,
    device: Memory<'call>,
    array: CUarray,
    layout: Layout,
) -> Result<Side<'call>, Error> {
    match kind {
        CUmemorytype::HOST => Ok(Side::Host { base: host, layout }),
        CUmemorytype::DEVICE => Ok(Side::Device { base: device.address(), layout }),
        CUmemorytype::UNIFIED => Side::unified(device, layout),
        CUmemorytype::ARRAY => Ok(Side::Array { array, layout }),
        _ => Err(Error::INVALID_VALUE),
    }
}

fn device(address: u64) -> *const c_void {
    std::ptr::with_exposed_provenance(address as usize)
}
