//! What a client may see and use, as the host process tells its worker.

use vgpu_link::wire::limits::DEVICES_MAX;
use vgpu_link::wire::{Malformed, Payload, Reader, Writer};

/// What a client may see and use: its tenant's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// The GPUs, in the order in which the client sees them.
    pub gpus: Vec<Gpu>,
    /// Bytes of this machine's memory that its worker may take.
    pub host_memory: Option<u64>,
    /// What the timer beside the message is worth; `None` with no timer.
    pub rate: Option<Rate>,
}

/// How many messages a client may send, in ticks of its tenant's timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Messages that one tick is worth.
    pub tick: u32,
    /// Most messages that the ticks of an idle time are worth.
    pub burst: u32,
}

/// One GPU of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gpu {
    /// Its ordinal on the host.
    pub ordinal: u32,
    /// Bytes of its memory that the tenant may have.
    pub bytes: u64,
}

impl Payload for Share {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.count(self.gpus.len());
        for gpu in &self.gpus {
            writer.u32(gpu.ordinal);
            writer.u64(gpu.bytes);
        }
        writer.u8(self.host_memory.is_some().into());
        self.host_memory.iter().for_each(|&bytes| writer.u64(bytes));
        writer.u8(self.rate.is_some().into());
        if let Some(rate) = self.rate {
            writer.u32(rate.tick);
            writer.u32(rate.burst);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let gpus = (0..reader.count(DEVICES_MAX)?)
            .map(|_| Ok(Gpu { ordinal: reader.u32()?, bytes: reader.u64()? }))
            .collect::<Result<_, Malformed>>()?;
        let host_memory = optional(reader, Reader::u64)?;
        let rate =
            optional(reader, |reader| Ok(Rate { tick: reader.u32()?, burst: reader.u32()? }))?;
        Ok(Self { gpus, host_memory, rate })
    }
}

/// Reads what a byte before it says to be there.
pub(super) fn optional<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match reader.u8()? {
        0 => Ok(None),
        _ => read(reader).map(Some),
    }
}
