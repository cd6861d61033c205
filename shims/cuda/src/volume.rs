//! Rows and slices: where they lie, whether they fit, and how they travel.
//!
//! The rows of a copy from or to the program are gathered into as few frames as hold them. Where
//! they lie together on both sides, the copy is one of one dimension.

mod layout;

pub(crate) use layout::{Layout, Part, Shape};

use std::borrow::Cow;

use vgpu_abi::cuda::{CUarray, CUmemorytype, CUstream, Error};
use vgpu_guest::convert::Memory;
use vgpu_guest::wire::cuda::{
    NodeCopy, VolumeSide, VolumeToDevice, VolumeToDeviceAsync, VolumeToHost, VolumeToHostAsync,
    VolumeWithin, VolumeWithinAsync,
};
use vgpu_guest::wire::header::BULK_BYTES_MAX;
use vgpu_guest::{reach, reserve};

use crate::api::{capture, copy as line, stream as streams};
use crate::borrowed::{Borrowed, HostCopy, Way};
use crate::{arrays, captures, ranges, remote, spans};

/// Longest gap between rows that is looked at with them: a page, which is looked at anyway.
const GAP_BYTES_MAX: usize = 4096;

/// One side of a copy.
#[derive(Debug)]
pub(crate) enum Side<'call> {
    /// Memory of the program.
    Host {
        /// Where the layout begins.
        base: Memory<'call>,
        /// How it goes on.
        layout: Layout,
    },
    /// Memory of a device.
    Device {
        /// Where the layout begins.
        base: u64,
        /// How it goes on.
        layout: Layout,
    },
    /// An array, of which pitch and height are its own.
    Array {
        /// Its handle.
        array: CUarray,
        /// Where the copy begins.
        layout: Layout,
    },
}

impl<'call> Side<'call> {
    /// Finds out on which side an address lies.
    pub(crate) fn unified(base: Memory<'call>, layout: Layout) -> Result<Self, Error> {
        let first = layout.offset([0; 3]).ok_or(Error::INVALID_VALUE)?;
        let address = base.further(first).address();
        if ranges::find(address).is_some() {
            return Ok(Self::Device { base: base.address(), layout });
        }
        if reserve::holds(address) {
            return Err(Error::INVALID_VALUE);
        }
        Ok(Self::Host { base, layout })
    }

    fn check(&self, shape: &Shape) -> Result<(), Error> {
        match self {
            Self::Array { array, layout } => {
                let at = [layout.x, layout.y, layout.z];
                arrays::find(*array)?.check(at, [shape.width, shape.height, shape.depth])
            }
            Self::Device { base, layout } => {
                layout.check(shape)?;
                let first = base.checked_add(layout.place([0; 3])? as u64);
                let first = first.ok_or(Error::INVALID_VALUE)?;
                ranges::check(first, layout.extent(shape)? as u64)
            }
            Self::Host { base, layout } => check_program(base, layout, shape),
        }
    }

    fn is_packed(&self, shape: &Shape) -> bool {
        match self {
            Self::Host { layout, .. } | Self::Device { layout, .. } => layout.is_packed(shape),
            Self::Array { .. } => false,
        }
    }

    /// Describes a side on the device to the host; `at` is where a part of the copy begins.
    fn on_the_wire(&self, at: [usize; 3]) -> Result<VolumeSide, Error> {
        let (array, address, layout) = match self {
            Self::Array { array, layout } => (array.0, 0, layout),
            Self::Device { base, layout } => (0, *base, layout),
            Self::Host { .. } => return Err(Error::INVALID_VALUE),
        };
        let layout = layout.shifted(at);
        Ok(VolumeSide {
            array,
            address,
            x: layout.x as u64,
            y: layout.y as u64,
            z: layout.z as u64,
            pitch: layout.pitch as u64,
            height: layout.height as u64,
        })
    }
}

/// Checks that rows lie apart, and where the program may have memory.
pub(crate) fn check_program(
    base: &Memory<'_>,
    layout: &Layout,
    shape: &Shape,
) -> Result<(), Error> {
    layout.check(shape)?;
    let first = base.further(layout.place([0; 3])?).address();
    let is_own = base.address() != 0 && !reserve::holds(first);
    if is_own { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// Copies, and waits unless there is a stream to do it in.
pub(crate) fn copy(
    target: Side<'_>,
    source: Side<'_>,
    shape: Shape,
    stream: Option<CUstream>,
) -> Result<(), Error> {
    if shape.width == 0 || shape.height == 0 || shape.depth == 0 {
        return Ok(());
    }
    source.check(&shape)?;
    target.check(&shape)?;
    let bytes = shape.bytes()?;
    if let Some(copy) = in_sight(&target, &source, &shape)? {
        return spans::copy(copy, stream);
    }
    let is_line = source.is_packed(&shape) && target.is_packed(&shape);
    match (&target, &source) {
        (Side::Host { base: to, layout }, Side::Host { base: from, layout: from_layout }) => {
            if let Some(stream) = stream {
                // Behind the stream's work, which may still have to fill the source.
                streams::stream_synchronize(stream)?;
            }
            for (y, z) in shape.rows() {
                let from = from.further(from_layout.place([0, y, z])?);
                line::within_the_program(to.further(layout.place([0, y, z])?), from, shape.width)?;
            }
            Ok(())
        }
        (Side::Device { base, layout }, Side::Device { base: from, layout: from_layout })
            if is_line =>
        {
            let to = base + layout.place([0; 3])? as u64;
            let from = from + from_layout.place([0; 3])? as u64;
            match stream {
                Some(stream) => line::memcpy_dto_d_async_v2(to, from, bytes, stream),
                None => line::memcpy_dto_d_v2(to, from, bytes),
            }
        }
        (_, Side::Host { base, layout }) => to_device(&target, base, layout, shape, stream),
        (Side::Host { base, layout }, _) => to_host(base, layout, &source, shape, stream),
        _ => within(&target, &source, shape, stream),
    }
}

/// Describes a copy between linear memory of a device and memory of the program, if the host sees
/// that, too; work of the current context is about to do it.
fn in_sight(
    target: &Side<'_>,
    source: &Side<'_>,
    shape: &Shape,
) -> Result<Option<NodeCopy>, Error> {
    let (way, host, device) = match (target, source) {
        (Side::Device { base, layout }, Side::Host { base: host, layout: rows }) => {
            (Way::In, (host, rows), (base, layout))
        }
        (Side::Host { base: host, layout: rows }, Side::Device { base, layout }) => {
            (Way::Out, (host, rows), (base, layout))
        }
        _ => return Ok(None),
    };
    let Some(span) = spans::end(host.0.address(), host.1, shape)? else { return Ok(None) };
    let (from, to) = way.order(span, device.1.end(CUmemorytype::DEVICE, *device.0));
    let (width_bytes, height) = (shape.width as u64, shape.height as u64);
    Ok(Some(NodeCopy { from, to, width_bytes, height, depth: shape.depth as u64 }))
}

fn within(
    target: &Side<'_>,
    source: &Side<'_>,
    shape: Shape,
    stream: Option<CUstream>,
) -> Result<(), Error> {
    let (target, source) = (target.on_the_wire([0; 3])?, source.on_the_wire([0; 3])?);
    let shape = shape.on_the_wire();
    match stream {
        Some(stream) => {
            remote::post(&VolumeWithinAsync { target, source, shape, stream: stream.0 })
        }
        None => remote::call(&VolumeWithin { target, source, shape }),
    }
}

fn to_device(
    target: &Side<'_>,
    base: &Memory<'_>,
    layout: &Layout,
    shape: Shape,
    stream: Option<CUstream>,
) -> Result<(), Error> {
    if let Some(stream) = stream
        && capture::is_active(stream)?
    {
        let copy = HostCopy::new(Way::In, base.further(0).keep(), *layout, shape)?;
        let source = Side::Device { base: copy.stand_in, layout: copy.packed() };
        return captured(copy, target, &source, shape, stream);
    }
    let first = base.further(layout.place([0; 3])?).address();
    match stream {
        Some(stream) => line::await_source(first, layout.extent(&shape)? as u64, stream)?,
        None => {
            captures::check_unsafe()?;
            line::await_functions(CUstream(0))?;
        }
    }
    for part in shape.parts(BULK_BYTES_MAX) {
        let rows = gather(base, layout, &part)?;
        let (target, shape) = (target.on_the_wire(part.at)?, part.shape.on_the_wire());
        match stream {
            Some(stream) => {
                let request = VolumeToDeviceAsync { target, shape, stream: stream.0 };
                remote::post_parts(stream, std::iter::once((request, &rows[..])))?;
            }
            None => {
                let request = VolumeToDevice { target, shape };
                remote::send_parts(std::iter::once((request, &rows[..])))?;
            }
        }
    }
    Ok(())
}

fn to_host(
    base: &Memory<'_>,
    layout: &Layout,
    source: &Side<'_>,
    shape: Shape,
    stream: Option<CUstream>,
) -> Result<(), Error> {
    match stream {
        Some(stream) if capture::is_active(stream)? => {
            let copy = HostCopy::new(Way::Out, base.further(0).keep(), *layout, shape)?;
            let target = Side::Device { base: copy.stand_in, layout: copy.packed() };
            return captured(copy, &target, source, shape, stream);
        }
        Some(_) => {}
        None => captures::check_unsafe()?,
    }
    let mut rows = Vec::new();
    for part in shape.parts(BULK_BYTES_MAX) {
        rows.resize(part.shape.bytes()?, 0);
        let (source, shape) = (source.on_the_wire(part.at)?, part.shape.on_the_wire());
        match stream {
            Some(stream) => {
                let request = VolumeToHostAsync { source, shape, stream: stream.0 };
                remote::fetch_parts(std::iter::once((request, &mut rows[..])))?;
            }
            None => {
                let request = VolumeToHost { source, shape };
                remote::fetch_parts(std::iter::once((request, &mut rows[..])))?;
            }
        }
        scatter(base, layout, &part, &rows)?;
    }
    Ok(())
}

/// Captures a copy between the program's memory, for which a place stands in, and a device.
fn captured(
    copy: HostCopy,
    target: &Side<'_>,
    source: &Side<'_>,
    shape: Shape,
    stream: CUstream,
) -> Result<(), Error> {
    let (target, source) = (target.on_the_wire([0; 3])?, source.on_the_wire([0; 3])?);
    let shape = shape.on_the_wire();
    let request = VolumeWithinAsync { target, source, shape, stream: stream.0 };
    capture::borrow(Borrowed::Copy(copy), stream, || remote::call(&request))
}

/// Packs the rows of a part; rows that lie together stay where they are.
pub(crate) fn gather<'call>(
    base: &Memory<'call>,
    layout: &Layout,
    part: &Part,
) -> Result<Cow<'call, [u8]>, Error> {
    let Part { at: [x, y, z], shape } = *part;
    if layout.is_packed(&shape) {
        let rows = base.further(layout.place(part.at)?).bytes::<Error>(shape.bytes()?)?;
        return if is_readable(rows) { Ok(Cow::Borrowed(rows)) } else { Err(Error::INVALID_VALUE) };
    }
    check_reach(base, layout, part, reach::is_readable)?;
    let mut rows = Vec::with_capacity(shape.bytes()?);
    for (row, slice) in shape.rows() {
        let place = base.further(layout.place([x, y + row, z + slice])?);
        rows.extend_from_slice(place.bytes::<Error>(shape.width)?);
    }
    Ok(Cow::Owned(rows))
}

/// Puts the rows of a part where they belong.
pub(crate) fn scatter(
    base: &Memory<'_>,
    layout: &Layout,
    part: &Part,
    rows: &[u8],
) -> Result<(), Error> {
    let Part { at: [x, y, z], shape } = *part;
    check_reach(base, layout, part, reach::is_writable)?;
    for ((row, slice), bytes) in shape.rows().zip(rows.chunks(shape.width)) {
        let place = base.further(layout.place([x, y + row, z + slice])?);
        place.bytes_mut::<Error>(shape.width)?.copy_from_slice(bytes);
    }
    Ok(())
}

/// Checks that the rows of a part are memory of the program.
pub(crate) fn check_reach(
    base: &Memory<'_>,
    layout: &Layout,
    part: &Part,
    can: impl Fn(*const u8, usize) -> bool,
) -> Result<(), Error> {
    let Part { at: [x, y, z], shape } = *part;
    let reaches = |place: [usize; 3], bytes| -> Result<bool, Error> {
        let first = base.further(layout.place(place)?).bytes::<Error>(bytes)?.as_ptr();
        Ok(can(first, bytes))
    };
    for slice in 0..shape.depth {
        // Close rows in one question; what lies between them may be missing, though.
        let rows = Shape { depth: 1, ..shape };
        let is_close = layout.pitch - shape.width.min(layout.pitch) < GAP_BYTES_MAX;
        if is_close && reaches([x, y, z + slice], layout.extent(&rows)?)? {
            continue;
        }
        for row in 0..shape.height {
            if !reaches([x, y + row, z + slice], shape.width)? {
                return Err(Error::INVALID_VALUE);
            }
        }
    }
    Ok(())
}

fn is_readable(bytes: &[u8]) -> bool {
    reach::is_readable(bytes.as_ptr(), bytes.len())
}
