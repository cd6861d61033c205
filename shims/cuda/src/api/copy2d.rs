//! Copies in two dimensions (CUDA Driver API, Memory Management, `CUDA_MEMCPY2D`).
//!
//! Each row is a copy of its own, unless the rows lie together on both sides. Arrays are not
//! carried: a copy from or to one is NOT_SUPPORTED.

use std::ffi::c_void;

use vgpu_abi::cuda::{CUDA_MEMCPY2D, CUmemorytype, CUstream, Error};
use vgpu_guest::convert::{Memory, Pointing};

use crate::api::{copy, set};
use crate::{ranges, remote};

/// Copies rows and waits.
pub(crate) fn memcpy2_d_v2(copy: Pointing<'_, CUDA_MEMCPY2D>) -> Result<(), Error> {
    each_row(&copy, copy::memcpy)
}

/// As [`memcpy2_d_v2`]: no alignment was asked for there either.
pub(crate) fn memcpy2_d_unaligned_v2(copy: Pointing<'_, CUDA_MEMCPY2D>) -> Result<(), Error> {
    memcpy2_d_v2(copy)
}

/// Copies rows behind what the stream does already.
pub(crate) fn memcpy2_d_async_v2(
    copy: Pointing<'_, CUDA_MEMCPY2D>,
    stream: CUstream,
) -> Result<(), Error> {
    each_row(&copy, |target, source, bytes| copy::memcpy_async(target, source, bytes, stream))
}

fn each_row(
    copy: &Pointing<'_, CUDA_MEMCPY2D>,
    row: impl Fn(Memory<'_>, Memory<'_>, usize) -> Result<(), Error>,
) -> Result<(), Error> {
    remote::ready()?;
    let it = copy.value();
    let source = Side::new(it.srcMemoryType, it.srcXInBytes, it.srcY, it.srcPitch)?;
    let target = Side::new(it.dstMemoryType, it.dstXInBytes, it.dstY, it.dstPitch)?;
    let (width, rows) = (it.WidthInBytes, it.Height);
    if width == 0 || rows == 0 {
        return Ok(());
    }
    source.check(width, rows)?;
    target.check(width, rows)?;
    source.check_place(copy, source.pick(source_host, source_device), width, rows)?;
    target.check_place(copy, target.pick(target_host, target_device), width, rows)?;
    let (bytes, rows) = match source.is_packed(width, rows) && target.is_packed(width, rows) {
        true => (width.checked_mul(rows).ok_or(Error::INVALID_VALUE)?, 1),
        false => (width, rows),
    };
    for at in 0..rows {
        let from = copy.memory(source.pick(source_host, source_device), source.offset(at)?);
        let to = copy.memory(target.pick(target_host, target_device), target.offset(at)?);
        row(to, from, bytes)?;
    }
    Ok(())
}

type Pick = fn(&CUDA_MEMCPY2D) -> *const c_void;

/// Where the program says that one side of a copy lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Device,
    /// The address tells.
    Unified,
}

/// One side of a copy.
struct Side {
    kind: Kind,
    x_bytes: usize,
    y: usize,
    pitch: usize,
}

impl Side {
    fn new(kind: CUmemorytype, x_bytes: usize, y: usize, pitch: usize) -> Result<Self, Error> {
        let kind = match kind {
            CUmemorytype::HOST => Kind::Host,
            CUmemorytype::DEVICE => Kind::Device,
            CUmemorytype::UNIFIED => Kind::Unified,
            CUmemorytype::ARRAY => return Err(Error::NOT_SUPPORTED),
            _ => return Err(Error::INVALID_VALUE),
        };
        Ok(Self { kind, x_bytes, y, pitch })
    }

    /// Refuses rows that reach into one another, and offsets beyond the address space.
    fn check(&self, width: usize, rows: usize) -> Result<(), Error> {
        let reach = self.x_bytes.checked_add(width).ok_or(Error::INVALID_VALUE)?;
        if (rows > 1 || self.y > 0) && reach > self.pitch {
            return Err(Error::INVALID_VALUE);
        }
        self.offset(rows - 1).map(drop)
    }

    /// Refuses rows that leave their allocation, and memory of the program that is said to be a
    /// device's.
    fn check_place(
        &self,
        copy: &Pointing<'_, CUDA_MEMCPY2D>,
        pick: Pick,
        width: usize,
        rows: usize,
    ) -> Result<(), Error> {
        let first = copy.memory(pick, self.offset(0)?).address();
        if self.kind != Kind::Device && ranges::find(first).is_none() {
            return Ok(());
        }
        let extent = set::extent(self.pitch, Some(width), rows).ok_or(Error::INVALID_VALUE)?;
        ranges::check(first, extent as u64)
    }

    fn is_packed(&self, width: usize, rows: usize) -> bool {
        rows == 1 || (self.pitch == width && self.x_bytes == 0)
    }

    fn offset(&self, row: usize) -> Result<usize, Error> {
        let row = self.y.checked_add(row).and_then(|row| row.checked_mul(self.pitch));
        row.and_then(|start| start.checked_add(self.x_bytes)).ok_or(Error::INVALID_VALUE)
    }

    fn pick(&self, host: Pick, device: Pick) -> Pick {
        // A unified address stands in the device's field, wherever it lies.
        if self.kind == Kind::Host { host } else { device }
    }
}

fn source_host(copy: &CUDA_MEMCPY2D) -> *const c_void {
    copy.srcHost
}

fn source_device(copy: &CUDA_MEMCPY2D) -> *const c_void {
    std::ptr::with_exposed_provenance(copy.srcDevice as usize)
}

fn target_host(copy: &CUDA_MEMCPY2D) -> *const c_void {
    copy.dstHost
}

fn target_device(copy: &CUDA_MEMCPY2D) -> *const c_void {
    std::ptr::with_exposed_provenance(copy.dstDevice as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_must_not_reach_into_one_another() {
        let side = |x_bytes, y, pitch| Side { kind: Kind::Host, x_bytes, y, pitch };
        assert_eq!(side(0, 0, 16).check(16, 4), Ok(()));
        assert_eq!(side(4, 0, 16).check(12, 4), Ok(()));
        assert_eq!(side(4, 0, 16).check(13, 4), Err(Error::INVALID_VALUE));
        assert_eq!(side(4, 0, 0).check(13, 1), Ok(()));
        assert_eq!(side(0, 1, 8).check(9, 1), Err(Error::INVALID_VALUE));
        assert_eq!(side(0, usize::MAX, 16).check(16, 2), Err(Error::INVALID_VALUE));
        assert_eq!(side(usize::MAX, 0, 16).check(16, 2), Err(Error::INVALID_VALUE));
        assert_eq!(side(8, 2, 100).offset(3), Ok(508));
    }

    #[test]
    fn a_copy_from_an_array_is_not_supported() {
        let kind = |kind| Side::new(kind, 0, 0, 0).map(|side| side.kind);
        assert_eq!(kind(CUmemorytype::HOST), Ok(Kind::Host));
        assert_eq!(kind(CUmemorytype::UNIFIED), Ok(Kind::Unified));
        assert_eq!(kind(CUmemorytype::ARRAY), Err(Error::NOT_SUPPORTED));
        assert_eq!(kind(CUmemorytype(9)), Err(Error::INVALID_VALUE));
    }
}
