//! The arguments of a launch, packed as the kernel reads them.
//!
//! A program gives a list of addresses without sizes, or a buffer of its own; how long each
//! argument is, the host said when the function was looked up. No size is ever guessed.

use vgpu_abi::cuda::Error;
use vgpu_guest::convert::{Memory, Readable};
use vgpu_guest::wire::cuda::Parameter;

/// Keys of `extra` (CUDA Driver API, `cuLaunchKernel`: CU_LAUNCH_PARAM_END, ..._BUFFER_POINTER,
/// ..._BUFFER_SIZE).
const END: usize = 0;
const BUFFER_POINTER: usize = 1;
const BUFFER_SIZE: usize = 2;

/// Most pairs in `extra`: 8; two have a meaning.
const PAIRS_MAX: usize = 8;

/// Packs the arguments of a launch. Both lists, or none where there are parameters, are
/// INVALID_VALUE.
pub(crate) fn pack(
    parameters: &[Parameter],
    bytes: usize,
    list: Memory<'_>,
    extra: Memory<'_>,
) -> Result<Vec<u8>, Error> {
    let (list, extra) = (list.readable(), extra.readable());
    match (list.is_null(), extra.is_null()) {
        (false, false) => return Err(Error::INVALID_VALUE),
        (true, false) => return buffer(bytes, extra),
        (true, true) if !parameters.is_empty() => return Err(Error::INVALID_VALUE),
        _ => {}
    }
    let mut packed = vec![0; bytes];
    for (index, parameter) in parameters.iter().enumerate() {
        let (offset, size) = (parameter.offset as usize, parameter.bytes as usize);
        let argument = list.follow::<Error>(8 * index)?.readable();
        packed[offset..offset + size].copy_from_slice(argument.bytes::<Error>(0, size)?);
    }
    Ok(packed)
}

/// Takes the buffer that `extra` names; one that is too short for the parameters is
/// INVALID_VALUE.
fn buffer(bytes: usize, extra: Readable<'_>) -> Result<Vec<u8>, Error> {
    let (mut place, mut size) = (None, None::<usize>);
    for pair in 0..PAIRS_MAX {
        let (key, value) = (16 * pair, 16 * pair + 8);
        match extra.value::<usize, Error>(key)? {
            END => break,
            BUFFER_POINTER => place = Some(extra.follow::<Error>(value)?.readable()),
            BUFFER_SIZE => {
                size = Some(extra.follow::<Error>(value)?.readable().value::<_, Error>(0)?)
            }
            _ => return Err(Error::INVALID_VALUE),
        }
    }
    let (Some(place), Some(size)) = (place, size) else { return Err(Error::INVALID_VALUE) };
    if size < bytes {
        return Err(Error::INVALID_VALUE);
    }
    Ok(place.bytes::<Error>(0, bytes)?.to_vec())
}
