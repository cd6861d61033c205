//! A copy between the program's memory and a device that is a node of a graph.
//!
//! The host cannot reach the program's memory when a graph runs. So the node copies between the
//! device's place and another one on the device that stands in for the program's memory, row
//! behind row. (docs/decisions/0022-graphs-hold-no-memory-of-the-program.md)

use std::iter;

use vgpu_abi::cuda::{CUstream, Error};
use vgpu_guest::convert::Kept;
use vgpu_guest::wire::cuda::{CtxSynchronize, MemAllocV2, MemFreeV2, StandInRead, StandInWrite};
use vgpu_guest::wire::header::BULK_BYTES_MAX;
use vgpu_guest::{current, reach, session};

use crate::api::{copy, stream};
use crate::volume::{self, Layout, Part, Shape};
use crate::{contexts, remote};

/// Which way a copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the program to a device.
    In,
    /// From a device to the program.
    Out,
}

impl Way {
    /// Says which of the program's and the device's end is the source, and which the target.
    pub(crate) fn order<T>(self, program: T, device: T) -> (T, T) {
        match self {
            Self::In => (program, device),
            Self::Out => (device, program),
        }
    }
}

/// A copy of the program's memory in a graph.
#[derive(Debug)]
pub(crate) struct HostCopy {
    /// Where on the device the program's memory is stood in for.
    pub stand_in: u64,
    pub(super) way: Way,
    base: Kept,
    layout: Layout,
    shape: Shape,
    /// The context of the stand-in, which is freed with it, and its number.
    context: (u64, u64),
}

impl HostCopy {
    /// Makes a stand-in for rows of the program's memory.
    ///
    /// # Errors
    /// INVALID_VALUE for rows that overlap or are not the program's.
    pub(crate) fn new(way: Way, base: Kept, layout: Layout, shape: Shape) -> Result<Self, Error> {
        volume::check_program(&base.memory(), &layout, &shape)?;
        check_reach(way, base, &layout, shape)?;
        let (handle, context) = contexts::current()?;
        let bytesize = shape.bytes()? as u64;
        // Not by way of `remote`, which would take it for an unsafe call of the program.
        let stand_in = session::call(&MemAllocV2 { bytesize })?.dptr;
        Ok(Self { stand_in, way, base, layout, shape, context: (handle, context.id) })
    }

    /// Makes a stand-in for bytes in one row.
    pub(crate) fn line(way: Way, place: Kept, bytes: usize) -> Result<Self, Error> {
        let layout = Layout { x: 0, y: 0, z: 0, pitch: 0, height: 0 };
        Self::new(way, place, layout, Shape { width: bytes, height: 1, depth: 1 })
    }

    /// A copy of one byte that no host knows of.
    #[cfg(test)]
    pub(super) fn unknown(byte: &[u8; 1]) -> Self {
        let layout = Layout { x: 0, y: 0, z: 0, pitch: 0, height: 0 };
        let shape = Shape { width: 1, height: 1, depth: 1 };
        Self { stand_in: 1, way: Way::Out, base: Kept::of(byte), layout, shape, context: (0, 0) }
    }

    /// How the rows lie in the stand-in.
    pub(crate) fn packed(&self) -> Layout {
        Layout { x: 0, y: 0, z: 0, pitch: self.shape.width, height: self.shape.height }
    }

    /// Where the program's memory lies: the address, and how its rows go on from there.
    pub(crate) fn place(&self) -> (usize, Layout) {
        (self.base.memory().address() as usize, self.layout)
    }

    /// The first byte of the program's memory, and how far it is to the last.
    fn span(&self) -> Result<(u64, u64), Error> {
        let first = self.base.memory().further(self.layout.place([0; 3])?).address();
        Ok((first, self.layout.extent(&self.shape)? as u64))
    }

    pub(super) fn overlaps(&self, other: &Self) -> Result<bool, Error> {
        let ((first, bytes), (other, other_bytes)) = (self.span()?, other.span()?);
        Ok(first < other + other_bytes && other < first + bytes)
    }

    /// Cuts the stand-in into what one frame carries each.
    fn parts(&self) -> impl Iterator<Item = Result<(u64, Part), Error>> {
        let mut next = self.stand_in;
        self.shape.parts(BULK_BYTES_MAX).map(move |part| {
            let first = next;
            next += part.shape.bytes()? as u64;
            Ok((first, part))
        })
    }

    /// Sends what the program has there now, behind what the stream does.
    pub(super) fn send(&self, stream: CUstream) -> Result<(), Error> {
        let (first, bytes) = self.span()?;
        if session::has_copies_into(first, bytes)? {
            // What an earlier copy brings there is still under way.
            remote::call(&CtxSynchronize {})?;
        }
        let base = self.base.memory();
        for part in self.parts() {
            let (to, part) = part?;
            copy::send_behind(to, &volume::gather(&base, &self.layout, &part)?, stream)?;
        }
        Ok(())
    }

    /// Asks for what is there, behind what the stream does. Rows apart are waited for.
    pub(super) fn fetch(&self, stream: CUstream) -> Result<(), Error> {
        check_reach(self.way, self.base, &self.layout, self.shape)?;
        if self.layout.is_packed(&self.shape) {
            let place = self.base.memory().further(self.layout.place([0; 3])?);
            return copy::fetch_behind(place, self.stand_in, self.shape.bytes()?, stream);
        }
        stream::stream_synchronize(stream)?;
        self.fetch_parts(|from, rows| copy::fetch(rows, from))
    }

    fn fetch_parts(
        &self,
        fetch: impl Fn(u64, &mut [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (base, mut rows) = (self.base.memory(), Vec::new());
        for part in self.parts() {
            let (from, part) = part?;
            rows.resize(part.shape.bytes()?, 0);
            fetch(from, &mut rows)?;
            volume::scatter(&base, &self.layout, &part, &rows)?;
        }
        Ok(())
    }

    /// Brings what is there now, while the graph waits for a function.
    pub(super) fn fetch_beside(&self) -> Result<(), Error> {
        self.within_context(|| {
            self.fetch_parts(|source, rows| {
                let request = StandInRead { source, bytes: rows.len() as u64 };
                Ok(session::fetch_parts(iter::once((request, rows)))?)
            })
        })
    }

    /// Sends what the program has there now, while the graph waits for a function.
    pub(super) fn send_beside(&self) -> Result<(), Error> {
        self.within_context(|| {
            let base = self.base.memory();
            for part in self.parts() {
                let (target, part) = part?;
                let rows = volume::gather(&base, &self.layout, &part)?;
                session::send_parts(iter::once((StandInWrite { target }, &rows[..])))?;
            }
            Ok(())
        })
    }

    /// Works in the stand-in's context, on a thread of ours that has none.
    fn within_context(&self, work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        if !current::push(self.context.0) {
            return Err(Error::OUT_OF_MEMORY);
        }
        let worked = work();
        current::pop();
        worked
    }
}

impl Drop for HostCopy {
    fn drop(&mut self) {
        let (handle, id) = self.context;
        // Else it has gone with its context.
        if contexts::find(handle).is_ok_and(|context| context.id == id) {
            // A connection that is lost has nothing left to free.
            let _ = self.within_context(|| Ok(session::post(&MemFreeV2 { dptr: self.stand_in })?));
        }
    }
}

fn check_reach(way: Way, base: Kept, layout: &Layout, shape: Shape) -> Result<(), Error> {
    let can = match way {
        Way::In => reach::is_readable,
        Way::Out => reach::is_writable,
    };
    volume::check_reach(&base.memory(), layout, &Part { at: [0; 3], shape }, can)
}
