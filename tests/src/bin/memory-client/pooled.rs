//! Stream-ordered allocation, and copies between two devices.

use cudarc::driver::sys;
use serde_json::json;

use crate::{Told, allocate, begin, name, ok, pattern, read, write};

const BYTES: usize = 100_000;

pub(crate) fn tell() -> Told {
    let first = begin()?;
    let sent = pattern(BYTES, 9);
    let (mut stream, mut pool, mut at) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: the places are ours, and as long as the calls document.
    unsafe {
        ok("cuStreamCreate", sys::cuStreamCreate(&mut stream, 1))?;
        ok("cuMemAllocAsync", sys::cuMemAllocAsync(&mut at, BYTES, stream))?;
        let copied = sys::cuMemcpyHtoDAsync_v2(at, sent.as_ptr().cast(), BYTES, stream);
        ok("cuMemcpyHtoDAsync", copied)?;
        let mut got = vec![0u8; BYTES];
        let copied = sys::cuMemcpyDtoHAsync_v2(got.as_mut_ptr().cast(), at, BYTES, stream);
        ok("cuMemcpyDtoHAsync", copied)?;
        ok("cuStreamSynchronize", sys::cuStreamSynchronize(stream))?;
        ok("cuDeviceGetDefaultMemPool", sys::cuDeviceGetDefaultMemPool(&mut pool, 0))?;
        let mut used = 0u64;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT;
        let place = (&raw mut used).cast();
        ok("cuMemPoolGetAttribute", sys::cuMemPoolGetAttribute(pool, attribute, place))?;
        ok("cuMemFreeAsync", sys::cuMemFreeAsync(at, stream))?;
        let twice = sys::cuMemFreeAsync(at, stream);
        let plain = allocate(BYTES)?;
        let not_pooled = sys::cuMemFreeAsync(plain, stream);

        let (mut second, mut reaches) = (std::ptr::null_mut(), 0);
        ok("cuDevicePrimaryCtxRetain", sys::cuDevicePrimaryCtxRetain(&mut second, 1))?;
        ok("cuDeviceCanAccessPeer", sys::cuDeviceCanAccessPeer(&mut reaches, 0, 1))?;
        ok("cuMemcpyHtoD", write(plain, &sent))?;
        ok("cuCtxSetCurrent", sys::cuCtxSetCurrent(second))?;
        let there = allocate(BYTES)?;
        let enabled = [
            sys::cuCtxEnablePeerAccess(first, 0),
            sys::cuCtxEnablePeerAccess(first, 0),
            sys::cuCtxEnablePeerAccess(second, 0),
        ];
        ok("cuMemcpyPeer", sys::cuMemcpyPeer(there, second, plain, first, BYTES))?;
        let mut over = vec![0u8; BYTES];
        ok("cuMemcpyDtoH", read(there, &mut over))?;
        let disabled = [sys::cuCtxDisablePeerAccess(first), sys::cuCtxDisablePeerAccess(first)];
        Ok(json!({
            "kept": got == sent,
            "used": used >= BYTES as u64,
            "twice": name(twice),
            "not_pooled": name(not_pooled),
            "reaches": reaches,
            "enabled": enabled.map(name),
            "disabled": disabled.map(name),
            "over": over == sent,
        }))
    }
}
