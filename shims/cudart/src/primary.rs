//! Primary contexts: how the runtime, which knows devices, uses a driver that knows contexts.
//!
//! The context that is current to a thread always wins, also one that the program made current
//! through the driver API (CUDA Runtime API, "Interactions with the CUDA Driver API"). Only a
//! thread without one gets the primary context of its device.

use std::cell::Cell;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::driver::{self, Context, Driver};
use crate::result::Result;
use crate::thread;

/// The primary contexts that the runtime holds a reference to, by ordinal.
static HELD: Mutex<Vec<Option<Context>>> = Mutex::new(Vec::new());

/// How often a device was reset; a thread that bound a context before the last time looks again.
static RESETS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The device and context that [`bind`] made current on this thread, and [`RESETS`] before.
    static BOUND: Cell<Option<(i32, Context, u64)>> = const { Cell::new(None) };
}

/// Returns the driver, with a context current to the calling thread.
///
/// # Errors
/// Those of [`driver::initialised`], and those of making the primary context.
pub fn current() -> Result<&'static Driver> {
    let driver = driver::initialised()?;
    let mut context = Context::default();
    driver.ctx_get_current(&mut context)?;
    if context == Context::default() || is_stale(context) {
        bind(thread::device())?;
    }
    Ok(driver)
}

/// Returns the driver and the context that is current to the calling thread.
///
/// # Errors
/// As [`current`].
pub fn context() -> Result<(&'static Driver, Context)> {
    let driver = current()?;
    let mut context = Context::default();
    driver.ctx_get_current(&mut context)?;
    Ok((driver, context))
}

/// Makes the primary context of a device current to the calling thread.
///
/// # Errors
/// `INVALID_DEVICE` for an ordinal that no device has, and those of making the context.
pub fn bind(ordinal: i32) -> Result<()> {
    let resets = RESETS.load(Acquire);
    let context = of(ordinal)?;
    driver::initialised()?.ctx_set_current(context)?;
    let _ = BOUND.try_with(|bound| bound.set(Some((ordinal, context, resets))));
    Ok(())
}

/// Returns the primary context of a device, making it if need be.
///
/// # Errors
/// As [`bind`].
pub fn of(ordinal: i32) -> Result<Context> {
    let (driver, handle) = driver::device(ordinal)?;
    let mut held = held();
    if held.len() <= index(ordinal) {
        held.resize(index(ordinal) + 1, None);
    }
    let slot = &mut held[index(ordinal)];
    if let Some(context) = *slot {
        return Ok(context);
    }
    // Under the lock: two threads that start at once hold one reference, not two.
    let mut context = Context::default();
    driver.primary_ctx_retain(&mut context, handle)?;
    Ok(*slot.insert(context))
}

/// Returns the device that the calling thread uses.
///
/// # Errors
/// Those of [`driver::initialised`].
pub fn device() -> Result<i32> {
    let driver = driver::initialised()?;
    let mut context = Context::default();
    driver.ctx_get_current(&mut context)?;
    if context == Context::default() || is_stale(context) {
        return Ok(thread::device());
    }
    let mut handle = 0;
    driver.ctx_get_device(&mut handle)?;
    driver::ordinal(handle)
}

/// Destroys what the primary context of the thread's device holds; the next use makes it anew.
///
/// A context that the program made itself is left alone, and so is the primary one beside it: the
/// runtime keeps nothing of its own for such a context (CUDA Runtime API, cudaDeviceReset).
///
/// # Errors
/// Those of [`driver::initialised`] and of the driver.
pub fn reset() -> Result<()> {
    let ordinal = device()?;
    let (driver, handle) = driver::device(ordinal)?;
    let mut context = Context::default();
    driver.ctx_get_current(&mut context)?;
    if context != Context::default() && !is_stale(context) && context != of(ordinal)? {
        return Ok(());
    }
    if let Some(slot) = held().get_mut(index(ordinal)) {
        *slot = None;
    }
    RESETS.fetch_add(1, Release);
    driver.ctx_set_current(Context::default())?;
    driver.primary_ctx_reset(handle)
}

/// Tells whether we bound `context` before some device was reset.
///
/// It may have been another device; binding once more is then merely unneeded.
fn is_stale(context: Context) -> bool {
    let bound = BOUND.try_with(Cell::get).unwrap_or(None);
    bound.is_some_and(|(ordinal, bound, resets)| {
        bound == context && ordinal == thread::device() && resets != RESETS.load(Acquire)
    })
}

fn held() -> MutexGuard<'static, Vec<Option<Context>>> {
    // Slots are replaced whole, so a panic elsewhere cannot leave one half-written.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the place of an ordinal that [`driver::device`] has already accepted.
fn index(ordinal: i32) -> usize {
    ordinal.unsigned_abs() as usize
}
