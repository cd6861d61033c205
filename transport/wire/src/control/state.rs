//! What changes about a device, as NVML shows it.

use crate::codec::{Malformed, Reader, Writer};
use crate::control::opcode;
use crate::limits::{EXE_BYTES_MAX, PROCESSES_MAX};
use crate::message::{Payload, Request};
use crate::text::Text;

/// Asks for the present state of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceState {
    /// Ordinal of the device in the snapshot.
    pub device: u32,
}

impl Payload for DeviceState {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.device);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { device: reader.u32()? })
    }
}

impl Request for DeviceState {
    const OPCODE: u32 = opcode::DEVICE_STATE;
    type Reply = DeviceStateReply;
}

/// Clock rates in MHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Graphics domain.
    pub graphics_mhz: u32,
    /// Streaming multiprocessors.
    pub sm_mhz: u32,
    /// Memory.
    pub memory_mhz: u32,
    /// Video engines.
    pub video_mhz: u32,
}

impl Clocks {
    fn write(self, writer: &mut Writer<'_>) {
        writer.u32(self.graphics_mhz);
        writer.u32(self.sm_mhz);
        writer.u32(self.memory_mhz);
        writer.u32(self.video_mhz);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            graphics_mhz: reader.u32()?,
            sm_mhz: reader.u32()?,
            memory_mhz: reader.u32()?,
            video_mhz: reader.u32()?,
        })
    }
}

/// One client that uses a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id as the guest gave it.
    pub pid: u32,
    /// Device memory that it holds, in bytes.
    pub bytes: u64,
    /// File name of the program.
    pub name: Text<EXE_BYTES_MAX>,
}

/// The present state of one device. `None` stands for what the device does not have or tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStateReply {
    /// Memory in bytes; equals the snapshot's.
    pub memory_total: u64,
    /// Memory in bytes that can still be allocated.
    pub memory_free: u64,
    /// Memory in bytes that is allocated; free + used = total.
    pub memory_used: u64,
    /// Share of the last second in which a kernel ran, in percent.
    pub gpu_utilisation: u32,
    /// Share of the last second in which memory was read or written, in percent.
    pub memory_utilisation: u32,
    /// Temperature of the GPU in °C.
    pub temperature_c: Option<u32>,
    /// Power draw in mW.
    pub power_mw: Option<u32>,
    /// Enforced power limit in mW.
    pub power_limit_mw: Option<u32>,
    /// Fan speed in percent of the most.
    pub fan_percent: Option<u32>,
    /// Performance state: 0 is the fastest, 15 the slowest.
    pub performance_state: u32,
    /// Present clocks.
    pub clocks: Clocks,
    /// Highest clocks.
    pub clocks_max: Clocks,
    /// Clients that use the device, the largest first; at most [`PROCESSES_MAX`].
    pub processes: Vec<Process>,
}

fn write_option(writer: &mut Writer<'_>, value: Option<u32>) {
    writer.u8(u8::from(value.is_some()));
    writer.u32(value.unwrap_or(0));
}

fn read_option(reader: &mut Reader<'_>) -> Result<Option<u32>, Malformed> {
    let malformed = reader.malformed("0 and a value of 0, or 1 and a value");
    match (reader.u8()?, reader.u32()?) {
        (0, 0) => Ok(None),
        (1, value) => Ok(Some(value)),
        _ => Err(malformed),
    }
}

impl Payload for DeviceStateReply {
    fn write(&self, writer: &mut Writer<'_>) {
        assert!(self.processes.len() <= PROCESSES_MAX, "a state has at most 1,024 processes");
        writer.u64(self.memory_total);
        writer.u64(self.memory_free);
        writer.u64(self.memory_used);
        writer.u32(self.gpu_utilisation);
        writer.u32(self.memory_utilisation);
        write_option(writer, self.temperature_c);
        write_option(writer, self.power_mw);
        write_option(writer, self.power_limit_mw);
        write_option(writer, self.fan_percent);
        writer.u32(self.performance_state);
        self.clocks.write(writer);
        self.clocks_max.write(writer);
        writer.count(self.processes.len());
        for process in &self.processes {
            writer.u32(process.pid);
            writer.u64(process.bytes);
            process.name.write(writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            memory_total: reader.u64()?,
            memory_free: reader.u64()?,
            memory_used: reader.u64()?,
            gpu_utilisation: reader.u32()?,
            memory_utilisation: reader.u32()?,
            temperature_c: read_option(reader)?,
            power_mw: read_option(reader)?,
            power_limit_mw: read_option(reader)?,
            fan_percent: read_option(reader)?,
            performance_state: reader.u32()?,
            clocks: Clocks::read(reader)?,
            clocks_max: Clocks::read(reader)?,
            processes: (0..reader.count(PROCESSES_MAX)?)
                .map(|_| {
                    let (pid, bytes) = (reader.u32()?, reader.u64()?);
                    Ok(Process { pid, bytes, name: Text::read(reader)? })
                })
                .collect::<Result<_, Malformed>>()?,
        })
    }
}
