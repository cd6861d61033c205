//! The way to the host, with the driver API's rules about who may ask.

use vgpu_abi::cuda::Error;
use vgpu_guest::session;
use vgpu_guest::wire::Request;

use crate::{captures, contexts, devices};

/// Asks and waits; the calling thread needs a current context (CUDA Driver API, Context
/// Management: most functions work on it).
pub(crate) fn call<R: Request>(request: &R) -> Result<R::Reply, Error> {
    ready()?;
    captures::check_request::<R>()?;
    Ok(session::call(request)?)
}

/// Asks without waiting; an error is reported by a later synchronising call.
pub(crate) fn post<R: Request>(request: &R) -> Result<(), Error> {
    ready()?;
    captures::check_request::<R>()?;
    Ok(session::post(request)?)
}

/// Asks and waits, with or without a current context.
pub(crate) fn call_without_context<R: Request>(request: &R) -> Result<R::Reply, Error> {
    devices::known()?;
    captures::check_request::<R>()?;
    Ok(session::call(request)?)
}

/// Checks that the driver is initialised and that the thread's current context is alive.
pub(crate) fn ready() -> Result<(), Error> {
    devices::known()?;
    contexts::current().map(drop)
}
