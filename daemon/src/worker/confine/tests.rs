//! What a client finds that took over a worker: each test tries what is to be denied.

#![allow(unsafe_code)]

use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::Command;

use clap::Parser;

use super::calls::{FCHMODAT2, SETXATTRAT};
use super::*;
use crate::cli::{Arguments, Command as Program};

/// Tell a worker to use a driver.
const GENUINE: [&str; 3] = ["--genuine", "/libcuda.so.1", "/libnvidia-ml.so.1"];

fn options(arguments: &[&str]) -> WorkerOptions {
    let all = [&["vgpud", "worker", "--epoch", "1"], arguments].concat();
    let parsed = Arguments::try_parse_from(all).expect("right usage");
    let Some(Program::Worker(options)) = parsed.command else { panic!("a worker") };
    options
}

/// Both hold for the thread that asks for them, so each test does it on one of its own.
fn confined(arguments: &[&str], check: impl FnOnce() + Send + 'static) {
    let options = options(arguments);
    let has_driver = matches!(options.source(), Source::Nvidia { .. });
    let confined = std::thread::spawn(move || {
        let rules = if has_driver { among_themselves(&options) } else { files(&options) };
        let status = rules.expect("the rules are right");
        // Older kernels than 6.12 know fewer rules; those for files are the oldest.
        assert_ne!(status.ruleset, RulesetStatus::NotEnforced, "this needs Linux 5.13");
        calls::limit(has_driver, options.driver_connects).expect("the filters are right");
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
    confined(&["--images", images.to_str().expect("UTF-8"), "--images-bytes", "9"], move || {
        let denied = |path: &Path| std::fs::read(path).expect_err("it is denied").kind();
        assert_eq!(denied(&other), ErrorKind::PermissionDenied);
        assert_eq!(denied("/etc/passwd".as_ref()), ErrorKind::PermissionDenied);
        assert!(std::fs::write(&other, "mine").is_err());
        std::fs::write(kept.join("one"), "image").expect("its own directory");
        std::fs::rename(kept.join("one"), kept.join("two")).expect("its own directory");
        assert_eq!(std::fs::read(kept.join("two")).expect("its own"), b"image");
        std::fs::remove_file(kept.join("two")).expect("its own directory");
    });
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
    let more = [
        "--hide".into(),
        text(&hidden),
        "--hide".into(),
        text(&memory),
        "--images".into(),
        text(&images),
    ];
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    confined(&[&GENUINE[..], &more].concat(), move || {
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
    confined(&GENUINE, move || {
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

/// Makes a system call whose arguments are numbers; returns what is wrong with it, 0 if nothing.
fn call<const COUNT: usize>(number: libc::c_long, arguments: [libc::c_long; COUNT]) -> i32 {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: no test passes a pointer but NULL, which these calls answer with an error or leave
    // alone, and what they change are settings of processes that the tests started.
    let done = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), 0, 0) };
    let failed = std::io::Error::last_os_error().raw_os_error();
    if done == -1 { failed.expect("the system says why") } else { 0 }
}

/// A taken worker once could limit the host process to no open files: they are of one user.
#[test]
fn a_worker_changes_how_it_is_run_itself_and_no_other_process() {
    let mut other = Command::new("cat").stdin(std::process::Stdio::piped()).spawn();
    let other = other.as_mut().expect("every system has cat");
    let pid = libc::c_long::from(other.id());
    for arguments in [&[][..], &GENUINE] {
        confined(arguments, move || {
            // None of them does anything, or is as it was, if it is let through.
            let about_one = [
                (libc::SYS_prlimit64, 0),
                (libc::SYS_sched_setaffinity, 0),
                (libc::SYS_sched_setattr, 0),
                (libc::SYS_sched_setparam, 0),
                (libc::SYS_sched_setscheduler, -1),
                (libc::SYS_migrate_pages, 0),
                (libc::SYS_move_pages, 0),
            ];
            for (number, argument) in about_one {
                assert_eq!(call(number, [pid, argument]), libc::EPERM, "call {number}");
            }
            for (number, process) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
                let group = process + 1;
                assert_eq!(call(number, [process, pid]), libc::EPERM, "call {number}");
                assert_eq!(call(number, [group, pid]), libc::EPERM, "call {number}");
            }
            let own = libc::c_long::from(std::process::id());
            for own in [0, own] {
                assert_eq!(call(libc::SYS_prlimit64, [own]), 0, "its own limits");
            }
        });
    }
    confined(&GENUINE, || {
        let own = libc::c_long::from(std::process::id());
        for own in [0, own] {
            let asked = call(libc::SYS_sched_setscheduler, [own, -1]);
            assert_eq!(asked, libc::EINVAL, "the kernel is asked");
            assert_eq!(call(libc::SYS_setpriority, [0, own]), 0, "its own priority");
        }
    });
    other.kill().expect("it is ours");
    other.wait().expect("it was killed");
}

/// The memory of a machine is a file of the host's user, closed to all others; landlock lets a
/// worker open it to them.
#[test]
fn a_worker_with_a_driver_changes_nobodys_rights_to_a_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    let file = path.join("machine.memory");
    std::fs::write(&file, "secret").expect("written");
    let everybody = || std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&file, everybody()).expect("it is ours");
    confined(&GENUINE, move || {
        let denied = std::fs::set_permissions(&file, everybody()).expect_err("it is denied");
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        // Names may be listed everywhere, so that a directory can be opened.
        let directory = std::fs::File::open(&path).expect("it may be listed");
        let denied = directory.set_permissions(everybody()).expect_err("it is denied");
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        // With NULL as the path the kernel would say EFAULT.
        for number in [libc::SYS_truncate, libc::SYS_setxattr, libc::SYS_lsetxattr] {
            assert_eq!(call(number, [0]), libc::EPERM, "call {number}");
        }
        for number in [libc::SYS_fsetxattr, libc::SYS_fchmodat, FCHMODAT2, SETXATTRAT] {
            assert_eq!(call(number, [-1]), libc::EPERM, "call {number}");
        }
    });
}

/// A file that is ready signals whom it was told to, and no kill(2) is made.
#[test]
fn a_worker_lets_no_file_signal_anybody() {
    use std::os::fd::AsRawFd as _;
    for arguments in [&[][..], &GENUINE] {
        confined(arguments, || {
            let (file, _other) = std::os::unix::net::UnixStream::pair().expect("its own sockets");
            let file = libc::c_long::from(file.as_raw_fd());
            let control = |command, argument| call(libc::SYS_fcntl, [file, command, argument]);
            // F_SETOWN, F_SETSIG, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP, FIOASYNC.
            for command in [8, 10, 15] {
                assert_eq!(control(command, 0), libc::EPERM, "command {command}");
            }
            for command in [0x8901, 0x8902, 0x5452] {
                let asked = call(libc::SYS_ioctl, [file, command, 0]);
                assert_eq!(asked, libc::EPERM, "command {command:#x}");
            }
            let (set, signalling) = (libc::F_SETFL.into(), libc::O_ASYNC | libc::O_NONBLOCK);
            assert_eq!(control(set, signalling.into()), libc::EPERM);
            assert_eq!(control(set, libc::O_NONBLOCK.into()), 0, "what it needs");
        });
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn no_system_call_has_a_second_number_for_a_worker() {
    for arguments in [&[][..], &GENUINE] {
        confined(arguments, || {
            // A kernel without x32 says ENOSYS.
            assert_eq!(call(libc::SYS_getpid | 1 << 30, []), libc::EPERM);
            assert_eq!(call(libc::SYS_getpid, []), 0);
        });
    }
}

/// As the user of the host process a taken worker could be a client, ask for the operator's
/// figures, or be a machine whose QEMU has not come yet.
#[test]
fn a_worker_with_a_driver_finds_nobody_at_any_socket() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vgpud.sock");
    let _host = UnixListener::bind(&path).expect("bound");
    UnixStream::connect(&path).expect("somebody listens");
    confined(&GENUINE, move || {
        let nobody = UnixStream::connect(&path).expect_err("it is denied");
        assert_eq!(nobody.kind(), ErrorKind::NotFound, "as a driver finds where nothing listens");
    });
}

#[test]
fn a_worker_with_a_driver_sends_nothing_to_a_socket_without_a_file() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let name = format!("vgpud test {}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).expect("short enough");
    let _other = UnixDatagram::bind_addr(&address).expect("bound");
    let worker = std::thread::spawn(move || {
        let status = among_themselves(&options(&GENUINE)).expect("the rules are right").ruleset;
        let sender = UnixDatagram::unbound().expect("a socket");
        let sent = sender.send_to_addr(b"mine", &address);
        match status {
            RulesetStatus::FullyEnforced => {
                assert_eq!(sent.expect_err("denied").kind(), ErrorKind::PermissionDenied);
            }
            // The rule is of Linux 6.12.
            older => assert_eq!((older, sent.is_ok()), (RulesetStatus::PartiallyEnforced, true)),
        }
    });
    worker.join().expect("it is denied");
}
