//! The system calls of a run of the installer: which change something, and at which a kill can show
//! a state that no other shows.

use std::collections::BTreeMap;

use super::Disk;
use crate::guest::Guest;

/// Calls that change a file system or make a change durable.
pub const CHANGING: [&str; 15] = [
    "linkat",
    "mkdirat",
    "unlinkat",
    "symlinkat",
    "renameat2",
    "renameat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fsetxattr",
    "fremovexattr",
    "utimensat",
    "fchmod",
];

/// Calls that leave a disk as it is, whatever their arguments: a run that is killed at one of them
/// leaves what it leaves when killed at the next. `openat` and `openat2` join them unless they
/// create or empty a file.
const HARMLESS: [&str; 30] = [
    "access",
    "arch_prctl",
    "brk",
    "close",
    "dup3",
    "fcntl",
    "fgetxattr",
    "fstat",
    "fstatfs",
    "futex",
    "getdents64",
    "getrandom",
    "lgetxattr",
    "llistxattr",
    "lseek",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "poll",
    "pread64",
    "read",
    "readlink",
    "readlinkat",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "statfs",
    "statx",
];

/// What a full, broken, read-only or guarded file system answers.
const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EROFS", "EACCES"];

/// How much of a sweep is run; `VGPU_SWEEP=every` runs all of each.
#[derive(Clone, Copy)]
pub enum Sample {
    /// Every 16th harmless call, and every error at every change.
    Dense,
    /// Every 128th harmless call, and at each change one error, by turns.
    Sparse,
}

impl Sample {
    fn is_every() -> bool {
        std::env::var_os("VGPU_SWEEP").is_some_and(|value| value == "every")
    }

    fn stride(self) -> usize {
        match self {
            _ if Self::is_every() => 1,
            Self::Dense => 16,
            Self::Sparse => 128,
        }
    }

    /// The errors that the how many-th change of a run meets.
    pub fn errors(self, change: usize) -> Vec<&'static str> {
        match self {
            Self::Sparse if !Self::is_every() => vec![ERRORS[change % ERRORS.len()]],
            _ => ERRORS.to_vec(),
        }
    }
}

/// One system call of a run.
pub struct Call {
    pub name: String,
    /// The how many-th of its name, from 1, as strace counts for `when=`.
    pub nth: usize,
    is_harmless: bool,
}

impl Call {
    /// A call by its name and number.
    pub fn nth(name: &str, nth: usize) -> Self {
        Self { name: name.to_owned(), nth, is_harmless: false }
    }

    fn of(line: &str, counts: &mut BTreeMap<String, usize>) -> Option<Self> {
        let (name, _) = line.split_once('(')?;
        let nth = counts.entry(name.to_owned()).or_insert(0);
        *nth += 1;
        let only_opens = matches!(name, "openat" | "openat2")
            && !["O_CREAT", "O_TRUNC", "O_TMPFILE"].iter().any(|flag| line.contains(flag));
        let is_harmless = only_opens || HARMLESS.contains(&name);
        Some(Self { name: name.to_owned(), nth: *nth, is_harmless })
    }

    /// True if the call changes a file system or makes a change durable.
    pub fn is_change(&self) -> bool {
        CHANGING.contains(&self.name.as_str())
    }
}

/// Lists the system calls of a run.
pub fn calls(guest: &Guest, disk: Disk, arguments: &[&str]) -> Vec<Call> {
    let log = guest.dir.path().join("calls");
    let mut strace = vec!["-o", log.to_str().unwrap()];
    strace.extend(disk.inject());
    let output = guest.traced(&strace, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut counts = BTreeMap::new();
    let log = std::fs::read_to_string(&log).unwrap();
    let calls = log.lines().filter_map(|line| Call::of(line, &mut counts));
    // The execve is the start of the program itself; a kill there runs nothing of ours.
    calls.filter(|call| call.name != "execve" && !disk.refuses(&call.name)).collect()
}

/// The calls at which a run has to be killed to see every state that it can leave, and some of
/// those that change nothing.
pub fn kill_points(calls: &[Call], sample: Sample) -> impl Iterator<Item = &Call> {
    let (harmless, others): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.is_harmless);
    others.into_iter().chain(harmless.into_iter().step_by(sample.stride()))
}

/// Runs the installer with a fault at one call.
pub fn faulty(
    guest: &Guest,
    disk: Disk,
    call: &Call,
    fault: &str,
    arguments: &[&str],
) -> std::process::Output {
    let trace = format!("trace={},renameat2", call.name);
    let inject = format!("inject={}:{fault}:when={}", call.name, call.nth);
    // strace takes the last rule of a call.
    let mut strace = vec!["-o", "/dev/null", "-e", &trace];
    strace.extend(disk.inject());
    strace.extend(["-e", &inject]);
    if fault.starts_with("error") {
        // The run is stopped at calls of these names only: a third of the time. strace 6.1 sends
        // no signal there.
        strace.extend(["-f", "--seccomp-bpf"]);
    }
    guest.traced(&strace, arguments)
}
