//! cuBLAS for both majors: handles and checks in the guest, the arithmetic on the host.
//!
//! Each operation is one message, which nobody waits for unless its result goes to the program's
//! own memory. It travels over the session of libcuda, which this library finds as any client
//! finds the driver; over a stranger's driver it answers NOT_INITIALIZED.
//!
//! Unsafe code stands in `driver.rs` only.

#![deny(unsafe_code)]

pub mod api;
#[allow(unsafe_code)]
mod driver;
mod handles;
mod version;

use vgpu_abi::cublas::Error;
use vgpu_guest::Counter;

/// Runs the body of an exported function of the library of `version`.
///
/// # Errors
/// That of the body, and those of [`vgpu_guest::boundary`].
pub fn boundary(
    version: i32,
    counter: &'static Counter,
    body: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    version::enter(version);
    vgpu_guest::boundary(counter, body)
}

/// Runs the body of an exported function of the library of `version` that answers no status;
/// `otherwise` is answered when the body panics.
pub fn boundary_value<T>(
    version: i32,
    counter: &'static Counter,
    otherwise: T,
    body: impl FnOnce() -> T,
) -> T {
    version::enter(version);
    vgpu_guest::boundary_value(counter, otherwise, body)
}
