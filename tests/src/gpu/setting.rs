//! Where the comparison runs, and how each subject is reached.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Way, clean, over};
use crate::system::Result;
use crate::{Stage, Vgpud};

/// Which libraries a program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Those of this machine: the genuine driver and runtime.
    Native,
    /// Ours, served by vgpud on the same GPU.
    Ours,
}

/// What stands for the genuine driver.
#[derive(Debug, Clone, Default)]
pub struct Native {
    /// Directories that are searched before the system's.
    pub libraries: Vec<PathBuf>,
    /// A rehearsal without a GPU: the libraries are ours as well, over a host of their own.
    pub rehearsal: bool,
}

/// Where the comparison runs.
#[derive(Debug)]
pub struct Setting {
    /// The checkout, for scripts and sources.
    pub repository: PathBuf,
    /// What is shipped.
    pub stage: Stage,
    /// Where reports and recordings go.
    pub out: PathBuf,
    /// The CUDA compiler.
    pub nvcc: Option<PathBuf>,
    /// Directories with headers, for a compiler that does not know its own.
    pub includes: Vec<PathBuf>,
    /// Which device vgpud serves.
    pub device: String,
    /// The genuine side.
    pub native: Native,
    /// Only a little of each step: enough to see that the comparison itself works.
    pub sample: bool,
}

impl Setting {
    /// Starts our host on the device.
    ///
    /// # Errors
    /// If it does not start.
    pub fn host(&self, arguments: &[&str]) -> Result<Vgpud> {
        Vgpud::launch(&self.stage, &[&["--device", &self.device], arguments].concat(), None)
    }

    /// Starts what the native side needs: nothing, but for a rehearsal.
    ///
    /// # Errors
    /// If it does not start.
    pub fn native_host(&self) -> Result<Option<Vgpud>> {
        self.native.rehearsal.then(|| Vgpud::simulated(&self.stage, &[])).transpose()
    }

    /// A program over one subject's libraries; `host` serves it, where it needs one.
    pub fn command(
        &self,
        subject: Subject,
        host: Option<&Vgpud>,
        program: impl AsRef<OsStr>,
    ) -> Command {
        match (subject, host) {
            (Subject::Native, None) => {
                let mut command = clean(program);
                command.env("LD_LIBRARY_PATH", self.search_path());
                command
            }
            // In a rehearsal the native libraries are ours.
            (_, Some(host)) => over(&self.stage, Way::SearchPath, &host.link(), program),
            (Subject::Ours, None) => over(&self.stage, Way::SearchPath, "unix:/none", program),
        }
    }

    /// The libraries of the toolkit lie beside its compiler.
    fn search_path(&self) -> OsString {
        let beside = self.nvcc.as_deref().and_then(Path::parent).and_then(Path::parent);
        let beside = beside.map(|toolkit| toolkit.join("lib64"));
        let all = self.native.libraries.iter().cloned().chain(beside);
        std::env::join_paths(all).unwrap_or_default()
    }

    /// A file of the checkout.
    pub fn file(&self, path: &str) -> PathBuf {
        self.repository.join(path)
    }
}
