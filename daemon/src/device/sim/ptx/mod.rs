//! Executes PTX: the simulated device computes whatever kernel a client brings, if its PTX is at
//! hand and says nothing that is unknown here.
//!
//! A kernel is decoded once (`decode`), all functions it calls in place, into instructions over a
//! dense file of registers (`code`); `run` takes its blocks one after the other, those of a cluster
//! or of a cooperative launch in turns. A thread runs until it waits for others, then the next one
//! does. So a result never depends on time, and blocks that wait for later ones in any other launch
//! end as a timeout.
//!
//! Source of the rules: NVIDIA's "PTX ISA" manual, sections 5 to 10.

mod code;
mod decode;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod kind;
mod parse;
mod reach;
mod run;
mod scope;
mod special;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use vgpu_abi::cuda::Error;

use crate::image::{ImageError, ptx::Module};
use code::Code;
pub(crate) use reach::Reach;

/// A module whose kernels can be run.
pub(crate) struct Program {
    module: Module,
    entries: HashMap<String, OnceLock<Result<Entry, NotExecutable>>>,
}

/// A kernel that can be run.
pub(crate) struct Entry {
    code: Code,
}

/// Why a kernel cannot be run here, though a GPU could.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct NotExecutable {
    /// The first instruction that is not known, or what else is in the way.
    pub what: String,
    /// Its line in the PTX, from 1.
    pub line: usize,
}

impl From<ImageError> for NotExecutable {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Ptx { what, line } => Self { what, line },
            other => Self { what: other.to_string(), line: 0 },
        }
    }
}

/// How a kernel is launched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster, where there are clusters.
    pub cluster: Option<[u32; 3]>,
    /// Whether all blocks may wait for each other.
    pub is_cooperative: bool,
    /// Bytes of shared memory beyond what the kernel declares.
    pub shared_bytes: u32,
    /// The packed parameters.
    pub parameters: &'a [u8],
}

/// Device memory as a kernel sees it: global memory and the module's variables.
pub(crate) trait GlobalMemory {
    /// Borrows bytes that lie within one allocation, or nothing if they do not.
    fn bytes(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]>;
}

/// What ended a kernel before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Memory was accessed where there is none.
    #[error("there is no memory at {address:#x}")]
    IllegalAddress {
        /// The address.
        address: u64,
    },
    /// An access is not aligned to its size.
    #[error("the access at {address:#x} is not aligned")]
    Misaligned {
        /// The address.
        address: u64,
    },
    /// The kernel's own memory was accessed outside its bounds, or the kernel trapped.
    #[error("it trapped, or left its own memory")]
    Failed,
    /// `assert` failed.
    #[error("its assertion failed")]
    Assert,
    /// It did not end in time, or its threads wait for each other for ever.
    #[error("it does not end")]
    Timeout,
    /// Blocks that have to run together need more memory than is spent on them.
    #[error("its blocks are too large to run together here")]
    TooLarge,
    /// A variable of the module has no address, or the launch does not fit the kernel.
    #[error("a variable has no address, or the launch does not fit")]
    InvalidLaunch,
}

impl Fault {
    /// The error that the context reports (CUDA Driver API, `CUresult`).
    pub fn error(self) -> Error {
        match self {
            Self::IllegalAddress { .. } => Error::ILLEGAL_ADDRESS,
            Self::Misaligned { .. } => Error::MISALIGNED_ADDRESS,
            Self::Failed => Error::LAUNCH_FAILED,
            Self::Assert => Error::ASSERT,
            Self::Timeout => Error::LAUNCH_TIMEOUT,
            Self::TooLarge => Error::LAUNCH_OUT_OF_RESOURCES,
            Self::InvalidLaunch => Error::INVALID_VALUE,
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Program {
    /// Reads a module's outline; its kernels are decoded when they are first asked for.
    ///
    /// # Errors
    /// INVALID_PTX, with the line.
    pub fn parse(ptx: &str) -> Result<Self, ImageError> {
        let module = Module::parse(Arc::from(ptx))?;
        let kernels = module.functions.iter().filter(|function| function.is_kernel);
        let entries = kernels.map(|kernel| (kernel.name.clone(), OnceLock::new())).collect();
        Ok(Self { module, entries })
    }

    /// Finds a kernel, decoded.
    ///
    /// # Errors
    /// If it has instructions that are not known here, or is not there at all.
    pub fn entry(&self, name: &str) -> Result<&Entry, NotExecutable> {
        let Some(entry) = self.entries.get(name) else {
            return Err(NotExecutable { what: format!("there is no kernel {name}"), line: 1 });
        };
        let entry = entry.get_or_init(|| Ok(Entry { code: decode::kernel(&self.module, name)? }));
        entry.as_ref().map_err(Clone::clone)
    }
}

impl Entry {
    /// Runs the kernel to its end.
    ///
    /// `symbols` gives the addresses of the module's variables.
    ///
    /// # Errors
    /// What ended it early; what it wrote until then is written.
    pub fn run(
        &self,
        launch: &Launch<'_>,
        memory: &mut dyn GlobalMemory,
        symbols: &dyn Fn(&str) -> Option<u64>,
    ) -> Result<(), Fault> {
        run::launch(&self.code, launch, (memory, symbols))
    }
}
