//! The handles of this process, and what the program said about each.
//!
//! A setting does not travel by itself: each operation carries all of them, so that the host needs
//! no history of ours.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cublas::{
    Error, cublasAtomicsMode_t, cublasHandle_t, cublasMath_t, cublasPointerMode_t, cudaStream_t,
};
use vgpu_guest::wire::cublas::Setting;

static HANDLES: Mutex<Option<HashMap<cublasHandle_t, State>>> = Mutex::new(None);

/// What is kept with a handle; the defaults are those of a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Where operations run.
    pub stream: cudaStream_t,
    /// The program's own working memory on the device, and its size; 0 for cuBLAS's.
    pub workspace: (u64, u64),
    /// How exact arithmetic is.
    pub math_mode: cublasMath_t,
    /// Where scalars lie.
    pub pointer_mode: cublasPointerMode_t,
    /// Whether sums may come in any order.
    pub atomics_mode: cublasAtomicsMode_t,
    /// How many multiprocessors to use; 0 for all.
    pub sm_count_target: i32,
}

impl State {
    /// Says it to the host.
    pub(crate) fn setting(&self, handle: cublasHandle_t) -> Setting {
        Setting {
            handle: handle.0,
            stream: self.stream.0,
            workspace: self.workspace.0,
            workspace_bytes: self.workspace.1,
            math_mode: self.math_mode.0,
            atomics_mode: self.atomics_mode.0,
            sm_count_target: self.sm_count_target,
        }
    }
}

fn lock() -> MutexGuard<'static, Option<HashMap<cublasHandle_t, State>>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up a handle that the host made.
pub(crate) fn insert(handle: cublasHandle_t) {
    lock().get_or_insert_default().insert(handle, State::default());
}

/// Forgets a handle; NOT_INITIALIZED if there is none such.
pub(crate) fn remove(handle: cublasHandle_t) -> Result<(), Error> {
    let removed = lock().as_mut().and_then(|handles| handles.remove(&handle));
    removed.map(drop).ok_or(Error::NOT_INITIALIZED)
}

/// Returns what is kept with a handle; NOT_INITIALIZED if there is none such.
pub(crate) fn state(handle: cublasHandle_t) -> Result<State, Error> {
    let handles = lock();
    let found = handles.as_ref().and_then(|handles| handles.get(&handle).copied());
    found.ok_or(Error::NOT_INITIALIZED)
}

/// Changes what is kept with a handle; NOT_INITIALIZED if there is none such.
pub(crate) fn change(handle: cublasHandle_t, change: impl FnOnce(&mut State)) -> Result<(), Error> {
    let mut handles = lock();
    let found = handles.as_mut().and_then(|handles| handles.get_mut(&handle));
    found.map(change).ok_or(Error::NOT_INITIALIZED)
}
