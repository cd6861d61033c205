//! Functions of the program in streams (CUDA Driver API, Execution Control, Stream Management).
//!
//! One thread of ours calls them, started with the first: it asks the host which one a stream has
//! come to, calls it, and says that it has returned, for which the stream waits.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUhostFn, CUstream, CUstreamCallback, Error};
use vgpu_guest::wire::control::NextFunction;
use vgpu_guest::wire::cuda::LaunchHostFunction;
use vgpu_guest::{process, session};

use super::capture;
use crate::callback::HostFunction;
use crate::{handles, remote};

static LAUNCHED: Mutex<Option<Launched>> = Mutex::new(None);

thread_local! {
    static RUNS_FUNCTIONS: Cell<bool> = const { Cell::new(false) };
}

/// The functions that streams have not come to.
#[derive(Default)]
struct Launched {
    functions: HashMap<u64, HostFunction>,
    last_ticket: u64,
    /// Whether there is a thread that calls them.
    is_served: bool,
}

fn lock() -> MutexGuard<'static, Option<Launched>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    LAUNCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses what a function in a stream asks: it "must not make any CUDA API calls"
/// (`cuLaunchHostFunc`), which would wait for the stream that waits for it.
pub(crate) fn check_not_within() -> Result<(), Error> {
    if RUNS_FUNCTIONS.get() { Err(Error::NOT_PERMITTED) } else { Ok(()) }
}

/// Lets the stream call a function behind what it does already, and wait for it.
pub(crate) fn launch_host_func(
    stream: CUstream,
    function: CUhostFn,
    data: *mut c_void,
) -> Result<(), Error> {
    launch(stream, HostFunction::new(function, data))
}

/// As [`launch_host_func`], for a function that is told the stream and its result code. Flags are
/// reserved and must be 0.
pub(crate) fn stream_add_callback(
    stream: CUstream,
    function: CUstreamCallback,
    data: *mut c_void,
    flags: u32,
) -> Result<(), Error> {
    remote::ready()?;
    if flags != 0 {
        return Err(Error::INVALID_VALUE);
    }
    launch(stream, HostFunction::callback(function, stream, data))
}

fn launch(stream: CUstream, function: Option<HostFunction>) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    let function = function.ok_or(Error::INVALID_VALUE)?;
    capture::check_not_capturing(stream)?;
    let ticket = {
        let mut launched = lock();
        let launched = launched.get_or_insert_default();
        if !launched.is_served {
            process::start_thread("vgpu-callbacks", serve).map_err(|_| Error::OUT_OF_MEMORY)?;
            launched.is_served = true;
        }
        launched.last_ticket += 1;
        launched.functions.insert(launched.last_ticket, function);
        launched.last_ticket
    };
    let posted = remote::post_to(stream, &LaunchHostFunction { stream: stream.0, ticket });
    posted.inspect_err(|_| {
        take(ticket);
    })
}

fn take(ticket: u64) -> Option<HostFunction> {
    lock().as_mut()?.functions.remove(&ticket)
}

/// Calls what streams come to, until the connection is lost.
fn serve() {
    RUNS_FUNCTIONS.set(true);
    let mut done = 0;
    while let Ok(due) = session::call(&NextFunction { done }) {
        if let Some(function) = take(due.ticket) {
            // It may look at what the copies before it brought. Without a connection there is
            // nothing to bring, and the next question ends this thread.
            let _ = session::collect();
            function.run(due.status);
        }
        done = due.ticket;
    }
}
