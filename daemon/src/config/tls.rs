//! Section `[tls]`: what the daemon shows clients of the network, and whom it lets in.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vgpu_link::tls::Files;

/// The section as the file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    clients_ca: Option<PathBuf>,
}

impl Entry {
    /// Fills in where `vgpud ca` says that the files are to be copied.
    pub fn files(self) -> Files {
        let or =
            |path: Option<PathBuf>, usual: &str| path.unwrap_or_else(|| Path::new(usual).into());
        Files {
            ca: or(self.clients_ca, "/etc/vgpu/tls/ca.pem"),
            certificate: or(self.certificate, "/etc/vgpu/tls/host.pem"),
            key: or(self.key, "/etc/vgpu/tls/host.key"),
        }
    }
}
