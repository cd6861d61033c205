//! What is known of the devices: a worker asks the driver for it, and the host process, which never
//! does, tells it to those that start later.

use std::os::fd::OwnedFd;

use vgpu_link::wire::control::SnapshotReply;

use super::Host;
use crate::desk::sheet;
use crate::error::DaemonError;
use crate::log;

impl Host {
    /// Hears that a worker has opened the devices, with their sheet where they are not what it was
    /// told; `false` if it cannot serve a client.
    pub(super) fn opened(&mut self, sheet: Option<OwnedFd>) -> Result<bool, DaemonError> {
        let Some(sheet) = sheet else { return Ok(self.ledger.is_open()) };
        let found = sheet::read(sheet)?;
        let was_open = self.ledger.is_open();
        if !self.ledger.open(sizes(&found)) {
            if was_open {
                // The ledger's accounts, shares and places are those of the devices of before.
                let try_this = "restart vgpud, which takes up the devices that are there";
                log::event("other-devices", &[("gpus", &found.devices.len()), ("try", &try_this)]);
            }
            return Ok(false);
        }
        // Written again, as the worker's own file might still be changed.
        self.workers.know(Some(sheet::written(&found)?));
        self.found = Some(found);
        Ok(true)
    }
}

/// The sizes of devices.
fn sizes(found: &SnapshotReply) -> Vec<u64> {
    found.devices.iter().map(|device| device.total_memory).collect()
}
