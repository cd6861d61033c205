//! Copies from and to addresses where the program has no memory: an error, and the program and its
//! connection go on.

use std::ffi::c_void;

use cudarc::driver::sys;
use serde_json::json;

use crate::{Told, allocate, begin, name, ok, pattern, read, write};

const BYTES: usize = 20 << 20;

pub(crate) fn tell() -> Told {
    begin()?;
    let device = allocate(BYTES)?;
    let nowhere = std::ptr::without_provenance_mut::<c_void>(0x10_0000);
    let constant = "a constant cannot be written to";
    let mut stream = std::ptr::null_mut();
    let sent = pattern(BYTES, 3);
    // SAFETY: what the calls are told is wrong on purpose: they answer so, which is the story.
    let (refused, rows) = unsafe {
        ok("cuStreamCreate", sys::cuStreamCreate(&mut stream, 1))?;
        let text = constant.as_ptr().cast_mut().cast::<c_void>();
        let refused = [
            sys::cuMemcpyHtoD_v2(device, nowhere, 100),
            sys::cuMemcpyDtoH_v2(nowhere, device, 100),
            sys::cuMemcpyDtoH_v2(text, device, 8),
            sys::cuMemcpyHtoDAsync_v2(device, nowhere, BYTES, stream),
            sys::cuMemcpyDtoHAsync_v2(nowhere, device, BYTES, stream),
            sys::cuMemcpy(nowhere.addr() as u64, sent.as_ptr().addr() as u64, 10),
            sys::cuMemcpy(sent.as_ptr().addr() as u64, nowhere.addr() as u64, 10),
        ];
        let mut copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            srcHost: nowhere,
            srcDevice: device,
            srcArray: std::ptr::null_mut(),
            srcPitch: 100,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstHost: nowhere,
            dstDevice: device,
            dstArray: std::ptr::null_mut(),
            dstPitch: 100,
            WidthInBytes: 50,
            Height: 50,
        };
        let there = sys::cuMemcpy2D_v2(&copy);
        std::mem::swap(&mut copy.srcMemoryType, &mut copy.dstMemoryType);
        (refused, [there, sys::cuMemcpy2D_v2(&copy)])
    };
    ok("cuMemcpyHtoD", write(device, &sent))?;
    let mut got = vec![0; BYTES];
    ok("cuMemcpyDtoH", read(device, &mut got))?;
    Ok(json!({
        "refused": refused.map(name),
        "rows": rows.map(name),
        "goes_on": got == sent,
    }))
}
