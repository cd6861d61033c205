//! A worker's end: the ring in the slot of a client.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use vgpu_ring::{Area, Bells, Duplex, EventBell, Layout, Region, Side};

use super::pinned::{Pinned, map_slot};
use super::{HostBell, Place};
use crate::{LinkError, Stream};

/// A host's end of the ring in a slot.
#[derive(Debug)]
pub struct ServedSlot {
    ring: Duplex<HostBell>,
    pinned: Pinned,
}

impl Stream for ServedSlot {
    fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        self.ring.read(into, limit)
    }

    fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        self.ring.write(parts, limit)
    }

    fn close(&self) {
        self.ring.close();
    }

    fn grant(&self, bulk_bytes: u64) -> Result<bool, LinkError> {
        Ok(self.pinned.grant(bulk_bytes))
    }

    fn area(&self) -> Option<Area> {
        self.pinned.area()
    }
}

/// Begins to speak with the client in a slot: `life` hangs up when it is gone, `bell` is the
/// eventfd that it rings, if any.
///
/// The memory file may be another program's to shorten (QEMU's, with ivshmem-plain): what is read
/// beyond its end then ends this process by SIGBUS, which is why only a worker maps it.
///
/// # Errors
/// [`LinkError::Io`] if the slot does not lie in the memory or the system refuses.
pub fn serve(
    place: &Place,
    memory: &OwnedFd,
    bell: Option<OwnedFd>,
    life: OwnedFd,
) -> Result<ServedSlot, LinkError> {
    let failed = |source| LinkError::Io { verb: "mapping a client's slot", source };
    let layout = Layout::new(place.lane_bytes, place.bulk_bytes);
    let layout = layout.map_err(|error| failed(error.into()))?;
    let found = rustix::fs::fstat(memory).map_err(|errno| failed(errno.into()))?;
    let end = place.offset.checked_add(layout.region_bytes());
    if end.is_none_or(|end| end > u64::try_from(found.st_size).unwrap_or(0)) {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    let (region, layout) = map_slot(layout, |bytes| Region::map_at(memory, place.offset, bytes))?;
    let (life, rung) = (Arc::new(life), bell.map(Arc::new));
    let bell = || match &rung {
        None => Ok(HostBell::Naps(Arc::clone(&life))),
        Some(rung) => EventBell::new(Arc::clone(rung), None, Arc::clone(&life)).map(HostBell::Rung),
    };
    let bells = Bells { data: bell().map_err(failed)?, room: bell().map_err(failed)? };
    let ring = Duplex::new(&region, &layout.without_bulk(), Side::Host, bells);
    Ok(ServedSlot { ring, pinned: Pinned::new(&region, &layout) })
}
