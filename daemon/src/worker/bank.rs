//! The worker's account with the host process: who its client is, what the client may use, and
//! device memory.

use std::os::fd::OwnedFd;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::Text;
use vgpu_link::wire::limits::EXE_BYTES_MAX;

use crate::desk::{Ask, Desk, Gpu, Share, Tell, Usage};
use crate::device::Bank;
use crate::error::DaemonError;
use crate::log;

/// Asks the host process, which keeps the ledger of all clients.
#[derive(Debug)]
pub(crate) struct HostBank {
    desk: Desk,
    /// The client's GPUs; it calls each by its place among them.
    gpus: Vec<Gpu>,
}

impl HostBank {
    /// Opens the client's account; returns what the client may use, and the timer of its rate.
    /// `certificate` is the name in its certificate, where the link has one.
    ///
    /// # Errors
    /// [`DaemonError::TurnedAway`] if the client is to be refused, another one if the host process
    /// is gone.
    pub fn open(
        desk: Desk,
        pid: u32,
        name: Text<EXE_BYTES_MAX>,
        certificate: Option<Text<EXE_BYTES_MAX>>,
    ) -> Result<(Self, Share, Option<OwnedFd>), DaemonError> {
        desk.send(&Ask::Introduce { pid, name, certificate }, None)?;
        match desk.receive()? {
            Some((Tell::Admitted(share), timer)) => {
                Ok((Self { desk, gpus: share.gpus.clone() }, share, timer))
            }
            Some((Tell::TurnedAway { refusal, text }, _)) => {
                Err(DaemonError::TurnedAway { refusal, text: text.to_string() })
            }
            Some(_) | None => Err(DaemonError::NotAWorker),
        }
    }

    /// The host's ordinal of one of the client's GPUs. What the client does not have, no device
    /// here asks for: it was made without it.
    fn ordinal(&self, device: u32) -> Result<u32, Error> {
        let gpu = self.gpus.get(device as usize).ok_or(Error::INVALID_DEVICE)?;
        Ok(gpu.ordinal)
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

impl HostBank {
    /// Asks for memory.
    fn granted(&self, ask: &Ask) -> Result<(), Error> {
        match self.ask(ask)? {
            Tell::Granted(true) => Ok(()),
            Tell::Granted(false) => Err(Error::OUT_OF_MEMORY),
            _ => Err(Error::DEVICE_UNAVAILABLE),
        }
    }

    /// Says something that is not answered.
    fn tell(&self, ask: &Ask) {
        if let Err(error) = self.desk.send(ask, None) {
            log::event("no-ledger", &[("because", &log::chain(&error))]);
        }
    }
}

impl Bank for HostBank {
    fn reserve(&mut self, device: u32, bytes: u64) -> Result<(), Error> {
        let device = self.ordinal(device)?;
        self.granted(&Ask::Reserve { device, bytes })
    }

    fn release(&mut self, device: u32, bytes: u64) {
        // Only what was reserved comes back.
        let Ok(device) = self.ordinal(device) else { return };
        self.tell(&Ask::Release { device, bytes });
    }

    fn pin(&mut self, bytes: u64) -> Result<(), Error> {
        self.granted(&Ask::Pin { bytes })
    }

    fn unpin(&mut self, bytes: u64) {
        self.tell(&Ask::Unpin { bytes });
    }

    fn afford(&self, bytes: u64) -> Result<(), Error> {
        self.granted(&Ask::Afford { bytes })
    }

    fn usage(&self, device: u32) -> Result<Usage, Error> {
        let device = self.ordinal(device)?;
        match self.ask(&Ask::Usage { device })? {
            Tell::Usage(usage) => Ok(usage),
            _ => Err(Error::DEVICE_UNAVAILABLE),
        }
    }
}
