//! On a file system of the kernel: the installer is killed at every system call that may change
//! something and at a sample of the others, every call that changes something fails once, and the
//! tree ends as it was before or after.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine themselves")]

mod guest;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use guest::Guest;

/// Calls that change a file system or make a change durable.
const CHANGING: [&str; 15] = [
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

/// Where a run begins.
#[derive(Clone, Copy)]
enum Start {
    /// Nothing is installed.
    Clean,
    /// One generation is in force.
    Applied,
    /// Two generations are in force.
    Grown,
    /// An apply was killed when its first change was half done.
    Interrupted,
}

const SECOND_LINK: &str = "vsock:2:999";

/// One run to be stopped: how to get to its start, and how the tree may look afterwards.
struct Run<'a> {
    arguments: &'a [&'a str],
    start: Start,
    scope: &'a str,
}

#[track_caller]
fn succeeds(guest: &Guest, arguments: &[&str]) {
    let output = guest.install(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

fn traced(guest: &Guest, call: &Call, fault: &str, arguments: &[&str]) -> std::process::Output {
    let trace = format!("trace={}", call.name);
    let inject = format!("inject={}:{fault}:when={}", call.name, call.nth);
    let mut strace = vec!["-o", "/dev/null", "-e", &trace, "-e", &inject];
    if fault.starts_with("error") {
        // The run is stopped at calls of this name only: a third of the time. strace 6.1 sends no
        // signal there.
        strace.extend(["-f", "--seccomp-bpf"]);
    }
    guest.traced(&strace, arguments)
}

impl Run<'_> {
    fn prepare(&self, guest: &Guest) {
        let apply = ["apply", "--scope", self.scope];
        match self.start {
            Start::Clean => {}
            Start::Applied => succeeds(guest, &apply),
            Start::Grown => {
                succeeds(guest, &apply);
                succeeds(guest, &["--scope", "service", "--link", SECOND_LINK]);
            }
            Start::Interrupted => {
                let nth = if self.scope == "bundle" { 2 } else { 1 };
                let call = Call { name: "renameat2".into(), nth, is_harmless: false };
                let output = traced(guest, &call, "signal=SIGKILL", &apply);
                assert_eq!(output.status.signal(), Some(9), "the apply was killed");
            }
        }
    }

    /// The essence of the tree before the run and after it.
    fn ends(&self, guest: &Guest) -> Ends {
        let clean = guest.digest();
        self.prepare(guest);
        let before = match self.start {
            // What was interrupted is before, once it is recovered.
            Start::Interrupted => None,
            _ => Some(guest.essence()),
        };
        succeeds(guest, self.arguments);
        let after = guest.essence();
        let ends = Ends { clean, before: before.unwrap_or_else(|| after.clone()), after };
        self.settle(guest, &ends, "unharmed");
        ends
    }

    /// Recovers, checks that the tree is whole, and goes back to nothing installed, exactly.
    /// Answers whether it was as after the run.
    fn settle(&self, guest: &Guest, ends: &Ends, what: &str) -> bool {
        let output = guest.install(&["recover"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: recover: {said}");
        let found = guest.essence();
        let is_after = found == ends.after;
        if !is_after {
            assert_eq!(found, ends.before, "{what}: neither before nor after");
        }
        let output = guest.install(&["--rollback"]);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(guest.digest(), ends.clean, "{what}: rolled back");
        is_after
    }

    fn calls(&self, guest: &Guest, ends: &Ends) -> Vec<Call> {
        self.prepare(guest);
        let calls = calls(guest, self.arguments);
        self.settle(guest, ends, "traced");
        calls
    }

    fn killed_at_every_call(&self) {
        let guest = Guest::in_memory();
        let ends = self.ends(&guest);
        let mut outcomes = BTreeMap::new();
        for call in kill_points(&self.calls(&guest, &ends)) {
            self.prepare(&guest);
            let output = traced(&guest, call, "signal=SIGKILL", self.arguments);
            let what = format!("killed at {} {} of {:?}", call.name, call.nth, self.arguments);
            assert_eq!(output.status.signal(), Some(9), "{what}");
            let is_after = self.settle(&guest, &ends, &what);
            *outcomes.entry(is_after).or_insert(0) += 1;
        }
        let total: usize = outcomes.values().sum();
        println!("{:?}: {total} kill points, after or not: {outcomes:?}", self.arguments);
        assert!(total > 20, "{total} points");
        let both = outcomes.len() == 2 || ends.before == ends.after;
        assert!(both, "both ends were reached: {outcomes:?}");
    }

    fn failing_at_every_change(&self) {
        let guest = Guest::in_memory();
        let ends = self.ends(&guest);
        let calls = self.calls(&guest, &ends);
        let mut refused = 0;
        let changing = calls.iter().filter(|call| CHANGING.contains(&call.name.as_str()));
        for (call, error) in changing.flat_map(|call| ERRORS.map(|error| (call, error))) {
            self.prepare(&guest);
            let output = traced(&guest, call, &format!("error={error}"), self.arguments);
            let what = format!("{error} at {} {} of {:?}", call.name, call.nth, self.arguments);
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 1 | 4)), "{what}: {output:?}");
            refused += usize::from(code != Some(0));
            // What is refused cleans up after itself; what needs recovery says so.
            let check = guest.install(&["recover", "--check", "--detailed-exitcode"]);
            let needed = check.status.code() == Some(2);
            // Where only the last sync failed, nothing may be left to recover.
            assert!(!needed || code == Some(4), "{what}: {output:?}");
            let is_after = self.settle(&guest, &ends, &what);
            let expected = match code {
                Some(0) => true,
                Some(1) => ends.before == ends.after,
                _ => is_after,
            };
            assert_eq!(is_after, expected, "{what}: {output:?}");
        }
        println!("{:?}: {refused} refusals", self.arguments);
        assert!(refused > 20, "the faults were met: {refused}");
    }
}

/// The tree before anything was installed, and the essence of the tree before the run and after.
struct Ends {
    clean: String,
    before: String,
    after: String,
}

const APPLY: &[&str] = &["apply", "--scope", "service"];
const APPLY_LINKS: &[&str] = &["apply", "--scope", "bundle"];
const ROLLBACK: &[&str] = &["--rollback"];
const RECOVER: &[&str] = &["recover"];
const COLLECT: &[&str] = &["gc", "--keep", "1"];

#[test]
fn an_apply_killed_at_any_system_call_recovers_to_before_or_after() {
    Run { arguments: APPLY, start: Start::Clean, scope: "service" }.killed_at_every_call();
}

#[test]
fn an_apply_of_links_killed_at_any_system_call_recovers_to_before_or_after() {
    Run { arguments: APPLY_LINKS, start: Start::Clean, scope: "bundle" }.killed_at_every_call();
}

#[test]
fn a_rollback_killed_at_any_system_call_recovers_to_before_or_after() {
    Run { arguments: ROLLBACK, start: Start::Applied, scope: "service" }.killed_at_every_call();
}

#[test]
fn a_rollback_of_links_killed_at_any_system_call_recovers_to_before_or_after() {
    Run { arguments: ROLLBACK, start: Start::Applied, scope: "bundle" }.killed_at_every_call();
}

#[test]
fn a_recovery_killed_at_any_system_call_is_carried_on_by_the_next() {
    for scope in ["service", "bundle"] {
        Run { arguments: RECOVER, start: Start::Interrupted, scope }.killed_at_every_call();
    }
}

#[test]
fn a_collection_killed_at_any_system_call_recovers_to_before_or_after() {
    Run { arguments: COLLECT, start: Start::Grown, scope: "service" }.killed_at_every_call();
}

#[test]
fn an_apply_that_fails_at_any_change_leaves_nothing_behind() {
    Run { arguments: APPLY, start: Start::Clean, scope: "service" }.failing_at_every_change();
}

#[test]
fn a_rollback_that_fails_at_any_change_is_carried_to_its_end_by_recover() {
    Run { arguments: ROLLBACK, start: Start::Applied, scope: "service" }.failing_at_every_change();
}

#[test]
fn a_recovery_that_fails_at_any_change_is_carried_on_by_the_next() {
    Run { arguments: RECOVER, start: Start::Interrupted, scope: "bundle" }
        .failing_at_every_change();
}

#[test]
fn a_collection_that_fails_at_any_change_is_carried_to_its_end_by_recover() {
    Run { arguments: COLLECT, start: Start::Grown, scope: "service" }.failing_at_every_change();
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
        let guest = Guest::in_memory();
        assert_eq!(changes(&guest, &["apply", "--check", "--scope", scope]), [""; 0]);
        assert!(!changes(&guest, &["apply", "--scope", scope]).is_empty());
        let installed = guest.digest();
        assert_eq!(changes(&guest, &["apply", "--scope", scope]), [""; 0]);
        assert_eq!(changes(&guest, &["--rollback", "--check"]), [""; 0]);
        assert_eq!(guest.digest(), installed);
    }
}
