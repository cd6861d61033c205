//! Arrays: rows of elements without addresses. Only copies reach them.

use vgpu_abi::cuda::{CUarray_format, Error};
use vgpu_link::wire::cuda::ArrayCreate;

use super::handles::{Kind, Table};
use super::memory::{Backing, accounted};

/// Flags that change an array's form (CUDA Driver API, `cuArray3DCreate`).
const LAYERED: u32 = 1;
const CUBEMAP: u32 = 4;

/// Flags for what reads and writes arrays in kernels, which change nothing here: surfaces and
/// gathering textures.
const FOR_KERNELS: u32 = 2 | 8;

/// Longest dimensions without layers, by their number (compute capability 9.0; CUDA C++
/// Programming Guide, Technical Specifications).
const LENGTHS_MAX: [[u64; 3]; 3] =
    [[131_072, 1, 1], [131_072, 65_536, 1], [16_384, 16_384, 16_384]];

/// The same with layers, of which there are 2,048.
const LAYERED_MAX: [u64; 3] = [32_768, 32_768, 2048];

/// One array.
#[derive(Debug)]
pub(crate) struct Array {
    context: u64,
    device: u32,
    /// Bytes of a row, rows, slices.
    lengths: [u64; 3],
    backing: Backing,
}

impl Array {
    /// Borrows a part of a row.
    pub fn row(&self, at: [u64; 3], bytes: u64) -> Result<&[u8], Error> {
        let start = self.offset(at, bytes)?;
        Ok(&self.backing.bytes()[start..start + bytes as usize])
    }

    /// The same, for writing.
    pub fn row_mut(&mut self, at: [u64; 3], bytes: u64) -> Result<&mut [u8], Error> {
        let start = self.offset(at, bytes)?;
        Ok(&mut self.backing.bytes_mut()[start..start + bytes as usize])
    }

    /// Checks that a box lies within.
    pub fn check(&self, at: [u64; 3], shape: [u64; 3]) -> Result<(), Error> {
        let fits = at.iter().zip(shape).zip(self.lengths).all(|((&from, length), end)| {
            from.checked_add(length).is_some_and(|reach| reach <= end)
        });
        if fits { Ok(()) } else { Err(Error::INVALID_VALUE) }
    }

    fn offset(&self, [x, y, z]: [u64; 3], bytes: u64) -> Result<usize, Error> {
        self.check([x, y, z], [bytes, 1, 1])?;
        let [width, height, _] = self.lengths;
        // Within the backing, whose length fits a usize.
        Ok(((z * height + y) * width + x) as usize)
    }

    fn bytes(&self) -> u64 {
        accounted(self.backing.bytes().len() as u64).unwrap_or_default()
    }
}

/// All arrays of a client.
#[derive(Debug)]
pub(crate) struct Arrays {
    table: Table<Array>,
}

impl Arrays {
    /// Starts without any.
    pub fn new() -> Self {
        Self { table: Table::new(Kind::Array) }
    }

    /// Makes an array of memory that the bank has reserved.
    pub fn create(&mut self, context: u64, device: u32, lengths: [u64; 3]) -> Result<u64, Error> {
        let backing = Backing::new(bytes_of(lengths)?)?;
        self.table.insert(Array { context, device, lengths, backing })
    }

    /// Ends an array; returns its device and what it was accounted with.
    pub fn destroy(&mut self, array: u64) -> Result<(u32, u64), Error> {
        let ended = self.table.remove(array).ok_or(Error::INVALID_HANDLE)?;
        Ok((ended.device, ended.bytes()))
    }

    /// Ends all of a context; returns devices and sizes.
    pub fn end_context(&mut self, context: u64) -> Vec<(u32, u64)> {
        let mut ended = Vec::new();
        self.table.retain(|array| {
            if array.context == context {
                ended.push((array.device, array.bytes()));
            }
            array.context != context
        });
        ended
    }

    /// Finds an array.
    pub fn find(&self, array: u64) -> Result<&Array, Error> {
        self.table.find(array).ok_or(Error::INVALID_HANDLE)
    }

    /// The same, to change it.
    pub fn find_mut(&mut self, array: u64) -> Result<&mut Array, Error> {
        self.table.find_mut(array).ok_or(Error::INVALID_HANDLE)
    }
}

/// Counts what an array of these lengths holds.
pub(crate) fn bytes_of([width, height, depth]: [u64; 3]) -> Result<u64, Error> {
    let slice = width.checked_mul(height).ok_or(Error::OUT_OF_MEMORY)?;
    slice.checked_mul(depth).ok_or(Error::OUT_OF_MEMORY)
}

/// Reads what array is asked for: bytes of a row, rows, slices.
pub(crate) fn lengths(r: &ArrayCreate) -> Result<[u64; 3], Error> {
    let channel = match CUarray_format(r.format) {
        CUarray_format::UNSIGNED_INT8 | CUarray_format::SIGNED_INT8 => 1,
        CUarray_format::UNSIGNED_INT16 | CUarray_format::SIGNED_INT16 | CUarray_format::HALF => 2,
        CUarray_format::UNSIGNED_INT32 | CUarray_format::SIGNED_INT32 | CUarray_format::FLOAT => 4,
        _ => return Err(Error::INVALID_VALUE),
    };
    if r.width == 0 || ![1, 2, 4].contains(&r.channels) {
        return Err(Error::INVALID_VALUE);
    }
    if r.flags & !(LAYERED | CUBEMAP | FOR_KERNELS) != 0 {
        return Err(Error::NOT_SUPPORTED);
    }
    let is_layered = r.flags & (LAYERED | CUBEMAP) != 0;
    // Without layers a third dimension needs a second; a cube has six square faces, or layers of
    // as many.
    let is_cube = r.width == r.height && r.depth > 0 && r.depth.is_multiple_of(6);
    let is_one_cube = r.flags & LAYERED != 0 || r.depth == 6;
    let is_formed = match (r.flags & CUBEMAP != 0, is_layered) {
        (true, _) => is_cube && is_one_cube,
        (false, true) => r.depth > 0,
        (false, false) => r.depth == 0 || r.height > 0,
    };
    let dimensions = usize::from(r.height > 0) + usize::from(r.depth > 0);
    let longest = if is_layered { LAYERED_MAX } else { LENGTHS_MAX[dimensions] };
    let lengths = [r.width, r.height.max(1), r.depth.max(1)];
    if !is_formed || lengths.iter().zip(longest).any(|(&length, longest)| length > longest) {
        return Err(Error::INVALID_VALUE);
    }
    Ok([r.width * channel * u64::from(r.channels), lengths[1], lengths[2]])
}
