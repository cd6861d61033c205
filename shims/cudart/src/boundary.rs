//! The way from C into the runtime: the guest's boundary, and the thread's last error.

use vgpu_guest::Counter;

use crate::result::Result;
use crate::{runtime, thread};

/// Runs the body of an exported function of the runtime of `version`.
///
/// An error becomes the thread's last one.
pub fn boundary(
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
pub fn unimplemented(counter: &'static Counter) -> Result<()> {
    recorded(vgpu_guest::unimplemented(counter))
}

fn recorded(answer: Result<()>) -> Result<()> {
    answer.inspect_err(|error| thread::record_error(*error))
}
