//! Devices: what answers the driver API's messages for one client.

mod sim;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::Malformed;
use vgpu_link::wire::control::{DeviceStateReply, SnapshotReply};

use crate::desk::Usage;
use crate::dispatch::{Answer, Call, Finish};
use crate::error::DaemonError;
use sim::{Profile, Sim};

/// The devices of this host, as one client has them: what a worker asks for its client.
pub(crate) trait Devices {
    /// Describes what does not change.
    fn snapshot(&self) -> &SnapshotReply;

    /// Describes the present state of a device.
    ///
    /// # Errors
    /// INVALID_DEVICE if there is none of that ordinal, DEVICE_UNAVAILABLE if it cannot be asked.
    fn state(&self, device: u32) -> Result<DeviceStateReply, Error>;

    /// Says whether a context lives.
    fn is_alive(&self, context: u64) -> bool;

    /// Does a message of the driver API and fills in the answer, or returns what will.
    ///
    /// # Errors
    /// [`Malformed`] if the message does not decode.
    fn answer(
        &mut self,
        call: &Call,
        opcode: u32,
        payload: &[u8],
        bulk: &[u8],
        answer: &mut Answer,
    ) -> Result<Option<Finish>, Malformed>;
}

/// Says which devices to serve, and what is needed to open them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Simulated ones.
    Sim {
        /// How many.
        gpus: u32,
    },
}

impl Source {
    /// What `--device` calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sim { .. } => "sim",
        }
    }

    /// Opens the devices as far as that needs no client.
    ///
    /// # Errors
    /// [`DaemonError`] if they cannot be had.
    pub fn open(&self) -> Result<Opened, DaemonError> {
        match self {
            Self::Sim { gpus } => Ok(Opened::Sim(Profile::load(*gpus))),
        }
    }
}

/// Devices that wait for their client.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Simulated ones.
    Sim(Profile),
}

impl Opened {
    /// The sizes of the devices' memories, in bytes.
    pub fn memory_totals(&self) -> Vec<u64> {
        let Self::Sim(profile) = self;
        profile.snapshot.devices.iter().map(|device| device.total_memory).collect()
    }

    /// Gives them to a client whose memory `bank` accounts for.
    pub fn lend(self, bank: impl Bank + 'static) -> Box<dyn Devices> {
        match self {
            Self::Sim(profile) => Box::new(Sim::new(profile, bank)),
        }
    }
}

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
