//! Images: what a client hands to `cuModuleLoadData` and `cuLibraryLoadData`, read far enough to
//! know every kernel, its parameters, its attributes and the module's variables.
//!
//! Pure: bytes in, facts out. It knows neither who sent the bytes nor what a device does with them.
//! NVIDIA publishes neither the fat binary nor the cubin format; what is known of both is public
//! knowledge, checked against the images of two published ggml backends.

mod choose;
mod cubin;
mod fat;
mod info;
pub(crate) mod ptx;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;

/// Largest image of one architecture, unpacked: 256 MiB, some fifty times the largest that the
/// ggml backends carry (4.5 MB).
pub(crate) const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// Largest block: the limit of every device since compute capability 2.0.
const THREADS_MAX: u32 = 1024;

/// What an image holds for one device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Image {
    /// Its kernels, in the image's order.
    pub kernels: Vec<Kernel>,
    /// Its variables in global and constant memory.
    pub variables: Vec<Variable>,
    /// The PTX that this device could compile, if the image has any; also where machine code was
    /// chosen.
    pub ptx: Option<Arc<str>>,
    /// What was chosen and why, for the log.
    pub chosen: String,
}

/// What is known of a kernel (CUDA Driver API, `CUfunction_attribute`).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Kernel {
    /// Its name, mangled as in the image.
    pub name: String,
    /// Where each parameter lies among the packed ones.
    pub parameters: Vec<Parameter>,
    /// Bytes of all packed parameters.
    pub parameter_bytes: u32,
    /// Largest block that it can be launched with.
    pub max_threads_per_block: u32,
    /// Registers of one thread. For PTX a guess: the driver's compiler decides.
    pub registers: u32,
    /// Bytes of shared memory that it declares itself.
    pub static_shared_bytes: u32,
    /// Bytes of constant memory that the program declares.
    pub constant_bytes: u32,
    /// Bytes of local memory of one thread.
    pub local_bytes: u32,
    /// Virtual architecture that it was compiled for, such as 90.
    pub ptx_version: u32,
    /// Architecture of its machine code, such as 90.
    pub binary_version: u32,
    /// Blocks of a cluster, where the kernel itself says so.
    pub required_cluster: Option<[u32; 3]>,
    /// Most blocks of a cluster, where the kernel itself says so.
    pub maximum_cluster: Option<u32>,
    /// Threads of a block, where the kernel can be launched with no others.
    pub required_block: Option<[u32; 3]>,
}

/// Where a parameter of a kernel lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// Bytes before it.
    pub offset: u32,
    /// Its size.
    pub bytes: u32,
}

/// A variable of a module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Variable {
    /// Its name, mangled as in the image.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its address is a multiple of this.
    pub alignment: u64,
    /// Where it lives.
    pub space: Space,
    /// What it holds at first; zeros where it says nothing.
    pub initial: Option<Vec<u8>>,
    /// Addresses to be written into it when the module is loaded.
    pub pointers: Vec<Pointer>,
}

/// Which memory a variable lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Global memory.
    Global,
    /// Constant memory.
    Constant,
}

/// A place in a variable that holds the address of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// Bytes before the place, which is 8 bytes wide.
    pub offset: u64,
    /// The variable, or kernel, whose address it holds.
    pub of: String,
    /// What is added to that address.
    pub addend: u64,
}

/// Why an image cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    /// The bytes are no image, or a broken one (INVALID_IMAGE).
    #[error("reading the image: {what} at byte {offset}")]
    Invalid {
        /// What is wrong.
        what: &'static str,
        /// Where.
        offset: usize,
    },
    /// The image holds nothing that the device could run (NO_BINARY_FOR_GPU).
    #[error("the image has nothing for {capability}: it has {offers}")]
    NoBinary {
        /// The device.
        capability: Target,
        /// What the image offers.
        offers: String,
    },
    /// The PTX is of a version that came later (UNSUPPORTED_PTX_VERSION).
    #[error("the image is PTX of version {version}, and this device reads none after 9")]
    NewPtx {
        /// The version.
        version: String,
    },
    /// The PTX is broken (INVALID_PTX).
    #[error("reading PTX, line {line}: {what}")]
    Ptx {
        /// What is wrong.
        what: String,
        /// Where, from 1.
        line: usize,
    },
}

/// An architecture that code was made for, or a device's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// Ten times the major plus the minor number, such as 90.
    pub number: u32,
    /// On which devices it runs.
    pub reach: Reach,
}

/// On which devices code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// As its kind does: PTX on all later devices, machine code on later ones of the same major.
    Ordinary,
    /// On later ones of the same major only (`sm_100f`).
    Family,
    /// On that one only (`sm_90a`).
    Exact,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.reach {
            Reach::Ordinary => "",
            Reach::Family => "f",
            Reach::Exact => "a",
        };
        write!(f, "sm_{}{suffix}", self.number)
    }
}

/// Reads an image for a device of a compute capability (major, minor).
///
/// # Errors
/// INVALID_IMAGE, NO_BINARY_FOR_GPU or INVALID_PTX, each with what was seen.
pub(crate) fn read(bytes: &[u8], capability: (u32, u32)) -> Result<Image, ImageError> {
    choose::read(bytes, capability.0 * 10 + capability.1)
}

impl ImageError {
    fn invalid(what: &'static str, offset: usize) -> Self {
        Self::Invalid { what, offset }
    }
}

/// Reads a little-endian number at an offset, where the bytes reach that far.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}
