//! Workers that end, or are signalled, while the host process has others to serve.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::net::Shutdown;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::life::hold;
use crate::process::{LIMIT, Vgpud, kill, pid_in};

const MIB: u64 = 1 << 20;

/// A worker's end of the connection to the host process, which is its standard input.
fn desk(worker: u32) -> OwnedFd {
    let pid = Pid::from_raw(worker as i32).expect("a process id");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("Linux 5.3");
    pidfd_getfd(&process, 0, PidfdGetfdFlags::empty()).expect("it is a process of ours")
}

/// Says whether a process is there and stopped.
fn is_stopped(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
}

/// Waits until a worker has a second thread, and so has begun.
fn await_threads(worker: u32) {
    let limit = Instant::now() + LIMIT;
    let threads =
        || std::fs::read_dir(format!("/proc/{worker}/task")).expect("it is there").count();
    while threads() < 2 {
        assert!(Instant::now() < limit, "it does not begin");
        std::thread::yield_now();
    }
}

/// The host process once waited for each worker that had closed its end, and served nobody
/// meanwhile.
#[test]
fn a_worker_that_is_long_in_dying_holds_up_nobody_and_holds_its_memory_until_then() {
    let daemon = Vgpud::start(&[]);
    let mut observer = daemon.client();
    daemon.wait_for(&["vgpud: client"]);
    // It is killed after a second, in which a loaded machine may not come to serve another.
    let is_served_meanwhile = (0..5).any(|_| {
        let mut holder = daemon.client();
        let session = format!("session={} ", holder.welcome.session);
        let worker = pid_in(&daemon.wait_for(&["vgpud: client", &session]), "worker=");
        hold(&mut holder, MIB);
        kill(worker, "STOP");
        rustix::net::shutdown(desk(worker), Shutdown::Both).expect("a socket");
        daemon.client().snapshot();
        let used = observer.state(0).memory_used;
        let meanwhile = is_stopped(worker);
        let (freed, worker) = (format!("freed={MIB}"), format!("worker={worker}"));
        daemon.wait_for(&["vgpud: gone", &worker, &freed, "signal: 9"]);
        assert!(!meanwhile || used == MIB, "given back too early: {used}");
        meanwhile
    });
    assert!(is_served_meanwhile, "the host process waits for its dying workers");
    assert_eq!(observer.state(0).memory_used, 0);
}

/// `systemctl kill -s HUP` signals every process of the unit.
#[test]
fn a_reload_or_drain_that_is_sent_to_all_processes_ends_no_worker() {
    let daemon = Vgpud::start(&[]);
    let mut client = daemon.client();
    let serving = pid_in(&daemon.wait_for(&["vgpud: client"]), "worker=");
    client.snapshot();
    for signal in ["HUP", "USR1"] {
        kill(serving, signal);
    }
    hold(&mut client, MIB);
    // The next one waits already.
    daemon.client().snapshot();
    daemon.wait_for(&["vgpud: gone"]);
    let path = format!("/proc/{0}/task/{0}/children", daemon.pid());
    let children = std::fs::read_to_string(path).expect("Linux");
    let children = children.split_whitespace().map(|pid| pid.parse().expect("a process id"));
    let idle: Vec<u32> = children.filter(|pid| *pid != serving).collect();
    for worker in &idle {
        await_threads(*worker);
        kill(*worker, "HUP");
        kill(*worker, "USR1");
    }
    let _next = daemon.client();
    let line = daemon.wait_for(&["vgpud: client"]);
    assert!(idle.contains(&pid_in(&line, "worker=")), "{line}: {idle:?}");
    assert_eq!(client.state(0).memory_used, MIB);
}
