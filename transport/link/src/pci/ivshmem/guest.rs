//! A guest's end: claims a slot of the device's memory and waits to be served.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use vgpu_ring::slots::{BOARD_BYTES, Board, Word, word};
use vgpu_ring::{Area, Bells, Duplex, Region, RingError, Side, Woken};

use super::bell::{GuestBell, Pulse, Register};
use super::life::Life;
use super::pinned::{Pinned, map_slot};
use crate::pci::Device;
use crate::wire::control::Refusal;
use crate::wire::header::VERSION;
use crate::{LinkError, Stream, Uri};

/// The device's regions: its registers, and its memory.
const REGISTERS: usize = 0;
const MEMORY: usize = 2;

/// Where the register lies that rings a peer: its number above, the vector below 2^16 (QEMU's
/// ivshmem specification, "Device registers").
const DOORBELL: usize = 12;

/// The registers are mapped by their page.
const PAGE_BYTES: usize = 4096;

/// A guest's end of the ring in a slot, which it has until this is dropped.
#[derive(Debug)]
pub struct SlotStream {
    // First, for the slot is another's after the second.
    ring: Duplex<GuestBell>,
    pinned: Pinned,
    _life: Life,
}

impl Stream for SlotStream {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        self.ring.read(into, limit)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        self.ring.write(parts, limit)
    }

    fn close(&self) {
        self.ring.close();
    }

    fn settle(&self) -> Result<(), LinkError> {
        self.pinned.settle()
    }

    fn area(&self) -> Option<Area> {
        self.pinned.area()
    }
}

/// Opens a device and claims a slot, all before `limit`.
///
/// # Errors
/// Those of [`crate::pci::connect`].
pub fn connect(device: &Device, limit: Instant) -> Result<SlotStream, LinkError> {
    let uri = Uri::Pci(Some(device.address)).to_string();
    open(device, &uri).and_then(|opened| opened.claim(&uri, limit))
}

/// A device whose memory a host has prepared.
struct Opened {
    memory: File,
    head: Region,
    board: Board,
    registers: Option<(Region, usize)>,
}

/// Maps what all clients share.
fn open(device: &Device, uri: &str) -> Result<Opened, LinkError> {
    let opening = |source| LinkError::Pci { uri: uri.to_owned(), source: Box::new(source) };
    let map = |file: &File, region: usize, bytes: usize| {
        let mapped = Region::map(file, bytes);
        mapped.map_err(|error| opening(device.not_mapped(region, error.into())))
    };
    let memory = device.open(MEMORY).map_err(opening)?;
    let bytes = memory.metadata().map_err(io_error("asking for the memory's length"))?.len();
    if bytes < BOARD_BYTES as u64 {
        return Err(refused(uri, "its memory is too small for a slot"));
    }
    let head = map(&memory, MEMORY, BOARD_BYTES)?;
    let board = Board::read(&head, bytes).map_err(|error| match error {
        RingError::Header { field: "magic", found: 0, .. } => {
            refused(uri, "no host has prepared its memory")
        }
        error => LinkError::Io { verb: "reading what the host wrote", source: error.into() },
    })?;
    let registers = board.bells.map(|_| {
        let file = device.open(REGISTERS).map_err(opening)?;
        let page = map(&file, REGISTERS, PAGE_BYTES)?;
        Ok::<_, LinkError>((page, device.regions[REGISTERS].page_offset + DOORBELL))
    });
    Ok(Opened { memory, head, board, registers: registers.transpose()? })
}

impl Opened {
    /// What rings the peer that is `further` behind the one for claims.
    fn register(&self, further: usize) -> Option<Register> {
        let (page, offset) = self.registers.clone()?;
        let value = (self.board.bells? + further as u32) << 16;
        Some(Register { page, offset, value })
    }

    fn claim(self, uri: &str, limit: Instant) -> Result<SlotStream, LinkError> {
        let Self { memory, head, board, .. } = &self;
        let life = Life::begin(head, board).map_err(io_error("claiming a slot"))?;
        let Some(life) = life else {
            let text = format!("all {} slots of the device are taken", board.slots);
            return Err(LinkError::Refused { refusal: Refusal::Full, version: VERSION, text });
        };
        let at = |name| word(life.slot, name);
        head.store(at(Word::Boot), boot(), Ordering::Relaxed);
        head.store(at(Word::Ready), life.claim, Ordering::Release);
        self.register(0).iter().for_each(Register::ring);
        let pulse = Pulse::new(head);
        let mut granted = || head.load(at(Word::Granted), Ordering::Acquire) == life.claim;
        match pulse.wait(Some(limit), &mut granted) {
            Ok(Woken::Rung) => {}
            Ok(Woken::Gone) => return Err(refused(uri, "the host does not live any more")),
            Err(_) => return Err(LinkError::TimedOut),
        }
        let place = board.place(life.slot);
        let (region, layout) = map_slot(board.ring, |bytes| Region::map_at(memory, place, bytes))?;
        let bell = GuestBell { pulse: Arc::new(pulse), register: self.register(1 + life.slot) };
        let bells = Bells { data: bell.clone(), room: bell };
        let ring = Duplex::new(&region, &layout.without_bulk(), Side::Guest, bells);
        Ok(SlotStream { ring, pinned: Pinned::new(&region, &layout), _life: life })
    }
}

/// A number that all processes of one start of this kernel share, and no other (random(4)). Where
/// it cannot be read it is 0, which says nothing.
fn boot() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

fn refused(uri: &str, why: &'static str) -> LinkError {
    let source = io::Error::new(io::ErrorKind::ConnectionRefused, why);
    LinkError::Connect { uri: uri.to_owned(), source }
}

fn io_error(verb: &'static str) -> impl FnOnce(io::Error) -> LinkError {
    move |source| LinkError::Io { verb, source }
}
