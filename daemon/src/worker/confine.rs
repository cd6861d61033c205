//! What a worker takes from itself, so that a client who takes it over has less.
//!
//! With the simulated device a worker reads and writes the images and the recording, and nothing
//! else. The genuine driver keeps the files that its unit leaves it (it opens devices and loads
//! libraries as it goes); it loses what no driver needs. In docs/host.md: "How far clients are
//! apart".

mod calls;

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
    let rules = if has_driver { among_themselves() } else { files(options) };
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

/// Keeps a worker from signalling and tracing processes beyond itself, and from the network.
fn among_themselves() -> Result<RestrictionStatus, RulesetError> {
    let ruleset = Ruleset::default().handle_access(AccessNet::from_all(RULES))?;
    ruleset.scope(Scope::Signal)?.create()?.restrict_self()
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
        let confined = std::thread::spawn(move || {
            let status = files(&options).expect("the rules are right");
            // Older kernels than 6.12 know fewer rules; those for files are the oldest.
            assert_ne!(status.ruleset, RulesetStatus::NotEnforced, "this needs Linux 5.13");
            calls::limit(false).expect("the filters are right");
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
