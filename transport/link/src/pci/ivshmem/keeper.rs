//! A host's view of one machine's memory: who claims a slot, who is gone, which is free.
//!
//! The keeper never maps the memory: it reads the head by pread and writes by pwrite, so that
//! nothing that a guest writes, and no program that shortens the file, can do more to the host
//! process than give it wrong numbers. Those cost the machine's own clients their connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use vgpu_ring::slots::{BOARD_BYTES, Board, HOST_BEAT, SLOTS_MAX, VOID, Word, stands, word};
use vgpu_ring::{CLOSED_BY_HOST, HEAD_BYTES};

/// How long a client's beat may stand still. That it died its kernel says at once; that its whole
/// machine did, nobody else would say.
pub const SILENCE: Duration = Duration::from_secs(30);

/// Where a client's ring lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its first byte in the memory.
    pub offset: u64,
    /// Length of each lane.
    pub lane_bytes: u64,
    /// Length of the bulk area, of which the worker grants what it likes.
    pub bulk_bytes: u64,
}

/// What a look has found in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A client waits there to be granted or refused.
    Came(usize),
    /// The client that was granted is gone; the slot is free again after [`Keeper::end`].
    Gone(usize),
}

/// What is known of a slot that somebody claims.
#[derive(Debug)]
struct Slot {
    claim: u64,
    boot: u64,
    beat: u64,
    /// When the beat moved last.
    moved: Instant,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Claimed, and not told of yet.
    Claimed,
    /// Told of, neither granted nor refused.
    Waits,
    /// Granted: a worker may use the slot.
    Granted,
    /// Granted, and told to be gone.
    Gone,
    /// Ours no more: free once the client lets go.
    Over,
}

/// Keeps the slots of one memory.
#[derive(Debug)]
pub struct Keeper {
    memory: OwnedFd,
    board: Board,
    slots: Vec<Option<Slot>>,
    head: Box<[u8]>,
    beat: u64,
    silence: Duration,
}

impl Keeper {
    /// Makes a sealed memory file of `bytes` bytes for one machine; `bells` is the number that
    /// rings for a claim.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` if the bytes hold no slot.
    pub fn make(bytes: u64, bells: Option<u32>) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create("vgpu-machine", flags)?;
        rustix::fs::ftruncate(&memory, bytes)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&memory, seals)?;
        Self::adopt(memory, bells)
    }

    /// Makes a memory file of `bytes` bytes at `path`, in place of what is there: the next host
    /// finds it again. All of it is there at once, or a full file system would end the machine.
    /// It is divided into `slots_max` slots, if it holds so many.
    ///
    /// # Errors
    /// As [`Keeper::make`].
    pub fn make_at(
        path: &Path,
        bytes: u64,
        bells: Option<u32>,
        slots_max: usize,
    ) -> io::Result<Self> {
        match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let memory = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::fallocate(&memory, FallocateFlags::empty(), 0, bytes)?;
        Self::divide(memory, bells, slots_max)
    }

    /// Begins to keep a memory file, divided into as much as it holds.
    ///
    /// # Errors
    /// As [`Keeper::divide`].
    pub fn adopt(memory: OwnedFd, bells: Option<u32>) -> io::Result<Self> {
        Self::divide(memory, bells, SLOTS_MAX as usize)
    }

    /// Begins to keep a memory file, divided into `slots_max` slots, if it holds so many. Clients
    /// of an earlier host that are still there are told that it is over, and hold their slots until
    /// they let go.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` if the memory holds no slot.
    pub fn divide(memory: OwnedFd, bells: Option<u32>, slots_max: usize) -> io::Result<Self> {
        let bytes = u64::try_from(rustix::fs::fstat(&memory)?.st_size).unwrap_or(0);
        let board = Board::of(bytes, bells, slots_max).ok_or(io::ErrorKind::InvalidInput)?;
        let slots = (0..board.slots).map(|_| None).collect();
        let head = vec![0; BOARD_BYTES].into();
        let mut keeper = Self { memory, board, slots, head, beat: 0, silence: SILENCE };
        keeper.look()?;
        let words = board.words();
        // Divided otherwise it is another machine's start, whose processes are no more.
        if words[..5].iter().enumerate().any(|(at, word)| keeper.word(8 * at) != *word) {
            keeper.write(0, &[0; BOARD_BYTES])?;
        }
        // The magic last: who finds it finds all.
        for (at, word) in words.into_iter().enumerate().rev() {
            keeper.write(8 * at as u64, &word.to_le_bytes())?;
        }
        Ok(keeper)
    }

    /// Sets how long a client's beat may stand still.
    pub fn limit_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// How the memory is divided.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Says how many slots somebody claims.
    pub fn claimed(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Looks at all slots, and lets the guest see that the host lives.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` if the memory was shortened.
    pub fn turn(&mut self, now: Instant) -> io::Result<Vec<Change>> {
        self.look()?;
        // From what stands there: guests notice a new host that begins to count anew only if the
        // numbers differ.
        self.beat = self.word(HOST_BEAT).wrapping_add(1);
        self.write(HOST_BEAT as u64, &self.beat.to_le_bytes())?;
        let mut changes = Vec::new();
        for number in 0..self.slots.len() {
            changes.extend(self.turn_one(number, now)?);
        }
        self.end_other_boots(&changes);
        Ok(changes)
    }

    /// Makes a ring in the slot of a client that waits, so that a worker may begin.
    ///
    /// # Errors
    /// What the system says.
    pub fn prepare(&mut self, number: usize) -> io::Result<Place> {
        let (ring, offset) = (self.board.ring, self.board.place(number));
        self.write(offset, &ring.without_bulk().head(0, false))?;
        let (lane_bytes, bulk_bytes) = (ring.lane_bytes(), ring.bulk_bytes());
        Ok(Place { offset, lane_bytes, bulk_bytes })
    }

    /// Grants a prepared slot to the client that waits there.
    ///
    /// # Errors
    /// What the system says.
    pub fn grant(&mut self, number: usize) -> io::Result<()> {
        self.answer(number, State::Granted)
    }

    /// Refuses the client that waits in a slot: it reads `frame` and then the end. One longer than
    /// a lane is cut.
    ///
    /// # Errors
    /// What the system says.
    pub fn refuse(&mut self, number: usize, frame: &[u8]) -> io::Result<()> {
        let (ring, offset) = (self.board.ring, self.board.place(number));
        let said = (frame.len() as u64).min(ring.lane_bytes());
        self.write(offset + HEAD_BYTES as u64, &frame[..said as usize])?;
        self.write(offset, &ring.head(said, true))?;
        self.answer(number, State::Over)
    }

    /// Ends a slot that was granted and that no worker uses any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn end(&mut self, number: usize) -> io::Result<()> {
        if let Some(slot) = self.slots[number].as_mut() {
            slot.state = State::Over;
            self.close(number)?;
        }
        Ok(())
    }

    /// Tells a client that its claim is heard; one that does not wait is told nothing.
    fn answer(&mut self, number: usize, state: State) -> io::Result<()> {
        let Some(slot) = self.slots[number].as_mut() else { return Ok(()) };
        slot.state = state;
        let claim = slot.claim;
        self.write(word(number, Word::Granted) as u64, &claim.to_le_bytes())
    }

    fn close(&self, number: usize) -> io::Result<()> {
        self.write(self.board.place(number) + CLOSED_BY_HOST as u64, &1_u64.to_le_bytes())
    }

    fn turn_one(&mut self, number: usize, now: Instant) -> io::Result<Option<Change>> {
        let [claim, ready, boot, beat, granted] =
            [Word::Claim, Word::Ready, Word::Boot, Word::Beat, Word::Granted]
                .map(|name| self.word(word(number, name)));
        let slot = match &mut self.slots[number] {
            Some(slot) => slot,
            None if claim == 0 => return Ok(None),
            // Void or not, it passes through the same states. What it wants is in this look
            // already: a guest that rings does so once.
            free => {
                let (claim, state) = (claim & !VOID, State::Claimed);
                free.insert(Slot { claim, boot: 0, beat, moved: now, state })
            }
        };
        if slot.beat != beat {
            (slot.beat, slot.moved) = (beat, now);
        }
        let lives = claim == slot.claim && stands(claim) && now - slot.moved < self.silence;
        match slot.state {
            State::Claimed if lives && ready == claim => {
                slot.boot = boot;
                // Of an earlier host of this memory: its worker is gone.
                if granted == claim {
                    slot.state = State::Over;
                    return self.close(number).map(|()| None);
                }
                slot.state = State::Waits;
                Ok(Some(Change::Came(number)))
            }
            State::Granted if !lives => {
                slot.state = State::Gone;
                Ok(Some(Change::Gone(number)))
            }
            State::Claimed | State::Waits | State::Over if !lives => {
                self.free(number).map(|()| None)
            }
            _ => Ok(None),
        }
    }

    /// Makes a slot one that can be claimed.
    fn free(&mut self, number: usize) -> io::Result<()> {
        self.slots[number] = None;
        for name in [Word::Ready, Word::Boot, Word::Beat, Word::Granted, Word::Claim] {
            self.write(word(number, name) as u64, &[0; 8])?;
        }
        Ok(())
    }

    /// A machine that was started anew has no clients of before, and nobody could say so.
    fn end_other_boots(&mut self, changes: &[Change]) {
        let mut came = changes.iter().filter_map(|change| match change {
            Change::Came(number) => self.slots[*number].as_ref().map(|slot| slot.boot),
            Change::Gone(_) => None,
        });
        let Some(boot) = came.rfind(|boot| *boot != 0) else { return };
        let others = self.slots.iter_mut().flatten().filter(|slot| slot.boot != 0);
        for slot in others.filter(|slot| slot.boot != boot) {
            // No claim that stands is like it.
            slot.claim = 0;
        }
    }

    fn look(&mut self) -> io::Result<()> {
        match rustix::io::pread(&self.memory, &mut self.head[..], 0)? {
            BOARD_BYTES => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// A word of the head as the last look found it.
    fn word(&self, at: usize) -> u64 {
        let bytes: [u8; 8] = self.head[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        // Guests see what is written before in no other order.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        match rustix::io::pwrite(&self.memory, bytes, at)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}
