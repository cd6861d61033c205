//! What only the C library can do for, or tell about, the process that we live in.

use std::io::Write as _;
use std::sync::Once;

use crate::count;

/// Registers the print of the statistics, once, if `VGPU_STATS=1` asks for them.
///
/// The first counted call does this, because nothing of ours runs when a library is loaded.
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

/// Says whether the process runs with more rights than its caller (set-user-ID and the like).
///
/// Its environment then belongs to somebody who must not steer it (getauxval(3), AT_SECURE).
pub(crate) fn runs_with_raised_rights() -> bool {
    // SAFETY: getauxval reads a table that the kernel filled before the program began.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
