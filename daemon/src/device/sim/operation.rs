//! What streams do: work that a client hands to a stream without waiting for it.
//!
//! Each kind is one variant here, examined in one place and done in one place. A stream that is
//! being captured keeps it as a node of a graph instead, and a launch of the graph does it then.
//! To let a new kind be captured, add a variant and hand it to [`Sim::submit`].

use vgpu_abi::cuda::{CUmemorytype, Error};
use vgpu_link::wire::cuda::{NodeCopy, NodeCopyEnd, NodeSet};

use super::Sim;
use super::blas::Work;
use super::code::Launch;
use crate::device::{Holds, spans};

/// One piece of work for a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    /// Nothing: a node to join others.
    Empty,
    /// A kernel.
    Launch(Launch),
    /// A copy within device memory, or between it and pinned memory of the client.
    Copy(NodeCopy),
    /// A set of device memory.
    Set(NodeSet),
    /// The recording of an event.
    EventRecord(u64),
    /// A wait for an event.
    EventWait(u64),
    /// Work of cuBLAS.
    Blas(Box<Work>),
    /// A function of the client's program, by its number.
    Host(u64),
}

impl Operation {
    /// Copies `bytes` within device memory.
    pub fn copy(to: u64, from: u64, bytes: u64) -> Self {
        let end = |address| NodeCopyEnd {
            kind: CUmemorytype::DEVICE.0,
            address,
            x_bytes: 0,
            y: 0,
            z: 0,
            level: 0,
            pitch: 0,
            height: 0,
        };
        let (from, to) = (end(from), end(to));
        Self::Copy(NodeCopy { from, to, width_bytes: bytes, height: 1, depth: 1 })
    }

    /// Sets `count` elements in one row.
    pub fn set(to: u64, value: u32, element_bytes: u32, count: u64) -> Self {
        Self::Set(NodeSet { to, pitch: 0, value, element_bytes, width: count, height: 1 })
    }
}

/// One end of a copy: where it begins, and how far it is to the next row and the next slice.
#[derive(Debug, Clone, Copy)]
struct Lattice {
    /// Whether it is in the client's pinned memory, where places are offsets in the bulk area.
    is_span: bool,
    first: u64,
    /// From there to the end of the last row.
    bytes: u64,
    row: u64,
    slice: u64,
}

impl Lattice {
    fn at(&self, row: u64, slice: u64) -> u64 {
        self.first + row * self.row + slice * self.slice
    }
}

/// Lays out one end of a copy, and checks that its rows and slices do not overlap.
///
/// # Errors
/// NOT_SUPPORTED where the end is no plain memory; INVALID_VALUE.
fn lattice(end: &NodeCopyEnd, copy: &NodeCopy) -> Result<Lattice, Error> {
    let is_span = match CUmemorytype(end.kind) {
        CUmemorytype::DEVICE | CUmemorytype::UNIFIED => false,
        CUmemorytype::HOST => true,
        _ => return Err(Error::NOT_SUPPORTED),
    };
    let (first, bytes) = spans::extent(end, copy)?;
    // Rows and slices that there are do not overflow: `extent` has added them up.
    let slice = end.pitch.wrapping_mul(end.height);
    Ok(Lattice { is_span, first, bytes, row: end.pitch, slice })
}

/// Counts the bytes from the first row's beginning to the last one's end.
///
/// # Errors
/// INVALID_VALUE where the elements are of no known size or do not lie at multiples of it, and
/// where rows overlap.
fn extent(set: &NodeSet) -> Result<u64, Error> {
    let element = u64::from(set.element_bytes);
    if ![1, 2, 4].contains(&element) || !set.to.is_multiple_of(element) {
        return Err(Error::INVALID_VALUE);
    }
    let row = set.width.checked_mul(element).ok_or(Error::INVALID_VALUE)?;
    if row == 0 || set.height == 0 {
        return Ok(0);
    }
    if set.height > 1 && (set.pitch < row || !set.pitch.is_multiple_of(element)) {
        return Err(Error::INVALID_VALUE);
    }
    let rows = (set.height - 1).checked_mul(set.pitch);
    rows.and_then(|rows| rows.checked_add(row)).ok_or(Error::INVALID_VALUE)
}

impl Sim {
    /// Checks all that can be known before an operation is done in a context.
    pub(super) fn examine(&self, context: u64, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Empty | Operation::Host(_) => Ok(()),
            Operation::Launch(launch) => self.examine_launch(context, launch).map(drop),
            Operation::Copy(copy) => self.examine_copy(copy).map(drop),
            Operation::Set(set) => self.memory.read(set.to, extent(set)?).map(drop),
            Operation::EventRecord(event) | Operation::EventWait(event) => {
                self.queues.check_event(*event)
            }
            Operation::Blas(work) => self.examine_blas(work),
        }
    }

    /// Does an operation in a context.
    pub(super) fn perform(&mut self, context: u64, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Empty => Ok(()),
            Operation::Launch(launch) => self.perform_launch(context, launch),
            Operation::Copy(copy) => self.copy(copy),
            Operation::Set(set) => self.set(set),
            Operation::EventRecord(event) => {
                self.captures.forget_event(*event);
                self.queues.record(*event, context)
            }
            // What an event stands for was done before anybody could wait for it.
            Operation::EventWait(event) => self.queues.check_event(*event),
            Operation::Blas(work) => self.perform_blas(work),
            Operation::Host(function) => {
                self.functions.launch(*function, Holds::Stream)?;
                self.functions.come_to(*function, 0);
                Ok(())
            }
        }
    }

    /// Checks a copy, the whole span of each end included, so that one that does not fit leaves
    /// nothing half done.
    fn examine_copy(&self, copy: &NodeCopy) -> Result<Option<[Lattice; 2]>, Error> {
        if copy.width_bytes == 0 || copy.height == 0 || copy.depth == 0 {
            return Ok(None);
        }
        let ends = [lattice(&copy.to, copy)?, lattice(&copy.from, copy)?];
        if ends.iter().all(|end| end.is_span) {
            // Within the program, which no device does.
            return Err(Error::NOT_SUPPORTED);
        }
        for end in ends {
            if end.is_span {
                self.spans.check(end.first, end.bytes)?;
            } else {
                self.memory.read(end.first, end.bytes)?;
            }
        }
        Ok(Some(ends))
    }

    fn copy(&mut self, copy: &NodeCopy) -> Result<(), Error> {
        let Some([to, from]) = self.examine_copy(copy)? else { return Ok(()) };
        for slice in 0..copy.depth {
            for row in 0..copy.height {
                let places = [to.at(row, slice), from.at(row, slice)];
                self.copy_row([to.is_span, from.is_span], places, copy.width_bytes)?;
            }
        }
        Ok(())
    }

    /// Copies a row that was examined. Between a span and the device it is one copy, from where
    /// the client put it to where the device has it.
    fn copy_row(
        &mut self,
        is_span: [bool; 2],
        [to, from]: [u64; 2],
        bytes: u64,
    ) -> Result<(), Error> {
        let outside = |_| Error::INVALID_VALUE;
        match is_span {
            [false, false] => self.memory.copy(to, from, bytes),
            [false, true] => {
                let area = self.spans.check(from, bytes)?;
                area.copy_out(from, self.memory.write(to, bytes)?).map_err(outside)
            }
            [true, false] => {
                let area = self.spans.check(to, bytes)?;
                area.copy_in(to, self.memory.read(from, bytes)?).map_err(outside)
            }
            [true, true] => Err(Error::NOT_SUPPORTED),
        }
    }

    fn set(&mut self, set: &NodeSet) -> Result<(), Error> {
        // The whole span first, so that a set that does not fit leaves nothing half done.
        let extent = extent(set)?;
        self.memory.read(set.to, extent)?;
        if extent == 0 {
            return Ok(());
        }
        let value = set.value.to_le_bytes();
        let element = &value[..set.element_bytes as usize];
        for row in 0..set.height {
            self.set_row(set.to + row * set.pitch, element, set.width)?;
        }
        Ok(())
    }

    /// Sets `count` elements, whose extent was checked.
    fn set_row(&mut self, to: u64, element: &[u8], count: u64) -> Result<(), Error> {
        let bytes = count * element.len() as u64;
        if element.iter().all(|&byte| byte == 0) {
            return self.memory.clear(to, bytes);
        }
        let target = self.memory.write(to, bytes)?;
        match element {
            [first, rest @ ..] if rest.iter().all(|byte| byte == first) => target.fill(*first),
            _ => target.chunks_exact_mut(element.len()).for_each(|to| to.copy_from_slice(element)),
        }
        Ok(())
    }
}
