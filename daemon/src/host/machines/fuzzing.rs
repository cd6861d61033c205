//! A door for the fuzzer: a hostile virtual machine beside one that is not, and both at a host.
//!
//! The input is what the hostile one's QEMU does with the socket and the memory, what its guest
//! writes, and when the host looks. Whatever it is, the other machine's client keeps its slot, no
//! two clients have one slot, and the workers of a machine that is gone hear of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, recvmsg, shutdown,
};
use vgpu_link::pci::ivshmem::FIRST_BELL;

use super::{Device, Machine, Machines, Visitor, Way, shared};

/// A machine's memory: room for three slots with the smallest lanes.
const BYTES: u64 = 64 << 10;

/// Connections of QEMUs at a time.
const QEMUS_MAX: usize = 3;

/// Values that mean something: nobody, threads, a void claim, all bits.
const VALUES: [u64; 8] = [0, 7, 7 | 1 << 32, 8, 7 | 0x4000_0000, u64::MAX, 1 << 63, 0x3fff_ffff];

/// The head of the memory, and the words of a slot in it (docs/pci.md, "Slots").
const BOARD_BYTES: u64 = 16 << 10;
const CLAIM: u64 = 0;
const READY: u64 = 8;
const BOOT: u64 = 16;
const BEAT: u64 = 24;
const GRANTED: u64 = 64;
const WORDS: [u64; 5] = [CLAIM, READY, BOOT, BEAT, GRANTED];

/// The number of the machine that the input plays, and of the other.
const HOSTILE: usize = 0;
const HONEST: usize = 1;

/// The place of a slot's word.
fn place(slot: u8, word: u64) -> u64 {
    1024 + 128 * u64::from(slot) + word
}

/// A QEMU, as far as it got.
#[derive(Debug)]
struct Qemu {
    socket: UnixStream,
    /// What it was given.
    memory: Option<File>,
    bells: Vec<File>,
}

/// Two machines, and their host.
#[derive(Debug)]
pub struct Room {
    machines: Machines,
    qemus: Vec<Qemu>,
    honest: Qemu,
    honest_line: OwnedFd,
    /// What the workers of the hostile machine's clients have, by their sessions, with the slot.
    workers: HashMap<u64, (usize, OwnedFd)>,
    sessions: u64,
    /// Connections of this input.
    came: usize,
}

impl Room {
    /// Opens a host whose sockets lie in `directory`, with a client of the honest machine.
    ///
    /// # Panics
    /// If the system gives no sockets or memory.
    pub fn open(directory: &Path) -> Self {
        let machine = |name: &str| {
            let device = Device::Doorbell { socket: directory.join(name), bytes: BYTES };
            let silence = Duration::from_secs(24 * 3600);
            Machine { name: name.into(), device, silence, slots: 3, user: None }
        };
        let all = [machine("hostile"), machine("honest")];
        let mut machines = Machines::open(&all).expect("sockets");
        let mut honest = Qemu::connect(directory, "honest");
        drop(machines.turn(true));
        honest.hear();
        for (word, value) in [(CLAIM, 9), (BOOT, 1), (READY, 9)] {
            honest.write(place(0, word), value);
        }
        let mut came = machines.turn(true).came;
        let Visitor { line, seat, .. } = came.pop().expect("the honest client");
        machines.grant(seat.expect("it has a slot"), 0);
        let (qemus, workers) = (Vec::new(), HashMap::new());
        Self { machines, qemus, honest, honest_line: line, workers, sessions: 0, came: 0 }
    }

    /// Plays the input, two bytes a move; nothing of it is left after it.
    ///
    /// # Panics
    /// If the host broke a promise.
    pub fn play(&mut self, directory: &Path, bytes: &[u8]) {
        for &[what, amount] in bytes.as_chunks::<2>().0 {
            self.advance(directory, what, amount);
        }
        self.qemus.clear();
        // One is met in each turn, and the last one missed in one more.
        (0..=std::mem::take(&mut self.came)).for_each(|_| self.turn(0));
        let others = self.machines.0[HONEST].turn(HONEST, Instant::now());
        assert!(others.is_empty(), "nobody else came");
        assert!(self.workers.values().all(|(_, line)| shared::hung_up(line)), "not told");
        assert!(!shared::hung_up(&self.honest_line), "the other machine's client");
        let granted = self.honest.read(place(0, GRANTED));
        assert_eq!(granted, 9, "the other machine's slot");
        self.workers.clear();
    }

    fn advance(&mut self, directory: &Path, what: u8, amount: u8) {
        let chosen = usize::from(amount >> 6);
        match what >> 5 {
            0 if self.qemus.len() < QEMUS_MAX => {
                self.qemus.push(Qemu::connect(directory, "hostile"));
                self.came += 1;
            }
            1 if chosen < self.qemus.len() => match what & 3 {
                0 => drop(self.qemus.remove(chosen)),
                1 => self.qemus[chosen].say(usize::from(amount & 63)),
                _ => self.qemus[chosen].leave_half(what & 1 == 0),
            },
            2 | 3 => {
                let at = place(what & 3, WORDS[usize::from(what >> 2 & 15) % 5]);
                let value = VALUES[usize::from(amount & 7)] ^ u64::from(amount >> 3 & 7);
                self.write(chosen, at, value);
            }
            4 => {
                let at = (u64::from(what & 31) << 8 | u64::from(amount)) % BOARD_BYTES;
                self.write(0, at, u64::from(amount).wrapping_mul(0x0101_0101_0101_0101));
            }
            5 => self.ring_or_resize(usize::from(what & 31), amount),
            6 => self.end(amount),
            _ => self.turn(amount),
        }
    }

    /// The guest's hand in the memory that one of the QEMUs was given.
    fn write(&self, chosen: usize, at: u64, value: u64) {
        if let Some(qemu) = self.qemus.get(chosen) {
            qemu.write(at, value);
        }
    }

    fn ring_or_resize(&self, bell: usize, amount: u8) {
        for qemu in &self.qemus {
            match qemu.bells.get(bell) {
                Some(mut bell) => {
                    let _ = bell.write(&(VALUES[usize::from(amount & 7)]).to_le_bytes());
                }
                None => {
                    let resized = qemu.memory.as_ref().map(|it| it.set_len(u64::from(amount) << 9));
                    assert!(resized.is_none_or(|resized| resized.is_ok()));
                }
            }
        }
    }

    /// The worker of a session ends.
    fn end(&mut self, amount: u8) {
        let session = self.sessions.wrapping_sub(u64::from(amount & 7));
        // The honest client has no worker that could end.
        if session > 0 {
            self.machines.ended(session);
            self.workers.remove(&session);
        }
    }

    /// The host looks, and answers who came.
    fn turn(&mut self, amount: u8) {
        for visitor in self.machines.0[HOSTILE].turn(HOSTILE, Instant::now()) {
            let seat = visitor.seat.expect("it has a slot");
            assert_eq!(seat.machine, HOSTILE);
            let Way::Slot(place) = visitor.way else { panic!("{:?}", visitor.way) };
            assert!(place.offset + 2 * place.lane_bytes < BYTES, "{place:?}");
            let taken = self
                .workers
                .values()
                .any(|(slot, line)| *slot == seat.slot && !shared::hung_up(line));
            assert!(!taken, "slot {} is somebody's", seat.slot);
            if amount & 1 == 1 {
                self.machines.refuse(&seat, &vec![7; 64 * usize::from(amount)]);
                continue;
            }
            self.sessions += 1;
            self.workers.insert(self.sessions, (seat.slot, visitor.line));
            self.machines.grant(seat, self.sessions);
        }
        // What is over is closed by the loop of the host.
        self.machines.0[HOSTILE].left.clear();
        self.qemus.iter_mut().for_each(Qemu::hear);
    }
}

impl Qemu {
    fn connect(directory: &Path, name: &str) -> Self {
        let socket = UnixStream::connect(directory.join(name)).expect("it listens");
        socket.set_nonblocking(true).expect("it is ours");
        Self { socket, memory: None, bells: Vec::new() }
    }

    /// Says something, which no QEMU does.
    fn say(&self, bytes: usize) {
        let _ = (&self.socket).write(&vec![0xff; 64 * bytes]);
    }

    fn leave_half(&self, reading: bool) {
        let how = if reading { Shutdown::Read } else { Shutdown::Write };
        let _ = shutdown(&self.socket, how);
    }

    /// Takes what it is introduced to: first the version, its own number, then the memory, and the
    /// bells in their order.
    fn hear(&mut self) {
        loop {
            let mut number = [0; 8];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut along = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(&mut number)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let Ok(heard) = recvmsg(&self.socket, into, &mut along, flags) else { return };
            if heard.bytes == 0 {
                return;
            }
            let mut came = along.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut along) => along.next().map(File::from),
                _ => None,
            });
            match (i64::from_le_bytes(number), came.next()) {
                (0, None) => {}
                (-1, Some(memory)) => self.memory = Some(memory),
                (bell, Some(along)) => {
                    assert_eq!(bell, i64::from(FIRST_BELL) + self.bells.len() as i64);
                    self.bells.push(along);
                }
                (number, None) => panic!("nothing came along with {number}"),
            }
        }
    }

    /// Writes a word of the memory, where there is one.
    fn write(&self, at: u64, value: u64) {
        if let Some(memory) = &self.memory {
            let _ = memory.write_all_at(&value.to_le_bytes(), at);
        }
    }

    fn read(&self, at: u64) -> u64 {
        let mut value = [0; 8];
        let memory = self.memory.as_ref().expect("it was given");
        memory.read_exact_at(&mut value, at).expect("it is whole");
        u64::from_le_bytes(value)
    }
}
