//! Devices: what answers the driver API's messages for one client.

mod sim;

pub(crate) use sim::{Profile, Sim, memory_totals};

use vgpu_abi::cuda::Error;

use crate::desk::Usage;

/// Keeps the account of device memory, over all clients of the host.
pub(crate) trait Bank {
    /// Reserves memory.
    ///
    /// # Errors
    /// OUT_OF_MEMORY if there is not that much left, DEVICE_UNAVAILABLE if the account cannot be
    /// reached.
    fn reserve(&mut self, device: u32, bytes: u64) -> Result<(), Error>;

    /// Gives memory back.
    fn release(&mut self, device: u32, bytes: u64);

    /// Says what a device's memory is used for.
    ///
    /// # Errors
    /// DEVICE_UNAVAILABLE if the account cannot be reached.
    fn usage(&self, device: u32) -> Result<Usage, Error>;
}
