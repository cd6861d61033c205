//! What only the C library can do for, or tell about, the process that we live in.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::sync::{Once, OnceLock};

use crate::count;

/// What `VGPU_STATS` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Statistics {
    /// A table on standard error.
    Table,
    /// A line of JSON at the end of a file.
    Json(PathBuf),
}

static ASKED: OnceLock<Statistics> = OnceLock::new();

fn statistics(value: OsString, is_raised: bool) -> Option<Statistics> {
    match value.as_bytes().strip_prefix(b"json:") {
        // Whoever may not write there must not do so through a program that may.
        Some(_) if is_raised => None,
        Some(path) => Some(Statistics::Json(OsString::from_vec(path.to_vec()).into())),
        None => (value == "1").then_some(Statistics::Table),
    }
}

/// Registers the print of the statistics, once, if `VGPU_STATS` asks for them.
///
/// The first counted call does this, because nothing of ours runs when a library is loaded.
pub(crate) fn print_statistics_at_exit() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let value = std::env::var_os("VGPU_STATS");
        let asked = value.and_then(|value| statistics(value, runs_with_raised_rights()));
        if let Some(asked) = asked {
            ASKED.get_or_init(|| asked);
            // SAFETY: print_statistics_now is an `extern "C"` function without arguments that never
            // unwinds, and the library that holds it is never unloaded (linked -z nodelete).
            unsafe { libc::atexit(print_statistics_now) };
        }
    });
}

extern "C" fn print_statistics_now() {
    let _ = std::panic::catch_unwind(|| {
        // There is nobody left to tell that statistics could not be written.
        let _ = match ASKED.get() {
            None => Ok(()),
            Some(Statistics::Table) => std::io::stderr().write_all(count::table().as_bytes()),
            Some(Statistics::Json(path)) => std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .and_then(|mut file| file.write_all(count::json().as_bytes())),
        };
    });
}

/// Starts a thread of ours that no signal of the program is delivered to.
///
/// A program's handlers run on its own threads then, as they do without us.
///
/// # Errors
/// What the system says when it has no thread left.
pub fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    vgpu_link::start_thread(name, work).map(drop)
}

/// Says whether the process runs with more rights than its caller (set-user-ID and the like).
///
/// Its environment then belongs to somebody who must not steer it (getauxval(3), AT_SECURE).
pub(crate) fn runs_with_raised_rights() -> bool {
    // SAFETY: getauxval reads a table that the kernel filled before the program began.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_ours_takes_no_signals() {
        let (tell, told) = std::sync::mpsc::channel();
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("of Linux");
            let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
            u64::from_str_radix(line.expect("it is listed"), 16).expect("a mask")
        };
        let before = blocked();
        start_thread("quiet", move || tell.send(blocked()).expect("the test listens")).unwrap();
        let mask = told.recv_timeout(std::time::Duration::from_secs(20)).expect("it runs");
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGPROF] {
            assert_eq!(mask >> (signal - 1) & 1, 1, "{signal}");
        }
        assert_eq!(blocked(), before);
    }

    #[test]
    fn statistics_are_asked_for_as_a_table_or_as_a_file() {
        for (value, is_raised, expected) in [
            ("1", false, Some(Statistics::Table)),
            ("1", true, Some(Statistics::Table)),
            ("json:/tmp/x", false, Some(Statistics::Json("/tmp/x".into()))),
            ("json:/tmp/x", true, None),
            ("0", false, None),
            ("", false, None),
        ] {
            assert_eq!(statistics(value.into(), is_raised), expected, "{value} {is_raised}");
        }
    }
}
