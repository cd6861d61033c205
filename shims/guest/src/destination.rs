//! Memory of the program that an asynchronous copy fills after its call has returned.
//!
//! The program promised more here than elsewhere: that the memory stays writable, and is left
//! alone, until a call has synchronised with the copy (CUDA Driver API, `cuMemcpyDtoHAsync`). A
//! program that unmaps it earlier is ended by the system, as it may be with a local driver.

use std::ptr::NonNull;

use crate::boundary::Fault;
use crate::convert::Memory;

/// A place of the program that waits for memory contents.
#[derive(Debug)]
pub struct Destination {
    first: NonNull<u8>,
    bytes: usize,
}

// SAFETY: only an address and a length; which thread writes there does not matter to the program,
// which has promised to leave the place alone until then.
unsafe impl Send for Destination {}

impl Destination {
    /// Takes `bytes` bytes of the program's memory; NULL, or more than an address space holds, is
    /// [`Fault::INVALID_VALUE`].
    pub fn new<E: Fault>(memory: Memory<'_>, bytes: usize) -> Result<Self, E> {
        let fits =
            isize::try_from(bytes).is_ok() && memory.address().checked_add(bytes as u64).is_some();
        let first = NonNull::new(memory.into_pointer()).filter(|_| fits);
        first.map(|first| Self { first, bytes }).ok_or(E::INVALID_VALUE)
    }

    /// Returns the first address.
    pub fn address(&self) -> u64 {
        self.first.addr().get() as u64
    }

    /// Returns the length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Cuts off all but the first `bytes` bytes, and returns the rest.
    pub fn split_off(&mut self, bytes: usize) -> Option<Self> {
        let rest = self.bytes.checked_sub(bytes).filter(|rest| *rest > 0)?;
        self.bytes = bytes;
        // SAFETY: `bytes` lie within the place, which the program holds as one.
        let first = unsafe { self.first.add(bytes) };
        Some(Self { first, bytes: rest })
    }

    /// Lets `fill` write the contents.
    pub(crate) fn fill<T>(self, fill: impl FnOnce(&mut [u8]) -> T) -> T {
        // SAFETY: `Memory::new`'s contract, which for an asynchronous copy lasts until a call has
        // synchronised with it: no such call has returned yet, because it returns only after this.
        let place = unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.bytes) };
        fill(place)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::TestError;

    /// A place that nothing is ever written to.
    pub(crate) fn at(address: u64, bytes: usize) -> Destination {
        // SAFETY: nothing is read or written.
        let memory = unsafe { Memory::at(address) };
        Destination::new::<TestError>(memory, bytes).expect("not NULL")
    }

    /// The place that is `own`, which the test keeps until it is filled.
    pub(crate) fn of(own: &mut [u8]) -> Destination {
        // SAFETY: the tests look at `own` only after a call has synchronised.
        let memory = unsafe { Memory::new(own.as_mut_ptr().cast()) };
        Destination::new::<TestError>(memory, own.len()).expect("not NULL")
    }

    #[test]
    fn miri_the_parts_of_a_place_are_filled_one_by_one() {
        let mut own = [0u8; 7];
        // SAFETY: `own` outlives what is made of it here.
        let memory = unsafe { Memory::new(own.as_mut_ptr().cast()) };
        let mut first = Destination::new::<TestError>(memory, 7).expect("it is not NULL");
        let rest = first.split_off(4).expect("3 are left");
        assert_eq!((first.bytes(), rest.bytes()), (4, 3));
        assert_eq!(rest.address() - first.address(), 4);
        rest.fill(|place| place.fill(2));
        assert!(first.split_off(4).is_none());
        first.fill(|place| place.fill(1));
        assert_eq!(own, [1, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn a_place_that_cannot_be_is_refused() {
        for (address, bytes) in [(0, 1), (8, usize::MAX), (u64::MAX, 2)] {
            // SAFETY: nothing is read or written.
            let memory = unsafe { Memory::at(address) };
            let refused = Destination::new::<TestError>(memory, bytes);
            assert_eq!(refused.err(), Some(TestError::INVALID_VALUE), "{address:#x}");
        }
    }
}
