//! Arrays (CUDA Driver API, Memory Management): made, described, destroyed, and copied. Nothing
//! else uses them: mipmaps, textures and surfaces are not carried.

use vgpu_abi::cuda::{
    CUDA_ARRAY_DESCRIPTOR, CUDA_ARRAY3D_DESCRIPTOR, CUarray, CUdeviceptr, CUstream, Error,
};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cuda::{ArrayCreate, ArrayDestroy};

use crate::arrays::{self, Array, element_bytes};
use crate::volume::{Layout, Shape, Side, copy};
use crate::{contexts, handles, remote};

/// Makes an array of one or two dimensions.
pub(crate) fn array_create_v2(wanted: CUDA_ARRAY_DESCRIPTOR) -> Result<CUarray, Error> {
    let CUDA_ARRAY_DESCRIPTOR { Width, Height, Format, NumChannels } = wanted;
    array3_d_create_v2(CUDA_ARRAY3D_DESCRIPTOR {
        Width,
        Height,
        Depth: 0,
        Format,
        NumChannels,
        Flags: 0,
    })
}

/// Makes an array.
pub(crate) fn array3_d_create_v2(wanted: CUDA_ARRAY3D_DESCRIPTOR) -> Result<CUarray, Error> {
    remote::ready()?;
    element_bytes(wanted.Format, wanted.NumChannels)?;
    let (context, _) = contexts::current()?;
    let request = ArrayCreate {
        width: wanted.Width as u64,
        height: wanted.Height as u64,
        depth: wanted.Depth as u64,
        format: wanted.Format.0,
        channels: wanted.NumChannels,
        flags: wanted.Flags,
    };
    let array = CUarray(remote::call(&request)?.array);
    arrays::insert(array, Array { context, descriptor: wanted });
    Ok(array)
}

/// Destroys an array.
pub(crate) fn array_destroy(array: CUarray) -> Result<(), Error> {
    remote::ready()?;
    arrays::find(array)?;
    remote::call(&ArrayDestroy { array: array.0 })?;
    arrays::remove(array)
}

/// Tells what an array was made as, but for a third dimension.
pub(crate) fn array_get_descriptor_v2(array: CUarray) -> Result<CUDA_ARRAY_DESCRIPTOR, Error> {
    let made = array3_d_get_descriptor_v2(array)?;
    let CUDA_ARRAY3D_DESCRIPTOR { Width, Height, Format, NumChannels, .. } = made;
    Ok(CUDA_ARRAY_DESCRIPTOR { Width, Height, Format, NumChannels })
}

/// Tells what an array was made as.
pub(crate) fn array3_d_get_descriptor_v2(array: CUarray) -> Result<CUDA_ARRAY3D_DESCRIPTOR, Error> {
    remote::ready()?;
    Ok(arrays::find(array)?.descriptor)
}

/// Copies memory of the program to an array of one dimension, and waits.
pub(crate) fn memcpy_hto_a_v2(
    target: CUarray,
    offset: usize,
    source: Memory<'_>,
    bytes: usize,
) -> Result<(), Error> {
    remote::ready()?;
    copy(in_array(target, offset)?, in_program(source), line(bytes), None)
}

/// As [`memcpy_hto_a_v2`], behind what the stream does already.
pub(crate) fn memcpy_hto_a_async_v2(
    target: CUarray,
    offset: usize,
    source: Memory<'_>,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    copy(in_array(target, offset)?, in_program(source), line(bytes), Some(stream))
}

/// Copies an array of one dimension to the program, and waits.
pub(crate) fn memcpy_ato_h_v2(
    target: Memory<'_>,
    source: CUarray,
    offset: usize,
    bytes: usize,
) -> Result<(), Error> {
    remote::ready()?;
    copy(in_program(target), in_array(source, offset)?, line(bytes), None)
}

/// As [`memcpy_ato_h_v2`], behind what the stream does already.
pub(crate) fn memcpy_ato_h_async_v2(
    target: Memory<'_>,
    source: CUarray,
    offset: usize,
    bytes: usize,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    copy(in_program(target), in_array(source, offset)?, line(bytes), Some(stream))
}

/// Copies device memory to an array of one dimension.
pub(crate) fn memcpy_dto_a_v2(
    target: CUarray,
    offset: usize,
    source: CUdeviceptr,
    bytes: usize,
) -> Result<(), Error> {
    remote::ready()?;
    let source = Side::Device { base: source, layout: START };
    copy(in_array(target, offset)?, source, line(bytes), None)
}

/// Copies an array of one dimension to device memory.
pub(crate) fn memcpy_ato_d_v2(
    target: CUdeviceptr,
    source: CUarray,
    offset: usize,
    bytes: usize,
) -> Result<(), Error> {
    remote::ready()?;
    let target = Side::Device { base: target, layout: START };
    copy(target, in_array(source, offset)?, line(bytes), None)
}

/// Copies between arrays of one dimension.
pub(crate) fn memcpy_ato_a_v2(
    target: CUarray,
    offset: usize,
    source: CUarray,
    source_offset: usize,
    bytes: usize,
) -> Result<(), Error> {
    remote::ready()?;
    copy(in_array(target, offset)?, in_array(source, source_offset)?, line(bytes), None)
}

const START: Layout = Layout { x: 0, y: 0, z: 0, pitch: 0, height: 0 };

fn line(bytes: usize) -> Shape {
    Shape { width: bytes, height: 1, depth: 1 }
}

fn in_program(base: Memory<'_>) -> Side<'_> {
    Side::Host { base, layout: START }
}

/// Names a place in an array of one dimension; in any other INVALID_VALUE, because an offset alone
/// says nothing about rows.
fn in_array<'call>(array: CUarray, offset: usize) -> Result<Side<'call>, Error> {
    let made = arrays::find(array)?.descriptor;
    if made.Height > 0 || made.Depth > 0 {
        return Err(Error::INVALID_VALUE);
    }
    Ok(Side::Array { array, layout: Layout { x: offset, ..START } })
}
