//! Devices: what answers the driver API's messages for one client.

mod deliveries;
mod functions;
pub(crate) mod nvidia;
mod sim;
mod spans;

pub(crate) use deliveries::{Copied, Deliveries};
pub(crate) use functions::{Functions, Holds};

use std::path::PathBuf;
use std::sync::Arc;

use vgpu_abi::cuda::Error;
use vgpu_link::Area;
use vgpu_link::wire::Malformed;
use vgpu_link::wire::control::{Capabilities, DeviceFacts, DeviceStateReply, SnapshotReply};

use crate::desk::{Gpu, Usage};
use crate::dispatch::{Answer, Call, Finish};
use crate::error::DaemonError;
use crate::recording::{self, RecordingError, Section};
use crate::store::Store;
use nvidia::{Genuine, Nvidia};
pub(crate) use sim::ptx::Program;
#[cfg(fuzzing)]
pub(crate) use sim::ptx::fuzzing::program as run_for_a_moment;
use sim::{Profile, Sim};

/// The groups of functions that every device here does.
const CAPABILITIES: Capabilities =
    Capabilities(Capabilities::MEMORY.0 | Capabilities::MODULES.0 | Capabilities::GRAPHS.0);

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

    /// The copies to the client, which the device takes on and the worker sends.
    fn deliveries(&self) -> &Arc<Deliveries>;

    /// The functions of the client's program, which streams of the device come to. While one has
    /// not returned, the worker holds what may wait for a stream.
    fn functions(&self) -> &Arc<Functions>;

    /// Goes on with the run of a graph that waited for a function, which has returned. A device
    /// that waits by itself has nothing to do here.
    ///
    /// # Errors
    /// What the run meets with, and in which context.
    fn go_on(&mut self, _ticket: u64) -> Result<(), (u64, Error)> {
        Ok(())
    }

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
        /// What their driver announces, as `cuDriverGetVersion` does, if not its own version.
        driver: Option<i32>,
    },
    /// None: the answers of a recording.
    Replay {
        /// The recording.
        file: PathBuf,
    },
    /// Those of the genuine driver.
    Nvidia {
        /// NVIDIA's libcuda.
        cuda: PathBuf,
        /// NVIDIA's libnvidia-ml.
        nvml: PathBuf,
        /// Where NVIDIA's libcublas is, if the configuration says so.
        cublas: Option<PathBuf>,
    },
}

impl Source {
    /// What `--device` calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sim { .. } => "sim",
            Self::Replay { .. } => "replay",
            Self::Nvidia { .. } => "nvidia",
        }
    }

    /// Tells how many workers are to wait for clients, with the devices open. One Ollama start
    /// brings 12 clients in a second, and a driver takes some tenths of a second to open.
    pub fn workers_ahead(&self) -> usize {
        match self {
            Self::Sim { .. } | Self::Replay { .. } => 2,
            Self::Nvidia { .. } => 8,
        }
    }

    /// Opens the devices as far as that needs no client. Those of a driver are not described anew
    /// where they are the `known` ones.
    ///
    /// # Errors
    /// [`DaemonError`] if they cannot be had.
    pub fn open(&self, known: Option<&SnapshotReply>) -> Result<Opened, DaemonError> {
        match self {
            Self::Sim { gpus, driver } => {
                let mut profile = Profile::load(*gpus);
                if let Some(version) = driver {
                    profile.snapshot.driver_version = *version;
                }
                Ok(Opened::Sim(profile))
            }
            Self::Replay { file } => {
                let sections = recording::read(file)?;
                match recording::snapshot(&sections) {
                    Some(snapshot) if !snapshot.devices.is_empty() => {
                        Ok(Opened::Recording(sections))
                    }
                    _ => Err(RecordingError::NoDevices { path: file.clone() }.into()),
                }
            }
            Self::Nvidia { cuda, nvml, cublas } => {
                let genuine = Genuine::open(cuda, nvml, known)?;
                Ok(Opened::Nvidia { genuine, cublas: cublas.clone() })
            }
        }
    }
}

/// Devices that wait for their client.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Simulated ones.
    Sim(Profile),
    /// What was said of real ones.
    Recording(Vec<Section>),
    /// Those of the genuine driver.
    Nvidia {
        /// The driver.
        genuine: Genuine,
        /// Where NVIDIA's libcublas is, if the configuration says so.
        cublas: Option<PathBuf>,
    },
}

/// What serves a client.
pub(crate) enum Lent {
    /// Devices.
    Devices(Box<dyn Devices>),
    /// A recording.
    Recording {
        /// What is played.
        sections: Vec<Section>,
        /// Open as long as the client is served; nothing is booked on it.
        #[expect(dead_code, reason = "what counts is when it is dropped")]
        account: Box<dyn Bank>,
    },
}

impl Opened {
    /// Describes the devices, as the host process is told of them.
    pub fn snapshot(&self) -> Option<SnapshotReply> {
        match self {
            Self::Sim(profile) => Some(profile.snapshot.clone()),
            Self::Nvidia { genuine, .. } => Some(genuine.snapshot.clone()),
            Self::Recording(sections) => recording::snapshot(sections),
        }
    }

    /// Bytes of this process's memory that the devices' memory of a share takes.
    pub fn memory_here(&self, gpus: &[Gpu]) -> u64 {
        match self {
            Self::Sim(_) => gpus.iter().map(|gpu| gpu.bytes).sum(),
            Self::Nvidia { .. } | Self::Recording(_) => 0,
        }
    }

    /// Gives those of `gpus`, in that order, to a client whose memory `bank` accounts for. The
    /// code that it loads comes out of `images`, its pinned memory may lie in `area`. A recording
    /// is played as it is.
    pub fn lend(
        self,
        gpus: &[Gpu],
        area: Option<Area>,
        bank: impl Bank + 'static,
        images: Store,
    ) -> Lent {
        match self {
            Self::Sim(mut profile) => {
                profile.snapshot.devices = shared(&profile.snapshot.devices, gpus);
                Lent::Devices(Box::new(Sim::new(profile, bank, images).sharing(area)))
            }
            Self::Nvidia { mut genuine, cublas } => {
                genuine.snapshot.devices = shared(&genuine.snapshot.devices, gpus);
                let known = |gpu: &Gpu| genuine.devices.get(gpu.ordinal as usize).copied();
                genuine.devices = gpus.iter().filter_map(known).collect();
                let nvidia = Nvidia::new(genuine, cublas, bank, images).sharing(area);
                Lent::Devices(Box::new(nvidia))
            }
            Self::Recording(sections) => Lent::Recording { sections, account: Box::new(bank) },
        }
    }
}

/// Describes the devices of a share, in its order: each has as much memory as may be used of it.
/// An ordinal that is not there is left out; the host process grants none.
fn shared(all: &[DeviceFacts], gpus: &[Gpu]) -> Vec<DeviceFacts> {
    let share = |gpu: &Gpu| {
        let device = all.get(gpu.ordinal as usize)?;
        let total_memory = device.total_memory.min(gpu.bytes);
        Some(DeviceFacts { total_memory, ..device.clone() })
    };
    gpus.iter().filter_map(share).collect()
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

    /// Reserves memory of this machine that the client pins.
    ///
    /// # Errors
    /// As [`Bank::reserve`].
    fn pin(&mut self, bytes: u64) -> Result<(), Error>;

    /// Gives pinned memory back.
    fn unpin(&mut self, bytes: u64);

    /// Says whether the client's tenant may have so much more of this machine's memory, before it
    /// is taken.
    ///
    /// # Errors
    /// As [`Bank::reserve`].
    fn afford(&self, bytes: u64) -> Result<(), Error>;

    /// Says what a device's memory is used for.
    ///
    /// # Errors
    /// DEVICE_UNAVAILABLE if the account cannot be reached.
    fn usage(&self, device: u32) -> Result<Usage, Error>;
}
