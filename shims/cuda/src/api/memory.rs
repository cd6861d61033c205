//! Device memory (CUDA Driver API, Memory Management).

use vgpu_abi::cuda::{CUdeviceptr, Error};
use vgpu_guest::session::{self, Failure};
use vgpu_link::wire::cuda::{MemcpyDtoHV2, MemcpyHtoDV2};
use vgpu_link::wire::header::BULK_BYTES_MAX;

/// Copies memory of the program to the device, and waits until it is there.
pub(crate) fn memcpy_hto_d_v2(target: CUdeviceptr, source: &[u8]) -> Result<(), Error> {
    let parts = source.chunks(BULK_BYTES_MAX).zip(0..).map(|(part, index)| {
        let offset = index * BULK_BYTES_MAX as u64;
        (MemcpyHtoDV2 { dst_device: target.wrapping_add(offset) }, part)
    });
    session::send_parts(parts).map_err(Failure::fault)
}

/// Copies memory of the device to the program.
pub(crate) fn memcpy_dto_h_v2(target: &mut [u8], source: CUdeviceptr) -> Result<(), Error> {
    let parts = target.chunks_mut(BULK_BYTES_MAX).zip(0..).map(|(part, index)| {
        let offset = index * BULK_BYTES_MAX as u64;
        let request =
            MemcpyDtoHV2 { src_device: source.wrapping_add(offset), byte_count: part.len() as u64 };
        (request, part)
    });
    session::fetch_parts(parts).map_err(Failure::fault)
}
