//! The frame header, and the limits of a frame.

use crate::codec::{Malformed, Reader, Writer};

/// Version of the wire format. A peer of another version is refused in the handshake.
pub const VERSION: u16 = 1;

/// Bytes of an encoded header.
pub const HEADER_BYTES: usize = 32;

/// Largest payload: 1 MiB. The largest message is a snapshot of 64 devices with 256 attributes
/// each (about 80 KiB); kernel parameters end at 32,764 bytes (CUDA Programming Guide).
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Largest bulk part of a frame: 8 MiB. Longer copies travel as several frames.
pub const BULK_BYTES_MAX: usize = 8 << 20;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request that is answered by a reply with the same sequence number.
    Call,
    /// A request that is not answered; its error is reported at a later synchronising call.
    Post,
    /// The answer to a call.
    Reply,
}

/// Stands before every frame: 32 bytes.
///
/// | offset | width | field |
/// |---|---|---|
/// | 0 | u32 | payload_bytes |
/// | 4 | u32 | bulk_bytes |
/// | 8 | u32 | opcode |
/// | 12 | u32 | sequence |
/// | 16 | u64 | context |
/// | 24 | u32 | thread |
/// | 28 | u16 | status |
/// | 30 | u8 | kind |
/// | 31 | u8 | reserved, 0 |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Names the message; a reply repeats its call's.
    pub opcode: u32,
    /// Counts the requests of a connection from 0, wrapping; a reply repeats its call's.
    pub sequence: u32,
    /// Handle of the calling thread's current context; 0 for none.
    pub context: u64,
    /// Number of the calling guest thread, for the per-thread default stream.
    pub thread: u32,
    /// Result code of the called library in a reply (its fields stand only with 0); else 0.
    pub status: u16,
    /// Length of the payload in bytes.
    pub payload_bytes: u32,
    /// Length of the bulk part in bytes.
    pub bulk_bytes: u32,
}

impl Header {
    /// Makes a header without context, status or sizes; a link fills in the sizes.
    pub fn new(kind: Kind, opcode: u32) -> Self {
        Self {
            kind,
            opcode,
            sequence: 0,
            context: 0,
            thread: 0,
            status: 0,
            payload_bytes: 0,
            bulk_bytes: 0,
        }
    }

    /// Encodes the header.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        let mut writer = Writer::new(&mut out);
        writer.u32(self.payload_bytes);
        writer.u32(self.bulk_bytes);
        writer.u32(self.opcode);
        writer.u32(self.sequence);
        writer.u64(self.context);
        writer.u32(self.thread);
        writer.u16(self.status);
        writer.u8(match self.kind {
            Kind::Call => 0,
            Kind::Post => 1,
            Kind::Reply => 2,
        });
        writer.u8(0);
        out.try_into().expect("the fields above add up to HEADER_BYTES")
    }

    /// Decodes and checks a header: kind known, sizes within the limits, reserved byte 0.
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let limited = |reader: &mut Reader<'_>, max: usize| {
            let malformed = reader.malformed("a size within the frame's limits");
            let size = reader.u32()?;
            if size as usize > max { Err(malformed) } else { Ok(size) }
        };
        let payload_bytes = limited(&mut reader, PAYLOAD_BYTES_MAX)?;
        let bulk_bytes = limited(&mut reader, BULK_BYTES_MAX)?;
        let opcode = reader.u32()?;
        let sequence = reader.u32()?;
        let context = reader.u64()?;
        let thread = reader.u32()?;
        let status = reader.u16()?;
        let malformed = reader.malformed("a frame kind of 0, 1 or 2, then 0");
        let kind = match (reader.u8()?, reader.u8()?) {
            (0, 0) => Kind::Call,
            (1, 0) => Kind::Post,
            (2, 0) => Kind::Reply,
            _ => return Err(malformed),
        };
        reader.finish()?;
        Ok(Self { kind, opcode, sequence, context, thread, status, payload_bytes, bulk_bytes })
    }
}
