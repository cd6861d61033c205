//! Two lanes and two doorbells: a stream of bytes both ways.

use std::io::{self, IoSlice};
use std::time::Instant;

use crate::bell::{Doorbell, Woken};
use crate::lane::{Consumer, Producer};
use crate::layout::{Layout, Side};
use crate::spin::{Patience, Spin};
use crate::sync::{AtomicBool, Mutex, Ordering, fence, lock};
use crate::{Area, Region, RingError};

/// The doorbells of one side: each wakes one sleeper of the other, and lets one of ours sleep.
#[derive(Debug)]
pub struct Bells<B> {
    /// Rings when bytes were written: readers sleep on it.
    pub data: B,
    /// Rings when room was made: writers sleep on it.
    pub room: B,
}

/// One end of a stream of bytes through shared memory. One thread may read while another writes.
///
/// What the peer does to the region can end the stream with an error, and nothing else.
///
/// Dropped, it closes; but a forked child that drops its copy lets go only, for the parent still
/// uses the ring.
#[derive(Debug)]
pub struct Duplex<B: Doorbell> {
    region: Region,
    /// Where the bulk area lies, if there is one.
    area: Option<Area>,
    side: Side,
    incoming: Mutex<Consumer>,
    outgoing: Mutex<Producer>,
    bells: Bells<B>,
    reading: Patience,
    writing: Patience,
    /// Set by [`Duplex::close`]: what the region says of our own side is the peer's to change.
    closed: AtomicBool,
    /// The process that may close it by dropping it.
    owner: u32,
}

/// What a wait looks for.
enum Found {
    /// So many bytes, or so much room.
    Some(u64),
    /// Nothing, and nothing will come.
    Over,
}

impl<B: Doorbell> Duplex<B> {
    /// Uses a region whose layout was written by the host, or read by the guest.
    ///
    /// # Panics
    /// If the region is shorter than the layout, which both have checked.
    pub fn new(region: &Region, layout: &Layout, side: Side, bells: Bells<B>) -> Self {
        assert!(layout.region_bytes() <= region.bytes() as u64, "the layout was checked");
        let incoming = Consumer::new(layout.lane(region, side.other()));
        let outgoing = Producer::new(layout.lane(region, side));
        let mut duplex = Self::over(region, side, incoming, outgoing, bells);
        duplex.area = (layout.bulk_bytes() > 0).then(|| Area::new(region, layout));
        duplex
    }

    /// Returns the bulk area of the region, if it has one.
    pub fn area(&self) -> Option<&Area> {
        self.area.as_ref()
    }

    /// Puts an end together.
    pub(crate) fn over(
        region: &Region,
        side: Side,
        incoming: Consumer,
        outgoing: Producer,
        bells: Bells<B>,
    ) -> Self {
        Self {
            region: region.clone(),
            area: None,
            side,
            incoming: Mutex::new(incoming),
            outgoing: Mutex::new(outgoing),
            bells,
            reading: Patience::default(),
            writing: Patience::default(),
            closed: AtomicBool::new(false),
            owner: std::process::id(),
        }
    }

    /// Waits until something can be read, and reads some of it; 0 means that either side closed.
    /// What the peer wrote before it closed is read first.
    ///
    /// # Errors
    /// `TimedOut` when `limit` has passed, `InvalidData` with a [`RingError`] if the peer broke the
    /// ring, else what the system says.
    pub fn read(&self, into: &mut [u8], limit: Option<Instant>) -> io::Result<usize> {
        // A peer that writes on after our close is not heard.
        if into.is_empty() || self.closed.load(Ordering::Acquire) {
            return Ok(0);
        }
        let mut consumer = lock(&self.incoming);
        let (wanted, sleeps) = (into.len(), consumer.sleeps());
        let spin = Spin::new(&self.reading, limit);
        let look = || consumer.available(wanted);
        let found = self.wait(&self.bells.data, sleeps, spin, limit, look)?;
        let Found::Some(available) = found else { return Ok(0) };
        let (count, wake) = consumer.pull(into, available);
        if wake {
            self.bells.room.ring();
        }
        Ok(count)
    }

    /// Waits until something can be written, and writes some of `parts`, which the peer sees at
    /// once.
    ///
    /// # Errors
    /// `TimedOut` when `limit` has passed, `BrokenPipe` if either side closed, `InvalidData` with a
    /// [`RingError`] if the peer broke the ring, else what the system says.
    pub fn write(&self, parts: &[IoSlice<'_>], limit: Option<Instant>) -> io::Result<usize> {
        if self.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let wanted = parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let mut producer = lock(&self.outgoing);
        let sleeps = producer.sleeps();
        let spin = Spin::new(&self.writing, limit);
        let look = || producer.room(wanted);
        let found = self.wait(&self.bells.room, sleeps, spin, limit, look)?;
        let Found::Some(room) = found else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (count, wake) = producer.push(parts, room);
        if wake {
            self.bells.data.ring();
        }
        Ok(count)
    }

    /// Ends both directions, for who waits in the two above as well, at both ends.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.region.store(self.side.closed(), 1, Ordering::Release);
        // As after an index: a sleeper sees the flag, or is woken.
        fence(Ordering::SeqCst);
        for bell in [&self.bells.data, &self.bells.room] {
            bell.ring();
            bell.close();
        }
    }

    /// Borrows the doorbells, to watch what is behind them.
    pub fn bells(&self) -> &Bells<B> {
        &self.bells
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
            || self.region.load(self.side.other().closed(), Ordering::Acquire) != 0
    }

    /// Waits until `look` finds something, either side closes, or the peer is gone.
    fn wait(
        &self,
        bell: &B,
        sleeps: usize,
        mut spin: Spin<'_>,
        limit: Option<Instant>,
        mut look: impl FnMut() -> Result<u64, RingError>,
    ) -> io::Result<Found> {
        // Broken once is broken for good, in both directions.
        let mut look = || look().inspect_err(|_| self.close());
        let mut gone = false;
        loop {
            // Asked before the look: what was written before a close is seen after it.
            let over = gone || self.is_closed();
            match look()? {
                0 if over => return Ok(Found::Over),
                0 => {}
                found => return Ok(Found::Some(found)),
            }
            if spin.again() {
                continue;
            }
            self.region.store(sleeps, 1, Ordering::Relaxed);
            // Between our flag and the last look: see `wake` in lane.rs.
            fence(Ordering::SeqCst);
            let over = self.is_closed();
            let woken = match look()? {
                0 if !over => {
                    let mut came = || self.is_closed() || !matches!(look(), Ok(0));
                    bell.wait(limit, &mut came)
                }
                _ => Ok(Woken::Rung),
            };
            self.region.store(sleeps, 0, Ordering::Relaxed);
            gone = woken? == Woken::Gone;
            if limit.is_some_and(|limit| limit <= Instant::now()) && !gone {
                // A peer that only rings gets no more time than one that is silent.
                return match look()? {
                    0 => Err(io::ErrorKind::TimedOut.into()),
                    found => Ok(Found::Some(found)),
                };
            }
        }
    }
}

impl<B: Doorbell> Drop for Duplex<B> {
    fn drop(&mut self) {
        if std::process::id() == self.owner {
            self.close();
        }
    }
}
