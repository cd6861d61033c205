//! The CUDA toolkit as programs are compiled against it: the public packages with its headers and
//! NVIDIA's own runtime.

use std::path::PathBuf;

use crate::stage;

/// A major of the CUDA toolkit, whose headers and runtime belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Major {
    /// CUDA 12.
    Twelve,
    /// CUDA 13.
    Thirteen,
}

impl Major {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Twelve, Self::Thirteen];

    /// The name of its runtime.
    pub fn soname(self) -> &'static str {
        match self {
            Self::Twelve => "libcudart.so.12",
            Self::Thirteen => "libcudart.so.13",
        }
    }

    /// The directory of the package: headers under `include`, NVIDIA's own runtime under `lib`.
    ///
    /// # Panics
    /// As [`stage::headers`].
    pub fn package(self) -> PathBuf {
        stage::headers().join(match self {
            Self::Twelve => "nvidia/cuda_runtime",
            Self::Thirteen => "nvidia/cu13",
        })
    }
}
