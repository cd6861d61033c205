//! Prints the statistics when the process ends, if `VGPU_STATS=1` asks for them.
//!
//! Registered by the first counted call, because nothing of ours runs when a library is loaded.

use std::io::Write as _;
use std::sync::Once;

use crate::count;

/// Registers the print with the C library, once, if the user asked for statistics.
pub(crate) fn print_statistics_at_exit() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        if std::env::var_os("VGPU_STATS").is_some_and(|value| value == "1") {
            // SAFETY: print_table is an `extern "C"` function without arguments that never
            // unwinds, and the library that holds it is never unloaded (linked -z nodelete).
            unsafe { libc::atexit(print_table) };
        }
    });
}

extern "C" fn print_table() {
    let _ = std::panic::catch_unwind(|| {
        let _ = std::io::stderr().write_all(count::table().as_bytes());
    });
}
