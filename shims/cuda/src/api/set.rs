//! Asynchronous sets (CUDA Driver API, Memory Management).
//!
//! Checked before they are sent, because what the host has against them would only be reported at
//! the next synchronisation.

use vgpu_abi::cuda::{CUdeviceptr, CUstream, Error};
use vgpu_guest::wire::cuda::{
    MemsetD2D8Async, MemsetD2D16Async, MemsetD2D32Async, MemsetD8Async, MemsetD16Async,
    MemsetD32Async,
};

use crate::{handles, ranges, remote};

/// Checks a set of `width_bytes` wide elements, which lie at multiples of their width.
fn check(
    target: CUdeviceptr,
    width_bytes: u64,
    bytes: Option<usize>,
    stream: CUstream,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    if !target.is_multiple_of(width_bytes) {
        return Err(Error::INVALID_VALUE);
    }
    ranges::check(target, bytes.ok_or(Error::INVALID_VALUE)? as u64)
}

/// Counts the bytes from the first row's beginning to the last row's end; rows lie at multiples of
/// an element's size.
fn extent(pitch: usize, width: usize, element_bytes: usize, rows: usize) -> Option<usize> {
    match (width.checked_mul(element_bytes)?, rows) {
        (0, _) | (_, 0) => Some(0),
        (width, 1) => Some(width),
        (width, _) if width > pitch || !pitch.is_multiple_of(element_bytes) => None,
        (width, rows) => pitch.checked_mul(rows - 1)?.checked_add(width),
    }
}

/// Sets elements of 1 byte behind what the stream does already.
pub(crate) fn memset_d8_async(
    target: CUdeviceptr,
    value: u8,
    count: usize,
    stream: CUstream,
) -> Result<(), Error> {
    check(target, 1, count.checked_mul(1), stream)?;
    remote::post_unseen(
        stream,
        &MemsetD8Async { dst_device: target, uc: value, n: count as u64, stream: stream.0 },
    )
}

/// Sets rows of elements of 1 byte behind what the stream does already.
pub(crate) fn memset_d2_d8_async(
    target: CUdeviceptr,
    pitch: usize,
    value: u8,
    width: usize,
    rows: usize,
    stream: CUstream,
) -> Result<(), Error> {
    check(target, 1, extent(pitch, width, 1, rows), stream)?;
    remote::post_unseen(
        stream,
        &MemsetD2D8Async {
            dst_device: target,
            dst_pitch: pitch as u64,
            uc: value,
            width: width as u64,
            height: rows as u64,
            stream: stream.0,
        },
    )
}

/// Sets elements of 2 bytes behind what the stream does already.
pub(crate) fn memset_d16_async(
    target: CUdeviceptr,
    value: u16,
    count: usize,
    stream: CUstream,
) -> Result<(), Error> {
    check(target, 2, count.checked_mul(2), stream)?;
    remote::post_unseen(
        stream,
        &MemsetD16Async { dst_device: target, us: value, n: count as u64, stream: stream.0 },
    )
}

/// Sets rows of elements of 2 bytes behind what the stream does already.
pub(crate) fn memset_d2_d16_async(
    target: CUdeviceptr,
    pitch: usize,
    value: u16,
    width: usize,
    rows: usize,
    stream: CUstream,
) -> Result<(), Error> {
    check(target, 2, extent(pitch, width, 2, rows), stream)?;
    remote::post_unseen(
        stream,
        &MemsetD2D16Async {
            dst_device: target,
            dst_pitch: pitch as u64,
            us: value,
            width: width as u64,
            height: rows as u64,
            stream: stream.0,
        },
    )
}

/// Sets elements of 4 bytes behind what the stream does already.
pub(crate) fn memset_d32_async(
    target: CUdeviceptr,
    value: u32,
    count: usize,
    stream: CUstream,
) -> Result<(), Error> {
    check(target, 4, count.checked_mul(4), stream)?;
    remote::post_unseen(
        stream,
        &MemsetD32Async { dst_device: target, ui: value, n: count as u64, stream: stream.0 },
    )
}

/// Sets rows of elements of 4 bytes behind what the stream does already.
pub(crate) fn memset_d2_d32_async(
    target: CUdeviceptr,
    pitch: usize,
    value: u32,
    width: usize,
    rows: usize,
    stream: CUstream,
) -> Result<(), Error> {
    check(target, 4, extent(pitch, width, 4, rows), stream)?;
    remote::post_unseen(
        stream,
        &MemsetD2D32Async {
            dst_device: target,
            dst_pitch: pitch as u64,
            ui: value,
            width: width as u64,
            height: rows as u64,
            stream: stream.0,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extent_of_rows_ends_with_the_last_one() {
        assert_eq!(extent(16, 8, 1, 3), Some(40));
        assert_eq!(extent(0, 4, 2, 1), Some(8));
        assert_eq!(extent(4, 8, 1, 2), None);
        assert_eq!(extent(16, 0, 4, 3), Some(0));
        assert_eq!(extent(16, usize::MAX, 4, 3), None);
        assert_eq!(extent(usize::MAX, 8, 1, 3), None);
        assert_eq!(extent(18, 4, 4, 1), Some(16));
        assert_eq!(extent(18, 4, 4, 2), None, "the second row would cut elements");
    }
}
