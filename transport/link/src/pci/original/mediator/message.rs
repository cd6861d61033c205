//! The messages between emulator and mediator: packed, little-endian.

use crate::pci::original::tunnel;

/// What every header begins with: "VGPU".
const MAGIC: u32 = 0x5647_5055;

/// Bytes of a message's header.
pub(super) const HEADER_BYTES: usize = 24;

/// Bytes of a call's or an answer's own header, which begins the payload.
pub(super) const CALL_BYTES: usize = 88;

/// Most bytes behind a header: a call with the 8 MiB that fit into the device's window.
const PAYLOAD_BYTES_MAX: u32 = CALL_BYTES as u32 + (8 << 20);

/// Most arguments of a call.
const ARGS_MAX: usize = 16;

/// Kinds of messages.
pub(super) mod kind {
    /// A request of the older kind.
    pub const REQUEST: u32 = 1;
    /// Its answer.
    pub const RESPONSE: u32 = 2;
    /// Asks whether somebody is there.
    pub const PING: u32 = 3;
    /// Answers that.
    pub const PONG: u32 = 4;
    /// A call.
    pub const CALL: u32 = 0x10;
    /// A call's answer.
    pub const RESULT: u32 = 0x11;
}

/// The emulator sent what no emulator sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbage;

/// A message's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: u32,
    /// Machine, request, pool and priority: the emulator's own, and echoed.
    echoed: [u8; 12],
    pub payload_bytes: u32,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Header {
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Garbage> {
        let (kind, payload_bytes) = (word(bytes, 4), word(bytes, 20));
        if word(bytes, 0) != MAGIC || payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(Garbage);
        }
        if kind == kind::CALL && (payload_bytes as usize) < CALL_BYTES {
            return Err(Garbage);
        }
        let mut echoed = [0; 12];
        echoed.copy_from_slice(&bytes[8..20]);
        Ok(Self { kind, echoed, payload_bytes })
    }

    /// Writes the header of an answer to the message of this one.
    pub fn answer(&self, kind: u32, payload_bytes: usize, into: &mut Vec<u8>) {
        into.extend(MAGIC.to_le_bytes());
        into.extend(kind.to_le_bytes());
        into.extend(self.echoed);
        into.extend((payload_bytes as u32).to_le_bytes());
    }
}

/// A call's own header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub id: u32,
    sequence: u32,
    count: usize,
    args: [u32; ARGS_MAX],
}

impl Call {
    /// Reads it; `payload_bytes` is what the message's header says.
    pub fn parse(bytes: &[u8; CALL_BYTES], payload_bytes: u32) -> Result<Self, Garbage> {
        let (count, data_bytes) = (word(bytes, 16) as usize, word(bytes, 20));
        let fits = data_bytes.checked_add(CALL_BYTES as u32) == Some(payload_bytes);
        if word(bytes, 0) != MAGIC || count > ARGS_MAX || !fits {
            return Err(Garbage);
        }
        let args = std::array::from_fn(|at| word(bytes, 24 + 4 * at));
        Ok(Self { id: word(bytes, 4), sequence: word(bytes, 8), count, args })
    }

    pub fn args(&self) -> &[u32] {
        &self.args[..self.count]
    }

    /// Writes the answer, whole.
    pub fn answer(
        &self,
        header: &Header,
        status: u32,
        results: &[u64],
        data: &[u8],
        into: &mut Vec<u8>,
    ) {
        debug_assert!(results.len() <= 8 && data.len() <= tunnel::BYTES_MAX);
        header.answer(kind::RESULT, CALL_BYTES + data.len(), into);
        let words = [MAGIC, self.sequence, status, results.len() as u32, data.len() as u32, 0];
        words.iter().for_each(|word| into.extend(word.to_le_bytes()));
        let all = results.iter().chain(std::iter::repeat(&0)).take(8);
        all.for_each(|result| into.extend(result.to_le_bytes()));
        into.extend(data);
    }
}

/// Answers a request of the older kind: its version, and that it is not supported.
pub(super) fn refuse_request(header: &Header, version: u32, into: &mut Vec<u8>) {
    const UNSUPPORTED: u32 = 8;
    header.answer(kind::RESPONSE, 32, into);
    let words = [version, UNSUPPORTED, 0, 0, 0, 0, 0, 0];
    words.iter().for_each(|word| into.extend(word.to_le_bytes()));
}
