//! Functions of the program in streams and graphs (CUDA Driver API, Execution Control, Stream
//! Management, Graph Management).
//!
//! One thread of ours calls them, started with the first: it asks the host which one a stream has
//! come to, calls it, and says that it has returned, for which the stream waits.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vgpu_abi::cuda::{CUhostFn, CUstream, CUstreamCallback, Error};
use vgpu_guest::wire::control::NextFunction;
use vgpu_guest::wire::cuda::LaunchHostFunction;
use vgpu_guest::{log, process, session};

use super::capture;
use crate::borrowed::{Borrowed, NodeFunction};
use crate::callback::HostFunction;
use crate::{handles, remote};

static LAUNCHED: Mutex<Option<Launched>> = Mutex::new(None);

thread_local! {
    static RUNS_FUNCTIONS: Cell<bool> = const { Cell::new(false) };
}

/// What streams are to come to once.
#[derive(Debug)]
enum Once {
    Function(HostFunction),
    /// The end of a run of a graph, which needs its functions until then.
    Run(#[expect(dead_code, reason = "it is held, and dropped")] Vec<Arc<NodeFunction>>),
}

/// The functions that streams may come to.
#[derive(Default)]
struct Launched {
    once: HashMap<u64, Once>,
    /// Those that nodes of graphs call.
    of_nodes: HashMap<u64, Weak<NodeFunction>>,
    last_ticket: u64,
    /// How many of those that are called once have not returned.
    under_way: usize,
    /// Whether there is a thread that calls them.
    is_served: bool,
}

impl Launched {
    /// Takes the next number; from now on there is a thread that calls functions.
    fn ticket(&mut self) -> Result<u64, Error> {
        if !self.is_served {
            process::start_thread("vgpu-callbacks", serve).map_err(|_| Error::OUT_OF_MEMORY)?;
            self.is_served = true;
        }
        self.last_ticket += 1;
        Ok(self.last_ticket)
    }
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

/// Says whether a stream may yet come to a function, which may write what a copy is to read.
pub(crate) fn are_launched() -> bool {
    lock().as_ref().is_some_and(|launched| launched.under_way > 0)
}

/// Lets the stream call a function behind what it does already, and wait for it. In a capture it
/// becomes a node.
pub(crate) fn launch_host_func(
    stream: CUstream,
    function: CUhostFn,
    data: *mut c_void,
) -> Result<(), Error> {
    remote::ready()?;
    handles::stream(stream)?;
    let function = HostFunction::new(function, data).ok_or(Error::INVALID_VALUE)?;
    if !capture::is_active(stream)? {
        return launch(stream, function);
    }
    let function = NodeFunction::new(function)?;
    let request = LaunchHostFunction { stream: stream.0, ticket: function.ticket };
    capture::borrow(Borrowed::Function(function), stream, || remote::call(&request))
}

/// As [`launch_host_func`], for a function that is told the stream and its result code. Flags are
/// reserved and must be 0.
///
/// # Errors
/// STREAM_CAPTURE_UNSUPPORTED in a capture, which is then invalid: the documentation of
/// `cuStreamAddCallback` says that it is not supported there.
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
    handles::stream(stream)?;
    let function = HostFunction::callback(function, stream, data).ok_or(Error::INVALID_VALUE)?;
    if capture::is_active(stream)? {
        return capture::invalidate(stream);
    }
    launch(stream, function)
}

fn launch(stream: CUstream, function: HostFunction) -> Result<(), Error> {
    launch_once(Once::Function(function), |ticket| {
        remote::post_to(stream, &LaunchHostFunction { stream: stream.0, ticket })
    })
}

/// Launches a graph that calls functions by a message with a number, to which the host comes at
/// its end.
pub(crate) fn launch_run(
    functions: Vec<Arc<NodeFunction>>,
    post: impl FnOnce(u64) -> Result<(), Error>,
) -> Result<(), Error> {
    launch_once(Once::Run(functions), post)
}

fn launch_once(once: Once, post: impl FnOnce(u64) -> Result<(), Error>) -> Result<(), Error> {
    let ticket = {
        let mut launched = lock();
        let launched = launched.get_or_insert_default();
        let ticket = launched.ticket()?;
        launched.once.insert(ticket, once);
        launched.under_way += 1;
        ticket
    };
    post(ticket).inspect_err(|_| {
        take(ticket);
        has_returned();
    })
}

fn has_returned() {
    if let Some(launched) = lock().as_mut() {
        launched.under_way -= 1;
    }
}

fn take(ticket: u64) -> Option<Once> {
    lock().as_mut()?.once.remove(&ticket)
}

/// Takes up a function that nodes call.
pub(crate) fn insert_node(
    make: impl FnOnce(u64) -> NodeFunction,
) -> Result<Arc<NodeFunction>, Error> {
    let mut launched = lock();
    let launched = launched.get_or_insert_default();
    let ticket = launched.ticket()?;
    let function = Arc::new(make(ticket));
    launched.of_nodes.insert(ticket, Arc::downgrade(&function));
    Ok(function)
}

/// Forgets a function that no node calls any more.
pub(crate) fn forget_node(ticket: u64) {
    if let Some(launched) = lock().as_mut() {
        launched.of_nodes.remove(&ticket);
    }
}

/// Finds a function that nodes call.
pub(super) fn of_node(ticket: u64) -> Option<Arc<NodeFunction>> {
    lock().as_ref()?.of_nodes.get(&ticket)?.upgrade()
}

/// Calls what streams come to, until the connection is lost.
fn serve() {
    RUNS_FUNCTIONS.set(true);
    let mut done = 0;
    while let Ok(due) = session::call(&NextFunction { done }) {
        let called = match take(due.ticket) {
            Some(Once::Function(function)) => {
                // It may look at what the copies before it brought.
                let collected = session::collect().map_err(Error::from);
                function.run(collected.map_or_else(Error::code, |()| due.status));
                has_returned();
                collected
            }
            Some(Once::Run(_)) => {
                has_returned();
                Ok(())
            }
            None => of_node(due.ticket).map_or(Ok(()), |function| function.run(due.status)),
        };
        if let Err(error) = called {
            // Nobody waits for it here. A connection that is lost ends this thread with the next
            // question; else the context has gone, or the host had no room.
            log::warn(format_args!(
                "memory that a function of the program shares with the GPU could not be copied \
                 ({error:?}): what it reads or writes is not right"
            ));
        }
        done = due.ticket;
    }
}
