//! What clients of the network are shown, and which clients those are.

use vgpu_link::Peer;
use vgpu_link::tls::{Credentials, Files};

use crate::desk::Way;
use crate::error::DaemonError;

/// Credentials for clients of the network; none where nobody listens for such.
#[derive(Debug, Default)]
pub(super) struct Network(Option<Box<Credentials>>);

impl Network {
    /// Reads and checks the files of `[tls]`.
    ///
    /// # Errors
    /// [`DaemonError::Link`] that names the file and what is wrong with it.
    pub fn open(files: &Files) -> Result<Self, DaemonError> {
        let credentials = Credentials::read(files)?;
        credentials.check_host()?;
        Ok(Self(Some(Box::new(credentials))))
    }

    /// Says how a client is to be spoken with.
    pub fn way(&self, peer: &Peer) -> Way {
        match (peer, &self.0) {
            (Peer::Address(_), Some(credentials)) => Way::Tls(credentials.clone()),
            // Without credentials nobody listens for clients of the network.
            _ => Way::Plain,
        }
    }
}
