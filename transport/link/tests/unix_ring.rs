//! A Unix socket whose sides agree on shared memory, or do not.

#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use vgpu_link::tls::Files;
use vgpu_link::wire::control::{Hello, Role, Welcome, opcode};
use vgpu_link::wire::{Header, Kind, Payload, Text};
use vgpu_link::{
    Access, Area, Bulk, Link, LinkError, Listener, Receiver, Sender, SocketLink, Uri, connect,
    handshake, socket_link,
};
use vgpu_ring::{Layout, send_with};

const LIMIT: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    Instant::now() + LIMIT
}

fn hello(role: Role) -> Hello {
    Hello { role, pid: 1, exe: Text::cut("test") }
}

fn welcome() -> Welcome {
    Welcome { host_version: Text::cut("1"), epoch: 2, session: 3 }
}

struct Place {
    listener: Listener,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("host.sock");
    let access = Access { mode: 0o600, group: None };
    let listener = Listener::bind(&Uri::Unix(path.clone()), access).expect("a new socket");
    Place { listener, path, _directory: directory }
}

impl Place {
    fn accept(&self) -> OwnedFd {
        let wait = &mut [PollFd::new(&self.listener, PollFlags::IN)];
        let limit = LIMIT.try_into().expect("a short time");
        assert_eq!(poll(wait, Some(&limit)).expect("poll"), 1, "a guest comes");
        self.listener.accept().expect("a connection").expect("one is waiting").socket
    }
}

/// Meets a guest and answers one frame with its own bulk part; returns whether through a ring.
fn serve(socket: OwnedFd, grants: bool) -> bool {
    let mut link: SocketLink = socket_link(socket);
    handshake::meet(&mut link, soon()).expect("a guest");
    if grants {
        link.grant(0).expect("shared memory");
    }
    handshake::welcome(&mut link, &welcome()).expect("the guest listens");
    link.settle().expect("what we granted");
    let (mut payload, mut bulk) = (Vec::new(), Vec::new());
    link.wait_until(Some(soon()));
    let asked = link.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("a frame");
    link.send(&Header::new(Kind::Reply, asked.opcode), &payload, &bulk).expect("the guest reads");
    link.stream().is_ring()
}

/// Sends a frame that is longer than the lanes and hears it again.
fn speak(link: &mut dyn Link) {
    let bulk: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    link.wait_until(Some(soon()));
    link.send(&Header::new(Kind::Call, 0x100), b"payload", &bulk).expect("the host reads");
    let (mut payload, mut again) = (Vec::new(), Vec::new());
    link.receive(&mut payload, Bulk::Grow(&mut again)).expect("the host answers");
    assert_eq!((&payload[..], again == bulk), (&b"payload"[..], true));
}

#[test]
fn a_guest_gets_a_ring_where_the_host_grants_it_and_a_tool_does_not_ask() {
    for (role, grants, ring) in
        [(Role::Guest, true, true), (Role::Guest, false, false), (Role::Observer, true, false)]
    {
        let place = place();
        let uri = Uri::Unix(place.path.clone());
        thread::scope(|scope| {
            let host = scope.spawn(|| serve(place.accept(), grants));
            let (mut link, _) =
                connect(&uri, &Files::default(), &hello(role), LIMIT).expect("a host");
            speak(&mut *link);
            assert_eq!(host.join().expect("no panic"), ring, "{role:?} {grants}");
        });
    }
}

#[test]
fn a_wish_that_is_no_socket_leaves_the_guest_on_the_socket() {
    let (host, guest) = UnixStream::pair().expect("a socket pair");
    let null = std::fs::File::open("/dev/null").expect("a file");
    let payload = hello(Role::Guest).to_payload();
    let payload_bytes = payload.len() as u32;
    let header = Header { payload_bytes, ..Header::new(Kind::Call, opcode::HELLO) }.to_bytes();
    let parts = [IoSlice::new(&header), IoSlice::new(&payload)];
    let flags = rustix::net::SendFlags::empty();
    send_with(&guest, &parts, null.as_fd(), flags).expect("there is room");
    let mut link = socket_link(host.into());
    handshake::meet(&mut link, soon()).expect("a guest");
    let refused = link.grant(0).expect_err("no socket");
    assert!(matches!(refused, LinkError::Io { .. }), "{refused}");
    handshake::welcome(&mut link, &welcome()).expect("the guest listens");
    link.settle().expect("nothing was granted");
    assert!(!link.stream().is_ring());
}

/// Meets a guest, and grants it this memory.
fn grant_file(socket: OwnedFd, file: impl AsFd) {
    let raw = UnixStream::from(socket.try_clone().expect("a descriptor"));
    handshake::meet(&mut socket_link(socket), soon()).expect("a guest");
    let payload = welcome().to_payload();
    let payload_bytes = payload.len() as u32;
    let header = Header { payload_bytes, ..Header::new(Kind::Reply, opcode::WELCOME) }.to_bytes();
    let parts = [IoSlice::new(&header), IoSlice::new(&payload)];
    let flags = rustix::net::SendFlags::empty();
    send_with(&raw, &parts, file.as_fd(), flags).expect("the guest listens");
}

/// A limit of its address space, or a filter of system calls, keeps a process from mapping.
#[test]
fn a_guest_that_may_not_map_what_is_granted_goes_on_over_the_socket() {
    let place = place();
    let uri = Uri::Unix(place.path.clone());
    thread::scope(|scope| {
        let host = scope.spawn(|| {
            let layout = Layout::new(4 << 10, 0).expect("sizes that the layout knows");
            let (file, _region) = vgpu_ring::create(&layout).expect("a memory file");
            let read_only = format!("/proc/self/fd/{}", file.as_raw_fd());
            grant_file(place.accept(), std::fs::File::open(read_only).expect("the file is ours"));
            serve(place.accept(), true)
        });
        let (mut link, _) =
            connect(&uri, &Files::default(), &hello(Role::Guest), LIMIT).expect("a host");
        speak(&mut *link);
        assert!(!host.join().expect("no panic"), "it did not ask again");
    });
}

#[test]
fn both_sides_see_one_bulk_area_as_long_as_the_host_grants() {
    const BYTES: u64 = 1 << 30;
    for (bytes, expected) in [(0, None), (BYTES, Some(BYTES))] {
        let place = place();
        let uri = Uri::Unix(place.path.clone());
        thread::scope(|scope| {
            let host = scope.spawn(|| {
                let mut link = socket_link(place.accept());
                handshake::meet(&mut link, soon()).expect("a guest");
                assert!(link.area().is_none());
                assert!(link.grant(bytes).expect("shared memory"));
                let granted = link.area();
                assert_eq!(granted.as_ref().map(Area::bytes), expected, "before it is settled");
                handshake::welcome(&mut link, &welcome()).expect("the guest listens");
                link.settle().expect("what we granted");
                assert_eq!(link.area().map(|area| area.bytes()), expected);
                granted
            });
            let (link, _) =
                connect(&uri, &Files::default(), &hello(Role::Guest), LIMIT).expect("a host");
            let (ours, theirs) = (link.area(), host.join().expect("no panic"));
            assert_eq!(ours.as_ref().map(Area::bytes), expected);
            let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
            let mut seen = [0; 3];
            ours.copy_in(BYTES - 3, b"end").expect("in the area");
            theirs.copy_out(BYTES - 3, &mut seen).expect("in the area");
            assert_eq!(&seen, b"end");
            ours.discard(BYTES - 4096, 4096).expect("the system can");
            theirs.copy_out(BYTES - 3, &mut seen).expect("in the area");
            assert_eq!(seen, [0; 3], "it is the system's again");
            ours.discard(BYTES, 4096).expect_err("outside");
        });
    }
}

#[test]
fn memory_that_a_host_could_shorten_ends_the_connection() {
    let place = place();
    let uri = Uri::Unix(place.path.clone());
    thread::scope(|scope| {
        scope.spawn(|| {
            let file = tempfile::tempfile().expect("a file");
            file.set_len(1 << 20).expect("room for it");
            grant_file(place.accept(), &file);
        });
        match connect(&uri, &Files::default(), &hello(Role::Guest), LIMIT) {
            Ok(_) => panic!("the memory is not sealed"),
            Err(error) => assert!(error.to_string().contains("shared memory"), "{error}"),
        }
    });
}

#[test]
fn a_guest_that_goes_ends_the_hosts_wait_on_the_ring() {
    let place = place();
    let uri = Uri::Unix(place.path.clone());
    thread::scope(|scope| {
        let host = scope.spawn(|| {
            let mut link = socket_link(place.accept());
            handshake::meet(&mut link, soon()).expect("a guest");
            assert!(link.grant(0).expect("shared memory"));
            handshake::welcome(&mut link, &welcome()).expect("the guest listens");
            link.settle().expect("what we granted");
            link.wait_until(Some(soon()));
            link.receive(&mut Vec::new(), Bulk::Into(&mut []))
        });
        drop(connect(&uri, &Files::default(), &hello(Role::Guest), LIMIT).expect("a host"));
        assert!(matches!(host.join().expect("no panic"), Err(LinkError::Closed)));
    });
}
