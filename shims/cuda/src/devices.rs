//! What `cuInit` learnt: the driver's version and the devices that this process sees.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use vgpu_abi::cuda::{CUdevice, Error};
use vgpu_guest::wire::control::{DeviceFacts, SnapshotReply};
use vgpu_guest::{log, session, visible};

static DEVICES: OnceLock<Devices> = OnceLock::new();

/// Code of the last `cuInit` that failed; 0 if none was tried yet.
static FAILURE: AtomicU32 = AtomicU32::new(0);

/// The devices of this process, in its own order.
#[derive(Debug)]
pub(crate) struct Devices {
    snapshot: Arc<SnapshotReply>,
    /// The host's ordinal of each device that this process sees.
    visible: Vec<u32>,
}

impl Devices {
    /// Returns the number of devices.
    pub(crate) fn count(&self) -> usize {
        self.visible.len()
    }

    /// Returns the host's ordinal of a device of this process.
    pub(crate) fn host_ordinal(&self, device: CUdevice) -> Result<u32, Error> {
        let at = usize::try_from(device).map_err(|_| Error::INVALID_DEVICE)?;
        self.visible.get(at).copied().ok_or(Error::INVALID_DEVICE)
    }

    /// Returns what is known of a device.
    pub(crate) fn facts(&self, device: CUdevice) -> Result<&DeviceFacts, Error> {
        let ordinal = self.host_ordinal(device)?;
        self.snapshot.devices.get(ordinal as usize).ok_or(Error::INVALID_DEVICE)
    }

    /// Lists the devices with their numbers in this process.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CUdevice, &DeviceFacts)> {
        (0..).zip(self.visible.iter().map(|&ordinal| &self.snapshot.devices[ordinal as usize]))
    }
}

/// Learns the devices, once. A failure is not remembered as final: the next call tries again.
pub(crate) fn learn() -> Result<(), Error> {
    if DEVICES.get().is_some() {
        return Ok(());
    }
    match ask() {
        Ok(devices) => {
            // Another thread may have been first; both learnt the same.
            let _ = DEVICES.set(devices);
            Ok(())
        }
        Err(error) => {
            FAILURE.store(error.code(), Relaxed);
            Err(error)
        }
    }
}

fn ask() -> Result<Devices, Error> {
    let snapshot = session::snapshot()?;
    let visible = visible::visible(&snapshot.devices);
    if visible.is_empty() {
        log::info(format_args!(
            "the host has {} devices, and CUDA_VISIBLE_DEVICES leaves none of them",
            snapshot.devices.len()
        ));
        return Err(Error::NO_DEVICE);
    }
    Ok(Devices { snapshot, visible })
}

/// Returns the devices; before `cuInit` succeeded, why there are none.
///
/// That is NOT_INITIALIZED, or the code of a `cuInit` that failed: a program that ignored it is
/// told the reason again.
pub(crate) fn known() -> Result<&'static Devices, Error> {
    DEVICES.get().ok_or_else(|| Error::new(FAILURE.load(Relaxed)).unwrap_or(Error::NOT_INITIALIZED))
}

/// Returns the host's driver version, which may be asked for before `cuInit`.
pub(crate) fn driver_version() -> Result<i32, Error> {
    match DEVICES.get() {
        Some(devices) => Ok(devices.snapshot.driver_version),
        None => Ok(session::snapshot()?.driver_version),
    }
}
