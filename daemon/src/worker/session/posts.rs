//! What is read of a post before it is done.

use vgpu_link::LinkError;
use vgpu_link::wire::{Header, Malformed, Payload, Request, cuda};
/// Reads the number of the function that a post comes with, if it is one that does.
pub(super) fn ticket(header: &Header, payload: &[u8]) -> Result<Option<u64>, LinkError> {
    Ok(match header.opcode {
        cuda::LaunchHostFunction::OPCODE => {
            let launch = cuda::LaunchHostFunction::from_payload(payload);
            Some(launch.map_err(malformed("LaunchHostFunction"))?.ticket)
        }
        cuda::GraphRun::OPCODE => {
            let run = cuda::GraphRun::from_payload(payload);
            Some(run.map_err(malformed("GraphRun"))?.ticket)
        }
        _ => None,
    })
}

pub(super) fn malformed(what: &'static str) -> impl Fn(Malformed) -> LinkError {
    move |source| LinkError::Malformed { what, source }
}
