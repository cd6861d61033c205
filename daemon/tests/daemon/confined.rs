//! What host process and workers keep from each other, seen from outside.

use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::process::{Vgpud, pid_in};

/// Takes a process's standard input as another process of its user may, who may debug it.
fn take(pid: u32) -> Result<(), Errno> {
    let pid = Pid::from_raw(pid as i32).expect("a process id");
    let take = move || {
        // Root may debug everybody, by a capability that no worker has.
        let all = capabilities(None).expect("every process has some");
        let effective = all.effective - CapabilitySet::SYS_PTRACE;
        set_capabilities(None, CapabilitySets { effective, ..all }).expect("fewer are allowed");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("Linux 5.3");
        pidfd_getfd(&process, 0, PidfdGetfdFlags::empty()).map(drop)
    };
    // Capabilities are a thread's own.
    std::thread::spawn(take).join().expect("it ends")
}

#[test]
fn no_process_of_the_same_user_looks_into_the_host_process() {
    let daemon = Vgpud::start(&[]);
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat is there");
    assert_eq!(take(other.id()), Ok(()), "so it is with other programs");
    assert_eq!(take(daemon.pid()), Err(Errno::PERM));
    other.kill().expect("it is ours");
    other.wait().expect("it was killed");
    // It reads its own files all the same, and starts workers.
    daemon.client().snapshot();
}

#[test]
fn a_worker_of_no_tenant_has_a_limit_of_memory_and_is_the_first_to_go() {
    let daemon = Vgpud::start(&[]);
    let mut client = daemon.client();
    let worker = pid_in(&daemon.wait_for(&["vgpud: client"]), "worker=");
    client.snapshot();
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/{worker}/{name}")).expect("it is there")
    };
    assert_eq!(read("oom_score_adj").trim(), "500");
    let limits = read("limits");
    let line = limits.lines().find(|line| line.starts_with("Max data size")).expect("Linux");
    let limit: u64 = line.split_whitespace().nth(3).expect("a column").parse().expect("limited");
    let own = limit - client.state(0).memory_total;
    let memory = std::fs::read_to_string("/proc/meminfo").expect("Linux");
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("Linux");
    let kib: u64 = total.trim_end_matches("kB").trim().parse().expect("a number");
    assert_eq!(own, (kib << 10 >> 1).max(2 << 30), "beside the memory of the simulated GPU");
}
