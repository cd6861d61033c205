//! The client's pinned memory: spans of the bulk area, which guest and worker share.
//!
//! The guest says which spans it has pinned, and names places in them by their offset in the area.
//! Nothing of that is believed: a place that does not lie in one span that was taken up is refused.
//! What lies there the guest may change at any time, which is its own affair.

use std::collections::BTreeMap;

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{NodeCopy, NodeCopyEnd};
use vgpu_link::{Area, GRAIN_BYTES};

/// Most spans of a client: 65,536, which programs do not reach that pin their memory in pieces of a
/// megabyte; each costs the host some 100 bytes.
const SPANS_MAX: usize = 1 << 16;

/// One span, and what a device keeps of it.
#[derive(Debug)]
struct Span<T> {
    bytes: u64,
    kept: T,
}

/// The spans of one client that are taken up.
#[derive(Debug)]
pub(crate) struct Spans<T> {
    /// None where the link shares no memory.
    area: Option<Area>,
    taken: BTreeMap<u64, Span<T>>,
}

impl<T> Spans<T> {
    /// Begins with none.
    pub fn new(area: Option<Area>) -> Self {
        Self { area, taken: BTreeMap::new() }
    }

    /// Says whether a span could be taken up.
    ///
    /// # Errors
    /// INVALID_VALUE if it is empty, not made of whole pages, or not in the area;
    /// HOST_MEMORY_ALREADY_REGISTERED if some of it is taken up; OUT_OF_MEMORY if there are more
    /// than anybody has use for.
    pub fn may_pin(&self, offset: u64, bytes: u64) -> Result<&Area, Error> {
        let area = self.area.as_ref().ok_or(Error::INVALID_VALUE)?;
        let end = offset.checked_add(bytes).filter(|end| bytes > 0 && *end <= area.bytes());
        let end = end.ok_or(Error::INVALID_VALUE)?;
        if !offset.is_multiple_of(GRAIN_BYTES) || !bytes.is_multiple_of(GRAIN_BYTES) {
            return Err(Error::INVALID_VALUE);
        }
        let below = self.taken.range(..end).next_back();
        if below.is_some_and(|(other, span)| other + span.bytes > offset) {
            return Err(Error::HOST_MEMORY_ALREADY_REGISTERED);
        }
        if self.taken.len() >= SPANS_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        Ok(area)
    }

    /// Takes up a span.
    ///
    /// # Errors
    /// As [`Spans::may_pin`].
    pub fn pin(&mut self, offset: u64, bytes: u64, kept: T) -> Result<(), Error> {
        let area = self.may_pin(offset, bytes)?;
        // What another client left there, or this one: new memory is zeroes, as a driver gives it.
        area.clean(offset, bytes).map_err(|_| Error::INVALID_VALUE)?;
        self.taken.insert(offset, Span { bytes, kept });
        Ok(())
    }

    /// Lets a span go, as it was taken up; any other is HOST_MEMORY_NOT_REGISTERED.
    pub fn unpin(&mut self, offset: u64, bytes: u64) -> Result<T, Error> {
        match self.taken.get(&offset) {
            Some(span) if span.bytes == bytes => {}
            _ => return Err(Error::HOST_MEMORY_NOT_REGISTERED),
        }
        let gone = self.taken.remove(&offset);
        gone.map(|span| span.kept).ok_or(Error::HOST_MEMORY_NOT_REGISTERED)
    }

    /// Checks that some bytes lie in one span that is taken up.
    ///
    /// # Errors
    /// INVALID_VALUE if they do not.
    pub fn check(&self, offset: u64, bytes: u64) -> Result<&Area, Error> {
        self.find(offset, bytes)?;
        self.area.as_ref().ok_or(Error::INVALID_VALUE)
    }

    /// Finds the span that holds some bytes: where it begins.
    fn find(&self, offset: u64, bytes: u64) -> Result<u64, Error> {
        let below = self.taken.range(..=offset).next_back();
        let (first, span) = below.ok_or(Error::INVALID_VALUE)?;
        let holds = (offset - first).checked_add(bytes).is_some_and(|end| end <= span.bytes);
        if holds { Ok(*first) } else { Err(Error::INVALID_VALUE) }
    }

    /// The span that holds some bytes, whole: where it begins, its length, what is kept of it.
    ///
    /// # Errors
    /// INVALID_VALUE if they do not lie in one span.
    pub fn holder(&mut self, offset: u64, bytes: u64) -> Result<(u64, u64, &mut T), Error> {
        let first = self.find(offset, bytes)?;
        let span = self.taken.get_mut(&first).ok_or(Error::INVALID_VALUE)?;
        Ok((first, span.bytes, &mut span.kept))
    }

    /// The address of some bytes in this process.
    ///
    /// # Errors
    /// INVALID_VALUE if they do not lie in the area.
    pub fn address(&self, offset: u64, bytes: u64) -> Result<u64, Error> {
        let area = self.area.as_ref().ok_or(Error::INVALID_VALUE)?;
        let address = area.address(offset, bytes).map_err(|_| Error::INVALID_VALUE)?;
        Ok(address.expose_provenance() as u64)
    }

    /// The offset in the area of an address in this process, if it lies there.
    pub fn offset(&self, address: u64) -> Option<u64> {
        let area = self.area.as_ref()?;
        let first = area.address(0, 0).ok()?.addr() as u64;
        address.checked_sub(first).filter(|offset| *offset < area.bytes())
    }

    /// All that is kept: where each span begins, its length, what is kept of it.
    pub fn all(&mut self) -> impl Iterator<Item = (u64, u64, &mut T)> {
        self.taken.iter_mut().map(|(first, span)| (*first, span.bytes, &mut span.kept))
    }
}

/// Where one end of a copy begins, and how far it is from there to the end of its last row.
///
/// # Errors
/// INVALID_VALUE for what is no copy: without a row, with rows or slices that overlap, or with a
/// mipmap level.
pub(crate) fn extent(end: &NodeCopyEnd, copy: &NodeCopy) -> Result<(u64, u64), Error> {
    let fits =
        |what: u64, offset: u64, room: u64| offset.checked_add(what).is_some_and(|end| end <= room);
    let is_line = copy.height == 1 && copy.depth == 1;
    if copy.width_bytes == 0
        || copy.height == 0
        || copy.depth == 0
        || end.level != 0
        || !is_line && !fits(copy.width_bytes, end.x_bytes, end.pitch)
        || copy.depth > 1 && !fits(copy.height, end.y, end.height)
    {
        return Err(Error::INVALID_VALUE);
    }
    let reckon = || {
        let slice = end.pitch.checked_mul(end.height)?;
        let offset = end.z.checked_mul(slice)?.checked_add(end.y.checked_mul(end.pitch)?)?;
        let first = end.address.checked_add(offset)?.checked_add(end.x_bytes)?;
        let rows = (copy.height - 1).checked_mul(end.pitch)?;
        let slices = (copy.depth - 1).checked_mul(slice)?;
        Some((first, slices.checked_add(rows)?.checked_add(copy.width_bytes)?))
    };
    reckon().ok_or(Error::INVALID_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(bytes: u64) -> Area {
        Area::heap(bytes)
    }

    #[test]
    fn a_copy_reaches_from_its_first_row_to_the_end_of_its_last() {
        let copy = |width_bytes, height, depth| {
            let end = NodeCopyEnd {
                kind: 1,
                address: 1000,
                x_bytes: 3,
                y: 2,
                z: 1,
                level: 0,
                pitch: 10,
                height: 4,
            };
            NodeCopy { from: end.clone(), to: end, width_bytes, height, depth }
        };
        for (width, height, depth, expected) in [
            (7, 2, 1, Ok((1063, 17))),
            (7, 2, 3, Ok((1063, 97))),
            (900, 1, 1, Ok((1063, 900))),
            (8, 2, 1, Err(Error::INVALID_VALUE)),
            (7, 3, 2, Err(Error::INVALID_VALUE)),
            (0, 1, 1, Err(Error::INVALID_VALUE)),
            (1, 0, 1, Err(Error::INVALID_VALUE)),
            (u64::MAX, 1, 1, Ok((1063, u64::MAX))),
            (1, u64::MAX, 1, Err(Error::INVALID_VALUE)),
            (1, 1, u64::MAX, Err(Error::INVALID_VALUE)),
        ] {
            let copy = copy(width, height, depth);
            assert_eq!(extent(&copy.from, &copy), expected, "{width} {height} {depth}");
        }
    }

    #[test]
    fn a_place_lies_in_one_span_that_is_taken_up_or_is_refused() {
        let mut spans = Spans::new(Some(area(16 << 12)));
        assert_eq!(spans.pin(1 << 12, 2 << 12, 'a'), Ok(()));
        assert_eq!(spans.pin(3 << 12, 1 << 12, 'b'), Ok(()));
        for (offset, bytes, expected) in [
            (0, 1 << 12, Ok(())),
            (0, 0, Err(Error::INVALID_VALUE)),
            (8 << 12, 100, Err(Error::INVALID_VALUE)),
            ((8 << 12) + 8, 1 << 12, Err(Error::INVALID_VALUE)),
            (15 << 12, 2 << 12, Err(Error::INVALID_VALUE)),
            (u64::MAX - 4095, 1 << 12, Err(Error::INVALID_VALUE)),
            (1 << 12, u64::MAX - 4095, Err(Error::INVALID_VALUE)),
            (2 << 12, 1 << 12, Err(Error::HOST_MEMORY_ALREADY_REGISTERED)),
            (0, 2 << 12, Err(Error::HOST_MEMORY_ALREADY_REGISTERED)),
        ] {
            let mut spans = Spans::new(Some(area(16 << 12)));
            spans.pin(1 << 12, 2 << 12, ()).expect("nothing is there");
            assert_eq!(spans.pin(offset, bytes, ()), expected, "{offset:#x} {bytes:#x}");
        }
        for (offset, bytes, is_right) in [
            (1 << 12, 2 << 12, true),
            ((3 << 12) - 1, 1, true),
            ((3 << 12) - 1, 2, false),
            ((1 << 12) - 1, 1, false),
            (4 << 12, 1, false),
            (1 << 12, u64::MAX, false),
            (u64::MAX, 1, false),
        ] {
            assert_eq!(spans.check(offset, bytes).is_ok(), is_right, "{offset:#x} {bytes:#x}");
        }
        assert_eq!(spans.unpin(1 << 12, 1 << 12), Err(Error::HOST_MEMORY_NOT_REGISTERED));
        assert_eq!(spans.unpin(1 << 12, 2 << 12), Ok('a'));
        assert_eq!(spans.unpin(1 << 12, 2 << 12), Err(Error::HOST_MEMORY_NOT_REGISTERED));
        assert!(spans.check(1 << 12, 1).is_err(), "it was let go");
    }

    #[test]
    fn a_client_without_an_area_has_no_spans() {
        let mut spans = Spans::new(None);
        assert_eq!(spans.pin(0, 1 << 12, ()), Err(Error::INVALID_VALUE));
        assert!(spans.check(0, 0).is_err() && spans.address(0, 0).is_err());
    }

    #[test]
    fn nobody_fills_the_memory_with_spans() {
        let mut spans = Spans::new(Some(area((SPANS_MAX as u64 + 1) << 12)));
        for at in 0..SPANS_MAX as u64 {
            assert_eq!(spans.pin(at << 12, 1 << 12, ()), Ok(()));
        }
        let one_more = spans.pin((SPANS_MAX as u64) << 12, 1 << 12, ());
        assert_eq!(one_more, Err(Error::OUT_OF_MEMORY));
    }
}
