//! How libcublas speaks with the host: over the session of libcuda, in the same order as the
//! driver API's calls (decision 0020).
//!
//! libcuda answers `cuGetExportTable` (CUDA Driver API; what tables there are is the driver's own
//! affair) for a UUID of ours with a [`Table`]. Only the layout stands here: libcuda fills it in,
//! libcublas calls it.

use std::ops::RangeInclusive;

/// The UUID that asks for the table, made at random for this purpose.
pub const UUID: [u8; 16] = [
    0x5b, 0x0e, 0x8f, 0x57, 0x42, 0xd1, 0x4c, 0x1e, 0x9a, 0x36, 0xe7, 0x24, 0xb8, 0x90, 0x6d, 0xf3,
];

/// Version of [`Table`]; a libcublas and a libcuda of different versions do not work together.
pub const VERSION: u32 = 1;

/// The messages that may be passed on: those of cuBLAS.
pub const OPCODES: RangeInclusive<u32> = 0x400..=0x4ff;

/// Added to a code of cuBLAS with which the host refused; any other code but 0 is the driver's.
pub const REFUSED: u32 = 1 << 16;

/// Sends a request and waits; stores the fields of the answer and their length.
pub type Call = unsafe extern "C" fn(
    opcode: u32,
    fields: *const u8,
    fields_bytes: usize,
    answer: *mut u8,
    answer_room: usize,
    answer_bytes: *mut usize,
) -> u32;

/// Sends a request that is not answered.
pub type Post = unsafe extern "C" fn(opcode: u32, fields: *const u8, fields_bytes: usize) -> u32;

/// What libcuda offers. The first two fields are the same in every version.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    /// [`VERSION`].
    pub version: u32,
    /// Size of the table.
    pub bytes: u32,
    /// Sends a request and waits.
    pub call: Call,
    /// Sends a request that is not answered.
    pub post: Post,
}
