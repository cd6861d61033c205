//! Initialisation and Cleanup (NVML API).

use vgpu_abi::nvml::Error;

use crate::library;

/// Flags of `nvmlInitWithFlags`: succeed without GPUs, do not attach them, attach them after all.
/// Nothing is attached here, so none of them changes anything.
const FLAGS: u32 = 0x7;

/// Initialises for one more user. No host is DRIVER_NOT_LOADED.
pub(crate) fn init_v2() -> Result<(), Error> {
    library::open()
}

/// As [`init_v2`], under its old name.
pub(crate) fn init() -> Result<(), Error> {
    init_v2()
}

/// As [`init_v2`], with flags.
pub(crate) fn init_with_flags(flags: u32) -> Result<(), Error> {
    if flags & !FLAGS == 0 { init_v2() } else { Err(Error::INVALID_ARGUMENT) }
}

/// Shuts down for one user.
pub(crate) fn shutdown() -> Result<(), Error> {
    library::close()
}
