//! Arrays (CUDA Runtime API, "Memory Management"). Handles and flags are the driver's own.
//!
//! Textures and surfaces, which arrays are for, are not implemented; a kernel cannot see an array.

use vgpu_abi::cudart::{
    cudaArray_const_t, cudaArray_t, cudaChannelFormatDesc, cudaChannelFormatKind, cudaExtent,
    cudaMemcpyKind, cudaMipmappedArray_const_t, cudaMipmappedArray_t,
};
use vgpu_guest::convert::Memory;

use super::copy::{Kind, Order};
use crate::driver::{ArrayShape, Copy2D, Driver, Side2D, Stream};
use crate::primary;
use crate::result::{Error, Result};

forwarded! {
    /// Frees an array with its levels.
    free_mipmapped_array(mipmapped_array: cudaMipmappedArray_t);
    /// Gives a plane of an array.
    array_get_plane(p_plane_array: Memory<'_>, h_array: cudaArray_t, plane_idx: u32);
}

/// Describes what an element of an array is, by the bits of its channels.
pub fn create_channel_desc(
    x: i32,
    y: i32,
    z: i32,
    w: i32,
    f: cudaChannelFormatKind,
) -> cudaChannelFormatDesc {
    cudaChannelFormatDesc { x, y, z, w, f }
}

/// Makes an array of one or, with a height, two dimensions.
pub fn malloc_array(
    channels: cudaChannelFormatDesc,
    width: usize,
    height: usize,
    flags: u32,
) -> Result<cudaArray_t> {
    malloc3_d_array(channels, cudaExtent { width, height, depth: 0 }, flags)
}

/// Makes an array.
pub fn malloc3_d_array(
    channels: cudaChannelFormatDesc,
    extent: cudaExtent,
    flags: u32,
) -> Result<cudaArray_t> {
    let driver = primary::current()?;
    let mut array = cudaArray_t::default();
    driver.array_create(&mut array, &shape(channels, extent, flags)?)?;
    Ok(array)
}

/// Makes an array with levels of half the size each.
pub fn malloc_mipmapped_array(
    channels: cudaChannelFormatDesc,
    extent: cudaExtent,
    levels: u32,
    flags: u32,
) -> Result<cudaMipmappedArray_t> {
    let driver = primary::current()?;
    let mut array = cudaMipmappedArray_t::default();
    driver.mipmapped_array_create(&mut array, &shape(channels, extent, flags)?, levels)?;
    Ok(array)
}

/// Returns one level of an array.
pub fn get_mipmapped_array_level(
    mipmapped: cudaMipmappedArray_const_t,
    level: u32,
) -> Result<cudaArray_t> {
    let driver = primary::current()?;
    let mut array = cudaArray_t::default();
    let mipmapped = cudaMipmappedArray_t(mipmapped.addr() as u64);
    driver.mipmapped_array_get_level(&mut array, mipmapped, level)?;
    Ok(array)
}

/// Frees an array; none frees nothing.
pub fn free_array(array: cudaArray_t) -> Result<()> {
    let driver = primary::current()?;
    if array == cudaArray_t::default() { Ok(()) } else { driver.array_destroy(array) }
}

/// Returns what an element of an array is, its extent and its flags.
pub fn array_get_info(array: cudaArray_t) -> Result<(cudaChannelFormatDesc, cudaExtent, u32)> {
    let shape = shape_of(primary::current()?, array)?;
    let ArrayShape { width, height, depth, flags, .. } = shape;
    Ok((channels(&shape)?, cudaExtent { width, height, depth }, flags))
}

/// Returns what an element of an array is.
pub fn get_channel_desc(array: cudaArray_const_t) -> Result<cudaChannelFormatDesc> {
    channels(&shape_of(primary::current()?, handle(array))?)
}

/// Copies rows into an array.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_to_array(
    target: cudaArray_t,
    x_bytes: usize,
    y: usize,
    source: Memory<'_>,
    pitch: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let target = Side2D::array(target.0, x_bytes, y);
    into_array(target, &source, pitch, (width, height), kind, Order::Legacy)
}

/// As [`memcpy2_d_to_array`], on the thread's own default stream.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_to_array_ptds(
    target: cudaArray_t,
    x_bytes: usize,
    y: usize,
    source: Memory<'_>,
    pitch: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let target = Side2D::array(target.0, x_bytes, y);
    into_array(target, &source, pitch, (width, height), kind, Order::PerThread)
}

/// As [`memcpy2_d_to_array`], in stream order.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_to_array_async(
    target: cudaArray_t,
    x_bytes: usize,
    y: usize,
    source: Memory<'_>,
    pitch: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
    stream: Stream,
) -> Result<()> {
    let target = Side2D::array(target.0, x_bytes, y);
    into_array(target, &source, pitch, (width, height), kind, Order::Stream(stream))
}

/// Copies rows out of an array.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_from_array(
    target: Memory<'_>,
    pitch: usize,
    source: cudaArray_const_t,
    x_bytes: usize,
    y: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let source = Side2D::array(handle(source).0, x_bytes, y);
    out_of_array(&target, pitch, source, (width, height), kind, Order::Legacy)
}

/// As [`memcpy2_d_from_array`], on the thread's own default stream.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_from_array_ptds(
    target: Memory<'_>,
    pitch: usize,
    source: cudaArray_const_t,
    x_bytes: usize,
    y: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let source = Side2D::array(handle(source).0, x_bytes, y);
    out_of_array(&target, pitch, source, (width, height), kind, Order::PerThread)
}

/// As [`memcpy2_d_from_array`], in stream order.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_from_array_async(
    target: Memory<'_>,
    pitch: usize,
    source: cudaArray_const_t,
    x_bytes: usize,
    y: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
    stream: Stream,
) -> Result<()> {
    let source = Side2D::array(handle(source).0, x_bytes, y);
    out_of_array(&target, pitch, source, (width, height), kind, Order::Stream(stream))
}

/// Copies rows from one array to another.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_array_to_array(
    target: cudaArray_t,
    target_x_bytes: usize,
    target_y: usize,
    source: cudaArray_const_t,
    source_x_bytes: usize,
    source_y: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let target = Side2D::array(target.0, target_x_bytes, target_y);
    let source = Side2D::array(handle(source).0, source_x_bytes, source_y);
    within(target, source, (width, height), kind, Order::Legacy)
}

/// As [`memcpy2_d_array_to_array`], on the thread's own default stream.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_array_to_array_ptds(
    target: cudaArray_t,
    target_x_bytes: usize,
    target_y: usize,
    source: cudaArray_const_t,
    source_x_bytes: usize,
    source_y: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let target = Side2D::array(target.0, target_x_bytes, target_y);
    let source = Side2D::array(handle(source).0, source_x_bytes, source_y);
    within(target, source, (width, height), kind, Order::PerThread)
}

fn into_array(
    target: Side2D,
    source: &Memory<'_>,
    pitch: usize,
    extent: (usize, usize),
    kind: cudaMemcpyKind,
    order: Order,
) -> Result<()> {
    let kind = Kind::new(kind)?;
    if matches!(kind, Kind::HostToHost | Kind::DeviceToHost) {
        return Err(Error::INVALID_MEMCPY_DIRECTION);
    }
    if extent.0 > pitch {
        return Err(Error::INVALID_PITCH_VALUE);
    }
    let source = Side2D::memory(source.into(), kind.sides().1, pitch);
    copy(target, source, extent, order)
}

fn out_of_array(
    target: &Memory<'_>,
    pitch: usize,
    source: Side2D,
    extent: (usize, usize),
    kind: cudaMemcpyKind,
    order: Order,
) -> Result<()> {
    let kind = Kind::new(kind)?;
    if matches!(kind, Kind::HostToHost | Kind::HostToDevice) {
        return Err(Error::INVALID_MEMCPY_DIRECTION);
    }
    if extent.0 > pitch {
        return Err(Error::INVALID_PITCH_VALUE);
    }
    let target = Side2D::memory(target.into(), kind.sides().0, pitch);
    copy(target, source, extent, order)
}

fn within(
    target: Side2D,
    source: Side2D,
    extent: (usize, usize),
    kind: cudaMemcpyKind,
    order: Order,
) -> Result<()> {
    match Kind::new(kind)? {
        Kind::DeviceToDevice | Kind::Default => copy(target, source, extent, order),
        _ => Err(Error::INVALID_MEMCPY_DIRECTION),
    }
}

fn copy(
    target: Side2D,
    source: Side2D,
    (width_bytes, height): (usize, usize),
    order: Order,
) -> Result<()> {
    let driver = primary::current()?;
    if width_bytes == 0 || height == 0 {
        return Ok(());
    }
    let copy = Copy2D { source, target, width_bytes, height };
    match order {
        Order::Legacy => driver.memcpy_2d(&copy),
        Order::PerThread => driver.memcpy_2d_ptds(&copy),
        Order::Stream(stream) => driver.memcpy_2d_async(&copy, stream),
    }
}

/// Returns how many bytes an element of an array has.
pub(super) fn element_bytes(driver: &Driver, array: cudaArray_t) -> Result<usize> {
    let shape = shape_of(driver, array)?;
    let (_, bits) = format(shape.format)?;
    Ok(shape.channels as usize * bits as usize / 8)
}

/// The formats that both APIs have: the driver's number, the kind and the bits of a channel.
const FORMATS: [(u32, cudaChannelFormatKind, i32); 8] = [
    (0x01, cudaChannelFormatKind::UNSIGNED, 8),
    (0x02, cudaChannelFormatKind::UNSIGNED, 16),
    (0x03, cudaChannelFormatKind::UNSIGNED, 32),
    (0x08, cudaChannelFormatKind::SIGNED, 8),
    (0x09, cudaChannelFormatKind::SIGNED, 16),
    (0x0a, cudaChannelFormatKind::SIGNED, 32),
    (0x10, cudaChannelFormatKind::FLOAT, 16),
    (0x20, cudaChannelFormatKind::FLOAT, 32),
];

fn format(number: u32) -> Result<(cudaChannelFormatKind, i32)> {
    let found = FORMATS.iter().find(|(known, _, _)| *known == number);
    found.map(|(_, kind, bits)| (*kind, *bits)).ok_or(Error::NOT_SUPPORTED)
}

fn shape(channels: cudaChannelFormatDesc, extent: cudaExtent, flags: u32) -> Result<ArrayShape> {
    let cudaChannelFormatDesc { x, y, z, w, f } = channels;
    let count = [x, y, z, w].iter().take_while(|bits| **bits != 0).count();
    // Channels come from x on and are all alike (CUDA Runtime API, cudaChannelFormatDesc).
    let alike = [x, y, z, w].iter().enumerate().all(|(at, bits)| match at < count {
        true => *bits == x,
        false => *bits == 0,
    });
    let known = FORMATS.iter().find(|(_, kind, bits)| *kind == f && *bits == x);
    let (Some((format, _, _)), true, 1 | 2 | 4) = (known, alike, count) else {
        return Err(Error::INVALID_CHANNEL_DESCRIPTOR);
    };
    let cudaExtent { width, height, depth } = extent;
    Ok(ArrayShape { width, height, depth, format: *format, channels: count as u32, flags })
}

fn channels(shape: &ArrayShape) -> Result<cudaChannelFormatDesc> {
    let (f, bits) = format(shape.format)?;
    let of = |channel: u32| if channel < shape.channels { bits } else { 0 };
    Ok(cudaChannelFormatDesc { x: of(0), y: of(1), z: of(2), w: of(3), f })
}

fn shape_of(driver: &Driver, array: cudaArray_t) -> Result<ArrayShape> {
    let mut shape = ArrayShape::default();
    driver.array_get_shape(&mut shape, array)?;
    Ok(shape)
}

/// Returns the handle that a `const` one is: C's `const` says nothing of a handle.
fn handle(array: cudaArray_const_t) -> cudaArray_t {
    cudaArray_t(array.addr() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desc(bits: [i32; 4], f: cudaChannelFormatKind) -> cudaChannelFormatDesc {
        let [x, y, z, w] = bits;
        cudaChannelFormatDesc { x, y, z, w, f }
    }

    #[test]
    fn what_an_element_is_comes_back_as_it_was_given() {
        let extent = cudaExtent { width: 4, height: 2, depth: 0 };
        for (_, kind, bits) in FORMATS {
            for given in [[bits, 0, 0, 0], [bits, bits, 0, 0], [bits; 4]] {
                let shape = shape(desc(given, kind), extent, 0).expect("a known format");
                let back = channels(&shape).expect("a known format");
                assert_eq!([back.x, back.y, back.z, back.w], given);
                assert_eq!(back.f, kind);
            }
        }
    }

    #[test]
    fn channels_that_are_not_alike_are_refused() {
        let extent = cudaExtent { width: 4, height: 2, depth: 0 };
        for given in [[0; 4], [8, 16, 0, 0], [8, 0, 8, 0], [8, 8, 8, 0], [7, 0, 0, 0]] {
            let refused = shape(desc(given, cudaChannelFormatKind::SIGNED), extent, 0);
            assert_eq!(refused.err(), Some(Error::INVALID_CHANNEL_DESCRIPTOR), "{given:?}");
        }
    }
}
