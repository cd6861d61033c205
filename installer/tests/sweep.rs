//! On a real file system: the installer is killed at every system call that may change something
//! and at a sample of the others, every call that changes something fails once, and the tree ends
//! as it was before or after.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine themselves")]

mod guest;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use guest::Guest;

/// Calls that change a file system or make a change durable.
const CHANGING: [&str; 14] = [
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

/// Of the harmless calls, every so many is killed at all the same; `VGPU_SWEEP=every` kills at
/// each.
const STRIDE: usize = 16;

/// One system call of a run.
struct Call {
    name: String,
    /// The how many-th of its name, from 1, as strace counts for `when=`.
    nth: usize,
    is_harmless: bool,
}

impl Call {
    fn of(line: &str, counts: &mut BTreeMap<String, usize>) -> Option<Self> {
        let (name, _) = line.split_once('(')?;
        let nth = counts.entry(name.to_owned()).or_insert(0);
        *nth += 1;
        let only_opens = matches!(name, "openat" | "openat2")
            && !["O_CREAT", "O_TRUNC", "O_TMPFILE"].iter().any(|flag| line.contains(flag));
        let is_harmless = only_opens || HARMLESS.contains(&name);
        Some(Self { name: name.to_owned(), nth: *nth, is_harmless })
    }
}

/// Lists the system calls of a run.
fn calls(guest: &Guest, arguments: &[&str]) -> Vec<Call> {
    let log = guest.dir.path().join("calls");
    let output = guest.traced(&["-o", log.to_str().unwrap()], arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut counts = BTreeMap::new();
    let log = std::fs::read_to_string(&log).unwrap();
    let calls = log.lines().filter_map(|line| Call::of(line, &mut counts));
    // The execve is the start of the program itself; a kill there runs nothing of ours.
    calls.filter(|call| call.name != "execve").collect()
}

/// The calls at which a run has to be killed to see every state that it can leave.
fn kill_points(calls: &[Call]) -> impl Iterator<Item = &Call> {
    let every = std::env::var_os("VGPU_SWEEP").is_some_and(|value| value == "every");
    let (harmless, others): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.is_harmless);
    others.into_iter().chain(harmless.into_iter().step_by(if every { 1 } else { STRIDE }))
}

/// One transaction to be stopped: how to get to its start, and how its two ends look.
struct Transaction<'a> {
    arguments: &'a [&'a str],
    installed_first: bool,
    scope: &'a str,
}

impl Transaction<'_> {
    fn prepare(&self, guest: &Guest) {
        if self.installed_first {
            let output = guest.install(&["apply", "--scope", self.scope]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Checks that the tree is whole, and goes back to nothing installed, exactly.
    fn settle(&self, guest: &Guest, ends: &Ends, what: &str) -> bool {
        let output = guest.install(&["recover"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: recover: {said}");
        let found = guest.digest();
        if found == ends.clean {
            return false;
        }
        assert_eq!(guest.essence(), ends.installed, "{what}: neither before nor after");
        let output = guest.install(&["--rollback"]);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(guest.digest(), ends.clean, "{what}: rolled back");
        true
    }

    fn killed_at_every_call(&self) {
        let guest = Guest::new();
        let ends = Ends::of(&guest, self.scope);
        self.prepare(&guest);
        let calls = calls(&guest, self.arguments);
        self.settle(&guest, &ends, "unharmed");
        let mut outcomes = BTreeMap::new();
        for Call { name, nth, .. } in kill_points(&calls) {
            self.prepare(&guest);
            let inject = format!("inject={name}:signal=SIGKILL:when={nth}");
            let output = guest.traced(&["-o", "/dev/null", "-e", &inject], self.arguments);
            assert_eq!(output.status.signal(), Some(9), "{name} {nth}: it was killed");
            let what = format!("killed at {name} {nth} of {:?}", self.arguments);
            let installed = self.settle(&guest, &ends, &what);
            *outcomes.entry(installed).or_insert(0) += 1;
        }
        let total: usize = outcomes.values().sum();
        println!("{:?}: {total} kill points, installed or not: {outcomes:?}", self.arguments);
        assert_eq!(outcomes.len(), 2, "both ends were reached: {outcomes:?}");
    }

    fn failing_at_every_change(&self) {
        let guest = Guest::new();
        let ends = Ends::of(&guest, self.scope);
        self.prepare(&guest);
        let calls = calls(&guest, self.arguments);
        self.settle(&guest, &ends, "unharmed");
        let mut refused = 0;
        let changing = calls.iter().filter(|call| CHANGING.contains(&call.name.as_str()));
        let faults =
            changing.flat_map(|call| ["EIO", "ENOSPC", "EROFS"].map(|error| (call, error)));
        for (Call { name, nth, .. }, error) in faults {
            self.prepare(&guest);
            let inject = format!("inject={name}:error={error}:when={nth}");
            let output = guest.traced(&["-o", "/dev/null", "-e", &inject], self.arguments);
            let what = format!("{error} at {name} {nth} of {:?}", self.arguments);
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 1 | 4)), "{what}: {output:?}");
            refused += usize::from(code != Some(0));
            if code == Some(1) {
                // What is refused cleans up after itself, without recover.
                let nothing = guest.install(&["recover", "--check", "--detailed-exitcode"]);
                assert_eq!(nothing.status.code(), Some(0), "{what}");
            }
            let installed = self.settle(&guest, &ends, &what);
            let expected = match code {
                Some(0) => !self.installed_first,
                Some(1) => self.installed_first,
                _ => installed,
            };
            assert_eq!(installed, expected, "{what}");
        }
        println!("{:?}: {refused} refusals", self.arguments);
        assert!(refused > 20, "the faults were met: {refused}");
    }
}

/// The tree before anything was installed, and the essence of the tree afterwards.
struct Ends {
    clean: String,
    installed: String,
}

impl Ends {
    fn of(guest: &Guest, scope: &str) -> Self {
        let clean = guest.digest();
        let output = guest.install(&["apply", "--scope", scope]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let installed = guest.essence();
        assert!(guest.install(&["--rollback"]).status.success());
        assert_eq!(guest.digest(), clean, "a rollback restores everything");
        Self { clean, installed }
    }
}

#[test]
fn an_apply_killed_at_any_system_call_recovers_to_before_or_after() {
    let arguments: &[&str] = &["apply", "--scope", "service"];
    Transaction { arguments, installed_first: false, scope: "service" }.killed_at_every_call();
}

#[test]
fn an_apply_of_links_killed_at_any_system_call_recovers_to_before_or_after() {
    let arguments: &[&str] = &["apply", "--scope", "bundle"];
    Transaction { arguments, installed_first: false, scope: "bundle" }.killed_at_every_call();
}

#[test]
fn a_rollback_killed_at_any_system_call_recovers_to_before_or_after() {
    Transaction { arguments: &["--rollback"], installed_first: true, scope: "service" }
        .killed_at_every_call();
}

#[test]
fn a_rollback_of_links_killed_at_any_system_call_recovers_to_before_or_after() {
    Transaction { arguments: &["--rollback"], installed_first: true, scope: "bundle" }
        .killed_at_every_call();
}

#[test]
fn an_apply_that_fails_at_any_change_leaves_nothing_behind() {
    let arguments: &[&str] = &["apply", "--scope", "service"];
    Transaction { arguments, installed_first: false, scope: "service" }.failing_at_every_change();
}

#[test]
fn a_rollback_that_fails_at_any_change_is_carried_to_its_end_by_recover() {
    Transaction { arguments: &["--rollback"], installed_first: true, scope: "service" }
        .failing_at_every_change();
}

/// Calls of a run that change something below the root.
fn changes(guest: &Guest, arguments: &[&str]) -> Vec<String> {
    let log = guest.dir.path().join("changes");
    let trace = format!("trace={},openat2,openat,rename,mkdir,link,unlink", CHANGING.join(","));
    let output = guest.traced(&["-f", "-e", &trace, "-o", log.to_str().unwrap()], arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let is_change = |line: &&str| {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        let opens = call.starts_with("open");
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| line.contains(flag));
        // Descriptors 1 and 2 are the answer.
        let says = call.starts_with("write(1") || call.starts_with("write(2");
        let ends = line.contains("+++") || line.contains("---");
        !ends && !says && (!opens || writes)
    };
    let log = std::fs::read_to_string(&log).unwrap();
    log.lines().filter(is_change).map(str::to_owned).collect()
}

#[test]
fn a_second_apply_and_a_check_change_nothing() {
    for scope in ["service", "bundle"] {
        let guest = Guest::new();
        assert_eq!(changes(&guest, &["apply", "--check", "--scope", scope]), [""; 0]);
        assert!(!changes(&guest, &["apply", "--scope", scope]).is_empty());
        let installed = guest.digest();
        assert_eq!(changes(&guest, &["apply", "--scope", scope]), [""; 0]);
        assert_eq!(changes(&guest, &["--rollback", "--check"]), [""; 0]);
        assert_eq!(guest.digest(), installed);
    }
}
