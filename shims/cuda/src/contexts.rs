//! The contexts of this process: which are alive, and what the guest answers about them.
//!
//! Nearly every call asks several times for the same one, and they seldom change. So each thread
//! keeps the one that it found last, for as long as nothing was changed.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustc_hash::FxHashMap;
use vgpu_abi::cuda::{CUdevice, Error};
use vgpu_guest::current;

static CONTEXTS: RwLock<Option<Contexts>> = RwLock::new(None);

/// Counts the changes: raised under the lock, before each.
static CHANGES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LAST: Cell<Option<Found>> = const { Cell::new(None) };
}

/// A context that a thread found.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Changes before it was looked for.
    changes: u64,
    handle: u64,
    context: Context,
}

/// One context that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    /// The device that it belongs to, in this process's numbers.
    pub device: CUdevice,
    /// Flags that it was made with.
    pub flags: u32,
    /// Number that no other context of this process ever had (`cuCtxGetId`).
    pub id: u64,
    /// Whether it is its device's primary context.
    pub is_primary: bool,
    /// What broke it, as far as the program was told: every later call is answered so.
    pub broken: Option<Error>,
}

/// The primary context of one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Primary {
    /// Its handle, while it is retained; else 0.
    pub handle: u64,
    /// How often it is retained.
    pub retained: u32,
    /// Flags for it, which outlive it.
    pub flags: u32,
}

#[derive(Debug, Default)]
struct Contexts {
    alive: FxHashMap<u64, Context>,
    primaries: FxHashMap<CUdevice, Primary>,
    last_id: u64,
}

fn read() -> RwLockReadGuard<'static, Option<Contexts>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    CONTEXTS.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Option<Contexts>> {
    let contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
    // Who counted it looks after us; who did not keeps what it finds for this one call only.
    CHANGES.fetch_add(1, Ordering::Release);
    contexts
}

/// Looks a handle up; one that was never made or is destroyed is INVALID_CONTEXT.
pub(crate) fn find(handle: u64) -> Result<Context, Error> {
    let changes = CHANGES.load(Ordering::Acquire);
    let last = LAST.get().filter(|last| last.handle == handle && last.changes == changes);
    if let Some(last) = last {
        return Ok(last.context);
    }
    let contexts = read();
    let found = contexts.as_ref().and_then(|contexts| contexts.alive.get(&handle).copied());
    let context = found.ok_or(Error::INVALID_CONTEXT)?;
    LAST.set(Some(Found { changes, handle, context }));
    Ok(context)
}

/// Returns the calling thread's current context with its handle.
///
/// None is INVALID_CONTEXT; one that another thread destroyed is CONTEXT_IS_DESTROYED, as
/// `cuCtxDestroy` documents.
pub(crate) fn current() -> Result<(u64, Context), Error> {
    let handle = current::top().ok_or(Error::INVALID_CONTEXT)?;
    let context = find(handle).map_err(|_| Error::CONTEXT_IS_DESTROYED)?;
    Ok((handle, context))
}

/// Takes up a context that the host made.
pub(crate) fn insert(handle: u64, device: CUdevice, flags: u32, is_primary: bool) {
    let mut contexts = write();
    let contexts = contexts.get_or_insert_default();
    contexts.last_id += 1;
    let id = contexts.last_id;
    contexts.alive.insert(handle, Context { device, flags, id, is_primary, broken: None });
}

/// Forgets a context; `false` if it was not known.
pub(crate) fn remove(handle: u64) -> bool {
    write().as_mut().is_some_and(|contexts| contexts.alive.remove(&handle).is_some())
}

/// Changes the flags of a context that is alive.
pub(crate) fn change_flags(handle: u64, flags: u32) {
    if let Some(context) = write().as_mut().and_then(|contexts| contexts.alive.get_mut(&handle)) {
        context.flags = flags;
    }
}

/// Keeps what broke the calling thread's current context.
pub(crate) fn note_broken(error: Error) {
    if !error.breaks_the_context() {
        return;
    }
    let mut contexts = write();
    let alive = contexts.as_mut().map(|contexts| &mut contexts.alive);
    if let Some(context) = alive.zip(current::top()).and_then(|(all, top)| all.get_mut(&top)) {
        context.broken = Some(error);
    }
}

/// Returns the state of a device's primary context.
pub(crate) fn primary(device: CUdevice) -> Primary {
    let contexts = read();
    let found = contexts.as_ref().and_then(|contexts| contexts.primaries.get(&device).copied());
    found.unwrap_or_default()
}

/// Changes the state of a device's primary context.
pub(crate) fn change_primary(device: CUdevice, change: impl FnOnce(&mut Primary)) {
    change(write().get_or_insert_default().primaries.entry(device).or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_knows_a_context_sees_what_another_does_to_it() {
        let elsewhere = |work: &(dyn Fn() + Sync)| {
            std::thread::scope(|scope| scope.spawn(work).join().expect("it does not panic"));
        };
        insert(501, 0, 1, false);
        assert_eq!(find(501).map(|context| context.flags), Ok(1));
        elsewhere(&|| change_flags(501, 4));
        assert_eq!(find(501).map(|context| context.flags), Ok(4));
        elsewhere(&|| {
            assert!(current::push(501));
            note_broken(Error::ILLEGAL_ADDRESS);
        });
        assert_eq!(find(501).map(|context| context.broken), Ok(Some(Error::ILLEGAL_ADDRESS)));
        elsewhere(&|| assert!(remove(501)));
        assert_eq!(find(501), Err(Error::INVALID_CONTEXT));
        insert(501, 0, 2, false);
        assert_eq!(find(501).map(|context| context.flags), Ok(2), "another of the same handle");
        remove(501);
    }
}
