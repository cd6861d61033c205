//! The host's end: listens in the original mediator's place, and gives every client of the guest
//! a socket of its own.
//!
//! A thread of its own speaks with the emulators, so that whatever one of them does, the host
//! process goes on. What it speaks with belongs to a virtual machine: every size is checked before
//! it is used, nothing is kept for long that the other side can make large, and nothing is waited
//! for.

mod clients;
mod emulator;
#[cfg(fuzzing)]
mod fuzzing;
mod message;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, shutdown};

use super::BEAT;
use crate::{Arrival, Gate, LinkError, Peer, unix};
use clients::Clients;
use emulator::Emulator;
#[cfg(fuzzing)]
pub use fuzzing::Desk;

/// Emulators at a time: a virtual machine has one connection, and one more while it makes it anew.
const EMULATORS_MAX: usize = 4;

/// Clients that wait to be taken by the host process.
const ARRIVALS_MAX: usize = 16;

/// Connections that wait to be closed by the host process.
const LEFT_MAX: usize = 16;

/// How often silent clients are looked for, where there are clients.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// A look without waiting.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Listens for the emulator of one virtual machine.
#[derive(Debug)]
pub struct Mediator {
    machine: String,
    arrivals: Receiver<OwnedFd>,
    left: Receiver<OwnedFd>,
    /// Readable while somebody arrived or left. Its end ends the thread.
    bell: UnixStream,
    /// Kept for its end: the name in the file system goes with it.
    _made: unix::Made,
}

impl Mediator {
    /// Listens at `path`, for whom `gate` lets in; what comes from there counts as the virtual
    /// machine `machine`. A client that is not heard of for `silence` is taken for dead: nothing
    /// else tells when a program of the guest ends.
    ///
    /// # Errors
    /// [`LinkError::InUse`] if another program answers there, [`LinkError::Listen`] if something
    /// else lies there or the system refuses.
    pub fn bind(
        path: &Path,
        gate: Gate,
        machine: &str,
        silence: Duration,
    ) -> Result<Self, LinkError> {
        let (listener, made) = Gate::bind(path)?;
        let failed = |verb: &'static str| {
            let address = path.display().to_string();
            move |source: io::Error| LinkError::Listen { verb, address, source }
        };
        let (bell, theirs) = UnixStream::pair().map_err(failed("making a bell for"))?;
        for end in [&bell, &theirs] {
            end.set_nonblocking(true).map_err(failed("making a bell for"))?;
        }
        let (arrived, arrivals) = sync_channel(ARRIVALS_MAX);
        let (leave, left) = sync_channel(LEFT_MAX);
        let thread = Thread {
            listener,
            gate,
            leave,
            emulators: Vec::new(),
            clients: Clients::new(arrived, theirs, silence),
        };
        let started = crate::thread::start_thread("mediator", move || thread.run());
        started.map_err(failed("starting a thread for"))?;
        Ok(Self { machine: machine.into(), arrivals, left, bell, _made: made })
    }

    /// Takes a client if one is waiting; never waits itself.
    pub fn accept(&self) -> Option<Arrival> {
        // One byte for each that arrived or left.
        while io::Read::read_exact(&mut &self.bell, &mut [0]).is_ok() {
            if let Ok(socket) = self.arrivals.try_recv() {
                let machine = self.machine.clone();
                return Some(Arrival { socket, peer: Peer::Named { machine } });
            }
        }
        None
    }

    /// Takes the connections that are over, to be closed where it holds nobody up: it may take as
    /// long as whoever was there likes. Whoever accepts clients has to take these as well.
    pub fn left(&self) -> impl Iterator<Item = OwnedFd> + '_ {
        self.left.try_iter()
    }

    /// Says whether its thread has ended, which it does if the system fails it.
    pub fn is_over(&self) -> bool {
        let mut watched = [PollFd::new(&self.bell, PollFlags::empty())];
        poll(&mut watched, Some(&AT_ONCE)).is_ok_and(|woken| woken > 0)
    }
}

impl AsFd for Mediator {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// What the thread has.
struct Thread {
    listener: UnixListener,
    gate: Gate,
    /// Where a connection goes that is over.
    leave: SyncSender<OwnedFd>,
    emulators: Vec<Emulator>,
    clients: Clients,
}

impl Thread {
    /// Serves until the [`Mediator`] is gone, or the system fails.
    fn run(mut self) {
        while self.turn().is_ok_and(|goes_on| goes_on) {}
    }

    fn turn(&mut self) -> Result<bool, Errno> {
        let (over, accept, ready) = self.wait()?;
        if over {
            return Ok(false);
        }
        // Who is not kept connects anew if it means well.
        for (mut one, is_ready) in std::mem::take(&mut self.emulators).into_iter().zip(ready) {
            if !is_ready || one.turn(&mut self.clients) {
                self.emulators.push(one);
            } else {
                self.give_up(one.into_socket());
            }
        }
        if accept {
            match rustix::net::accept_with(
                &self.listener,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            ) {
                Ok(socket) if self.gate.admits(&socket) => {
                    self.emulators.push(Emulator::new(socket));
                }
                Ok(socket) => self.give_up(socket),
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                // Such as no descriptor left: others end, and it is tried again.
                Err(_) => std::thread::sleep(BEAT),
            }
        }
        self.clients.end_the_silent();
        Ok(true)
    }

    /// Ends a connection, and has it closed by the host process, which takes it sooner or later.
    fn give_up(&self, connection: OwnedFd) {
        let _ = shutdown(&connection, Shutdown::Both);
        let _ = self.leave.send(connection);
        // If there is no room, bytes are there that wake it as well.
        let _ = io::Write::write(&mut self.clients.bell(), &[1]);
    }

    /// Waits; says whether it is over, whether to accept, and which emulators are ready.
    fn wait(&self) -> Result<(bool, bool, Vec<bool>), Errno> {
        let mut watched = vec![PollFd::new(self.clients.bell(), PollFlags::empty())];
        watched.extend(self.emulators.iter().map(|one| PollFd::new(one, one.awaits())));
        if self.emulators.len() < EMULATORS_MAX {
            watched.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let limit = match self.clients.is_empty() {
            _ if self.emulators.iter().any(Emulator::has_more) => Some(&AT_ONCE),
            true => None,
            false => Some(&LOOK),
        };
        match poll(&mut watched, limit) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let woken: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (emulators, rest) = woken[1..].split_at(self.emulators.len());
        let ready = self.emulators.iter().zip(emulators);
        let ready = ready.map(|(one, woken)| *woken || one.has_more()).collect();
        Ok((woken[0], rest.contains(&true), ready))
    }
}
