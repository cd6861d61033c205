//! What streams do: work that a client hands to a stream without waiting for it.
//!
//! Each kind is one variant here, examined in one place and done in one place. A stream that is
//! being captured keeps it as a node of a graph instead, and a launch of the graph does it then.

use vgpu_abi::cuda::Error;

use super::Sim;
use super::blas::Work;
use super::code::Launch;

/// One piece of work for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Nothing: a node to join others.
    Empty,
    /// A copy within device memory.
    Copy {
        /// Where to.
        to: u64,
        /// Where from.
        from: u64,
        /// How much.
        bytes: u64,
    },
    /// A set of device memory.
    Set(Set),
    /// A launch of a kernel.
    Launch(Launch),
    /// The recording of an event.
    EventRecord(u64),
    /// A wait for an event.
    EventWait(u64),
    /// Work of cuBLAS.
    Blas(Box<Work>),
}

/// A set of rows of device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set {
    /// Where the first row begins.
    pub to: u64,
    /// Bytes from one row to the next; unused where there is one row.
    pub pitch: u64,
    /// What each element becomes, in its lowest bytes.
    pub value: u32,
    /// Bytes of an element: 1, 2 or 4.
    pub element_bytes: u32,
    /// Elements of a row.
    pub width: u64,
    /// Rows.
    pub height: u64,
}

impl Set {
    /// Sets `count` elements in one row.
    pub fn row(to: u64, value: u32, element_bytes: u32, count: u64) -> Self {
        Self { to, pitch: 0, value, element_bytes, width: count, height: 1 }
    }

    /// Checks the form, and counts the bytes from the first row's beginning to the last one's end.
    ///
    /// # Errors
    /// INVALID_VALUE where the elements are of no known size or do not lie at multiples of it, and
    /// where rows overlap.
    fn extent(&self) -> Result<u64, Error> {
        let element = u64::from(self.element_bytes);
        if ![1, 2, 4].contains(&element) || !self.to.is_multiple_of(element) {
            return Err(Error::INVALID_VALUE);
        }
        let row = self.width.checked_mul(element).ok_or(Error::INVALID_VALUE)?;
        if row == 0 || self.height == 0 {
            return Ok(0);
        }
        if self.height > 1 && (self.pitch < row || !self.pitch.is_multiple_of(element)) {
            return Err(Error::INVALID_VALUE);
        }
        let rows = (self.height - 1).checked_mul(self.pitch);
        rows.and_then(|rows| rows.checked_add(row)).ok_or(Error::INVALID_VALUE)
    }
}

impl Sim {
    /// Checks all that can be known before an operation is done in a context.
    pub(super) fn examine(&self, context: u64, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Empty => Ok(()),
            Operation::Copy { to, from, bytes } => {
                self.memory.read(*to, *bytes)?;
                self.memory.read(*from, *bytes).map(drop)
            }
            Operation::Set(set) => self.memory.read(set.to, set.extent()?).map(drop),
            Operation::Launch(launch) => self.examine_launch(context, launch).map(drop),
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
            Operation::Copy { to, from, bytes } => self.memory.copy(*to, *from, *bytes),
            Operation::Set(set) => self.set(set),
            Operation::Launch(launch) => self.perform_launch(context, launch),
            Operation::EventRecord(event) => self.queues.record(*event, context),
            // What an event stands for was done before anybody could wait for it.
            Operation::EventWait(event) => self.queues.check_event(*event),
            Operation::Blas(work) => self.perform_blas(work),
        }
    }

    fn set(&mut self, set: &Set) -> Result<(), Error> {
        // The whole span first, so that a set that does not fit leaves nothing half done.
        let extent = set.extent()?;
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

    /// Sets `count` elements; `examine`d before.
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
