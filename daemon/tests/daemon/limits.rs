//! What the system lets a worker have, and what becomes of a client that makes its worker meet it:
//! its own call fails, or its own connection ends.
//!
//! These tests connect as several users, so they need root.

use std::collections::HashSet;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use vgpu_link::socket_link;
use vgpu_link::wire::{Header, Kind, Payload, Request, cuda};

use crate::life::endless;
use crate::process::{Client, Vgpud, pid_in, welcomed};
use crate::tenants::{ALICE, BOB, OUT_OF_MEMORY, client_as, serve};

const MIB: u64 = 1 << 20;

/// The worker of the client that came last.
fn worker_of(daemon: &Vgpud, client: &Client) -> u32 {
    let session = format!("session={} ", client.welcome.session);
    pid_in(&daemon.wait_for(&["vgpud: client", &session]), "worker=")
}

/// The limit of a process by the name that proc_pid_limits(5) has for it: what holds, and what it
/// could raise that to.
fn limit(pid: u32, name: &str) -> [String; 2] {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it is there");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has it");
    let mut words = line.split_whitespace().map(str::to_owned);
    [words.next().expect("what holds"), words.next().expect("how far")]
}

/// How many file descriptors a process has.
fn files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("root may look").count()
}

/// Lets a process open no file beyond those that it has.
fn open_no_more(pid: u32) {
    let have = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("root may look");
    let numbers = have.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let numbers: HashSet<u64> = numbers.collect();
    // The number that the next one would get (open(2)).
    let most = (0..).find(|number| !numbers.contains(number));
    let pid = Pid::from_raw(pid as i32).expect("a process id");
    let limit = Rlimit { current: most, maximum: most };
    prlimit(Some(pid), Resource::Nofile, limit).expect("root may");
}

#[test]
fn a_worker_lowers_its_limits_for_good() {
    let daemon = serve(&[], "host_memory_mib = 64\nmemory_mib = 32", "");
    let mut alice = client_as(&daemon, ALICE);
    let limited = worker_of(&daemon, &alice);
    let mut bob = client_as(&daemon, BOB);
    let unlimited = worker_of(&daemon, &bob);
    // Both were admitted, and so have all that they will get.
    alice.snapshot();
    bob.snapshot();
    for worker in [limited, unlimited] {
        assert_eq!(limit(worker, "Max open files"), ["4096"; 2]);
        assert_eq!(limit(worker, "Max core file size"), ["0"; 2]);
    }
    // What it may have, and the memory of the simulated GPU, which lies there too.
    assert_eq!(limit(limited, "Max data size"), [(96 * MIB).to_string(), (96 * MIB).to_string()]);
    assert_ne!(limit(unlimited, "Max data size"), limit(limited, "Max data size"));
    alice.call(&cuda::MemAllocV2 { bytesize: 32 * MIB }).expect("the whole share");
}

#[test]
fn a_client_whose_worker_may_open_no_more_files_fails_alone_and_goes_on() {
    let images = tempfile::tempdir().expect("a directory");
    let daemon = serve(&["--images", images.path().to_str().expect("UTF-8")], "", "");
    let mut client = client_as(&daemon, ALICE);
    let worker = worker_of(&daemon, &client);
    let mut other = client_as(&daemon, BOB);
    open_no_more(worker);
    // The first physical memory takes a file.
    let create = cuda::MemCreate { bytes: 2 * MIB, device: 0 };
    assert_eq!(client.call(&create).err(), Some(OUT_OF_MEMORY));
    // An image that cannot be kept on disk is kept in memory.
    endless(&mut client);
    daemon.wait_for(&["vgpud: image-not-kept", "Too many open files"]);
    client.call(&cuda::MemAllocV2 { bytesize: MIB }).expect("ordinary memory takes none");
    other.call(&create).expect("another's worker has its own");
    client_as(&daemon, ALICE).call(&create).expect("a new client's worker has its own");
}

/// A Unix socket carries file descriptors. Nobody here asks for any.
#[test]
fn file_descriptors_that_a_client_sends_are_kept_by_nobody() {
    let daemon = serve(&[], "", "");
    let mut other = client_as(&daemon, BOB);
    let place = daemon.socket();
    let socket = crate::process::as_user(ALICE, || UnixStream::connect(place));
    let socket = socket.expect("somebody listens");
    let line = socket.try_clone().expect("a descriptor");
    let mut client = welcomed(socket_link(socket.into()));
    client.snapshot();
    let worker = worker_of(&daemon, &client);
    let before = files(worker);
    let file = std::fs::File::open("/dev/null").expect("every system has it");
    let handed: Vec<BorrowedFd<'_>> = vec![file.as_fd(); 200];
    for _ in 0..50 {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&handed)));
        // Fails once the worker has closed the connection, which it may.
        let _ = sendmsg(&line, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL);
    }
    let host = files(daemon.pid());
    drop(client.link.send(&Header::new(Kind::Call, cuda::MemGetInfoV2::OPCODE), &[], &[]));
    other.snapshot();
    let kept = std::fs::read_dir(format!("/proc/{worker}/fd")).map_or(0, Iterator::count);
    assert!(kept <= before, "{kept} after {before}");
    assert!(host < 100, "{host}");
}

#[test]
fn a_client_that_fills_its_workers_memory_at_once_loses_it_and_nobody_else_does() {
    let daemon = serve(&[], "host_memory_mib = 64\nmemory_mib = 32", "");
    let mut small = client_as(&daemon, ALICE);
    let mut other = client_as(&daemon, BOB);
    let mut large = client_as(&daemon, ALICE);
    let at = large.call(&cuda::MemAllocV2 { bytesize: MIB }).expect("room").dptr;
    // What comes behind a function that never returns, its worker has to keep.
    large.post_with(&cuda::LaunchHostFunction { stream: 0, ticket: 1 }, &[]);
    let copy = cuda::MemcpyHtoDAsyncV2 { dst_device: at, stream: 0 };
    let header = Header::new(Kind::Post, cuda::MemcpyHtoDAsyncV2::OPCODE);
    let header = Header { context: large.context, ..header };
    let bytes = vec![1; MIB as usize];
    let sent =
        (0..200).take_while(|_| large.link.send(&header, &copy.to_payload(), &bytes).is_ok());
    assert!(sent.count() < 200, "nobody has 200 MiB of 64");
    // By the system if it was quick, by the host process if it was seen before.
    let session = format!("session={} ", large.welcome.session);
    let gone = daemon.wait_for(&["vgpud: gone", &session]);
    assert!(gone.contains("signal: 6") || gone.contains("signal: 9"), "{gone}");
    small.call(&cuda::MemAllocV2 { bytesize: MIB }).expect("its worker is another");
    other.call(&cuda::MemAllocV2 { bytesize: MIB }).expect("it is another tenant's");
}
