//! Memory contents that the host copied for the guest behind a stream's work.

use crate::codec::{Malformed, Reader, Writer};
use crate::control::opcode;
use crate::header::BULK_BYTES_MAX;
use crate::limits::COLLECTED_MAX;
use crate::message::{Payload, Request};

/// Asks for the contents of copies that are complete, as many as a frame holds. Sent right behind
/// a call that waits for the copies, so that both together cost one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collect;

impl Payload for Collect {
    fn write(&self, _: &mut Writer<'_>) {}

    fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

impl Request for Collect {
    const OPCODE: u32 = opcode::COLLECT;
    type Reply = Collected;
}

/// One complete copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Number that the guest gave the copy.
    pub ticket: u64,
    /// Bytes of it in the bulk part; 0 if the copy could not be made.
    pub bytes: u32,
}

/// Copies that are complete; their contents are the bulk part, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The copies, at most [`COLLECTED_MAX`] and a frame's bulk part together.
    pub deliveries: Vec<Delivery>,
    /// Whether others are complete already, to be asked for at once.
    pub has_more: bool,
}

impl Payload for Collected {
    fn write(&self, writer: &mut Writer<'_>) {
        assert!(self.deliveries.len() <= COLLECTED_MAX, "a reply holds at most 4,096 copies");
        writer.u8(u8::from(self.has_more));
        writer.count(self.deliveries.len());
        for delivery in &self.deliveries {
            writer.u64(delivery.ticket);
            writer.u32(delivery.bytes);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = reader.malformed("0 or 1");
        let has_more = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(malformed),
        };
        let mut left = BULK_BYTES_MAX as u32;
        let mut deliveries = Vec::new();
        for _ in 0..reader.count(COLLECTED_MAX)? {
            let ticket = reader.u64()?;
            let malformed = reader.malformed("no more bytes than a bulk part holds");
            let bytes = reader.u32()?;
            left = left.checked_sub(bytes).ok_or(malformed)?;
            deliveries.push(Delivery { ticket, bytes });
        }
        Ok(Self { deliveries, has_more })
    }
}
