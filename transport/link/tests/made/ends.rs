//! Both ends of a link through a slot of a PCI device's memory, as one type.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Instant;

use vgpu_link::Stream;
use vgpu_link::pci::ivshmem::{ServedSlot, SlotStream};

/// Either end of a link through a slot of a PCI device's memory.
pub enum PciEnd {
    /// The guest's.
    Guest(SlotStream),
    /// With what its host process holds.
    Host(ServedSlot, #[expect(dead_code, reason = "held, not used")] OwnedFd),
}

impl Stream for PciEnd {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        match self {
            Self::Guest(end) => end.read(into, limit),
            Self::Host(end, _) => end.read(into, limit),
        }
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        match self {
            Self::Guest(end) => end.write(parts, limit),
            Self::Host(end, _) => end.write(parts, limit),
        }
    }

    fn close(&self) {
        match self {
            Self::Guest(end) => end.close(),
            Self::Host(end, _) => end.close(),
        }
    }
}

/// The same with the host's end first: bodies do different things with the two.
pub struct PciTurned(pub PciEnd);

impl Stream for PciTurned {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        self.0.read(into, limit)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        self.0.write(parts, limit)
    }

    fn close(&self) {
        self.0.close();
    }
}
