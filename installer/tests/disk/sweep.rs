//! On a file system of the kernel: the installer is killed at every system call that may change
//! something and at a sample of the others, every call that changes something fails once, and the
//! tree ends as it was before or after. So in every scope, and where names cannot be exchanged.

mod calls;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use crate::guest::Guest;
use calls::{CHANGING, Call, Sample, calls, faulty, kill_points};

/// What the file system below the root can do.
#[derive(Debug, Clone, Copy)]
enum Disk {
    /// Names are exchanged in one step.
    Exchanging,
    /// No rename has a flag, as on NFS: every `renameat2` of every run is refused.
    Plain,
}

impl Disk {
    /// The options by which strace makes it so.
    fn inject(self) -> &'static [&'static str] {
        match self {
            Self::Exchanging => &[],
            Self::Plain => &["-e", "inject=renameat2:error=EINVAL"],
        }
    }

    /// True for a call that does nothing there.
    fn refuses(self, call: &str) -> bool {
        matches!(self, Self::Plain) && call == "renameat2"
    }

    /// Runs the installer on it.
    fn install(self, guest: &Guest, arguments: &[&str]) -> Output {
        match self {
            Self::Exchanging => guest.install(arguments),
            Self::Plain => {
                let only = ["-o", "/dev/null", "-f", "--seccomp-bpf", "-e", "trace=renameat2"];
                guest.traced(&[&only, self.inject()].concat(), arguments)
            }
        }
    }
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
struct Run {
    arguments: Vec<&'static str>,
    start: Start,
    scope: &'static str,
    disk: Disk,
    sample: Sample,
}

impl Run {
    fn new(arguments: &[&'static str], start: Start, scope: &'static str) -> Self {
        let arguments = arguments.to_vec();
        Self { arguments, start, scope, disk: Disk::Exchanging, sample: Sample::Dense }
    }

    /// An apply where nothing is installed.
    fn apply(scope: &'static str) -> Self {
        Self::new(&["apply", "--scope", scope], Start::Clean, scope)
    }

    fn rollback(scope: &'static str) -> Self {
        Self::new(&["--rollback"], Start::Applied, scope)
    }

    fn recover(scope: &'static str) -> Self {
        Self::new(&["recover"], Start::Interrupted, scope)
    }

    fn collect(scope: &'static str) -> Self {
        Self::new(&["gc", "--keep", "1"], Start::Grown, scope)
    }

    fn sparse(self) -> Self {
        Self { sample: Sample::Sparse, ..self }
    }

    /// The same where names cannot be exchanged.
    fn on_plain_disk(self) -> Self {
        Self { disk: Disk::Plain, ..self }
    }

    /// The run in words.
    fn name(&self) -> String {
        let Self { arguments, scope, disk, .. } = self;
        format!("{} of scope {scope} on {disk:?}", arguments.join(" "))
    }

    fn guest(&self) -> Guest {
        let guest = Guest::in_memory();
        if self.scope == "system" {
            guest.write("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n");
            guest.place_smi();
        }
        guest
    }

    #[track_caller]
    fn succeeds(&self, guest: &Guest, arguments: &[&str]) {
        let output = self.disk.install(guest, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }

    fn prepare(&self, guest: &Guest) {
        let apply = ["apply", "--scope", self.scope];
        match self.start {
            Start::Clean => {}
            Start::Applied => self.succeeds(guest, &apply),
            Start::Grown => {
                self.succeeds(guest, &apply);
                self.succeeds(guest, &["--scope", "service", "--link", SECOND_LINK]);
            }
            Start::Interrupted => {
                let call = match (self.disk, self.scope) {
                    // The original has two names, and ours lies ready under a third.
                    (Disk::Plain, _) => Call::nth("renameat", 1),
                    (Disk::Exchanging, "service") => Call::nth("renameat2", 1),
                    (Disk::Exchanging, _) => Call::nth("renameat2", 2),
                };
                let output = faulty(guest, self.disk, &call, "signal=SIGKILL", &apply);
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
        self.succeeds(guest, &self.arguments);
        let after = guest.essence();
        let ends = Ends { clean, before: before.unwrap_or_else(|| after.clone()), after };
        self.settle(guest, &ends, "unharmed");
        ends
    }

    /// Recovers, checks that the tree is whole, and goes back to nothing installed, exactly.
    /// Answers whether it was as after the run.
    fn settle(&self, guest: &Guest, ends: &Ends, what: &str) -> bool {
        let output = self.disk.install(guest, &["recover"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: recover: {said}");
        let found = guest.essence();
        let is_after = found == ends.after;
        if !is_after {
            assert_eq!(found, ends.before, "{what}: neither before nor after");
        }
        let output = self.disk.install(guest, &["--rollback"]);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(guest.digest(), ends.clean, "{what}: rolled back");
        is_after
    }

    fn calls(&self, guest: &Guest, ends: &Ends) -> Vec<Call> {
        self.prepare(guest);
        let calls = calls(guest, self.disk, &self.arguments);
        self.settle(guest, ends, "traced");
        calls
    }

    fn killed_at_every_call(&self) {
        let guest = self.guest();
        let ends = self.ends(&guest);
        let mut outcomes = BTreeMap::new();
        for call in kill_points(&self.calls(&guest, &ends), self.sample) {
            self.prepare(&guest);
            let output = faulty(&guest, self.disk, call, "signal=SIGKILL", &self.arguments);
            let what = format!("killed at {} {} of {}", call.name, call.nth, self.name());
            assert_eq!(output.status.signal(), Some(9), "{what}");
            let is_after = self.settle(&guest, &ends, &what);
            *outcomes.entry(is_after).or_insert(0) += 1;
        }
        let total: usize = outcomes.values().sum();
        println!("{}: {total} kill points, after or not: {outcomes:?}", self.name());
        assert!(total > 20, "{total} points");
        let both = outcomes.len() == 2 || ends.before == ends.after;
        assert!(both, "both ends were reached: {outcomes:?}");
    }

    fn failing_at_every_change(&self) {
        let guest = self.guest();
        let ends = self.ends(&guest);
        let calls = self.calls(&guest, &ends);
        let mut refused = 0;
        let changing = calls.iter().filter(|call| call.is_change()).enumerate();
        let errors = |nth| self.sample.errors(nth).into_iter();
        for (call, error) in changing.flat_map(|(nth, call)| errors(nth).map(move |e| (call, e))) {
            self.prepare(&guest);
            let fault = format!("error={error}");
            let output = faulty(&guest, self.disk, call, &fault, &self.arguments);
            let what = format!("{error} at {} {} of {}", call.name, call.nth, self.name());
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
        println!("{}: {refused} refusals", self.name());
        assert!(refused > 10, "the faults were met: {refused}");
    }
}

/// The tree before anything was installed, and the essence of the tree before the run and after.
struct Ends {
    clean: String,
    before: String,
    after: String,
}

#[test]
fn an_apply_killed_at_any_system_call_recovers_to_before_or_after() {
    Run::apply("service").killed_at_every_call();
}

#[test]
fn an_apply_of_links_killed_at_any_system_call_recovers_to_before_or_after() {
    Run::apply("bundle").killed_at_every_call();
}

#[test]
fn an_apply_of_scope_system_killed_at_any_change_recovers_to_before_or_after() {
    Run::apply("system").sparse().killed_at_every_call();
}

#[test]
fn an_apply_without_exchange_killed_at_any_change_recovers_to_before_or_after() {
    Run::apply("bundle").on_plain_disk().sparse().killed_at_every_call();
}

#[test]
fn a_rollback_killed_at_any_system_call_recovers_to_before_or_after() {
    Run::rollback("service").killed_at_every_call();
}

#[test]
fn a_rollback_of_links_killed_at_any_system_call_recovers_to_before_or_after() {
    Run::rollback("bundle").killed_at_every_call();
}

#[test]
fn a_rollback_of_scope_system_killed_at_any_change_recovers_to_before_or_after() {
    Run::rollback("system").sparse().killed_at_every_call();
}

#[test]
fn a_rollback_without_exchange_killed_at_any_change_recovers_to_before_or_after() {
    Run::rollback("bundle").on_plain_disk().sparse().killed_at_every_call();
}

#[test]
fn a_recovery_killed_at_any_system_call_is_carried_on_by_the_next() {
    Run::recover("service").killed_at_every_call();
    Run::recover("bundle").killed_at_every_call();
    Run::recover("system").sparse().killed_at_every_call();
    Run::recover("bundle").on_plain_disk().sparse().killed_at_every_call();
}

#[test]
fn a_collection_killed_at_any_system_call_recovers_to_before_or_after() {
    Run::collect("service").killed_at_every_call();
    Run::collect("system").sparse().killed_at_every_call();
}

#[test]
fn an_apply_that_fails_at_any_change_leaves_nothing_behind() {
    Run::apply("service").failing_at_every_change();
    Run::apply("system").sparse().failing_at_every_change();
    Run::apply("bundle").on_plain_disk().sparse().failing_at_every_change();
}

#[test]
fn a_rollback_that_fails_at_any_change_is_carried_to_its_end_by_recover() {
    Run::rollback("service").failing_at_every_change();
    Run::rollback("system").sparse().failing_at_every_change();
    Run::rollback("bundle").on_plain_disk().sparse().failing_at_every_change();
}

#[test]
fn a_recovery_that_fails_at_any_change_is_carried_on_by_the_next() {
    Run::recover("bundle").failing_at_every_change();
    Run::recover("system").sparse().failing_at_every_change();
    Run::recover("bundle").on_plain_disk().sparse().failing_at_every_change();
}

#[test]
fn a_collection_that_fails_at_any_change_is_carried_to_its_end_by_recover() {
    Run::collect("service").failing_at_every_change();
    Run::collect("system").sparse().failing_at_every_change();
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
    for scope in ["service", "bundle", "system"] {
        let guest = Run::apply(scope).guest();
        assert_eq!(changes(&guest, &["apply", "--check", "--scope", scope]), [""; 0]);
        assert!(!changes(&guest, &["apply", "--scope", scope]).is_empty());
        let installed = guest.digest();
        assert_eq!(changes(&guest, &["apply", "--scope", scope]), [""; 0]);
        assert_eq!(changes(&guest, &["--rollback", "--check"]), [""; 0]);
        assert_eq!(guest.digest(), installed);
    }
}
