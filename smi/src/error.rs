//! What can go wrong, with `nvidia-smi`'s exit codes (its manual page, section RETURN VALUE).

use std::io;
use std::path::PathBuf;

use nvml_wrapper::error::NvmlError;

use crate::terminal::TerminalError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No NVML library is where ours is put or where the loader looks.
    #[error("opening libnvidia-ml.so.1: none in {} or where the loader looks", dirs(tried))]
    NoLibrary {
        /// Where ours was looked for.
        tried: Vec<PathBuf>,
        /// What the loader said.
        #[source]
        source: NvmlError,
    },
    /// NVML could not begin.
    #[error("starting NVML: {source}")]
    Start {
        /// NVML's answer.
        #[source]
        source: NvmlError,
    },
    /// NVML refused a question that has an answer for every GPU.
    #[error("asking NVML for {what}: {source}")]
    Nvml {
        /// What was asked for.
        what: &'static str,
        /// NVML's answer.
        #[source]
        source: NvmlError,
    },
    /// No GPU goes by that name, or there is none at all.
    #[error("No devices were found")]
    NoDevice,
    /// A field that is not known.
    #[error("Field \"{field}\" is not a valid field to query.")]
    Field {
        /// Its name.
        field: String,
    },
    /// A format that is not known.
    #[error("--format={format}: csv, with noheader or nounits, is what there is")]
    Format {
        /// What was given.
        format: String,
    },
    /// There is no terminal to draw on.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// The answer could not be written.
    #[error("writing the answer: {0}")]
    Output(#[from] io::Error),
}

fn dirs(tried: &[PathBuf]) -> String {
    tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Error {
    /// The exit code that `nvidia-smi` has for this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Field { .. } | Self::Format { .. } | Self::Terminal(_) => 2,
            Self::NoDevice => 6,
            Self::Start { source: NvmlError::NoPermission }
            | Self::Nvml { source: NvmlError::NoPermission, .. } => 4,
            Self::Start { source: NvmlError::DriverNotLoaded } => 9,
            Self::NoLibrary { .. } => 12,
            Self::Start { .. } | Self::Nvml { .. } | Self::Output(_) => 255,
        }
    }

    /// The error with what to try.
    #[must_use]
    pub fn told(&self) -> String {
        let hint = match self {
            Self::Start { source: NvmlError::DriverNotLoaded } => {
                "a line above says why no host was reached; sudo vgpu-install doctor says more"
            }
            Self::Start { .. } | Self::Nvml { .. } => "sudo vgpu-install doctor says more",
            Self::NoLibrary { .. } => "reinstall the package vgpu-ollama",
            Self::NoDevice => "vgpu-smi -L lists the GPUs",
            Self::Field { .. } => "vgpu-smi --help-query-gpu lists the fields",
            Self::Format { .. } => "--format=csv,noheader,nounits",
            Self::Terminal(error) => error.hint(),
            Self::Output(_) => return format!("vgpu-smi: {self}"),
        };
        format!("vgpu-smi: {self}\n  try: {hint}")
    }
}
