//! A door for the fuzzer: one emulator's connection and the clients of its machine, without the
//! thread and its clock.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

use super::ARRIVALS_MAX;
use super::clients::Clients;
use super::emulator::Emulator;

/// What the mediator's thread has of one virtual machine.
#[derive(Debug)]
pub struct Desk {
    emulator: Option<Emulator>,
    clients: Clients,
    arrivals: Receiver<OwnedFd>,
    /// The emulator's end of its connection.
    far: OwnedFd,
    /// The host process's end of the bell.
    _bell: UnixStream,
}

impl Desk {
    /// Begins with a connection and no clients, all of which are silent for too long at once.
    ///
    /// # Panics
    /// If the system gives no sockets.
    pub fn open() -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let (far, near) = pair.expect("sockets");
        let (bell, theirs) = UnixStream::pair().expect("sockets");
        theirs.set_nonblocking(true).expect("it is ours");
        let (arrived, arrivals) = sync_channel(ARRIVALS_MAX);
        let clients = Clients::new(arrived, theirs, Duration::ZERO);
        Self { emulator: Some(Emulator::new(near)), clients, arrivals, far, _bell: bell }
    }

    /// Says these bytes as the emulator, and returns what is answered; `None` once the mediator
    /// has ended the connection.
    ///
    /// # Panics
    /// If more bytes are said at once than a socket holds.
    pub fn say(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let sent = rustix::net::send(&self.far, bytes, SendFlags::NOSIGNAL);
        if self.emulator.is_some() {
            assert_eq!(sent.expect("there is room"), bytes.len());
        }
        let mut answers = Vec::new();
        while let Some(emulator) = &mut self.emulator {
            let lives = emulator.turn(&mut self.clients);
            let goes_on = emulator.has_more();
            let came = self.hear(&mut answers);
            if !lives {
                self.emulator = None;
            } else if !goes_on && !came {
                return Some(answers);
            }
        }
        None
    }

    /// Takes the worker's end of a client that has arrived.
    pub fn arrived(&self) -> Option<UnixStream> {
        self.arrivals.try_recv().ok().map(UnixStream::from)
    }

    /// Ends the silent: all.
    pub fn end_the_silent(&mut self) {
        self.clients.end_the_silent();
    }

    /// Reads what has been answered; says whether there was anything.
    fn hear(&self, into: &mut Vec<u8>) -> bool {
        let (mut buffer, before) = ([0; 2048], into.len());
        loop {
            match rustix::net::recv(&self.far, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(_) => return into.len() > before,
                Ok((count, _)) => into.extend(&buffer[..count]),
            }
        }
    }
}
