//! Which runtime this is: the one fact that the bodies need of the library they are linked into.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// The version of the library's API, as 1000 * major + 10 * minor; set by the first call.
///
/// A constructor could set it earlier, but a shim has none. Each shared library links its own
/// copy of this crate, so the two majors do not meet here.
static VERSION: AtomicI32 = AtomicI32::new(0);

/// Records the version of the library that was entered.
pub fn enter(version: i32) {
    VERSION.store(version, Relaxed);
}

/// Returns the version of the CUDA runtime that this library stands for.
pub fn version() -> i32 {
    VERSION.load(Relaxed)
}
