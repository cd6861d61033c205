//! Where things lie in the region (docs/ring.md, "Region").

use crate::sync::Ordering;
use crate::{Region, RingError};

/// First word of a region: the bytes `VGPURING`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"VGPURING");

/// Version of the layout.
pub const VERSION: u64 = 1;

/// Bytes before the first lane's data: a page.
#[cfg(not(loom))]
pub const HEAD_BYTES: usize = 4096;
#[cfg(loom)]
/// Bytes before the first lane's data, in a model.
pub const HEAD_BYTES: usize = CONTROL + 10 * LINE;

/// Shortest data area of a lane: a page.
pub const LANE_BYTES_MIN: u64 = 4 << 10;

/// Longest data area of a lane: 64 MiB, far above what measurably helps.
pub const LANE_BYTES_MAX: u64 = 64 << 20;

/// Longest bulk area: 256 GiB, more than the pinned memory of any guest we know.
pub const BULK_BYTES_MAX: u64 = 256 << 30;

/// Two cache lines: what two sides write is never on one, nor on the neighbour that the processor
/// fetches along.
#[cfg(not(loom))]
const LINE: usize = 128;
#[cfg(loom)]
const LINE: usize = 8;

/// First line of control words.
#[cfg(not(loom))]
const CONTROL: usize = 1024;
#[cfg(loom)]
const CONTROL: usize = 0;

/// Where the host says that it has closed.
pub const CLOSED_BY_HOST: usize = CONTROL;

/// Where the host says how many bytes it has written so far.
const PRODUCED_BY_HOST: usize = CONTROL + 2 * LINE;

/// Which end of the ring this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Made the region.
    Host,
    /// Joined it.
    Guest,
}

impl Side {
    /// Where this side says that it has closed.
    pub(crate) fn closed(self) -> usize {
        CONTROL + LINE * self as usize
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Host => Self::Guest,
            Self::Guest => Self::Host,
        }
    }
}

/// The sizes of a region; everything else follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    lane_bytes: u64,
    bulk_bytes: u64,
}

const LANE_EXPECTED: &str = "a power of two from 4 KiB to 64 MiB";
const BULK_EXPECTED: &str = "a multiple of 4 KiB up to 256 GiB";

/// Where the header says how long the bulk area is.
const BULK: usize = 24;

impl Layout {
    /// The layout of the longest region.
    pub(crate) const LARGEST: Self =
        Self { lane_bytes: LANE_BYTES_MAX, bulk_bytes: BULK_BYTES_MAX };

    /// Checks the sizes of a region: of each lane's data, and of the bulk area (0 for none).
    ///
    /// # Errors
    /// [`RingError::Header`] if a size is not one of those that the layout knows.
    pub fn new(lane_bytes: u64, bulk_bytes: u64) -> Result<Self, RingError> {
        let lane = LANE_BYTES_MIN..=LANE_BYTES_MAX;
        if !lane_bytes.is_power_of_two() || !lane.contains(&lane_bytes) {
            return Err(RingError::Header {
                field: "lane size",
                found: lane_bytes,
                expected: LANE_EXPECTED,
            });
        }
        if !bulk_bytes.is_multiple_of(LANE_BYTES_MIN) || bulk_bytes > BULK_BYTES_MAX {
            return Err(RingError::Header {
                field: "bulk size",
                found: bulk_bytes,
                expected: BULK_EXPECTED,
            });
        }
        Ok(Self { lane_bytes, bulk_bytes })
    }

    /// Returns the length of a region with these sizes, in bytes.
    pub fn region_bytes(&self) -> u64 {
        self.bulk_at() + self.bulk_bytes
    }

    /// Returns the length of the bulk area, in bytes.
    pub fn bulk_bytes(&self) -> u64 {
        self.bulk_bytes
    }

    /// Returns where the bulk area begins.
    pub(crate) fn bulk_at(&self) -> u64 {
        HEAD_BYTES as u64 + 2 * self.lane_bytes
    }

    /// Writes the header into a region that no peer uses yet.
    ///
    /// # Errors
    /// [`RingError::Header`] if the region is too short for the sizes.
    pub fn write(&self, region: &Region) -> Result<(), RingError> {
        self.check_fit(region.bytes() as u64)?;
        for at in (0..HEAD_BYTES).step_by(8) {
            region.store(at, 0, Ordering::Relaxed);
        }
        let fields = [MAGIC, VERSION, self.lane_bytes, self.bulk_bytes];
        // The magic last: who finds it finds all.
        for (at, field) in fields.iter().enumerate().rev() {
            region.store(8 * at, *field, Ordering::Release);
        }
        Ok(())
    }

    /// Returns the first [`HEAD_BYTES`] of a region, for a host that writes them without mapping
    /// it; `said` bytes stand in its lane already, after which it says nothing more if `is_over`.
    pub fn head(&self, said: u64, is_over: bool) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        let mut write =
            |at: usize, word: u64| head[at..at + 8].copy_from_slice(&word.to_le_bytes());
        let fields = [MAGIC, VERSION, self.lane_bytes, self.bulk_bytes];
        fields.into_iter().enumerate().for_each(|(at, field)| write(8 * at, field));
        write(PRODUCED_BY_HOST, said);
        write(CLOSED_BY_HOST, is_over.into());
        head
    }

    /// Returns the length of a lane's data, in bytes.
    pub fn lane_bytes(&self) -> u64 {
        self.lane_bytes
    }

    /// Says in a header that no more than `most` bytes of the bulk area are granted, and returns
    /// the layout with what is; a region that stays with its maker begins without.
    ///
    /// # Panics
    /// If the region has no header's length.
    pub fn grant(&self, region: &Region, most: u64) -> Self {
        let bulk_bytes = self.bulk_bytes.min(most - most % LANE_BYTES_MIN);
        region.store(BULK, bulk_bytes, Ordering::Release);
        Self { bulk_bytes, ..*self }
    }

    /// Reads from a peer's header, once, how much of the bulk area is granted.
    ///
    /// # Errors
    /// [`RingError::Header`] if it is more than there is.
    pub fn granted(&self, region: &Region) -> Result<Self, RingError> {
        let found = region.load(BULK, Ordering::Acquire);
        let granted = Self::new(self.lane_bytes, found)?;
        if found > self.bulk_bytes {
            let expected = "no more than there is";
            return Err(RingError::Header { field: "bulk size", found, expected });
        }
        Ok(granted)
    }

    /// Reads a peer's header, each field once, and checks it against the region.
    ///
    /// # Errors
    /// [`RingError::Header`] names the field that is wrong.
    pub fn read(region: &Region) -> Result<Self, RingError> {
        let layout = Self::announced(region)?;
        layout.check_fit(region.bytes() as u64)?;
        Ok(layout)
    }

    /// Reads a peer's header, of which `region` need not hold more.
    ///
    /// # Errors
    /// As [`Layout::read`].
    pub(crate) fn announced(region: &Region) -> Result<Self, RingError> {
        if region.bytes() < HEAD_BYTES {
            return Err(too_short(region.bytes() as u64));
        }
        let field = |at: usize| region.load(8 * at, Ordering::Acquire);
        let [magic, version, lane, bulk] = [0, 1, 2, 3].map(field);
        if magic != MAGIC {
            let expected = "the bytes VGPURING";
            return Err(RingError::Header { field: "magic", found: magic, expected });
        }
        if version != VERSION {
            return Err(RingError::Header { field: "version", found: version, expected: "1" });
        }
        Self::new(lane, bulk)
    }

    /// Checks that memory of so many bytes holds all of it.
    pub(crate) fn check_fit(&self, bytes: u64) -> Result<(), RingError> {
        if self.region_bytes() > bytes { Err(too_short(bytes)) } else { Ok(()) }
    }

    /// Returns the same without a bulk area: what a guest uses that cannot map so much, and a host
    /// before it has granted one.
    pub fn without_bulk(self) -> Self {
        Self { bulk_bytes: 0, ..self }
    }

    /// Returns the lane in which `writer` produces.
    pub(crate) fn lane(&self, region: &Region, writer: Side) -> Lane {
        Lane::new(region, writer, self.lane_bytes)
    }
}

fn too_short(found: u64) -> RingError {
    let expected = "long enough for the sizes in its header";
    RingError::Header { field: "length", found, expected }
}

/// One direction: the places of its control words, and its data.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) region: Region,
    /// Bytes written so far, by the producer.
    pub(crate) produced: usize,
    /// Bytes read so far, by the consumer.
    pub(crate) consumed: usize,
    /// Set by a consumer that sleeps, cleared by who wakes it.
    pub(crate) reader_sleeps: usize,
    /// Set by a producer that sleeps, cleared by who wakes it.
    pub(crate) writer_sleeps: usize,
    /// Where the data begins.
    pub(crate) data: usize,
    /// Length of the data, a power of two.
    pub(crate) capacity: u64,
}

impl Lane {
    pub(crate) fn new(region: &Region, writer: Side, capacity: u64) -> Self {
        let lane = writer as usize;
        let line = |at: usize| CONTROL + LINE * (2 + 4 * lane + at);
        Self {
            region: region.clone(),
            produced: line(0),
            consumed: line(1),
            reader_sleeps: line(2),
            writer_sleeps: line(3),
            data: HEAD_BYTES + lane * capacity as usize,
            capacity,
        }
    }

    /// Returns the place of index `at`, and how many bytes from there lie in one piece.
    pub(crate) fn place(&self, at: u64) -> (usize, usize) {
        let within = (at & (self.capacity - 1)) as usize;
        (self.data + within, self.capacity as usize - within)
    }
}
