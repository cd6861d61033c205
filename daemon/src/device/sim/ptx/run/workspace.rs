//! Where the blocks of a cooperative launch meet.

use crate::device::sim::ptx::GlobalMemory;

/// The address of the workspace, which the device tells a kernel in `%envreg1` (high) and
/// `%envreg2` (low): no memory of the simulated devices lies there.
pub(in super::super) const WORKSPACE: u64 = 0x7b00_0000_0000;

/// Its bytes: a size, and the barrier that the blocks count themselves at (the public header
/// `cooperative_groups/details/driver_abi.h`).
const BYTES: usize = 8;

/// Device memory, and the workspace of one launch beside it.
pub(super) struct Workspace<'a> {
    beside: &'a mut dyn GlobalMemory,
    bytes: [u8; BYTES],
}

impl<'a> Workspace<'a> {
    /// Begins with a barrier at which nobody has arrived.
    pub fn new(beside: &'a mut dyn GlobalMemory) -> Self {
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&(BYTES as u32).to_le_bytes());
        Self { beside, bytes }
    }
}

impl GlobalMemory for Workspace<'_> {
    fn bytes(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]> {
        match address.checked_sub(WORKSPACE) {
            Some(at @ 0..8) => self.bytes.get_mut(at as usize..at as usize + bytes),
            _ => self.beside.bytes(address, bytes),
        }
    }
}
