//! What a worker takes from itself, so that a client who takes it over has less.
//!
//! With the simulated device a worker reads and writes the images and the recording, and nothing
//! else. The genuine driver keeps the files that its unit leaves it (it opens devices and loads
//! libraries as it goes) but the host's own; it loses what no driver needs. In docs/host.md: "How
//! far clients are apart"; why no namespaces, in decision 0054.

mod calls;
mod others;

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::set_no_new_privs;

use crate::cli::WorkerOptions;
use crate::desk::Share;
use crate::device::{Opened, Source};
use crate::error::DaemonError;
use crate::log;

/// The newest rules that we ask for: Linux 6.12. An older kernel does what it can.
const RULES: ABI = ABI::V6;

/// File descriptors of a worker: a driver takes some hundred.
const FILES_MAX: u64 = 4096;

/// Gives up what the worker will not need; what the system cannot take is said in the log. Called
/// before the first thread, which all others inherit it from, and before the device is opened.
///
/// # Errors
/// [`DaemonError::System`] if the system refuses what every Linux can do.
pub(crate) fn confine(options: &WorkerOptions) -> Result<(), DaemonError> {
    let failed = || DaemonError::system("confining a worker");
    set_no_new_privs(true).map_err(failed())?;
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, FILES_MAX)?;
    let has_driver = matches!(options.source(), Source::Nvidia { .. });
    if !has_driver {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed())?;
    }
    let rules = if has_driver { among_themselves(options) } else { files(options) };
    match rules.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(status) => log::event("not-confined", &[("landlock", &format!("{status:?}"))]),
        Err(error) => log::event("not-confined", &[("landlock", &log::chain(&error))]),
    }
    if let Err(error) = calls::limit(has_driver) {
        log::event("not-confined", &[("seccomp", &log::chain(&error))]);
    }
    Ok(())
}

/// Lowers a limit for good; one that is lower already stays.
fn lower(resource: Resource, most: u64) -> Result<(), DaemonError> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(resource, limit).map_err(DaemonError::system("limiting a worker"))
}

/// Keeps a worker from signalling and tracing processes beyond itself, from the network, and from
/// the files of the host.
fn among_themselves(options: &WorkerOptions) -> Result<RestrictionStatus, RulesetError> {
    // To make block devices is the oldest of the rules, and no driver's need: with it a kernel that
    // knows neither of the other two (5.13 to 6.6) makes a domain all the same, out of which no
    // process is traced (landlock(7)).
    let ruleset = Ruleset::default().handle_access(AccessFs::MakeBlock)?;
    let ruleset = ruleset.handle_access(AccessNet::from_all(RULES))?.scope(Scope::Signal)?;
    if options.hide.is_empty() {
        return ruleset.create()?.restrict_self();
    }
    let others = others::others(&options.hide);
    let kept = [options.images.as_deref(), options.record.as_deref()].into_iter().flatten();
    ruleset
        .handle_access(AccessFs::from_all(RULES))?
        .create()?
        // Names may be listed everywhere, which a search for libraries does.
        .add_rules(path_beneath_rules(["/"], AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(others, AccessFs::from_all(RULES)))?
        .add_rules(path_beneath_rules(kept, AccessFs::from_all(RULES)))?
        .restrict_self()
}

/// The same, and from all files but images, the recording, and what the system says of the worker
/// itself and of its processors.
fn files(options: &WorkerOptions) -> Result<RestrictionStatus, RulesetError> {
    let own = [Path::new("/proc/self"), Path::new("/sys/fs/cgroup"), Path::new("/sys/devices")];
    let kept = [options.images.as_deref(), options.record.as_deref()].into_iter().flatten();
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(RULES))?;
    let ruleset =
        ruleset.handle_access(AccessNet::from_all(RULES))?.scope(Scope::from_all(RULES))?;
    ruleset
        .create()?
        .add_rules(path_beneath_rules(own, AccessFs::from_read(RULES)))?
        .add_rules(path_beneath_rules(options.replay.as_deref(), AccessFs::ReadFile))?
        .add_rules(path_beneath_rules(kept, AccessFs::from_all(RULES)))?
        .restrict_self()
}

/// Limits the memory that the worker may write to and that is its own (RLIMIT_DATA, getrlimit(2)):
/// heap, buffers, images and stacks. The memory of simulated devices lies there as well, but is the
/// ledger's business, and comes on top. A worker that cannot have more ends with its client.
///
/// # Errors
/// [`DaemonError::System`] if the system refuses the limit.
pub(crate) fn limit_memory(opened: &Opened, share: &Share) -> Result<(), DaemonError> {
    let Some(bytes) = share.host_memory else { return Ok(()) };
    let bytes = bytes.saturating_add(opened.memory_here(&share.gpus));
    let most = getrlimit(Resource::Data).maximum.map_or(bytes, |most| most.min(bytes));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Data, limit).map_err(DaemonError::system("limiting the memory of a worker"))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::process::Command;

    use clap::Parser;

    use super::*;
    use crate::cli::{Arguments, Command as Program};

    /// Both hold for the thread that asks for them, so each test does it on one of its own.
    fn confined(arguments: &[&str], check: impl FnOnce() + Send + 'static) {
        let all = [&["vgpud", "worker", "--epoch", "1"], arguments].concat();
        let parsed = Arguments::try_parse_from(all).expect("right usage");
        let Some(Program::Worker(options)) = parsed.command else { panic!("a worker") };
        let has_driver = matches!(options.source(), Source::Nvidia { .. });
        let confined = std::thread::spawn(move || {
            let rules = if has_driver { among_themselves(&options) } else { files(&options) };
            let status = rules.expect("the rules are right");
            // Older kernels than 6.12 know fewer rules; those for files are the oldest.
            assert_ne!(status.ruleset, RulesetStatus::NotEnforced, "this needs Linux 5.13");
            calls::limit(has_driver).expect("the filters are right");
            check();
        });
        confined.join().expect("what was denied is denied, and nothing else");
    }

    #[test]
    fn a_worker_reads_and_writes_its_images_and_no_other_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let (images, other) = (directory.path().join("images"), directory.path().join("other"));
        std::fs::create_dir(&images).expect("made");
        std::fs::write(&other, "secret").expect("written");
        let kept = images.clone();
        confined(
            &["--images", images.to_str().expect("UTF-8"), "--images-bytes", "9"],
            move || {
                let denied = |path: &Path| std::fs::read(path).expect_err("it is denied").kind();
                assert_eq!(denied(&other), ErrorKind::PermissionDenied);
                assert_eq!(denied("/etc/passwd".as_ref()), ErrorKind::PermissionDenied);
                assert!(std::fs::write(&other, "mine").is_err());
                std::fs::write(kept.join("one"), "image").expect("its own directory");
                std::fs::rename(kept.join("one"), kept.join("two")).expect("its own directory");
                assert_eq!(std::fs::read(kept.join("two")).expect("its own"), b"image");
                std::fs::remove_file(kept.join("two")).expect("its own directory");
            },
        );
    }

    #[test]
    fn a_worker_starts_no_program_and_connects_to_nobody() {
        confined(&[], || {
            let program = Command::new("/bin/true").spawn().expect_err("it is denied");
            assert_eq!(program.kind(), ErrorKind::PermissionDenied);
            let network = TcpStream::connect("127.0.0.1:9").expect_err("it is denied");
            assert_eq!(network.kind(), ErrorKind::PermissionDenied);
            std::os::unix::net::UnixStream::pair().expect("what it needs to hear signals");
            std::thread::spawn(|| {}).join().expect("threads are its own");
        });
    }

    /// What a client finds that took over a worker with the genuine driver.
    #[test]
    fn a_worker_with_a_driver_reaches_no_file_of_the_host_and_all_that_a_driver_may_need() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| directory.path().join(name);
        for name in ["host", "images", "driver"] {
            std::fs::create_dir(place(name)).expect("made");
        }
        let [key, memory] = [place("host/host.key"), place("machine.memory")];
        for file in [&key, &memory, &place("driver/cache")] {
            std::fs::write(file, "secret").expect("written");
        }
        let [hidden, images, driver] = ["host", "images", "driver"].map(place);
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let arguments = ["--genuine", "/libcuda.so.1", "/libnvidia-ml.so.1", "--hide"];
        let more =
            [text(&hidden), "--hide".into(), text(&memory), "--images".into(), text(&images)];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        confined(&[&arguments[..], &more].concat(), move || {
            for path in [&key, &memory] {
                let denied = std::fs::read(path).expect_err("it is the host's").kind();
                assert_eq!(denied, ErrorKind::PermissionDenied, "{path:?}");
                let denied = std::fs::OpenOptions::new().write(true).open(path);
                assert!(denied.is_err() && std::fs::remove_file(path).is_err(), "{path:?}");
            }
            assert!(std::fs::write(hidden.join("new"), "mine").is_err());
            std::fs::write(images.join("one"), "image").expect("images are its own");
            assert_eq!(std::fs::read(driver.join("cache")).expect("a driver's"), b"secret");
            std::fs::write(driver.join("cache"), "kernel").expect("a driver's");
            std::fs::read("/proc/self/maps").expect("it is of this process");
            std::fs::read_dir("/sys/devices").expect("drivers look there");
            std::fs::OpenOptions::new().write(true).open("/dev/null").expect("a device");
        });
    }

    /// The same client, and whom it may talk to.
    #[test]
    fn a_worker_with_a_driver_makes_no_socket_of_a_network_and_signals_nobody() {
        use rustix::net::{AddressFamily, SocketType, socket};
        use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
        let mut other = Command::new("cat").stdin(std::process::Stdio::piped()).spawn();
        let other = other.as_mut().expect("every system has cat");
        let pid = Pid::from_child(other);
        confined(&["--genuine", "/libcuda.so.1", "/libnvidia-ml.so.1"], move || {
            for family in [AddressFamily::INET, AddressFamily::INET6, AddressFamily::VSOCK] {
                for kind in [SocketType::STREAM, SocketType::DGRAM] {
                    let made = socket(family, kind, None);
                    assert_eq!(made.err(), Some(rustix::io::Errno::PERM), "{family:?}");
                }
            }
            let local = socket(AddressFamily::UNIX, SocketType::STREAM, None);
            local.expect("a driver's services are there");
            let denied = Err(rustix::io::Errno::PERM);
            assert_eq!(kill_process(pid, Signal::KILL), denied);
            assert_eq!(test_kill_process(pid), denied);
            assert_eq!(kill_process_group(pid, Signal::KILL), denied);
            test_kill_process(rustix::process::getpid()).expect("it is this process");
            // Its memory is as a debugger's to read: landlock lets nobody trace out of a domain.
            let memory = std::fs::File::open(format!("/proc/{}/mem", pid.as_raw_nonzero()));
            assert_eq!(memory.expect_err("another process").kind(), ErrorKind::PermissionDenied);
            assert!(std::fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).is_err());
        });
        assert!(other.try_wait().expect("it is ours").is_none(), "it lives");
        other.kill().expect("it is ours");
        other.wait().expect("it was killed");
    }

    #[test]
    fn what_is_on_no_list_is_not_there_for_a_worker_without_a_driver() {
        use rustix::io::Errno;
        use rustix::process::{PidfdFlags, getpid, pidfd_open};
        pidfd_open(getpid(), PidfdFlags::empty()).expect("Linux 5.3 has it");
        confined(&[], || {
            let call = pidfd_open(getpid(), PidfdFlags::empty());
            assert_eq!(call.err(), Some(Errno::NOSYS));
        });
    }
}
