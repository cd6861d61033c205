//! The bulk area of a slot, which the worker grants before its welcome (docs/pci.md, "Pinned
//! memory").

use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use vgpu_ring::{Area, GRAIN_BYTES, HEAD_BYTES, Layout, Region};

use crate::LinkError;

/// How often a page is read, to see how long it takes when nothing comes between.
const LOOKS: usize = 8;

/// What a page of memory may take to be read at most, as a multiple of one of our own. Cached, both
/// take the same; uncached, each 16 bytes are a bus's round trip, hundreds of times as long.
const SLOWER_MAX: u32 = 16;

/// The least that a clock tells apart from nothing.
const INSTANT: Duration = Duration::from_nanos(500);

/// One side's view of the bulk area of a slot.
#[derive(Debug)]
pub(super) struct Pinned {
    region: Region,
    /// With as much as there is.
    layout: Layout,
    granted: OnceLock<Area>,
}

impl Pinned {
    /// Begins without a grant, in the region of a slot with this layout.
    pub fn new(region: &Region, layout: &Layout) -> Self {
        Self { region: region.clone(), layout: *layout, granted: OnceLock::new() }
    }

    /// Grants the client at most so many bytes, and returns whether any.
    pub fn grant(&self, most: u64) -> bool {
        let layout = self.layout.grant(&self.region, most);
        self.take(&layout);
        self.granted.get().is_some()
    }

    /// Takes what the host granted, unless reading there is slow: programs compute with what they
    /// pinned, and are better off with a copy then.
    ///
    /// # Errors
    /// [`LinkError::Io`] if that is more than there is.
    pub fn settle(&self) -> Result<(), LinkError> {
        if self.layout.bulk_bytes() == 0 {
            return Ok(());
        }
        let granted = self.layout.granted(&self.region).map_err(|error| LinkError::Io {
            verb: "reading what the host granted",
            source: error.into(),
        })?;
        if granted.bulk_bytes() > 0 && is_quick(&self.region) {
            self.take(&granted);
        }
        Ok(())
    }

    /// What was granted.
    pub fn area(&self) -> Option<Area> {
        self.granted.get().cloned()
    }

    fn take(&self, layout: &Layout) {
        if layout.bulk_bytes() > 0 {
            // Once; a second time it is the same.
            let _ = self.granted.set(Area::new(&self.region, layout).of_others());
        }
    }
}

/// Maps the region of a slot, without its bulk area if this process may not map so much.
///
/// # Errors
/// [`LinkError::Io`] if the system refuses that, too.
pub(super) fn map_slot(
    layout: Layout,
    map: impl Fn(usize) -> Result<Region, vgpu_ring::RingError>,
) -> Result<(Region, Layout), LinkError> {
    let map = |layout: Layout| {
        let bytes = usize::try_from(layout.region_bytes()).map_err(|_| io::ErrorKind::OutOfMemory);
        let mapped = bytes.map_err(io::Error::from).and_then(|bytes| Ok(map(bytes)?));
        mapped.map(|region| (region, layout))
    };
    let mapped = map(layout).or_else(|_| map(layout.without_bulk()));
    mapped.map_err(|source| LinkError::Io { verb: "mapping a slot of the device", source })
}

/// Says whether memory that is shared is read about as quickly as our own.
fn is_quick(region: &Region) -> bool {
    let own = Region::heap(GRAIN_BYTES as usize);
    !is_slow(time(region, HEAD_BYTES), time(&own, 0))
}

fn is_slow(shared: Duration, own: Duration) -> bool {
    shared > own.max(INSTANT) * SLOWER_MAX
}

/// The shortest time in which a page was read.
fn time(region: &Region, at: usize) -> Duration {
    let mut page = [0; GRAIN_BYTES as usize];
    let look = |_| {
        let began = Instant::now();
        region.copy_out(at, std::hint::black_box(&mut page));
        began.elapsed()
    };
    (0..LOOKS).map(look).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_read_as_quickly_as_our_own_is_told_from_uncached() {
        let nanos = Duration::from_nanos;
        // A page in the cache, in memory, and one of a virtual machine that is emulated.
        for (shared, own) in [(60, 60), (900, 60), (6_000, 5_000), (40_000, 5_000)] {
            assert!(!is_slow(nanos(shared), nanos(own)), "{shared} {own}");
        }
        // 256 reads of 16 bytes, 100 ns each.
        for (shared, own) in [(25_600, 60), (25_600, 900), (100_000, 5_000)] {
            assert!(is_slow(nanos(shared), nanos(own)), "{shared} {own}");
        }
        assert!(is_quick(&Region::heap(2 * HEAD_BYTES)));
    }

    #[test]
    fn a_host_grants_no_more_than_there_is_and_a_guest_believes_no_more() {
        let layout = Layout::new(4 << 10, 8 * GRAIN_BYTES).expect("right sizes");
        let region = Region::heap(layout.region_bytes() as usize);
        for (most, granted) in [(0, 0), (GRAIN_BYTES - 1, 0), (GRAIN_BYTES + 1, 1), (u64::MAX, 8)] {
            layout.without_bulk().write(&region).expect("it fits");
            let (host, guest) = (Pinned::new(&region, &layout), Pinned::new(&region, &layout));
            guest.settle().expect("nothing is granted");
            assert!(host.area().is_none() && guest.area().is_none());
            assert_eq!(host.grant(most), granted > 0);
            guest.settle().expect("what was granted");
            let bytes = |pinned: &Pinned| pinned.area().map_or(0, |area| area.bytes());
            assert_eq!([bytes(&host), bytes(&guest)], [granted * GRAIN_BYTES; 2]);
        }
        for lie in [9 * GRAIN_BYTES, u64::MAX, 100] {
            region.store(24, lie, std::sync::atomic::Ordering::Release);
            let guest = Pinned::new(&region, &layout);
            assert!(guest.settle().is_err() && guest.area().is_none(), "{lie}");
        }
        let guest = Pinned::new(&region, &layout.without_bulk());
        guest.settle().expect("it has mapped none");
        assert!(guest.area().is_none());
    }
}
