//! Which cuBLAS this is: the one fact that the bodies need of the library they are linked into.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// The version whose names the library exports (`CUBLAS_VERSION`: 10,000 for each major, 100 for
/// each minor); set by each call. Each shared library links its own copy of this crate.
static VERSION: AtomicI32 = AtomicI32::new(0);

/// Records the version of the library that was entered.
pub(crate) fn enter(version: i32) {
    VERSION.store(version, Relaxed);
}

/// Returns the version of cuBLAS that this library stands for.
pub(crate) fn version() -> i32 {
    VERSION.load(Relaxed)
}
