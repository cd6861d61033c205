//! Virtual machines that share memory with this host: what comes by their slots, and what goes.
//!
//! Nothing here waits for a machine, and no memory of one is mapped ([`Keeper`] says why).

#[cfg(fuzzing)]
pub mod fuzzing;
mod making;
mod meeting;
mod plain;
mod shared;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use vgpu_link::pci::ivshmem::{Change, Server};
use vgpu_link::pci::original::Mediator;
use vgpu_link::wire::control::Refusal;
use vgpu_link::{Gate, Peer, handshake};

use super::admission::{Seat, Visitor, written};
use crate::config::account;
use crate::config::machine::{Device, Machine};
use crate::desk::Way;
use crate::error::DaemonError;
use crate::log;
use meeting::Coming;
use shared::{DEAF, Shared};

/// How often a memory is looked at that nobody can ring for: 20 ms, the most that a new client
/// waits to be seen.
const PLAIN_TURN: Duration = Duration::from_millis(20);

/// How often a memory is looked at whose guest rings: a death is seen within 250 ms.
const RUNG_TURN: Duration = Duration::from_millis(250);

/// How often a memory file is looked for that is not there.
const SEARCH_TURN: Duration = Duration::from_secs(1);

/// How often a machine is looked at whose clients always ring: once in an hour.
const RUNG_ONLY: Duration = Duration::from_secs(3600);

/// All machines of the configuration.
#[derive(Debug, Default)]
pub(super) struct Machines(Vec<Known>);

/// What a look at the machines brought.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Clients that came.
    pub came: Vec<Visitor>,
    /// Connections that are over, to be closed where that holds nobody up.
    pub left: Vec<OwnedFd>,
    /// Whether the system lacks what a machine asked for: the host has to rest.
    pub lacks: bool,
}

/// One machine.
#[derive(Debug)]
struct Known {
    machine: Machine,
    /// Where its QEMU comes, if it asks for memory.
    server: Option<Server>,
    /// The QEMU that came.
    qemu: Option<OwnedFd>,
    /// The QEMU that waits for its memory.
    coming: Option<Coming>,
    shared: Option<Shared>,
    /// What speaks with its emulator, if it has the original device.
    mediator: Option<Mediator>,
    due: Instant,
    /// Why the memory is of no use, as the log has it already.
    told: Option<std::io::ErrorKind>,
    /// Connections of its QEMU, or of others, that are over.
    left: Vec<OwnedFd>,
    /// Whether the system had no descriptor, or no memory, for somebody who came.
    lacks: bool,
}

impl Machines {
    /// Listens for those that ask for memory.
    ///
    /// # Errors
    /// [`DaemonError::Link`] if a socket cannot be had.
    pub fn open(machines: &[Machine]) -> Result<Self, DaemonError> {
        let open = |machine: &Machine| {
            let (mut server, mut mediator) = (None, None);
            let gate = gate(machine);
            match &machine.device {
                Device::Doorbell { socket, .. } => server = Some(Server::bind(socket, gate)?),
                Device::Stub { socket } => {
                    let (name, silence) = (&machine.name, machine.silence);
                    mediator = Some(Mediator::bind(socket, gate, name, silence)?);
                }
                Device::Plain { .. } => {}
            }
            if server.is_some() || mediator.is_some() {
                log::event("listening", &[("machine", &machine.name)]);
            }
            let mut known = Known::new(machine.clone(), server, mediator);
            known.resume();
            Ok(known)
        };
        machines.iter().map(open).collect::<Result<_, DaemonError>>().map(Self)
    }

    /// What wakes the loop besides [`Machines::due`].
    pub fn watched(&self) -> Vec<PollFd<'_>> {
        self.0.iter().flat_map(Known::watched).collect()
    }

    /// When a machine is to be looked at next.
    pub fn due(&self) -> Option<Instant> {
        self.0.iter().map(|known| known.due).min()
    }

    /// Looks at the machines that are due, or at all if one of them woke the loop.
    pub fn turn(&mut self, woken: bool) -> Turn {
        let (mut turn, now) = (Turn::default(), Instant::now());
        for (number, known) in self.0.iter_mut().enumerate() {
            if woken || known.due <= now {
                turn.came.extend(known.turn(number, now));
            }
            turn.left.append(&mut known.left);
            turn.lacks |= std::mem::take(&mut known.lacks);
        }
        turn
    }

    /// Lets a client begin whose worker has its slot.
    pub fn grant(&mut self, seat: Seat, session: u64) {
        let Some(known) = self.0.get_mut(seat.machine) else { return };
        known.with_memory(|shared| shared.grant(seat.slot, seat.life, session));
    }

    /// Turns a client away with these last words.
    pub fn refuse(&mut self, seat: &Seat, words: &[u8]) {
        let Some(known) = self.0.get_mut(seat.machine) else { return };
        known.with_memory(|shared| shared.keeper.refuse(seat.slot, words));
    }

    /// Takes the slot back of a session whose worker ended.
    pub fn ended(&mut self, session: u64) {
        for known in &mut self.0 {
            let mut ended = false;
            known.with_memory(|shared| {
                ended = shared.ended(session)?;
                Ok(())
            });
            if ended {
                // Its slot may be free by now, and others wait for one.
                known.due = Instant::now();
            }
        }
    }
}

impl Known {
    fn new(machine: Machine, server: Option<Server>, mediator: Option<Mediator>) -> Self {
        Self {
            machine,
            server,
            qemu: None,
            coming: None,
            shared: None,
            mediator,
            due: Instant::now(),
            told: None,
            left: Vec::new(),
            lacks: false,
        }
    }

    fn watched(&self) -> Vec<PollFd<'_>> {
        let server = self.server.iter().map(|server| PollFd::new(server, PollFlags::IN));
        // It never says anything that we would read.
        let qemu = self.qemu.iter().map(|qemu| PollFd::new(qemu, PollFlags::RDHUP));
        let coming = self.coming.iter().map(|it| PollFd::new(&it.making, PollFlags::IN));
        let bell = self.shared.iter().filter_map(Shared::bell);
        let bell = bell.map(|edges| PollFd::from_borrowed_fd(edges, PollFlags::IN));
        let mediator = self.mediator.iter().map(|it| PollFd::new(it, PollFlags::IN));
        server.chain(qemu).chain(coming).chain(bell).chain(mediator).collect()
    }

    fn turn(&mut self, number: usize, now: Instant) -> Vec<Visitor> {
        if let Some(mediator) = &self.mediator {
            self.due = now + RUNG_ONLY;
            self.left.extend(mediator.left());
            let came = std::iter::from_fn(|| mediator.accept());
            let came = came.map(Visitor::by_socket).collect();
            if mediator.is_over() {
                self.mediator = None;
                let because = "its thread has ended";
                log::event(
                    "machine-lost",
                    &[("machine", &self.machine.name), ("because", &because)],
                );
            }
            return came;
        }
        self.meet();
        if let Device::Plain { memory } = &self.machine.device
            && self.shared.as_mut().is_none_or(|shared| !shared.is_still(memory))
        {
            let found = plain::find(memory, self.machine.user);
            let found = found.and_then(|memory| Shared::of(memory, self.machine.slots));
            self.take(found);
        }
        let Some(shared) = &mut self.shared else {
            self.due = now + SEARCH_TURN;
            return Vec::new();
        };
        shared.hear(now);
        self.due = now
            + match (shared.is_rung(), shared.bell()) {
                (true, Some(_)) => RUNG_TURN,
                // Who rings while nobody listens is seen by the next look.
                (true, None) => DEAF,
                (false, _) => PLAIN_TURN,
            };
        let changes = shared.keeper.turn(now);
        let changes = changes.map_err(|source| self.lose(&source)).unwrap_or_default();
        changes.into_iter().filter_map(|change| self.change(number, change)).collect()
    }

    /// Begins with a memory, or says once why not.
    fn take(&mut self, made: std::io::Result<Shared>) {
        let name = &self.machine.name;
        match made {
            Ok(mut shared) => {
                shared.keeper.limit_silence(self.machine.silence);
                let board = shared.keeper.board();
                let (slots, pinned) = (&board.slots, &board.ring.bulk_bytes());
                log::event("machine", &[("machine", name), ("slots", slots), ("pinned", pinned)]);
                (self.shared, self.told) = (Some(shared), None);
            }
            Err(error) => {
                self.shared = None;
                if self.told.replace(error.kind()) != Some(error.kind()) {
                    log::event("no-memory", &[("machine", name), ("because", &error)]);
                }
            }
        }
    }

    /// Gives a memory up that failed us; its workers end.
    fn lose(&mut self, source: &std::io::Error) {
        self.forget();
        log::event("machine-lost", &[("machine", &self.machine.name), ("because", source)]);
    }

    fn with_memory(&mut self, work: impl FnOnce(&mut Shared) -> std::io::Result<()>) {
        if let Some(Err(error)) = self.shared.as_mut().map(work) {
            self.lose(&error);
        }
    }

    fn change(&mut self, number: usize, change: Change) -> Option<Visitor> {
        let shared = self.shared.as_mut()?;
        let slot = match change {
            Change::Gone(slot) => {
                shared.hang_up(slot);
                return None;
            }
            Change::Came(slot) => slot,
        };
        let (place, line, life, handed) = match shared.prepare(slot) {
            Ok(prepared) => prepared,
            Err(error) if is_lack(&error) => {
                log::event("refused", &[("machine", &self.machine.name), ("because", &error)]);
                let text = "the host has no file descriptor left";
                let words = written(|link| handshake::refuse(link, Refusal::NoDevice, text));
                self.lacks = true;
                self.with_memory(|shared| shared.keeper.refuse(slot, &words));
                return None;
            }
            Err(error) => {
                self.lose(&error);
                return None;
            }
        };
        Some(Visitor {
            line,
            peer: Peer::Named { machine: self.machine.name.clone() },
            way: Way::Slot(place),
            handed,
            seat: Some(Seat { machine: number, slot, life }),
        })
    }
}

/// Says whether an error tells of this host, and not of the machine whose turn it was.
fn is_lack(error: &std::io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

/// Makes what keeps others from a machine's socket.
fn gate(machine: &Machine) -> Gate {
    let (name, is_named) = (machine.name.clone(), machine.user.is_some());
    Gate::new(machine.user, move |uid| {
        let because = match is_named {
            true => "it is neither root nor the user of this machine",
            false => "it is neither root nor vgpud's own user, and this machine names none",
        };
        let user = account::written(uid);
        let remedy = format!("if its QEMU runs so, user = {user} in its [[machine]]");
        let fields: [(&str, &dyn std::fmt::Display); 4] =
            [("machine", &name), ("uid", &uid), ("because", &because), ("try", &remedy)];
        log::event("machine-refused", &fields);
    })
}

#[cfg(test)]
mod tests;
