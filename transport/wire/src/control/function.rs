//! Functions of the guest's program that streams run.

use crate::codec::{Malformed, Reader, Writer};
use crate::control::opcode;
use crate::message::{Payload, Request};

/// Says which function has returned, and asks which is due next; answered when one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextFunction {
    /// Number of the function that has returned; 0 for none.
    pub done: u64,
}

impl Payload for NextFunction {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u64(self.done);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { done: reader.u64()? })
    }
}

impl Request for NextFunction {
    const OPCODE: u32 = opcode::NEXT_FUNCTION;
    type Reply = DueFunction;
}

/// A function that a stream has come to, and waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueFunction {
    /// Number that the guest gave the function.
    pub ticket: u64,
    /// The stream's result code, for functions that are told it.
    pub status: u32,
}

impl Payload for DueFunction {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u64(self.ticket);
        writer.u32(self.status);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { ticket: reader.u64()?, status: reader.u32()? })
    }
}
