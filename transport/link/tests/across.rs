//! The body of `links.rs` between a virtual machine and its host. Both ends are the guest's, and
//! every byte from one to the other goes through the host, which joins what comes with the same
//! number (`vgpu_tests::vm::Junction`). `cargo test` leaves it out: it takes a machine with the
//! devices. `cargo xtask test vm` runs it there, once for each link.

#![forbid(unsafe_code)]

#[macro_use]
#[path = "links.rs"]
mod links;

use std::io::{self, BufRead, BufReader, IoSlice};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use links::Subject;
use socket2::{Domain, SockAddr, Type};
use vgpu_link::pci::ivshmem::{self, SlotStream};
use vgpu_link::wire::{Header, Kind};
use vgpu_link::{Bulk, LinkError, Receiver as _, Socket, Stream, StreamLink, Uri, pci};

/// Names the link, as guest.toml does.
const LINK: &str = "VGPU_ACROSS";

/// Makes the test below a process to be killed: the number of its connection, and how many bytes
/// of a frame it sends before.
const PEER: &str = "VGPU_ACROSS_PEER";

/// A connection from the guest to its host.
enum Across {
    Vsock(Socket),
    Slot(SlotStream),
}

impl Across {
    /// Opens one, and tells its number to the host.
    fn open(number: u64) -> Self {
        let link = std::env::var(LINK).expect("VGPU_ACROSS names the link");
        let end = match link.parse() {
            Ok(Uri::Vsock { cid, port }) => {
                let socket = socket2::Socket::new(Domain::VSOCK, Type::STREAM, None);
                let socket = socket.expect("the machine has vsock");
                socket.connect(&SockAddr::vsock(cid, port)).expect("the host listens");
                Self::Vsock(OwnedFd::from(socket).into())
            }
            Ok(Uri::Pci(address)) => {
                let device = pci::pick(Path::new(pci::SYSFS), address);
                let device = device.unwrap_or_else(|error| panic!("{error}"));
                let slot = ivshmem::connect(&device, soon());
                Self::Slot(slot.unwrap_or_else(|error| panic!("{error}")))
            }
            other => panic!("{link}: {other:?}"),
        };
        end.write_raw(&number.to_le_bytes());
        end
    }

    fn stream(&self) -> &dyn Stream {
        match self {
            Self::Vsock(socket) => socket,
            Self::Slot(slot) => slot,
        }
    }
}

impl Stream for Across {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        self.stream().read(into, limit)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        self.stream().write(parts, limit)
    }

    fn close(&self) {
        self.stream().close();
    }
}

impl Subject for Across {
    fn ends() -> (Self, Self) {
        let number = fastrand::u64(..);
        (Self::open(number), Self::open(number))
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

macro_rules! over_the_host {
    ($($name:ident)*) => { $(#[test] fn $name() { links::$name::<Across>(); })* };
}

every_rule!(over_the_host);

/// Nobody closes anything then: the peer's kernel says that it is gone.
#[test]
fn a_peer_that_is_killed_has_closed_or_truncated_its_frame() {
    let header = Header { payload_bytes: 100, bulk_bytes: 50, ..Header::new(Kind::Call, 1) };
    let mut frame = header.to_bytes().to_vec();
    frame.extend([1; 150]);
    if let Ok(peer) = std::env::var(PEER) {
        let (number, cut) = peer.split_once(' ').expect("two numbers");
        let end = Across::open(number.parse().expect("a number"));
        end.write_raw(&frame[..cut.parse().expect("a number")]);
        println!("\nsent");
        loop {
            std::thread::park();
        }
    }
    for (cut, part) in
        [(0, None), (1, Some("header")), (99, Some("payload")), (181, Some("bulk part"))]
    {
        let number = fastrand::u64(..);
        let end = Across::open(number);
        let mut peer = Command::new(std::env::current_exe().expect("this program"));
        peer.args(["--exact", "--nocapture"]);
        peer.arg("a_peer_that_is_killed_has_closed_or_truncated_its_frame");
        peer.env(PEER, format!("{number} {cut}")).stdout(Stdio::piped());
        let mut peer = peer.spawn().expect("it starts");
        let said = BufReader::new(peer.stdout.take().expect("a pipe"));
        let sent = said.lines().any(|line| line.expect("text") == "sent");
        peer.kill().expect("it is ours");
        peer.wait().expect("it ends");
        assert!(sent, "the peer failed");
        let mut link = StreamLink::new(end);
        link.limit_waits(Some(soon()));
        let ended = link.receive(&mut Vec::new(), Bulk::Grow(&mut Vec::new()));
        match (ended.expect_err("nobody is there"), part) {
            (LinkError::Closed, None) => {}
            (LinkError::Truncated { part: found, .. }, Some(part)) if found == part => {}
            (other, part) => panic!("{cut}, {part:?}: {other}"),
        }
    }
}
