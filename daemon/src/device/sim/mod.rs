//! The simulated device: memory, copies, sets, streams and events are real, in this process's
//! memory; nothing computes.

mod profile;

pub(crate) use profile::Profile;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::control::{DeviceStateReply, SnapshotReply};

use super::Bank;
use crate::dispatch::Device;

/// The sizes of the simulated devices' memories, in bytes.
pub(crate) fn memory_totals(gpus: u32) -> Vec<u64> {
    Profile::load(gpus).snapshot.devices.iter().map(|device| device.total_memory).collect()
}

/// The simulated devices, as one client has them.
pub(crate) struct Sim {
    profile: Profile,
    bank: Box<dyn Bank>,
}

impl Sim {
    /// Gives one client the devices of a profile.
    pub fn new(profile: Profile, bank: impl Bank + 'static) -> Self {
        Self { profile, bank: Box::new(bank) }
    }

    /// Describes the devices.
    pub fn snapshot(&self) -> &SnapshotReply {
        &self.profile.snapshot
    }

    /// Describes the present state of a device.
    ///
    /// # Errors
    /// INVALID_DEVICE if there is none of that ordinal.
    pub fn state(&self, device: u32) -> Result<DeviceStateReply, Error> {
        if device as usize >= self.profile.snapshot.devices.len() {
            return Err(Error::INVALID_DEVICE);
        }
        Ok(self.profile.state(self.bank.usage(device)?))
    }
}

impl Device for Sim {}
