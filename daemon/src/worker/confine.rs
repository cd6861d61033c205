//! What a worker takes from itself, so that a client who takes it over has less.
//!
//! With the simulated device a worker reads and writes the images and the recording, and nothing
//! else. The genuine driver keeps the files that its unit leaves it (it opens devices and loads
//! libraries as it goes); it loses what no driver needs. In docs/host.md: "How far clients are
//! apart".

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::set_no_new_privs;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::cli::WorkerOptions;
use crate::desk::Share;
use crate::device::{Opened, Source};
use crate::error::DaemonError;
use crate::log;

/// The newest rules that we ask for: Linux 6.12. An older kernel does what it can.
const RULES: ABI = ABI::V6;

/// File descriptors of a worker: a driver takes some hundred.
const FILES_MAX: u64 = 4096;

/// System calls that no device needs: to look into other processes, to change the machine, and
/// interfaces of the kernel that are for its administrators.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
];

/// What the simulated device does not need either: to start programs, and to reach anybody that
/// the host process did not connect it with.
const DENIED_WITHOUT_DRIVER: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_listen,
    libc::SYS_socket,
];

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
    if let Err(error) = system_calls(has_driver) {
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

/// Denies system calls: who makes one is told that it may not.
fn system_calls(has_driver: bool) -> Result<(), seccompiler::Error> {
    let more = if has_driver { &[][..] } else { DENIED_WITHOUT_DRIVER };
    let rules: BTreeMap<i64, Vec<_>> =
        DENIED.iter().chain(more).map(|&call| (call, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let machine = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, machine)?;
    let program: BpfProgram = filter.try_into()?;
    apply_filter(&program)
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
            system_calls(false).expect("the filter is right");
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
}
