//! A model of the original PCI device, register by register: what its emulator does with every
//! access, and with its socket. Written from the description of the device, not from its code.

mod polled;
pub mod socket;
pub mod tunnel;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_link::pci::original::Registers;

#[allow(unused_imports, reason = "not all tests that share the model run programs over it")]
pub use polled::{Polled, show};
use socket::Connection;

const WINDOW: usize = 8 << 20;
const DATA_BYTES: usize = 2 * WINDOW;
const INLINE_BYTES: usize = 1024;

/// Values of STATUS.
pub const IDLE: u32 = 0;
pub const BUSY: u32 = 1;
pub const DONE: u32 = 2;
pub const ERROR: u32 = 3;

/// The device of one virtual machine; clones are the same device.
#[derive(Debug, Clone)]
pub struct Model(Arc<Mutex<Board>>);

impl Model {
    /// A device as after a reset, whose emulator connects to `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self(Arc::new(Mutex::new(Board::new(socket))))
    }

    /// The device's state, for a test to look at or to spoil.
    pub fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registers for Model {
    fn read32(&self, at: u32) -> u32 {
        self.board().read(at)
    }

    fn write32(&self, at: u32, value: u32) {
        self.board().write(at, value);
    }

    fn put(&self, data: &[u8]) {
        let mut board = self.board();
        for (at, chunk) in data.chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            board.write_data(8 * at, bytes);
        }
    }

    fn take(&self, into: &mut [u8]) {
        let mut board = self.board();
        for (at, chunk) in into.chunks_mut(8).enumerate() {
            let bytes = board.read_data(WINDOW + 8 * at);
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The device's state.
#[derive(Debug)]
pub struct Board {
    pub status: u32,
    pub error_code: u32,
    pub version: u32,
    pub capabilities: u32,
    /// Set once the device is taken away: every read is all ones.
    pub is_gone: bool,
    /// While set, the bell is not decoded, as in an older emulator.
    pub is_deaf: bool,
    /// While set, STATUS is stuck at what it was before the call, as some guests saw it.
    pub hides_done: bool,
    /// Memory that a program has registered, while it is.
    pub shared_memory: Option<Vec<u8>>,
    /// How many calls were begun.
    pub calls: u32,
    /// How many calls brought their data by the second region.
    pub bulk_calls: u32,
    request_len: u32,
    response_len: u32,
    irq: [u32; 2],
    request_id: u32,
    scratch: u32,
    /// 080 to 08C: the call; then its arguments.
    call: [u32; 4],
    args: [u32; 16],
    /// 0F0 to 0F8.
    result: [u32; 3],
    results: [u64; 8],
    legacy: [u8; 0x40],
    request: Vec<u8>,
    response: Vec<u8>,
    memory: [u32; 3],
    data: Vec<u8>,
    connection: Connection,
}

impl Board {
    fn new(socket: PathBuf) -> Self {
        Self {
            status: IDLE,
            error_code: 0,
            version: 0x0001_0000,
            capabilities: 0x71,
            is_gone: false,
            is_deaf: false,
            hides_done: false,
            shared_memory: None,
            calls: 0,
            bulk_calls: 0,
            request_len: 0,
            response_len: 0,
            irq: [0; 2],
            request_id: 0,
            scratch: 0,
            call: [0; 4],
            args: [0; 16],
            result: [0; 3],
            results: [0; 8],
            legacy: [0; 0x40],
            request: vec![0; INLINE_BYTES],
            response: vec![0; INLINE_BYTES],
            memory: [0; 3],
            data: vec![0; DATA_BYTES],
            // The first try, when the machine is made.
            connection: Connection::to(socket),
        }
    }

    /// Reads a register, after the emulator has looked at its socket.
    pub fn read(&mut self, at: u32) -> u32 {
        if self.is_gone {
            return u32::MAX;
        }
        self.look();
        let index = at as usize / 4;
        match at {
            // The first of overlapping ranges decides.
            0x000..=0x03f => self.control(at),
            0x080..=0x08c => self.call[index - 0x20],
            0x0b0..=0x0ef => self.args[index - 0x2c],
            0x0f0..=0x0f8 => self.result[index - 0x3c],
            0x090..=0x0af | 0x0fc..=0x0ff => 0,
            0x100..=0x4ff => word(&self.request, at as usize - 0x100),
            0x040..=0x07f => word(&self.legacy, at as usize - 0x040),
            0x500..=0x8ff => word(&self.response, at as usize - 0x500),
            0x900..=0x93f => {
                let result = self.results[(at as usize - 0x900) / 8];
                (result >> (8 * (at & 4))) as u32
            }
            0x940..=0x948 => self.memory[index - 0x250],
            0x94c => self.shared_memory.is_some().into(),
            _ => 0,
        }
    }

    fn control(&self, at: u32) -> u32 {
        match at {
            0x004 if self.hides_done && self.status != ERROR => IDLE,
            0x004 => self.status,
            0x008 => u32::from(b'A'),
            0x00c => 1,
            0x014 => self.error_code,
            0x018 => self.request_len,
            0x01c => self.response_len,
            0x020 => self.version,
            0x024 => self.capabilities,
            0x028 => self.irq[0],
            0x02c => self.irq[1],
            0x030 => self.request_id,
            0x03c => self.scratch,
            _ => 0,
        }
    }

    /// Writes a register; those that are read-only stay as they are.
    pub fn write(&mut self, at: u32, value: u32) {
        let index = at as usize / 4;
        match at {
            0x018 => self.request_len = value,
            0x028 => self.irq[0] = value & 1,
            0x02c => self.irq[1] &= !(value & 1),
            0x030 => self.request_id = value,
            0x03c => self.scratch = value,
            0x088 => self.call[2] = value.min(16),
            0x080..=0x08c => self.call[index - 0x20] = value,
            0x0b0..=0x0ef => self.args[index - 0x2c] = value,
            0x000 if value == 1 => self.legacy_bell(),
            0x0a8 if value == 1 && !self.is_deaf => self.bell(),
            0x090..=0x0af | 0x0f0..=0x0ff => {}
            0x100..=0x4ff => put_word(&mut self.request, at as usize - 0x100, value),
            0x040..=0x07f => put_word(&mut self.legacy, at as usize - 0x040, value),
            0x940..=0x948 => self.memory[index - 0x250] = value,
            0x94c => self.register(value),
            _ => {}
        }
    }

    /// Reads eight bytes of data; the very last four are STATUS.
    pub fn read_data(&mut self, at: usize) -> [u8; 8] {
        if self.is_gone {
            return [u8::MAX; 8];
        }
        self.look();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.data[at..at + 8]);
        if at + 8 == DATA_BYTES {
            bytes[4..].copy_from_slice(&self.control(0x004).to_le_bytes());
        }
        bytes
    }

    /// Writes eight bytes of data.
    pub fn write_data(&mut self, at: usize, bytes: [u8; 8]) {
        self.data[at..at + 8].copy_from_slice(&bytes);
    }

    fn register(&mut self, value: u32) {
        match value {
            0 => {
                self.shared_memory = None;
                self.status = DONE;
            }
            // The model has no guest memory to map: as a failed mapping.
            _ => self.fail(1),
        }
    }

    fn fail(&mut self, code: u32) {
        (self.status, self.error_code) = (ERROR, code);
    }

    fn begin(&mut self) {
        assert_ne!(self.status, BUSY, "the bell was rung while a call was under way");
        self.calls += 1;
        (self.status, self.error_code, self.response_len) = (BUSY, 0, 0);
        (self.result, self.results) = ([0; 3], [0; 8]);
        self.response.fill(0);
    }

    fn bell(&mut self) {
        self.begin();
        let [op, sequence, count, bytes] = self.call;
        let length = bytes as usize;
        let source = match &self.shared_memory {
            _ if length <= INLINE_BYTES => &self.request,
            // What makes an old registration harmful.
            Some(memory) if memory.iter().take(512).any(|byte| *byte != 0) => memory,
            _ => &self.data,
        };
        let Some(data) = source.get(..length).filter(|_| length <= WINDOW) else {
            return self.fail(2);
        };
        self.bulk_calls += u32::from(length > INLINE_BYTES);
        let owner = self.scratch & 0x00ff_ffff;
        let mut payload = Vec::with_capacity(88 + length);
        let words = [socket::MAGIC, op, sequence, owner, count, bytes];
        words.iter().chain(&self.args).for_each(|word| payload.extend(word.to_le_bytes()));
        payload.extend(data);
        if !self.connection.send(socket::CALL, &payload) {
            self.fail(3);
        }
    }

    fn legacy_bell(&mut self) {
        self.begin();
        let length = self.request_len as usize;
        // What the overlap leaves of it: 040 to 07F, then the other buffer.
        let bytes = [&self.legacy[..], &self.request[..INLINE_BYTES - 0x40]].concat();
        match bytes.get(..length) {
            None | Some([]) => self.fail(9),
            Some(bytes) if self.connection.send(socket::REQUEST, bytes) => {}
            Some(_) => self.fail(3),
        }
    }

    /// Deals with what has come by the socket.
    fn look(&mut self) {
        while let Some(event) = self.connection.look() {
            if self.status != BUSY {
                continue;
            }
            match event {
                socket::Event::Ended => self.fail(3),
                socket::Event::Busy => self.fail(0xa),
                socket::Event::Quarantined => self.fail(0xb),
                socket::Event::Response(status) => match status {
                    0 => (self.status, self.response_len) = (DONE, 32),
                    code @ (7 | 0xa | 0xb) => self.fail(code),
                    _ => self.fail(5),
                },
                socket::Event::Result { status, results, data } => {
                    self.finish(status, &results, &data);
                }
            }
        }
    }

    fn finish(&mut self, status: u32, results: &[u64], data: &[u8]) {
        let count = results.len().min(8);
        self.results[..count].copy_from_slice(&results[..count]);
        self.result = [status, count as u32, data.len() as u32];
        let place = match data.len() <= INLINE_BYTES {
            true => &mut self.response[..],
            false => &mut self.data[WINDOW..DATA_BYTES - 4],
        };
        let kept = data.len().min(place.len());
        place[..kept].copy_from_slice(&data[..kept]);
        self.response_len = 1;
        match status {
            0 => self.status = DONE,
            _ => self.fail(5),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().expect("four")))
}

fn put_word(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
