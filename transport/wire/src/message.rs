//! What every message is.

use crate::codec::{Malformed, Reader, Writer};

/// A message's fields as a payload.
pub trait Payload: Sized {
    /// Appends the fields.
    fn write(&self, writer: &mut Writer<'_>);
    /// Reads and checks the fields.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Writes a whole payload.
    fn to_payload(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        self.write(&mut Writer::new(&mut payload));
        payload
    }

    /// Reads a whole payload: what follows the fields is an error.
    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let message = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(message)
    }
}

impl Payload for () {
    fn write(&self, _: &mut Writer<'_>) {}

    fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

/// A payload that asks for something. Its bulk part, if it has one, travels beside it.
pub trait Request: Payload {
    /// Names the message on the wire; unique over all requests.
    const OPCODE: u32;
    /// The answer's fields; `()` where only a status comes back.
    type Reply: Payload;
}
