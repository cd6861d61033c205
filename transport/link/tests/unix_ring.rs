//! A Unix socket whose sides agree on shared memory, or do not.

#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use vgpu_link::tls::Files;
use vgpu_link::wire::control::{Hello, Role, Welcome, opcode};
use vgpu_link::wire::{Header, Kind, Payload, Text};
use vgpu_link::{
    Access, Bulk, Link, LinkError, Listener, Receiver, Sender, SocketLink, Uri, connect, handshake,
    socket_link,
};
use vgpu_ring::send_with;

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
        link.grant().expect("shared memory");
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
    let refused = link.grant().expect_err("no socket");
    assert!(matches!(refused, LinkError::Io { .. }), "{refused}");
    handshake::welcome(&mut link, &welcome()).expect("the guest listens");
    link.settle().expect("nothing was granted");
    assert!(!link.stream().is_ring());
}

#[test]
fn memory_that_a_host_could_shorten_ends_the_connection() {
    let place = place();
    let uri = Uri::Unix(place.path.clone());
    thread::scope(|scope| {
        scope.spawn(|| {
            let socket = place.accept();
            let raw = UnixStream::from(socket.try_clone().expect("a descriptor"));
            let mut link = socket_link(socket);
            handshake::meet(&mut link, soon()).expect("a guest");
            let file = tempfile::tempfile().expect("a file");
            file.set_len(1 << 20).expect("room for it");
            let payload = welcome().to_payload();
            let payload_bytes = payload.len() as u32;
            let header = Header::new(Kind::Reply, opcode::WELCOME);
            let header = Header { payload_bytes, ..header }.to_bytes();
            let parts = [IoSlice::new(&header), IoSlice::new(&payload)];
            let flags = rustix::net::SendFlags::empty();
            send_with(&raw, &parts, file.as_fd(), flags).expect("the guest listens");
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
            assert!(link.grant().expect("shared memory"));
            handshake::welcome(&mut link, &welcome()).expect("the guest listens");
            link.settle().expect("what we granted");
            link.wait_until(Some(soon()));
            link.receive(&mut Vec::new(), Bulk::Into(&mut []))
        });
        drop(connect(&uri, &Files::default(), &hello(Role::Guest), LIMIT).expect("a host"));
        assert!(matches!(host.join().expect("no panic"), Err(LinkError::Closed)));
    });
}
