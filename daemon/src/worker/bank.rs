//! The worker's account of device memory with the host process.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::Text;
use vgpu_link::wire::limits::EXE_BYTES_MAX;

use crate::desk::{Ask, Desk, Tell, Usage};
use crate::device::Bank;
use crate::error::DaemonError;
use crate::log;

/// Asks the host process, which keeps the ledger of all clients.
#[derive(Debug)]
pub(crate) struct HostBank {
    desk: Desk,
}

impl HostBank {
    /// Opens the client's account.
    ///
    /// # Errors
    /// [`DaemonError`] if the host process is gone.
    pub fn open(
        desk: Desk,
        pid: u32,
        name: Text<EXE_BYTES_MAX>,
        certificate: Option<Text<EXE_BYTES_MAX>>,
    ) -> Result<Self, DaemonError> {
        desk.send(&Ask::Introduce { pid, name, certificate }, None)?;
        Ok(Self { desk })
    }

    fn ask(&self, ask: &Ask) -> Result<Tell, Error> {
        let answered = self.desk.send(ask, None).and_then(|()| self.desk.receive());
        match answered {
            Ok(Some((tell, _))) => Ok(tell),
            // Without the ledger nothing may be handed out; the signal that ends us is under way.
            Ok(None) => Err(Error::DEVICE_UNAVAILABLE),
            Err(error) => {
                log::event("no-ledger", &[("because", &log::chain(&error))]);
                Err(Error::DEVICE_UNAVAILABLE)
            }
        }
    }
}

impl Bank for HostBank {
    fn reserve(&mut self, device: u32, bytes: u64) -> Result<(), Error> {
        match self.ask(&Ask::Reserve { device, bytes })? {
            Tell::Granted(true) => Ok(()),
            Tell::Granted(false) => Err(Error::OUT_OF_MEMORY),
            Tell::Serve { .. } | Tell::Usage(_) => Err(Error::DEVICE_UNAVAILABLE),
        }
    }

    fn release(&mut self, device: u32, bytes: u64) {
        if let Err(error) = self.desk.send(&Ask::Release { device, bytes }, None) {
            log::event("no-ledger", &[("because", &log::chain(&error))]);
        }
    }

    fn usage(&self, device: u32) -> Result<Usage, Error> {
        match self.ask(&Ask::Usage { device })? {
            Tell::Usage(usage) => Ok(usage),
            Tell::Serve { .. } | Tell::Granted(_) => Err(Error::DEVICE_UNAVAILABLE),
        }
    }
}
