//! The bulk area: memory of the region that frames only point to.
//!
//! The guest hands out its spans; the host believes nothing of them but what it can check, which
//! is that a span lies in the area. Whose it is, and whether the guest still writes to it, is the
//! guest's own affair: it can only spoil its own data.

use crate::{Layout, Region, RingError};

/// Spans begin and end at pages, which is what a device's driver registers.
pub const GRAIN_BYTES: u64 = 4 << 10;

/// The bulk area of a region.
#[derive(Debug, Clone)]
pub struct Area {
    region: Region,
    at: usize,
    bytes: u64,
    /// Whether others had it before and left what they had there.
    is_used: bool,
}

impl Area {
    /// Takes the bulk area of a region with this layout, which may be of no length.
    ///
    /// # Panics
    /// If the region is shorter than the layout, which both sides have checked.
    pub fn new(region: &Region, layout: &Layout) -> Self {
        assert!(layout.region_bytes() <= region.bytes() as u64, "the layout was checked");
        let (at, bytes) = (layout.bulk_at() as usize, layout.bulk_bytes());
        Self { region: region.clone(), at, bytes, is_used: false }
    }

    /// Says that others had the memory before, and may have left in it what they had, as in a
    /// device's that outlives its clients; and that it does not go back to the system.
    pub fn of_others(self) -> Self {
        Self { is_used: true, ..self }
    }

    /// Makes an area within this process, of zeroes: for tests, and for peers that are threads.
    pub fn heap(bytes: u64) -> Self {
        Self { region: Region::heap(bytes as usize), at: 0, bytes, is_used: false }
    }

    /// Returns the length of the area in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Checks that a span lies in the area, and returns where in the region it begins.
    fn place(&self, offset: u64, bytes: u64) -> Result<usize, RingError> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(self.at + offset as usize),
            _ => Err(RingError::Outside { offset, bytes, area: self.bytes }),
        }
    }

    /// Returns the address of a span, for who registers it with a device or hands it to a program.
    ///
    /// # Errors
    /// [`RingError::Outside`] if the span is not wholly in the area.
    #[cfg(not(loom))]
    pub fn address(&self, offset: u64, bytes: u64) -> Result<*mut u8, RingError> {
        let place = self.place(offset, bytes)?;
        Ok(self.region.address(place, bytes as usize))
    }

    /// Gives the pages of a span back to the system: they cost nothing and read as zeroes, until
    /// somebody writes there again. Those that do not go back stay as they are.
    ///
    /// # Errors
    /// [`RingError::Outside`] if the span is not wholly in the area; [`RingError::System`] where
    /// the memory is none of a memory file, and stays as it is.
    #[cfg(not(loom))]
    pub fn discard(&self, offset: u64, bytes: u64) -> Result<(), RingError> {
        let place = self.place(offset, bytes)?;
        if self.is_used { Ok(()) } else { self.region.discard(place, bytes as usize) }
    }

    /// Makes a span read as zeroes for who gets it next, where others may have left something.
    ///
    /// # Errors
    /// [`RingError::Outside`] if the span is not wholly in the area.
    pub fn clean(&self, offset: u64, bytes: u64) -> Result<(), RingError> {
        let place = self.place(offset, bytes)?;
        let zeroes = [0; GRAIN_BYTES as usize];
        let steps = (0..bytes as usize).step_by(zeroes.len()).filter(|_| self.is_used);
        for at in steps {
            let length = zeroes.len().min(bytes as usize - at);
            self.region.copy_in(place + at, &zeroes[..length]);
        }
        Ok(())
    }

    /// Copies from the area into memory of ours.
    ///
    /// # Errors
    /// [`RingError::Outside`] if the span is not wholly in the area.
    pub fn copy_out(&self, offset: u64, into: &mut [u8]) -> Result<(), RingError> {
        let place = self.place(offset, into.len() as u64)?;
        self.region.copy_out(place, into);
        Ok(())
    }

    /// Copies memory of ours into the area.
    ///
    /// # Errors
    /// [`RingError::Outside`] if the span is not wholly in the area.
    pub fn copy_in(&self, offset: u64, from: &[u8]) -> Result<(), RingError> {
        let place = self.place(offset, from.len() as u64)?;
        self.region.copy_in(place, from);
        Ok(())
    }
}

/// A span of the bulk area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins in the area, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Span {
    fn end(self) -> u64 {
        self.offset + self.bytes
    }
}

/// Hands out spans of the bulk area: the guest's, and nobody else's business. First fit, for
/// programs pin few and long pieces.
#[derive(Debug)]
pub struct Spans {
    area: u64,
    /// Free spans in order, no two of which touch.
    free: Vec<Span>,
}

impl Spans {
    /// Begins with the whole of an area of `area` bytes.
    pub fn new(area: u64) -> Self {
        let area = area - area % GRAIN_BYTES;
        let whole = Span { offset: 0, bytes: area };
        Self { area, free: if area == 0 { Vec::new() } else { vec![whole] } }
    }

    /// Takes a span of at least `bytes` bytes, rounded up to whole pages; `None` if none is free
    /// in one piece.
    pub fn take(&mut self, bytes: u64) -> Option<Span> {
        let bytes = bytes.max(1).checked_next_multiple_of(GRAIN_BYTES)?;
        let at = self.free.iter().position(|span| span.bytes >= bytes)?;
        let span = &mut self.free[at];
        let taken = Span { offset: span.offset, bytes };
        *span = Span { offset: taken.end(), bytes: span.bytes - bytes };
        if span.bytes == 0 {
            self.free.remove(at);
        }
        Some(taken)
    }

    /// Gives a span back.
    ///
    /// # Errors
    /// [`RingError::NotTaken`] if any of it is free already or outside; nothing is changed.
    pub fn give(&mut self, span: Span) -> Result<(), RingError> {
        let Span { offset, bytes } = span;
        let refused = || RingError::NotTaken { offset, bytes };
        let end = offset.checked_add(bytes).filter(|end| *end <= self.area).ok_or_else(refused)?;
        let at = self.free.partition_point(|free| free.offset < offset);
        let before = at.checked_sub(1).map(|at| self.free[at]);
        let after = self.free.get(at).copied();
        if bytes == 0
            || before.is_some_and(|free| free.end() > offset)
            || after.is_some_and(|free| free.offset < end)
        {
            return Err(refused());
        }
        let joins_before = before.filter(|free| free.end() == offset);
        let joins_after = after.filter(|free| free.offset == end);
        let joined = Span {
            offset: joins_before.map_or(offset, |free| free.offset),
            bytes: bytes
                + joins_before.map_or(0, |free| free.bytes)
                + joins_after.map_or(0, |free| free.bytes),
        };
        let from = at - usize::from(joins_before.is_some());
        let to = at + usize::from(joins_after.is_some());
        self.free.splice(from..to, [joined]);
        Ok(())
    }

    /// Returns how many bytes are free, in however many pieces.
    pub fn free_bytes(&self) -> u64 {
        self.free.iter().map(|span| span.bytes).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn spans_never_overlap_and_all_given_back_are_one_again() {
        const AREA: u64 = 64 * GRAIN_BYTES;
        let (seeds, moves) = if cfg!(miri) { (1, 40) } else { (50, 300) };
        for seed in 0..seeds {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut spans = Spans::new(AREA + 17);
            let mut taken = BTreeMap::new();
            for _ in 0..moves {
                if random.bool() {
                    let Some(span) = spans.take(random.u64(..20 * GRAIN_BYTES)) else { continue };
                    assert!(span.end() <= AREA && span.offset.is_multiple_of(GRAIN_BYTES));
                    taken.insert(span.offset, span);
                    let all: Vec<Span> = taken.values().copied().collect();
                    assert!(all.windows(2).all(|two| two[0].end() <= two[1].offset), "{all:?}");
                } else if let Some(span) = random.choice(taken.values().copied()) {
                    spans.give(span).expect("it was taken");
                    spans.give(span).expect_err("it is free now");
                    taken.remove(&span.offset);
                }
                let held: u64 = taken.values().map(|span| span.bytes).sum();
                assert_eq!(spans.free_bytes(), AREA - held);
            }
            taken.values().for_each(|span| spans.give(*span).expect("it was taken"));
            assert_eq!(spans.free, [Span { offset: 0, bytes: AREA }]);
        }
    }

    #[test]
    fn a_span_that_was_not_taken_is_not_given_back() {
        let mut spans = Spans::new(4 * GRAIN_BYTES);
        let span = spans.take(1).expect("an empty area");
        for (offset, bytes) in [(0, 2 * GRAIN_BYTES), (GRAIN_BYTES, 1), (0, 0), (u64::MAX, 2)] {
            spans.give(Span { offset, bytes }).expect_err("not as it was taken");
        }
        assert_eq!(spans.take(u64::MAX), None);
        spans.give(span).expect("as it was taken");
    }
}
