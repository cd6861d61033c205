//! The body of `links.rs` over vsock, of a machine with itself. `cargo test` leaves it out: it
//! takes a kernel with vsock_loopback. `cargo xtask test vm` runs it in a virtual machine.

#![forbid(unsafe_code)]

#[macro_use]
#[path = "links.rs"]
mod links;

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use links::Subject;
use socket2::{Domain, SockAddr, Type};
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Role, Welcome};
use vgpu_link::{
    Access, LinkError, Listener, Peer, Socket, Stream, Uri, handshake, socket_link, tls,
};

/// The machine itself (VMADDR_CID_LOCAL of vsock(7)).
const LOCAL: u32 = 1;

/// Any port, to listen at (VMADDR_PORT_ANY).
const ANY_PORT: u32 = u32::MAX;

struct Vsock(Socket);

impl Stream for Vsock {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        self.0.read(into, limit)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        self.0.write(parts, limit)
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Subject for Vsock {
    fn ends() -> (Self, Self) {
        let fresh = || socket2::Socket::new(Domain::VSOCK, Type::STREAM, None).expect("vsock");
        let listener = fresh();
        listener.bind(&SockAddr::vsock(LOCAL, ANY_PORT)).expect("vsock_loopback is there");
        listener.listen(1).expect("it listens");
        let ours = fresh();
        ours.connect(&listener.local_addr().expect("an address")).expect("it listens");
        let (theirs, _) = listener.accept().expect("it was connected to");
        (Self(OwnedFd::from(ours).into()), Self(OwnedFd::from(theirs).into()))
    }
}

macro_rules! over_vsock {
    ($($name:ident)*) => { $(#[test] fn $name() { links::$name::<Vsock>(); })* };
}

every_rule!(over_vsock);

#[test]
fn a_listener_at_every_context_id_is_found_and_hears_which_machine_came() {
    let access = Access { mode: 0o600, group: None };
    let anywhere = Uri::Vsock { cid: u32::MAX, port: 6475 };
    let listener = Listener::bind(&anywhere, access).expect("the port is free");
    let refused = Listener::bind(&anywhere, access).expect_err("it is taken");
    assert!(matches!(refused, LinkError::InUse { .. }), "{refused}");
    let here = Uri::Vsock { cid: LOCAL, port: 6475 };
    let limit = Duration::from_secs(20);
    let introduce = || {
        let hello = Hello { role: Role::Guest, pid: 4711, exe: Text::cut("ollama") };
        vgpu_link::connect(&here, &tls::Files::default(), &hello, limit).map(|(_, welcome)| welcome)
    };
    let sent = Welcome { host_version: Text::cut("0.1.0"), epoch: 5, session: 6 };
    thread::scope(|scope| {
        let guest = scope.spawn(introduce);
        let deadline = Instant::now() + limit;
        let arrival = loop {
            if let Some(arrival) = listener.accept().expect("the system knows it") {
                break arrival;
            }
            assert!(Instant::now() < deadline, "nobody came");
            thread::yield_now();
        };
        assert_eq!(arrival.peer, Peer::Machine { cid: LOCAL });
        let mut link = socket_link(arrival.socket);
        handshake::meet(&mut link, deadline).expect("a Hello");
        handshake::welcome(&mut link, &sent).expect("the guest reads");
        assert_eq!(guest.join().expect("no panic").expect("a Welcome"), sent);
    });
    drop(listener);
    let gone = introduce().expect_err("nobody listens");
    assert!(gone.is_retryable(), "{gone}");
}
