//! What the one body of tests is run over.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use vgpu_link::tls::TlsStream;
use vgpu_link::{MemoryStream, Socket, Squeezed, Stream, StreamLink};
use vgpu_ring::{Duplex, Layout, SocketBell, Wish, grant};

use super::ends::{PciEnd, PciTurned};
use super::{made, slots};

/// Makes two ends of one kind of link, and lets a test speak raw bytes on one of them.
pub trait Subject: Stream + Sized {
    fn ends() -> (Self, Self);

    fn link_pair() -> (StreamLink<Self>, StreamLink<Self>) {
        let (left, right) = Self::ends();
        (StreamLink::new(left), StreamLink::new(right))
    }

    fn write_raw(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.write(&[IoSlice::new(bytes)], None).expect("the peer reads");
            bytes = &bytes[count..];
        }
    }
}

impl Subject for MemoryStream {
    fn ends() -> (Self, Self) {
        Self::pair()
    }
}

impl Subject for Socket {
    fn ends() -> (Self, Self) {
        let (left, right) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        (OwnedFd::from(left).into(), OwnedFd::from(right).into())
    }
}

impl Subject for Squeezed<TlsStream> {
    fn ends() -> (Self, Self) {
        let (guest, host) = made::pair();
        (Self::new(guest), Self::new(host))
    }
}

impl Subject for Duplex<SocketBell> {
    fn ends() -> (Self, Self) {
        let layout = Layout::new(64 << 10, 0).expect("sizes that fit");
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        let (wish, room) = Wish::new().expect("a socket pair");
        let (host, file) = grant(ours, room, &layout).expect("a ring");
        (host, wish.granted(theirs, file).expect("the ring that was granted"))
    }
}

impl Subject for PciEnd {
    fn ends() -> (Self, Self) {
        let (guest, host, life) = slots::pair();
        (Self::Guest(guest), Self::Host(host, life))
    }
}

impl Subject for PciTurned {
    fn ends() -> (Self, Self) {
        let (guest, host) = PciEnd::ends();
        (Self(host), Self(guest))
    }
}
