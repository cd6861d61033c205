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

    /// Returns the number of this request: [`Request::OPCODE`], but for one that is [`Encoded`].
    fn opcode(&self) -> u32 {
        Self::OPCODE
    }
}

/// Fields of another library's message, already encoded, which are passed on unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(pub Vec<u8>);

impl Payload for Fields {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.fixed(&self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self(reader.rest().to_vec()))
    }
}

/// A request of another library, which knows its fields and those of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its number.
    pub opcode: u32,
    /// Its fields.
    pub fields: Fields,
}

impl Payload for Encoded {
    fn write(&self, writer: &mut Writer<'_>) {
        self.fields.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { opcode: Self::OPCODE, fields: Fields::read(reader)? })
    }
}

impl Request for Encoded {
    // No message has it; `opcode` names the one that this is.
    const OPCODE: u32 = 0;
    type Reply = Fields;

    fn opcode(&self) -> u32 {
        self.opcode
    }
}
