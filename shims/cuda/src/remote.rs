//! The way of a driver API message to the host.

use vgpu_abi::cuda::Error;
use vgpu_guest::session::{self, Failure};
use vgpu_link::wire::Request;

/// Asks the host and waits for its answer.
pub(crate) fn call<R: Request>(request: &R) -> Result<R::Reply, Error> {
    session::call(request).map_err(Failure::fault)
}

/// Tells the host without waiting; an error is reported by a later synchronising call.
pub(crate) fn post<R: Request>(request: &R) -> Result<(), Error> {
    session::post(request).map_err(Failure::fault)
}
