//! Copies between host and devices (CUDA Runtime API, "Memory Management").
//!
//! The kind says where the two places lie; with `cudaMemcpyDefault`, and between two places of
//! the host, the driver finds out from the addresses. Copying nothing is done at once.

use vgpu_abi::cudart::cudaMemcpyKind;
use vgpu_guest::convert::Memory;

use crate::driver::{Address, Copy2D, Driver, MemorySide, Side2D, Side3D, Stream};
use crate::primary;
use crate::result::{Error, Result};

/// Where the two places of a copy lie (`cudaMemcpyKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    HostToHost,
    HostToDevice,
    DeviceToHost,
    DeviceToDevice,
    Default,
}

/// In whose order a copy happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// That of the legacy default stream; the call returns when it is done.
    Legacy,
    /// That of the thread's own default stream; the call returns when it is done.
    PerThread,
    /// That of a stream; the call may return before it is done.
    Stream(Stream),
}

/// Copies `count` bytes.
pub fn memcpy(
    target: Memory<'_>,
    source: Memory<'_>,
    count: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    linear(target.into(), source.into(), count, Kind::new(kind)?, Order::Legacy)
}

/// Copies `count` bytes on the thread's own default stream.
pub fn memcpy_ptds(
    target: Memory<'_>,
    source: Memory<'_>,
    count: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    linear(target.into(), source.into(), count, Kind::new(kind)?, Order::PerThread)
}

/// Copies `count` bytes in stream order.
pub fn memcpy_async(
    target: Memory<'_>,
    source: Memory<'_>,
    count: usize,
    kind: cudaMemcpyKind,
    stream: Stream,
) -> Result<()> {
    linear(target.into(), source.into(), count, Kind::new(kind)?, Order::Stream(stream))
}

/// Copies `height` rows of `width` bytes between two pitched areas.
pub fn memcpy2_d(
    target: Memory<'_>,
    target_pitch: usize,
    source: Memory<'_>,
    source_pitch: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let (to, from) = (Area(&target, target_pitch), Area(&source, source_pitch));
    rows(to, from, width, height, kind, Order::Legacy)
}

/// As [`memcpy2_d`], on the thread's own default stream.
pub fn memcpy2_d_ptds(
    target: Memory<'_>,
    target_pitch: usize,
    source: Memory<'_>,
    source_pitch: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
) -> Result<()> {
    let (to, from) = (Area(&target, target_pitch), Area(&source, source_pitch));
    rows(to, from, width, height, kind, Order::PerThread)
}

/// As [`memcpy2_d`], in stream order.
#[allow(clippy::too_many_arguments)] // the API's own argument list
pub fn memcpy2_d_async(
    target: Memory<'_>,
    target_pitch: usize,
    source: Memory<'_>,
    source_pitch: usize,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
    stream: Stream,
) -> Result<()> {
    let (to, from) = (Area(&target, target_pitch), Area(&source, source_pitch));
    rows(to, from, width, height, kind, Order::Stream(stream))
}

/// Copies `count` bytes from one device to another.
pub fn memcpy_peer(
    target: Memory<'_>,
    target_device: i32,
    source: Memory<'_>,
    source_device: i32,
    count: usize,
) -> Result<()> {
    let driver = primary::current()?;
    let (target, source) = (target.address(), source.address());
    let (to, from) = (primary::of(target_device)?, primary::of(source_device)?);
    if count == 0 { Ok(()) } else { driver.memcpy_peer(target, to, source, from, count) }
}

/// Copies `count` bytes from one device to another in stream order.
pub fn memcpy_peer_async(
    target: Memory<'_>,
    target_device: i32,
    source: Memory<'_>,
    source_device: i32,
    count: usize,
    stream: Stream,
) -> Result<()> {
    let driver = primary::current()?;
    let (target, source) = (target.address(), source.address());
    let (to, from) = (primary::of(target_device)?, primary::of(source_device)?);
    if count == 0 {
        return Ok(());
    }
    driver.memcpy_peer_async(target, to, source, from, count, stream)
}

/// Copies `count` bytes between two places.
pub(super) fn linear(
    target: Address,
    source: Address,
    count: usize,
    kind: Kind,
    order: Order,
) -> Result<()> {
    let driver = primary::current()?;
    if count == 0 {
        return Ok(());
    }
    if target == Address::NULL || source == Address::NULL {
        return Err(Error::INVALID_VALUE);
    }
    match order {
        Order::Stream(stream) => copy_async(driver, target, source, count, kind, stream),
        Order::Legacy => match kind {
            Kind::HostToDevice => driver.memcpy_htod(target, source, count),
            Kind::DeviceToHost => driver.memcpy_dtoh(target, source, count),
            Kind::DeviceToDevice => driver.memcpy_dtod(target, source, count),
            Kind::HostToHost | Kind::Default => driver.memcpy(target, source, count),
        },
        Order::PerThread => match kind {
            Kind::HostToDevice => driver.memcpy_htod_ptds(target, source, count),
            Kind::DeviceToHost => driver.memcpy_dtoh_ptds(target, source, count),
            Kind::DeviceToDevice => driver.memcpy_dtod_ptds(target, source, count),
            Kind::HostToHost | Kind::Default => driver.memcpy_ptds(target, source, count),
        },
    }
}

fn copy_async(
    driver: &Driver,
    target: Address,
    source: Address,
    count: usize,
    kind: Kind,
    stream: Stream,
) -> Result<()> {
    match kind {
        Kind::HostToDevice => driver.memcpy_htod_async(target, source, count, stream),
        Kind::DeviceToHost => driver.memcpy_dtoh_async(target, source, count, stream),
        Kind::DeviceToDevice => driver.memcpy_dtod_async(target, source, count, stream),
        Kind::HostToHost | Kind::Default => driver.memcpy_async(target, source, count, stream),
    }
}

/// One side of a two-dimensional copy: where it begins, and how far its rows are apart.
struct Area<'a, 'call>(&'a Memory<'call>, usize);

fn rows(
    target: Area<'_, '_>,
    source: Area<'_, '_>,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
    order: Order,
) -> Result<()> {
    let kind = Kind::new(kind)?;
    if width > target.1 || width > source.1 {
        return Err(Error::INVALID_PITCH_VALUE);
    }
    let driver = primary::current()?;
    if width == 0 || height == 0 {
        return Ok(());
    }
    if target.0.address() == 0 || source.0.address() == 0 {
        return Err(Error::INVALID_VALUE);
    }
    let (to, from) = kind.sides();
    let copy = Copy2D {
        source: Side2D::memory(source.0.into(), from, source.1),
        target: Side2D::memory(target.0.into(), to, target.1),
        width_bytes: width,
        height,
    };
    match order {
        Order::Legacy => driver.memcpy_2d(&copy),
        Order::PerThread => driver.memcpy_2d_ptds(&copy),
        Order::Stream(stream) => driver.memcpy_2d_async(&copy, stream),
    }
}

impl Kind {
    /// Reads the kind of a copy.
    ///
    /// # Errors
    /// `INVALID_MEMCPY_DIRECTION` for a number that is none.
    pub(super) fn new(kind: cudaMemcpyKind) -> Result<Self> {
        match kind.0 {
            0 => Ok(Self::HostToHost),
            1 => Ok(Self::HostToDevice),
            2 => Ok(Self::DeviceToHost),
            3 => Ok(Self::DeviceToDevice),
            4 => Ok(Self::Default),
            _ => Err(Error::INVALID_MEMCPY_DIRECTION),
        }
    }

    /// Returns the kind of a copy between two places; arrays are a device's.
    pub(super) fn between(target: &Side3D, source: &Side3D) -> Self {
        let unknown = [target, source].iter().any(|side| side.is(MemorySide::Unified));
        match (target.is(MemorySide::Host), source.is(MemorySide::Host)) {
            _ if unknown => Self::Default,
            (true, true) => Self::HostToHost,
            (false, true) => Self::HostToDevice,
            (true, false) => Self::DeviceToHost,
            (false, false) => Self::DeviceToDevice,
        }
    }

    /// Returns the number that C has for it.
    pub(super) fn number(self) -> cudaMemcpyKind {
        cudaMemcpyKind(self as u32)
    }

    /// Returns where the target and the source lie.
    pub(super) fn sides(self) -> (MemorySide, MemorySide) {
        match self {
            Self::HostToHost => (MemorySide::Host, MemorySide::Host),
            Self::HostToDevice => (MemorySide::Device, MemorySide::Host),
            Self::DeviceToHost => (MemorySide::Host, MemorySide::Device),
            Self::DeviceToDevice => (MemorySide::Device, MemorySide::Device),
            Self::Default => (MemorySide::Unified, MemorySide::Unified),
        }
    }
}
