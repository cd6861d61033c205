//! How the driver wants copies of rows and volumes described, and arrays.

use super::structs::{Address, Context};

/// Tells the driver where one side of a copy lies (`CUmemorytype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySide {
    /// The program's own memory.
    Host = 1,
    /// Memory of a device.
    Device = 2,
    /// An array.
    Array = 3,
    /// The driver finds out from the address.
    Unified = 4,
}

/// One side of a two-dimensional copy.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Side2D {
    x_bytes: usize,
    y: usize,
    kind: u32,
    host: Address,
    device: Address,
    array: u64,
    pitch: usize,
}

impl Side2D {
    /// Describes rows in memory that lie `pitch` bytes apart.
    pub fn memory(address: Address, side: MemorySide, pitch: usize) -> Self {
        let (host, device) = members(address, side);
        Self { x_bytes: 0, y: 0, kind: side as u32, host, device, array: 0, pitch }
    }

    /// Describes a part of an array that begins at a byte of a row.
    pub fn array(array: u64, x_bytes: usize, y: usize) -> Self {
        let (host, device) = (Address::NULL, Address::NULL);
        Self { x_bytes, y, kind: MemorySide::Array as u32, host, device, array, pitch: 0 }
    }
}

/// Describes a two-dimensional copy (`CUDA_MEMCPY2D`).
#[derive(Debug)]
#[repr(C)]
pub struct Copy2D {
    /// From where.
    pub source: Side2D,
    /// To where.
    pub target: Side2D,
    /// Length of a row in bytes.
    pub width_bytes: usize,
    /// Number of rows.
    pub height: usize,
}

laid_out_as! { CUDA_MEMCPY2D_v2, Copy2D:
    source.x_bytes = srcXInBytes, source.y = srcY, source.kind = srcMemoryType,
    source.host = srcHost, source.device = srcDevice, source.array = srcArray,
    source.pitch = srcPitch, target.x_bytes = dstXInBytes, target.pitch = dstPitch,
    width_bytes = WidthInBytes, height = Height,
}

/// One side of a three-dimensional copy.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Side3D {
    /// First byte of each row.
    pub x_bytes: usize,
    /// First row.
    pub y: usize,
    /// First slice.
    pub z: usize,
    level: usize,
    kind: u32,
    host: Address,
    device: Address,
    /// The array, if it is one.
    pub array: u64,
    /// The context, of a copy between devices; else it must be none.
    pub context: Context,
    /// How far rows in memory are apart, in bytes.
    pub pitch: usize,
    /// How many rows there are in a slice of memory.
    pub height: usize,
}

impl Side3D {
    /// Describes memory.
    pub fn memory(address: Address, side: MemorySide, pitch: usize, height: usize) -> Self {
        let (host, device) = members(address, side);
        Self { kind: side as u32, host, device, pitch, height, ..Self::array(0) }
    }

    /// Describes an array.
    pub fn array(array: u64) -> Self {
        Self {
            x_bytes: 0,
            y: 0,
            z: 0,
            level: 0,
            kind: MemorySide::Array as u32,
            host: Address::NULL,
            device: Address::NULL,
            array,
            context: Context::default(),
            pitch: 0,
            height: 0,
        }
    }

    /// Returns where memory of this side begins.
    pub fn address(&self) -> Address {
        if self.kind == MemorySide::Host as u32 { self.host } else { self.device }
    }

    /// Tells whether this side lies in memory of that kind.
    pub fn is(&self, side: MemorySide) -> bool {
        self.kind == side as u32
    }
}

/// Describes a three-dimensional copy (`CUDA_MEMCPY3D`; with contexts `CUDA_MEMCPY3D_PEER`).
#[derive(Debug)]
#[repr(C)]
pub struct Copy3D {
    /// From where.
    pub source: Side3D,
    /// To where.
    pub target: Side3D,
    /// Length of a row in bytes.
    pub width_bytes: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of slices.
    pub depth: usize,
}

laid_out_as! { CUDA_MEMCPY3D_PEER_v1, Copy3D:
    source.x_bytes = srcXInBytes, source.y = srcY, source.z = srcZ, source.level = srcLOD,
    source.kind = srcMemoryType, source.host = srcHost, source.device = srcDevice,
    source.array = srcArray, source.context = srcContext, source.pitch = srcPitch,
    source.height = srcHeight, target.x_bytes = dstXInBytes, target.height = dstHeight,
    width_bytes = WidthInBytes, height = Height, depth = Depth,
}

impl Default for Copy3D {
    fn default() -> Self {
        let nothing = Side3D::array(0);
        Self { source: nothing, target: nothing, width_bytes: 0, height: 0, depth: 0 }
    }
}

/// Describes an array (`CUDA_ARRAY3D_DESCRIPTOR`).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ArrayShape {
    /// Elements of a row.
    pub width: usize,
    /// Rows, or 0.
    pub height: usize,
    /// Slices, or 0.
    pub depth: usize,
    /// What a channel is (`CUarray_format`).
    pub format: u32,
    /// Channels of an element.
    pub channels: u32,
    /// What it can be used for.
    pub flags: u32,
}

laid_out_as! { CUDA_ARRAY3D_DESCRIPTOR_v2, ArrayShape:
    width = Width, height = Height, depth = Depth, format = Format, channels = NumChannels,
    flags = Flags,
}

/// The driver reads either the host or the device member, by the type of the side; a unified
/// address goes into the device member (CUDA Driver API, cuMemcpy2D).
fn members(address: Address, side: MemorySide) -> (Address, Address) {
    match side {
        MemorySide::Host => (address, Address::NULL),
        MemorySide::Device | MemorySide::Unified => (Address::NULL, address),
        MemorySide::Array => (Address::NULL, Address::NULL),
    }
}
