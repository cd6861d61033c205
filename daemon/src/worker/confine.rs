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

/// Among the first that the kernel ends where memory is short, before the host process and what
/// else the machine does (proc_pid_oom_score_adj(5)): as if half of the memory were its own.
const FIRST_TO_GO: &str = "500";

/// Least memory that a worker may have for itself where its tenant has no limit: 2 GiB, several
/// times what a driver takes for a context and the largest image.
const MEMORY_MIN: u64 = 2 << 30;

/// Gives up what the worker will not need; what the system cannot take is said in the log. Called
/// before the first thread, which all others inherit it from, and before the device is opened.
/// Returns how much memory of its own it may have where its tenant has no limit, in bytes.
///
/// # Errors
/// [`DaemonError::System`] if the system refuses what every Linux can do.
pub(crate) fn confine(options: &WorkerOptions) -> Result<u64, DaemonError> {
    // Not to be read any more below.
    let memory = half_of_memory();
    let failed = || DaemonError::system("confining a worker");
    set_no_new_privs(true).map_err(failed())?;
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, FILES_MAX)?;
    // A system that keeps this from us ends a process of its own choice, as it would anyway.
    let _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    let has_driver = matches!(options.source(), Source::Nvidia { .. });
    if !has_driver {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed())?;
    }
    let rules = if has_driver { among_themselves(options) } else { files(options) };
    match rules.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => {}
        // An older kernel: what it lacks of the rules, filters do, but for sockets without a file.
        Ok(RulesetStatus::PartiallyEnforced) => {
            log::event("partly-confined", &[("landlock", &"older than Linux 6.12")]);
        }
        Ok(RulesetStatus::NotEnforced) => {
            log::event("not-confined", &[("landlock", &"not in this kernel, or switched off")]);
        }
        Err(error) => log::event("not-confined", &[("landlock", &log::chain(&error))]),
    }
    if let Err(error) = calls::limit(has_driver, options.driver_connects) {
        log::event("not-confined", &[("seccomp", &log::chain(&error))]);
    }
    Ok(memory)
}

/// Lowers a limit for good; one that is lower already stays.
fn lower(resource: Resource, most: u64) -> Result<(), DaemonError> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(resource, limit).map_err(DaemonError::system("limiting a worker"))
}

/// Keeps a worker from signalling and tracing processes beyond itself, from the network, from
/// sockets without a file (unix(7), abstract), and from the files of the host.
fn among_themselves(options: &WorkerOptions) -> Result<RestrictionStatus, RulesetError> {
    // To make block devices is the oldest of the rules, and no driver's need: with it a kernel that
    // knows neither of the other two (5.13 to 6.6) makes a domain all the same, out of which no
    // process is traced (landlock(7)).
    let ruleset = Ruleset::default().handle_access(AccessFs::MakeBlock)?;
    let ruleset =
        ruleset.handle_access(AccessNet::from_all(RULES))?.scope(Scope::from_all(RULES))?;
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
/// heap, buffers, images and stacks, to what its tenant may have, else to `most`. The memory of
/// simulated devices lies there as well, but is the ledger's business, and comes on top. A worker
/// that cannot have more ends with its client.
///
/// # Errors
/// [`DaemonError::System`] if the system refuses the limit.
pub(crate) fn limit_memory(opened: &Opened, share: &Share, most: u64) -> Result<(), DaemonError> {
    let bytes = share.host_memory.unwrap_or(most);
    let bytes = bytes.saturating_add(opened.memory_here(&share.gpus));
    let most = getrlimit(Resource::Data).maximum.map_or(bytes, |most| most.min(bytes));
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Data, limit).map_err(DaemonError::system("limiting the memory of a worker"))
}

/// Half of this machine's memory (proc_meminfo(5)).
fn half_of_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"));
    let kib: u64 = total.and_then(|total| total.trim().parse().ok()).unwrap_or(0);
    (kib << 10 >> 1).max(MEMORY_MIN)
}

#[cfg(test)]
mod tests;
