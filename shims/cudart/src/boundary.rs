//! The way from C into the runtime: the guest's boundary, implicit initialisation, and the thread's
//! last error.

use std::panic::catch_unwind;

use vgpu_guest::Counter;

use crate::result::{Error, Result};
use crate::{driver, runtime, thread};

/// Runs the body of an exported function of the runtime of `version`.
///
/// The runtime is initialised first, and where that fails, its error is the answer, whatever the
/// arguments (seen with NVIDIA's 12.9 and 13.5 without a driver). An error becomes the thread's
/// last one.
pub fn boundary(
    version: i32,
    counter: &'static Counter,
    body: impl FnOnce() -> Result<()>,
) -> Result<()> {
    boundary_uninitialised(version, counter, || {
        driver::initialised()?;
        body()
    })
}

/// Runs the body of a function that does not initialise the runtime, such as one for a version.
pub fn boundary_uninitialised(
    version: i32,
    counter: &'static Counter,
    body: impl FnOnce() -> Result<()>,
) -> Result<()> {
    runtime::enter(version);
    recorded(vgpu_guest::boundary(counter, body))
}

/// Answers an exported function that is not implemented.
///
/// The refusal becomes the thread's last error too: whoever launches a kernel looks only there.
pub fn unimplemented(version: i32, counter: &'static Counter) -> Result<()> {
    runtime::enter(version);
    // Counted as not implemented also where the runtime cannot be initialised. A second boundary
    // would count the call twice, so the panic guard is our own here.
    let refused = vgpu_guest::unimplemented(counter);
    let initialised = catch_unwind(driver::initialised).unwrap_or(Err(Error::UNKNOWN));
    recorded(initialised.and(refused))
}

fn recorded(answer: Result<()>) -> Result<()> {
    answer.inspect_err(|error| thread::record_error(*error))
}
