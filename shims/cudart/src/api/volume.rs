//! Memory in three dimensions (CUDA Runtime API, "Memory Management").
//!
//! Where an array takes part, widths and first columns count its elements; else they count bytes.

use vgpu_abi::cudart::{
    cudaArray_t, cudaExtent, cudaMemcpy3DParms, cudaMemcpy3DPeerParms, cudaPitchedPtr, cudaPos,
};
use vgpu_guest::convert::Pointing;

use super::array;
use super::copy::{Kind, Order};
use super::memory::{address, malloc_pitch};
use crate::driver::{Address, Copy3D, Driver, MemorySide, Side3D, Stream};
use crate::primary;
use crate::result::{Error, Result};

/// Allocates slices of rows; the rows of all slices lie equally far apart.
pub fn malloc3_d(extent: cudaExtent) -> Result<cudaPitchedPtr> {
    let rows = extent.height.checked_mul(extent.depth).ok_or(Error::MEMORY_ALLOCATION)?;
    let (ptr, pitch) = malloc_pitch(extent.width, rows)?;
    Ok(cudaPitchedPtr { ptr, pitch, xsize: extent.width, ysize: extent.height })
}

/// Sets slices of rows to a byte.
pub fn memset3_d(place: cudaPitchedPtr, value: i32, extent: cudaExtent) -> Result<()> {
    set(place, value, extent, Order::Legacy)
}

/// As [`memset3_d`], on the thread's own default stream.
pub fn memset3_d_ptds(place: cudaPitchedPtr, value: i32, extent: cudaExtent) -> Result<()> {
    set(place, value, extent, Order::PerThread)
}

/// As [`memset3_d`], in stream order.
pub fn memset3_d_async(
    place: cudaPitchedPtr,
    value: i32,
    extent: cudaExtent,
    stream: Stream,
) -> Result<()> {
    set(place, value, extent, Order::Stream(stream))
}

/// Copies slices of rows.
pub fn memcpy3_d(copy: Pointing<'_, cudaMemcpy3DParms>) -> Result<()> {
    between(&copy, Order::Legacy)
}

/// As [`memcpy3_d`], on the thread's own default stream.
pub fn memcpy3_d_ptds(copy: Pointing<'_, cudaMemcpy3DParms>) -> Result<()> {
    between(&copy, Order::PerThread)
}

/// As [`memcpy3_d`], in stream order.
pub fn memcpy3_d_async(copy: Pointing<'_, cudaMemcpy3DParms>, stream: Stream) -> Result<()> {
    between(&copy, Order::Stream(stream))
}

/// Copies slices of rows from one device to another.
pub fn memcpy3_d_peer(copy: Pointing<'_, cudaMemcpy3DPeerParms>) -> Result<()> {
    across(&copy, Order::Legacy)
}

/// As [`memcpy3_d_peer`], on the thread's own default stream.
pub fn memcpy3_d_peer_ptds(copy: Pointing<'_, cudaMemcpy3DPeerParms>) -> Result<()> {
    across(&copy, Order::PerThread)
}

/// As [`memcpy3_d_peer`], in stream order.
pub fn memcpy3_d_peer_async(
    copy: Pointing<'_, cudaMemcpy3DPeerParms>,
    stream: Stream,
) -> Result<()> {
    across(&copy, Order::Stream(stream))
}

fn set(place: cudaPitchedPtr, value: i32, extent: cudaExtent, order: Order) -> Result<()> {
    let driver = primary::current()?;
    let cudaExtent { width, height, depth } = extent;
    if width == 0 || height == 0 || depth == 0 {
        return Ok(());
    }
    // Slices without a gap between them are one long slice.
    let (rows, slices) = if place.ysize == height || depth == 1 {
        (height.checked_mul(depth).ok_or(Error::INVALID_VALUE)?, 1)
    } else {
        (height, depth)
    };
    let slice_bytes = place.pitch.checked_mul(place.ysize).ok_or(Error::INVALID_VALUE)?;
    let is_addressable = slice_bytes.checked_mul(slices).is_some();
    if width > place.pitch || (slices > 1 && (height > place.ysize || !is_addressable)) {
        return Err(Error::INVALID_VALUE);
    }
    let (value, pitch) = (value as u8, place.pitch);
    let first = Address::found(place.ptr.addr() as u64);
    for slice in 0..slices {
        let target = first.offset(slice * slice_bytes).number();
        match order {
            Order::Legacy => driver.memset_d2d8(target, pitch, value, width, rows),
            Order::PerThread => driver.memset_d2d8_ptds(target, pitch, value, width, rows),
            Order::Stream(stream) => {
                driver.memset_d2d8_async(target, pitch, value, width, rows, stream)
            }
        }?;
    }
    Ok(())
}

fn between(copy: &Pointing<'_, cudaMemcpy3DParms>, order: Order) -> Result<()> {
    let driver = primary::current()?;
    let copy = to_driver(driver, copy)?;
    if copy.width_bytes == 0 || copy.height == 0 || copy.depth == 0 {
        return Ok(());
    }
    match order {
        Order::Legacy => driver.memcpy_3d(&copy),
        Order::PerThread => driver.memcpy_3d_ptds(&copy),
        Order::Stream(stream) => driver.memcpy_3d_async(&copy, stream),
    }
}

fn across(copy: &Pointing<'_, cudaMemcpy3DPeerParms>, order: Order) -> Result<()> {
    let driver = primary::current()?;
    let value = copy.value();
    let sides = (MemorySide::Unified, MemorySide::Unified);
    let source = Part {
        array: value.srcArray,
        first: value.srcPos,
        place: value.srcPtr,
        address: copy.memory(|copy| copy.srcPtr.ptr, 0).into(),
    };
    let target = Part {
        array: value.dstArray,
        first: value.dstPos,
        place: value.dstPtr,
        address: copy.memory(|copy| copy.dstPtr.ptr, 0).into(),
    };
    let mut copy = describe(driver, &source, &target, sides, value.extent)?;
    copy.source.context = primary::of(value.srcDevice)?;
    copy.target.context = primary::of(value.dstDevice)?;
    if copy.width_bytes == 0 || copy.height == 0 || copy.depth == 0 {
        return Ok(());
    }
    match order {
        Order::Legacy => driver.memcpy_3d_peer(&copy),
        Order::PerThread => driver.memcpy_3d_peer_ptds(&copy),
        Order::Stream(stream) => driver.memcpy_3d_peer_async(&copy, stream),
    }
}

/// Returns the driver's form of a copy.
///
/// # Errors
/// `INVALID_VALUE` unless each side is either an array or memory; `INVALID_MEMCPY_DIRECTION` for
/// an unknown kind.
pub(super) fn to_driver(driver: &Driver, copy: &Pointing<'_, cudaMemcpy3DParms>) -> Result<Copy3D> {
    let value = copy.value();
    let (to, from) = Kind::new(value.kind)?.sides();
    let source = Part {
        array: value.srcArray,
        first: value.srcPos,
        place: value.srcPtr,
        address: copy.memory(|copy| copy.srcPtr.ptr, 0).into(),
    };
    let target = Part {
        array: value.dstArray,
        first: value.dstPos,
        place: value.dstPtr,
        address: copy.memory(|copy| copy.dstPtr.ptr, 0).into(),
    };
    describe(driver, &source, &target, (to, from), value.extent)
}

/// Returns the runtime's form of a copy.
pub(super) fn from_driver(driver: &Driver, copy: &Copy3D) -> Result<cudaMemcpy3DParms> {
    let element = element_bytes(driver, copy.source.array, copy.target.array)?;
    let place = |side: &Side3D| cudaPitchedPtr {
        ptr: address(side.address().number()),
        pitch: side.pitch,
        xsize: if side.array == 0 { side.pitch } else { 0 },
        ysize: side.height,
    };
    let first = |side: &Side3D| {
        let unit = if side.array == 0 { 1 } else { element };
        cudaPos { x: side.x_bytes / unit, y: side.y, z: side.z }
    };
    Ok(cudaMemcpy3DParms {
        srcArray: cudaArray_t(copy.source.array),
        srcPos: first(&copy.source),
        srcPtr: place(&copy.source),
        dstArray: cudaArray_t(copy.target.array),
        dstPos: first(&copy.target),
        dstPtr: place(&copy.target),
        extent: cudaExtent {
            width: copy.width_bytes / element,
            height: copy.height,
            depth: copy.depth,
        },
        kind: Kind::between(&copy.target, &copy.source).number(),
    })
}

/// One side of a copy, as the program describes it.
struct Part {
    array: cudaArray_t,
    first: cudaPos,
    place: cudaPitchedPtr,
    address: Address,
}

impl Part {
    fn side(&self, side: MemorySide, element: usize) -> Result<Side3D> {
        let (is_array, is_memory) =
            (self.array != cudaArray_t::default(), self.address != Address::NULL);
        let (mut described, unit) = match (is_array, is_memory) {
            (true, false) => (Side3D::array(self.array.0), element),
            (false, true) => {
                let (pitch, height) = (self.place.pitch, self.place.ysize);
                (Side3D::memory(self.address, side, pitch, height), 1)
            }
            _ => return Err(Error::INVALID_VALUE),
        };
        let cudaPos { x, y, z } = self.first;
        described.x_bytes = x.checked_mul(unit).ok_or(Error::INVALID_VALUE)?;
        (described.y, described.z) = (y, z);
        Ok(described)
    }
}

fn describe(
    driver: &Driver,
    source: &Part,
    target: &Part,
    (to, from): (MemorySide, MemorySide),
    extent: cudaExtent,
) -> Result<Copy3D> {
    let element = element_bytes(driver, source.array.0, target.array.0)?;
    Ok(Copy3D {
        source: source.side(from, element)?,
        target: target.side(to, element)?,
        width_bytes: extent.width.checked_mul(element).ok_or(Error::INVALID_VALUE)?,
        height: extent.height,
        depth: extent.depth,
    })
}

/// Returns how many bytes a unit of the width is.
fn element_bytes(driver: &Driver, source: u64, target: u64) -> Result<usize> {
    match (source, target) {
        (0, 0) => Ok(1),
        (0, array) | (array, 0) => array::element_bytes(driver, cudaArray_t(array)),
        (source, target) => {
            let source = array::element_bytes(driver, cudaArray_t(source))?;
            let target = array::element_bytes(driver, cudaArray_t(target))?;
            if source == target { Ok(source) } else { Err(Error::INVALID_VALUE) }
        }
    }
}
