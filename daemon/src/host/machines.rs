//! Virtual machines that share memory with this host: what comes by their slots, and what goes.
//!
//! Nothing here waits for a machine, and no memory of one is mapped ([`Keeper`] says why).

#[cfg(fuzzing)]
pub mod fuzzing;
mod making;
mod plain;
mod shared;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vgpu_link::pci::ivshmem::{Change, Keeper, Server, introduce};
use vgpu_link::pci::original::Mediator;
use vgpu_link::{Gate, Peer};

use super::admission::{Seat, Visitor};
use crate::config::account;
use crate::config::machine::{Device, Machine, kept};
use crate::desk::Way;
use crate::error::DaemonError;
use crate::log;
use making::{Making, give_back};
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
}

/// A QEMU that waits for its memory.
#[derive(Debug)]
struct Coming {
    qemu: OwnedFd,
    making: Making,
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
            let (machine, due) = (machine.clone(), Instant::now());
            let (qemu, coming, shared) = (None, None, None);
            let mut known =
                Known { machine, server, qemu, coming, shared, mediator, due, told: None };
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

    /// Looks at the machines that are due, or at all if one of them woke the loop; returns the
    /// clients that came.
    pub fn turn(&mut self, woken: bool) -> Vec<Visitor> {
        let now = Instant::now();
        let due = self.0.iter_mut().enumerate().filter(|(_, known)| woken || known.due <= now);
        due.flat_map(|(number, known)| known.turn(number, now)).collect()
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
            let came = std::iter::from_fn(|| mediator.accept());
            return came.map(Visitor::by_socket).collect();
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

    /// Finds the memory again that a QEMU has of the daemon before us. Its bells are lost, so we
    /// look as with a plain file, until a QEMU comes.
    fn resume(&mut self) {
        let Device::Doorbell { socket, .. } = &self.machine.device else { return };
        match plain::find(&kept(socket), None) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            found => {
                let found = found.and_then(|memory| Shared::of(memory, self.machine.slots));
                self.take(found);
            }
        }
    }

    /// Meets a QEMU that came, and notices one that went.
    fn meet(&mut self) {
        let Device::Doorbell { socket, bytes } = &self.machine.device else { return };
        let (path, bytes) = (kept(socket), *bytes);
        if self.qemu.as_ref().is_some_and(shared::hung_up) {
            // Nobody has it any more; a file that stays is replaced by the next one's.
            let _ = std::fs::remove_file(&path);
            self.forget();
            log::event("machine-gone", &[("machine", &self.machine.name)]);
        }
        if let Some(came) = self.accept() {
            self.receive(came, &path, bytes);
        }
        if let Some(made) = self.coming.as_ref().and_then(|coming| coming.making.take())
            && let Some(Coming { qemu, .. }) = self.coming.take()
        {
            self.introduce(qemu, made, &path);
        }
    }

    /// Accepts a QEMU, if one waits that may come.
    fn accept(&mut self) -> Option<OwnedFd> {
        self.server.as_mut()?.accept().unwrap_or_else(|error| {
            let name = &self.machine.name;
            log::event("cannot-accept", &[("machine", name), ("because", &error)]);
            None
        })
    }

    /// Has a memory made for a QEMU.
    fn receive(&mut self, came: OwnedFd, path: &Path, bytes: u64) {
        match &mut self.coming {
            // Nobody has seen it yet, so it is as good for the next one.
            Some(coming) if shared::hung_up(&coming.qemu) => coming.qemu = came,
            None if self.qemu.is_none() => {
                let (path, slots) = (path.to_owned(), self.machine.slots);
                let make = move || making::memory_at(&path, bytes, slots);
                match Making::start(make) {
                    Ok(making) => self.coming = Some(Coming { qemu: came, making }),
                    Err(error) => self.take(Err(error)),
                }
            }
            // Memory is one machine's: whoever comes second is another.
            _ => {
                let name = &self.machine.name;
                log::event("machine-refused", &[("machine", name), ("because", &"taken")]);
            }
        }
    }

    /// Gives a QEMU the memory that was made for it.
    fn introduce(&mut self, qemu: OwnedFd, made: std::io::Result<Keeper>, path: &Path) {
        self.forget();
        if shared::hung_up(&qemu) {
            let _ = std::fs::remove_file(path);
            made.into_iter().for_each(give_back);
            return log::event("machine-gone", &[("machine", &self.machine.name)]);
        }
        let made = made.and_then(Shared::rung).and_then(|shared| {
            introduce(&qemu, shared.keeper.as_fd(), shared.bells())?;
            Ok(shared)
        });
        if made.is_ok() {
            self.qemu = Some(qemu);
        }
        self.take(made);
    }

    /// Forgets a machine's memory, and who had it; its workers end.
    fn forget(&mut self) {
        self.qemu = None;
        if let Some(shared) = self.shared.take() {
            give_back(shared.into_keeper());
        }
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
        let prepared = shared.prepare(slot);
        let (place, line, life, handed) = prepared.map_err(|error| self.lose(&error)).ok()?;
        Some(Visitor {
            line,
            peer: Peer::Named { machine: self.machine.name.clone() },
            way: Way::Slot(place),
            handed,
            seat: Some(Seat { machine: number, slot, life }),
        })
    }
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
