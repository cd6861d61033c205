//! Copies of many sizes on many streams at once, to the device and back, in two contexts.

use cudarc::driver::sys;
use serde_json::json;

use crate::{Failed, Told, allocate, begin, ok, pattern, read};

/// More than a host has pieces of pinned memory for.
const STREAMS: usize = 20;

/// Around what a host aligns copies to, and the size of a piece.
const SMALL: [usize; 9] = [0, 1, 3, 255, 257, 65_537, 524_287, 524_288, 524_289];

/// Larger than all pieces together, and than a message.
const LARGE: usize = (20 << 20) + 7;

/// A copy that is under way.
struct Copy {
    at: sys::CUdeviceptr,
    sent: Vec<u8>,
    got: Vec<u8>,
}

/// Copies there and back on one stream. What the program does with the source then is its own.
fn copy(bytes: usize, seed: usize, stream: sys::CUstream) -> Result<Copy, Failed> {
    let mut copy = Copy { at: allocate(bytes.max(1))?, sent: pattern(bytes, seed), got: vec![] };
    let mut source = copy.sent.clone();
    copy.got.resize(bytes, 0);
    // SAFETY: both places are as long as the copies say, and live until the caller synchronises.
    unsafe {
        let to = sys::cuMemcpyHtoDAsync_v2(copy.at, source.as_ptr().cast(), bytes, stream);
        ok("cuMemcpyHtoDAsync", to)?;
        source.fill(0xee);
        let from = sys::cuMemcpyDtoHAsync_v2(copy.got.as_mut_ptr().cast(), copy.at, bytes, stream);
        ok("cuMemcpyDtoHAsync", from)?;
    }
    Ok(copy)
}

/// Waits for the copies of the current context; counts those that brought something else.
fn settle(copies: Vec<Copy>) -> Result<usize, Failed> {
    // SAFETY: no place is given.
    ok("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })?;
    let wrong = copies.iter().filter(|copy| copy.got != copy.sent).count();
    for copy in &copies {
        // SAFETY: nothing uses the memory any more.
        ok("cuMemFree", unsafe { sys::cuMemFree_v2(copy.at) })?;
    }
    Ok(wrong)
}

fn streams() -> Result<Vec<sys::CUstream>, Failed> {
    let one = || {
        let mut stream = std::ptr::null_mut();
        // SAFETY: the place is ours.
        ok("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, 1) })?;
        Ok(stream)
    };
    (0..STREAMS).map(|_| one()).collect()
}

fn many(streams: &[sys::CUstream]) -> Result<usize, Failed> {
    let mut copies = Vec::new();
    for (seed, bytes) in SMALL.into_iter().enumerate() {
        for (at, stream) in streams.iter().enumerate() {
            copies.push(copy(bytes, seed + 100 * at, *stream)?);
        }
    }
    settle(copies)
}

pub(crate) fn tell() -> Told {
    let first = begin()?;
    let of_first = streams()?;
    let wrong = many(&of_first)?;
    let large = settle(vec![copy(LARGE, 7, of_first[0])?, copy(LARGE, 8, of_first[1])?])?;
    let (at, mut got) = (allocate(LARGE)?, vec![0; LARGE]);
    let sent = pattern(LARGE, 9);
    ok("cuMemcpyHtoD", crate::write(at, &sent))?;
    ok("cuMemcpyDtoH", read(at, &mut got))?;
    let mut second = std::ptr::null_mut();
    // SAFETY: the place is ours, and nothing of the context is used after its end.
    unsafe {
        ok("cuCtxCreate", sys::cuCtxCreate_v2(&mut second, 0, 0))?;
        let of_second = streams()?;
        let wrong_there = many(&of_second)?;
        ok("cuCtxDestroy", sys::cuCtxDestroy_v2(second))?;
        ok("cuCtxSetCurrent", sys::cuCtxSetCurrent(first))?;
        let wrong_then = many(&of_first)?;
        Ok(json!({
            "wrong": [wrong, large, wrong_there, wrong_then],
            "waited_for": got == sent,
        }))
    }
}
