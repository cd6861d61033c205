//! Connections whose close would take long: what lies unread in them are sockets that linger.
//!
//! These tests connect as another user, so they need root.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::SockRef;

use crate::gates::{MALLORY, connect, open};
use crate::guests::{client, qemu, server_with};
use crate::process::{LIMIT, Vgpud};

/// Longer than anything here is waited for.
const LINGER: Duration = Duration::from_secs(3600);

/// A connection whose close waits for an hour, as its other end reads nothing.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let mut ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (theirs, _) = listener.accept().expect("we came");
    SockRef::from(&ours).set_linger(Some(LINGER)).expect("a socket");
    ours.set_nonblocking(true).expect("a socket");
    loop {
        match ours.write(&[0; 1 << 16]) {
            Ok(written) => assert!(written > 0, "it is full"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return (ours, theirs);
            }
        }
    }
}

/// Puts such a connection into another one; returns its other end. Nobody else has it then.
fn burden(connection: &UnixStream) -> TcpStream {
    let (lingering, other) = lingering();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    let handed = [lingering.as_fd()];
    assert!(along.push(SendAncillaryMessage::ScmRights(&handed)));
    sendmsg(connection, &[IoSlice::new(b"!")], &mut along, SendFlags::empty()).expect("room");
    other
}

/// Reads all that the host says, up to the end of the connection.
fn last_words(mut connection: &UnixStream) -> Vec<u8> {
    connection.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut words = Vec::new();
    if let Err(error) = connection.read_to_end(&mut words) {
        // What we said lay there unread.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    words
}

#[test]
fn a_stranger_at_a_machines_socket_holds_nobody_up() {
    let (daemon, [one, _]) = server_with("", "mib = 4");
    open(daemon.directory.path());
    // Stopped, it finds what came along when it accepts.
    daemon.signal("STOP");
    let stranger = connect(MALLORY, &one);
    let _other = burden(&stranger);
    daemon.signal("CONT");
    assert!(last_words(&stranger).is_empty());
    assert!(client(&qemu(&one).guest).state(0).memory_total > 0);
}

#[test]
fn a_client_that_is_refused_holds_nobody_up() {
    let daemon = Vgpud::start(&["--clients-max", "1"]);
    let mut served = daemon.client();
    daemon.signal("STOP");
    let refused = daemon.raw();
    let _other = burden(&refused);
    daemon.signal("CONT");
    daemon.wait_for(&["vgpud: refused"]);
    assert!(!last_words(&refused).is_empty());
    assert!(served.state(0).memory_total > 0);
}

#[test]
fn a_client_that_never_introduces_itself_holds_nobody_up_and_its_worker_ends() {
    let daemon = Vgpud::start(&[]);
    daemon.signal("STOP");
    let raw = daemon.raw();
    let _other = burden(&raw);
    drop(raw);
    daemon.signal("CONT");
    daemon.wait_for(&["vgpud: gone"]);
    assert!(daemon.client().state(0).memory_total > 0);
}
