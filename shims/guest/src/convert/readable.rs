//! Memory of the program that is read step by step: what stands in it says how far it reaches.
//!
//! An image that comes as a bare pointer names its size in its own header; an array of arguments
//! is as long as the kernel's parameters say. A body checks each such field before it goes on.

use std::ffi::c_void;
use std::marker::PhantomData;

use super::{Memory, checked_extent};
use crate::boundary::Fault;

/// A type of which every bit pattern is a value.
pub trait Plain: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! plain {
    ($($kind:ty),*) => { $(impl sealed::Sealed for $kind {} impl Plain for $kind {})* };
}

plain!(u8, u16, u32, u64, usize, i32, f32, [u8; 64]);

/// Memory of the program that a body reads, as far as its function documents.
#[derive(Debug, Clone, Copy)]
pub struct Readable<'call> {
    address: *const u8,
    /// Its length where we know it; what comes from C has none.
    bytes_max: usize,
    call: PhantomData<&'call [u8]>,
}

impl<'call> Memory<'call> {
    /// Takes memory that is only read.
    pub fn readable(self) -> Readable<'call> {
        Readable { address: self.address, bytes_max: usize::MAX, call: PhantomData }
    }

    /// Takes what lies `bytes` behind the beginning; NULL stays NULL.
    pub fn behind(&self, bytes: usize) -> Self {
        let bytes = if self.address.is_null() { 0 } else { bytes };
        Self { address: self.address.wrapping_add(bytes), call: PhantomData }
    }

    /// Is NULL: what a function without this parameter gives.
    pub const NONE: Self = Self { address: std::ptr::null_mut(), call: PhantomData };

    /// Keeps an address that the function documents to be used by later calls as well.
    pub fn keep(self) -> Kept {
        Kept { address: self.address.expose_provenance() }
    }
}

/// An address that the program keeps valid for later calls, such as a linker's log buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    address: usize,
}

impl Kept {
    /// Keeps where some bytes lie.
    pub fn of(bytes: &[u8]) -> Self {
        Self { address: bytes.as_ptr().expose_provenance() }
    }

    /// Takes the address for the call that uses it.
    pub fn memory<'call>(self) -> Memory<'call> {
        Memory { address: std::ptr::with_exposed_provenance_mut(self.address), call: PhantomData }
    }
}

impl<'call> From<&'call [u8]> for Readable<'call> {
    /// Takes memory of our own, such as a file's contents: nothing behind it is read, and no
    /// pointer in it is followed ([`Fault::INVALID_VALUE`]).
    fn from(bytes: &'call [u8]) -> Self {
        Self { address: bytes.as_ptr(), bytes_max: bytes.len(), call: PhantomData }
    }
}

impl<'call> Readable<'call> {
    /// Says whether the program gave NULL.
    pub fn is_null(&self) -> bool {
        self.address.is_null()
    }

    /// Returns the address as a number.
    pub fn address(&self) -> u64 {
        self.address.addr() as u64
    }

    /// Reads a value `offset` bytes from the beginning; NULL is [`Fault::INVALID_VALUE`].
    pub fn value<T: Plain, E: Fault>(&self, offset: usize) -> Result<T, E> {
        let place = self.checked::<E>(offset, size_of::<T>())?.cast::<T>();
        // SAFETY: not NULL; Memory::new's contract, and the body reads as far as its function
        // documents. Any bits are a T; unaligned, because C compilers let it pass.
        Ok(unsafe { place.read_unaligned() })
    }

    /// Borrows `count` bytes, `offset` bytes from the beginning; NULL is
    /// [`Fault::INVALID_VALUE`] unless there are none.
    pub fn bytes<E: Fault>(&self, offset: usize, count: usize) -> Result<&'call [u8], E> {
        if count == 0 {
            return Ok(&[]);
        }
        let place = self.checked::<E>(offset, count)?;
        // SAFETY: as in `value`; nothing changes the bytes while the call lasts.
        Ok(unsafe { std::slice::from_raw_parts(place, count) })
    }

    /// Takes the memory that a pointer points to, which stands `offset` bytes from the beginning.
    pub fn follow<E: Fault>(&self, offset: usize) -> Result<Memory<'call>, E> {
        if self.bytes_max != usize::MAX {
            return Err(E::INVALID_VALUE);
        }
        let place = self.checked::<E>(offset, size_of::<*mut c_void>())?.cast::<*mut u8>();
        // SAFETY: as in `value`; a pointer is as good as its bits, and what it points to keeps
        // Memory::new's contract by the documentation of the function.
        Ok(Memory { address: unsafe { place.read_unaligned() }, call: PhantomData })
    }

    /// Borrows the bytes before the first zero byte; none among the first `count_max` is
    /// [`Fault::INVALID_VALUE`], and nothing behind them is read.
    pub fn before_zero<E: Fault>(&self, count_max: usize) -> Result<&'call [u8], E> {
        let count_max = count_max.min(self.bytes_max);
        let first = self.checked::<E>(0, 1)?;
        // SAFETY: not NULL; the program promised a text with an end mark, and strnlen reads no
        // further than that or `count_max`, which ends with what is ours.
        let count = unsafe { libc::strnlen(first.cast(), count_max) };
        if count == count_max { Err(E::INVALID_VALUE) } else { self.bytes(0, count) }
    }

    fn checked<E: Fault>(&self, offset: usize, count: usize) -> Result<*const u8, E> {
        let end = offset.checked_add(count).filter(|end| *end <= self.bytes_max);
        if self.address.is_null() || end.is_none_or(|end| self.address.addr() > usize::MAX - end) {
            return Err(E::INVALID_VALUE);
        }
        let place = self.address.wrapping_add(offset);
        checked_extent::<u8, E>(place, count).map(|()| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestError;

    const INVALID: TestError = TestError::INVALID_VALUE;

    #[test]
    fn values_and_bytes_are_read_where_they_stand_even_misaligned() {
        let bytes = [1, 2, 0, 0, 0, 9, 0];
        let memory = Readable::from(&bytes[..]);
        assert_eq!(memory.value::<u32, TestError>(1), Ok(2));
        assert_eq!(memory.bytes::<TestError>(4, 2), Ok(&[0, 9][..]));
        assert_eq!(memory.before_zero::<TestError>(7), Ok(&[1, 2][..]));
        assert_eq!(memory.before_zero::<TestError>(2), Err(INVALID));
    }

    #[test]
    fn memory_of_our_own_is_left_at_neither_its_end_nor_a_pointer() {
        let memory = Readable::from(&[5u8; 24][..]);
        assert_eq!(memory.value::<u64, TestError>(16), Ok(0x0505_0505_0505_0505));
        assert_eq!(memory.value::<u64, TestError>(17), Err(INVALID));
        assert_eq!(memory.bytes::<TestError>(24, 1), Err(INVALID));
        assert_eq!(memory.before_zero::<TestError>(usize::MAX), Err(INVALID));
        assert!(memory.follow::<TestError>(0).is_err());
        assert_eq!(Readable::from(&[][..]).before_zero::<TestError>(9), Err(INVALID));
    }

    #[test]
    fn a_pointer_is_followed_and_null_is_refused_where_it_is_read() {
        let value = 7u8;
        let place = [&raw const value, std::ptr::null()];
        // SAFETY: two pointers, one to a byte and one NULL.
        let memory = unsafe { Memory::new(place.as_ptr().cast()) }.readable();
        let followed = memory.follow::<TestError>(0).expect("a pointer").readable();
        assert_eq!(followed.value::<u8, TestError>(0), Ok(7));
        let nothing = memory.follow::<TestError>(8).expect("a pointer").readable();
        assert!(nothing.is_null());
        assert_eq!(nothing.value::<u8, TestError>(4096), Err(INVALID));
        assert_eq!(nothing.before_zero::<TestError>(9), Err(INVALID));
        assert!(nothing.follow::<TestError>(0).is_err());
        assert_eq!(nothing.bytes::<TestError>(0, 0), Ok(&[][..]));
        assert_eq!(memory.bytes::<TestError>(usize::MAX, 1), Err(INVALID));
    }
}
