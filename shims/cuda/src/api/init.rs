//! Initialisation (CUDA Driver API, Initialization).

use vgpu_abi::cuda::Error;
use vgpu_guest::session::{self, Failure};

/// Connects to the host; `flags` must be 0.
pub(crate) fn init(flags: u32) -> Result<(), Error> {
    if flags != 0 {
        return Err(Error::INVALID_VALUE);
    }
    session::snapshot().map(|_| ()).map_err(Failure::fault)
}
