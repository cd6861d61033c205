//! The first and the last frames of a connection.

use crate::codec::{Malformed, Reader, Writer};
use crate::control::opcode;
use crate::header::VERSION;
use crate::limits::{EXE_BYTES_MAX, SENTENCE_BYTES_MAX, VERSION_BYTES_MAX};
use crate::message::{Payload, Request};
use crate::text::Text;

/// Opens every `Hello`: a peer that begins otherwise does not speak this protocol.
pub const MAGIC: [u8; 4] = *b"VGPU";

/// Says what kind of program connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A process with our shims in it.
    Guest,
    /// A tool that only looks, such as `vgpu-smi` or a probe.
    Observer,
}

/// Introduces a guest to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Kind of program.
    pub role: Role,
    /// Process id as the guest sees itself; shown by NVML, never trusted for access.
    pub pid: u32,
    /// File name of the program, for logs and NVML's process list.
    pub exe: Text<EXE_BYTES_MAX>,
}

impl Hello {
    /// Reads the version of a `Hello` of any version.
    ///
    /// # Errors
    /// [`Malformed`] at byte 0 if the payload does not begin with [`MAGIC`], at byte 4 if it ends
    /// before the version.
    pub fn version(payload: &[u8]) -> Result<u16, Malformed> {
        let mut reader = Reader::new(payload);
        magic(&mut reader)?;
        reader.u16()
    }
}

fn magic(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let malformed = reader.malformed("the magic bytes VGPU");
    if reader.fixed().map_err(|_| malformed)? == MAGIC { Ok(()) } else { Err(malformed) }
}

impl Payload for Hello {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.fixed(&MAGIC);
        writer.u16(VERSION);
        writer.u8(match self.role {
            Role::Guest => 0,
            Role::Observer => 1,
        });
        writer.u32(self.pid);
        self.exe.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        magic(reader)?;
        let malformed = reader.malformed("this version of the wire format");
        if reader.u16()? != VERSION {
            return Err(malformed);
        }
        let malformed = reader.malformed("a role of 0 or 1");
        let role = match reader.u8()? {
            0 => Role::Guest,
            1 => Role::Observer,
            _ => return Err(malformed),
        };
        Ok(Self { role, pid: reader.u32()?, exe: Text::read(reader)? })
    }
}

impl Request for Hello {
    const OPCODE: u32 = opcode::HELLO;
    type Reply = Welcome;
}

/// Accepts a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Version of the host's program, such as `0.1.0`.
    pub host_version: Text<VERSION_BYTES_MAX>,
    /// Differs between two starts of the host: handles of another epoch mean nothing.
    pub epoch: u64,
    /// Number of this connection within the epoch, as the host's log names it.
    pub session: u64,
}

impl Payload for Welcome {
    fn write(&self, writer: &mut Writer<'_>) {
        self.host_version.write(writer);
        writer.u64(self.epoch);
        writer.u64(self.session);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { host_version: Text::read(reader)?, epoch: reader.u64()?, session: reader.u64()? })
    }
}

/// Says why the host does not accept a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The guest speaks another version of the wire format.
    Version,
    /// The host serves as many clients as it may.
    Full,
    /// The first frame was no valid `Hello`.
    Malformed,
    /// The host's device does not answer.
    NoDevice,
    /// The host serves named tenants, and the guest is none of them.
    Stranger,
}

/// Turns a guest away; the connection ends. Its layout is the same in every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Version of the wire format that the host speaks.
    pub version: u16,
    /// The reason, for programs.
    pub refusal: Refusal,
    /// The reason and the remedy, for people.
    pub text: Text<SENTENCE_BYTES_MAX>,
}

impl Payload for Refused {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u16(self.version);
        writer.u8(match self.refusal {
            Refusal::Version => 0,
            Refusal::Full => 1,
            Refusal::Malformed => 2,
            Refusal::NoDevice => 3,
            Refusal::Stranger => 4,
        });
        self.text.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let version = reader.u16()?;
        let malformed = reader.malformed("a refusal of 0 to 4");
        let refusal = match reader.u8()? {
            0 => Refusal::Version,
            1 => Refusal::Full,
            2 => Refusal::Malformed,
            3 => Refusal::NoDevice,
            4 => Refusal::Stranger,
            _ => return Err(malformed),
        };
        Ok(Self { version, refusal, text: Text::read(reader)? })
    }
}

/// Says why a side ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is left to do.
    Done,
    /// The sender is being stopped.
    Stopping,
    /// A frame or a message could not be understood.
    Malformed,
    /// A frame announced more than the limits allow.
    Oversized,
    /// A message came that has no place here: wrong kind, wrong order, unknown opcode.
    Unexpected,
    /// The sender failed inside.
    Failed,
}

/// Ends the connection in good order. Its layout is the same in every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// The reason, for programs.
    pub reason: Reason,
    /// The reason, for people.
    pub text: Text<SENTENCE_BYTES_MAX>,
}

impl Payload for Goodbye {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(match self.reason {
            Reason::Done => 0,
            Reason::Stopping => 1,
            Reason::Malformed => 2,
            Reason::Oversized => 3,
            Reason::Unexpected => 4,
            Reason::Failed => 5,
        });
        self.text.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = reader.malformed("a reason of 0 to 5");
        let reason = match reader.u8()? {
            0 => Reason::Done,
            1 => Reason::Stopping,
            2 => Reason::Malformed,
            3 => Reason::Oversized,
            4 => Reason::Unexpected,
            5 => Reason::Failed,
            _ => return Err(malformed),
        };
        Ok(Self { reason, text: Text::read(reader)? })
    }
}
