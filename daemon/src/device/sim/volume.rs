//! Copies of rows and slices.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{VolumeShape, VolumeSide};
use vgpu_link::wire::header::BULK_BYTES_MAX;

use super::Sim;

/// One side of a copy: linear memory at an address, or an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Side {
    array: u64,
    address: u64,
    at: [u64; 3],
    pitch: u64,
    height: u64,
}

impl From<VolumeSide> for Side {
    fn from(it: VolumeSide) -> Self {
        let VolumeSide { array, address, x, y, z, pitch, height } = it;
        Self { array, address, at: [x, y, z], pitch, height }
    }
}

impl Side {
    /// Moves along the copy.
    fn at(&self, y: u64, z: u64) -> [u64; 3] {
        [self.at[0], self.at[1] + y, self.at[2] + z]
    }

    /// Tells where a row of linear memory begins.
    fn address(&self, y: u64, z: u64) -> Option<u64> {
        let slices = self.at[2].checked_add(z)?.checked_mul(self.height)?;
        let rows = slices.checked_add(self.at[1])?.checked_add(y)?.checked_mul(self.pitch)?;
        rows.checked_add(self.at[0])?.checked_add(self.address)
    }
}

/// A copy within the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Where to.
    pub to: Side,
    /// Where from.
    pub from: Side,
    /// Bytes of a row, rows, slices.
    pub shape: [u64; 3],
}

/// Reads how much is copied.
pub(crate) fn shape(it: &VolumeShape) -> [u64; 3] {
    [it.width, it.height, it.depth]
}

/// Counts the bytes of a copy that travels in one frame.
fn bytes_of_frame([width, height, depth]: [u64; 3]) -> Result<usize, Error> {
    let bytes = width.checked_mul(height).and_then(|slice| slice.checked_mul(depth));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.filter(|&bytes| bytes <= BULK_BYTES_MAX).ok_or(Error::INVALID_VALUE)
}

/// Lists rows and slices.
fn rows([_, height, depth]: [u64; 3]) -> impl Iterator<Item = (u64, u64)> {
    (0..depth).flat_map(move |z| (0..height).map(move |y| (y, z)))
}

impl Sim {
    /// Checks that a side of a copy exists, all of it.
    fn examine_side(&self, side: &Side, shape: [u64; 3]) -> Result<(), Error> {
        let [width, height, depth] = shape;
        if shape.contains(&0) {
            return Ok(());
        }
        if side.array != 0 {
            return self.arrays.find(side.array)?.check(side.at, shape);
        }
        let [x, y, z] = side.at;
        let wide = x.checked_add(width).ok_or(Error::INVALID_VALUE)?;
        let high = y.checked_add(height).ok_or(Error::INVALID_VALUE)?;
        let several_slices = depth > 1 || z > 0;
        let several_rows = several_slices || height > 1 || y > 0;
        if several_rows && wide > side.pitch || several_slices && high > side.height {
            return Err(Error::INVALID_VALUE);
        }
        let first = side.address(0, 0).ok_or(Error::INVALID_VALUE)?;
        let last = side.address(height - 1, depth - 1).and_then(|last| last.checked_add(width));
        self.memory.read(first, last.ok_or(Error::INVALID_VALUE)? - first).map(drop)
    }

    /// Checks both sides of a copy within the device.
    fn examine_volume(&self, volume: &Volume) -> Result<(), Error> {
        self.examine_side(&volume.from, volume.shape)?;
        self.examine_side(&volume.to, volume.shape)
    }

    /// Copies within the device.
    pub(super) fn copy_volume(&mut self, volume: &Volume) -> Result<(), Error> {
        self.examine_volume(volume)?;
        if volume.shape.contains(&0) {
            return Ok(());
        }
        let width = volume.shape[0];
        let mut row = Vec::new();
        for (y, z) in rows(volume.shape) {
            row.clear();
            row.extend_from_slice(self.row(&volume.from, y, z, width)?);
            self.row_mut(&volume.to, y, z, width)?.copy_from_slice(&row);
        }
        Ok(())
    }

    /// Copies packed rows to the device.
    pub(super) fn store_volume(
        &mut self,
        to: &Side,
        shape: [u64; 3],
        packed: &[u8],
    ) -> Result<(), Error> {
        if bytes_of_frame(shape)? != packed.len() {
            return Err(Error::INVALID_VALUE);
        }
        self.examine_side(to, shape)?;
        if packed.is_empty() {
            return Ok(());
        }
        for ((y, z), row) in rows(shape).zip(packed.chunks_exact(shape[0] as usize)) {
            self.row_mut(to, y, z, shape[0])?.copy_from_slice(row);
        }
        Ok(())
    }

    /// Packs rows of the device.
    pub(super) fn fetch_volume(
        &self,
        from: &Side,
        shape: [u64; 3],
        packed: &mut Vec<u8>,
    ) -> Result<(), Error> {
        packed.reserve(bytes_of_frame(shape)?);
        self.examine_side(from, shape)?;
        if shape.contains(&0) {
            return Ok(());
        }
        for (y, z) in rows(shape) {
            packed.extend_from_slice(self.row(from, y, z, shape[0])?);
        }
        Ok(())
    }

    fn row(&self, side: &Side, y: u64, z: u64, bytes: u64) -> Result<&[u8], Error> {
        if side.array != 0 {
            return self.arrays.find(side.array)?.row(side.at(y, z), bytes);
        }
        let address = side.address(y, z).ok_or(Error::INVALID_VALUE)?;
        self.memory.read(address, bytes)
    }

    fn row_mut(&mut self, side: &Side, y: u64, z: u64, bytes: u64) -> Result<&mut [u8], Error> {
        if side.array != 0 {
            return self.arrays.find_mut(side.array)?.row_mut(side.at(y, z), bytes);
        }
        let address = side.address(y, z).ok_or(Error::INVALID_VALUE)?;
        self.memory.write(address, bytes)
    }
}
