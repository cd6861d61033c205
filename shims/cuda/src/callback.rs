//! Calls of the program's own functions.

use vgpu_abi::cuda::CUoccupancyB2DSize;

/// Asks the program how much dynamic shared memory a block of `threads` needs
/// (`cuOccupancyMaxPotentialBlockSize`); without a function, `otherwise`.
pub(crate) fn shared_bytes_of(
    function: CUoccupancyB2DSize,
    threads: i32,
    otherwise: usize,
) -> usize {
    if function.is_null() {
        return otherwise;
    }
    // SAFETY: the program gave the address of a function of this C type, as the documentation of
    // CUoccupancyB2DSize asks; it is not NULL.
    let function =
        unsafe { std::mem::transmute::<CUoccupancyB2DSize, extern "C" fn(i32) -> usize>(function) };
    function(threads)
}
