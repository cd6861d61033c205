//! The arrays of this process: which are alive, and what they were made as.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUDA_ARRAY3D_DESCRIPTOR, CUarray, CUarray_format, CUcontext, Error};

static ARRAYS: Mutex<Option<HashMap<u64, Array>>> = Mutex::new(None);

/// What is known of an array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Array {
    /// The context that it belongs to.
    pub context: u64,
    /// What it was made as; a height or depth of 0 is a dimension that it does not have.
    pub descriptor: CUDA_ARRAY3D_DESCRIPTOR,
}

impl Array {
    /// Checks that a box of bytes, rows and slices lies within the array, and cuts no element.
    pub(crate) fn check(&self, at: [usize; 3], shape: [usize; 3]) -> Result<(), Error> {
        let it = &self.descriptor;
        let element = element_bytes(it.Format, it.NumChannels)?;
        let row = it.Width.checked_mul(element).ok_or(Error::INVALID_VALUE)?;
        let ends = [row, it.Height.max(1), it.Depth.max(1)];
        let fits = at.iter().zip(shape).zip(ends).all(|((&from, length), end)| {
            from.checked_add(length).is_some_and(|reach| reach <= end)
        });
        let is_whole = at[0].is_multiple_of(element) && shape[0].is_multiple_of(element);
        if fits && is_whole { Ok(()) } else { Err(Error::INVALID_VALUE) }
    }
}

/// Counts the bytes of an element: 1, 2 or 4 channels of a plain format. Formats of pictures are
/// NOT_SUPPORTED: what they mean only textures and surfaces know, which are not carried.
pub(crate) fn element_bytes(format: CUarray_format, channels: u32) -> Result<usize, Error> {
    let channel = match format {
        CUarray_format::UNSIGNED_INT8 | CUarray_format::SIGNED_INT8 => 1,
        CUarray_format::UNSIGNED_INT16 | CUarray_format::SIGNED_INT16 | CUarray_format::HALF => 2,
        CUarray_format::UNSIGNED_INT32 | CUarray_format::SIGNED_INT32 | CUarray_format::FLOAT => 4,
        CUarray_format(0x40..=0xff) => return Err(Error::NOT_SUPPORTED),
        _ => return Err(Error::INVALID_VALUE),
    };
    if [1, 2, 4].contains(&channels) {
        Ok(channel * channels as usize)
    } else {
        Err(Error::INVALID_VALUE)
    }
}

fn lock() -> MutexGuard<'static, Option<HashMap<u64, Array>>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    ARRAYS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up an array that the host made.
pub(crate) fn insert(array: CUarray, made: Array) {
    lock().get_or_insert_default().insert(array.0, made);
}

/// Looks an array up; one that is not alive is INVALID_HANDLE.
pub(crate) fn find(array: CUarray) -> Result<Array, Error> {
    let arrays = lock();
    let found = arrays.as_ref().and_then(|arrays| arrays.get(&array.0).copied());
    found.ok_or(Error::INVALID_HANDLE)
}

/// Forgets an array; one that is not alive is INVALID_HANDLE.
pub(crate) fn remove(array: CUarray) -> Result<(), Error> {
    let removed = lock().as_mut().and_then(|arrays| arrays.remove(&array.0));
    removed.map(drop).ok_or(Error::INVALID_HANDLE)
}

/// Forgets what belonged to a context that is gone.
pub(crate) fn forget_context(context: CUcontext) {
    if let Some(arrays) = lock().as_mut() {
        arrays.retain(|_, array| array.context != context.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_lies_within_its_array_and_cuts_no_element() {
        let descriptor = CUDA_ARRAY3D_DESCRIPTOR {
            Width: 10,
            Height: 6,
            Depth: 0,
            Format: CUarray_format::FLOAT,
            NumChannels: 2,
            Flags: 0,
        };
        let array = Array { context: 1, descriptor };
        assert_eq!(array.check([0, 0, 0], [80, 6, 1]), Ok(()));
        assert_eq!(array.check([72, 5, 0], [8, 1, 1]), Ok(()));
        for (at, shape) in [
            ([0, 0, 0], [81, 6, 1]),
            ([8, 0, 0], [80, 6, 1]),
            ([0, 1, 0], [80, 6, 1]),
            ([0, 0, 0], [80, 6, 2]),
            ([4, 0, 0], [8, 1, 1]),
            ([0, 0, 0], [12, 1, 1]),
            ([0, usize::MAX, 0], [8, 2, 1]),
        ] {
            assert_eq!(array.check(at, shape), Err(Error::INVALID_VALUE), "{at:?} {shape:?}");
        }
    }

    #[test]
    fn an_element_has_one_two_or_four_channels_of_a_plain_format() {
        assert_eq!(element_bytes(CUarray_format::HALF, 4), Ok(8));
        assert_eq!(element_bytes(CUarray_format::FLOAT, 3), Err(Error::INVALID_VALUE));
        assert_eq!(element_bytes(CUarray_format::NV12, 3), Err(Error::NOT_SUPPORTED));
        assert_eq!(element_bytes(CUarray_format(7), 1), Err(Error::INVALID_VALUE));
    }
}
