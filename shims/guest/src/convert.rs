//! Raw arguments from C become safe types here, and nowhere else.
//!
//! Every constructor is `unsafe` for one and the same reason, the **caller's promise**: the C
//! program promised, by calling a documented function, that the argument is either NULL or points
//! to what the documentation of that function says, for as long as the call lasts. What can be
//! checked is checked: NULL, alignment, lengths. Places that C reads as output are never read,
//! so they may be uninitialised.

mod readable;

pub use readable::{Kept, Plain, Readable};

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::boundary::Fault;

/// A place that the caller gave for one result.
#[derive(Debug)]
pub struct Out<'call, T> {
    place: NonNull<T>,
    call: PhantomData<&'call mut T>,
}

impl<T> Out<'_, T> {
    /// Stores the result. What stood there before is not dropped: C owns it.
    pub fn set(&mut self, value: T) {
        // SAFETY: the caller's promise (output); unaligned, because C compilers let it pass.
        unsafe { self.place.as_ptr().write_unaligned(value) }
    }
}

/// Takes a place for a result; NULL is [`Fault::INVALID_VALUE`].
///
/// # Safety
/// The caller's promise: `place` is NULL or writable for one `T` while the call lasts.
pub unsafe fn output<'call, T, E: Fault>(place: *mut T) -> Result<Out<'call, T>, E> {
    // SAFETY: this function's own contract.
    unsafe { optional_output(place) }.ok_or(E::INVALID_VALUE)
}

/// Takes a place for a result that the caller may leave out by giving NULL.
///
/// # Safety
/// The caller's promise: `place` is NULL or writable for one `T` while the call lasts.
pub unsafe fn optional_output<'call, T>(place: *mut T) -> Option<Out<'call, T>> {
    NonNull::new(place).map(|place| Out { place, call: PhantomData })
}

/// Takes a place that is read and then changed, such as a count; NULL or misaligned is
/// [`Fault::INVALID_VALUE`].
///
/// # Safety
/// The caller's promise: `place` is NULL or holds an initialised, writable `T` that nothing else
/// touches while the call lasts.
pub unsafe fn exchanged<'call, T, E: Fault>(place: *mut T) -> Result<&'call mut T, E> {
    match NonNull::new(place) {
        // SAFETY: not NULL, aligned, and the rest is this function's own contract.
        Some(mut place) if place.is_aligned() => Ok(unsafe { place.as_mut() }),
        _ => Err(E::INVALID_VALUE),
    }
}

/// Takes a place that is read and then changed, or that the caller left out by giving NULL.
///
/// # Safety
/// As for [`exchanged`].
pub unsafe fn optional_exchanged<'call, T, E: Fault>(
    place: *mut T,
) -> Result<Option<&'call mut T>, E> {
    if place.is_null() {
        return Ok(None);
    }
    // SAFETY: this function's own contract.
    unsafe { exchanged(place) }.map(Some)
}

/// Reads one structure or value; NULL is [`Fault::INVALID_VALUE`].
///
/// # Safety
/// The caller's promise: `place` is NULL or holds an initialised `T`.
pub unsafe fn input<T: Copy, E: Fault>(place: *const T) -> Result<T, E> {
    // SAFETY: this function's own contract.
    unsafe { optional_input(place) }.ok_or(E::INVALID_VALUE)
}

/// Reads one structure or value that the caller may leave out by giving NULL.
///
/// # Safety
/// The caller's promise: `place` is NULL or holds an initialised `T`.
pub unsafe fn optional_input<T: Copy>(place: *const T) -> Option<T> {
    // SAFETY: not NULL here; the rest is this function's own contract.
    (!place.is_null()).then(|| unsafe { place.read_unaligned() })
}

/// Takes a C text; NULL is [`Fault::INVALID_VALUE`].
///
/// # Safety
/// The caller's promise: `text` is NULL or ends with a zero byte and does not change while the
/// call lasts.
pub unsafe fn text<'call, E: Fault>(text: *const c_char) -> Result<&'call CStr, E> {
    if text.is_null() {
        return Err(E::INVALID_VALUE);
    }
    // SAFETY: not NULL; the rest is this function's own contract.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// Takes a list of `count` elements; NULL is [`Fault::INVALID_VALUE`] unless the list is empty.
///
/// # Safety
/// The caller's promise: `first` is NULL or holds `count` initialised elements that do not change
/// while the call lasts.
pub unsafe fn slice<'call, T, E: Fault>(first: *const T, count: usize) -> Result<&'call [T], E> {
    if count == 0 {
        return Ok(&[]);
    }
    checked_extent::<T, E>(first, count)?;
    // SAFETY: not NULL, aligned, and no longer than the address space; the rest is this
    // function's own contract.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// Takes a writable list of `count` elements; NULL is [`Fault::INVALID_VALUE`] unless it is empty.
///
/// # Safety
/// The caller's promise: `first` is NULL or is writable for `count` elements that nothing else
/// touches while the call lasts.
pub unsafe fn slice_mut<'call, T, E: Fault>(
    first: *mut T,
    count: usize,
) -> Result<&'call mut [T], E> {
    if count == 0 {
        return Ok(&mut []);
    }
    checked_extent::<T, E>(first, count)?;
    // SAFETY: not NULL, aligned, and no longer than the address space; the rest is this
    // function's own contract. Only plain integers, floats and bytes are taken this way, for
    // which every bit pattern is a value.
    Ok(unsafe { std::slice::from_raw_parts_mut(first, count) })
}

fn checked_extent<T, E: Fault>(first: *const T, count: usize) -> Result<(), E> {
    let bytes = count.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize);
    let fits = bytes.is_some_and(|bytes| first.addr().checked_add(bytes).is_some());
    if first.is_null() || !first.is_aligned() || !fits { Err(E::INVALID_VALUE) } else { Ok(()) }
}

/// An address from the caller that may lie in the program's own memory or on a device.
///
/// Which of the two it is, and for how many bytes, only the body knows: `cuMemcpy` takes both,
/// and a two-dimensional copy counts rows.
#[derive(Debug)]
pub struct Memory<'call> {
    address: *mut u8,
    call: PhantomData<&'call mut [u8]>,
}

impl<'call> Memory<'call> {
    /// Takes an address.
    ///
    /// # Safety
    /// The caller's promise: if the address is not one of a device, then it is NULL or readable
    /// (writable, if the function writes to it) for as many bytes as the documentation of the
    /// function says, and nothing else changes them while the call lasts; if the function copies
    /// asynchronously, until a call has synchronised with the copy.
    pub unsafe fn new(address: *const c_void) -> Self {
        Self { address: address.cast_mut().cast(), call: PhantomData }
    }

    /// Takes an address that C gives as a number, such as the `CUdeviceptr` of `cuMemcpy`.
    ///
    /// # Safety
    /// As for [`Memory::new`].
    pub unsafe fn at(address: u64) -> Self {
        Self { address: address as usize as *mut u8, call: PhantomData }
    }

    /// Takes a list of addresses; NULL is [`Fault::INVALID_VALUE`] unless the list is empty.
    ///
    /// # Safety
    /// As for [`slice`], and for each address as for [`Memory::new`].
    pub unsafe fn list<E: Fault>(first: *mut *mut c_void, count: usize) -> Result<Vec<Self>, E> {
        // SAFETY: this function's own contract.
        let addresses = unsafe { slice::<*mut c_void, E>(first, count) }?;
        // SAFETY: as above, for each of them.
        Ok(addresses.iter().map(|address| unsafe { Self::new(*address) }).collect())
    }

    /// Returns the address as a number, such as a device pointer.
    pub fn address(&self) -> u64 {
        self.address.addr() as u64
    }

    /// Returns the address as C gave it.
    pub(crate) fn into_pointer(self) -> *mut u8 {
        self.address
    }

    /// Takes the address `offset` bytes further on. The body stays within what its function
    /// documents.
    pub fn further(&self, offset: usize) -> Self {
        Self { address: self.address.wrapping_add(offset), call: PhantomData }
    }

    /// Reads `count` bytes of the program's memory; NULL is [`Fault::INVALID_VALUE`].
    pub fn bytes<E: Fault>(self, count: usize) -> Result<&'call [u8], E> {
        // SAFETY: Memory::new's contract; the body asks for as many bytes as its function does.
        unsafe { slice(self.address.cast_const(), count) }
    }

    /// Writes `count` bytes of the program's memory; NULL is [`Fault::INVALID_VALUE`].
    pub fn bytes_mut<E: Fault>(self, count: usize) -> Result<&'call mut [u8], E> {
        // SAFETY: as in `bytes`; self is consumed, so there is one slice only.
        unsafe { slice_mut(self.address, count) }
    }

    /// Copies `count` bytes of the program's memory to other memory of it, which may overlap;
    /// NULL is [`Fault::INVALID_VALUE`].
    pub fn copy_to<E: Fault>(self, target: Memory<'_>, count: usize) -> Result<(), E> {
        if count == 0 {
            return Ok(());
        }
        checked_extent::<u8, E>(self.address, count)?;
        checked_extent::<u8, E>(target.address, count)?;
        // SAFETY: Memory::new's contract, for each of the two.
        unsafe { std::ptr::copy(self.address, target.address, count) };
        Ok(())
    }

    /// Stores values one after the other, as an array of C; NULL is [`Fault::INVALID_VALUE`]
    /// unless there are none.
    pub fn store<T: Copy, E: Fault>(self, values: &[T]) -> Result<(), E> {
        if values.is_empty() {
            return Ok(());
        }
        let first = self.address.cast::<T>();
        if first.is_null() {
            return Err(E::INVALID_VALUE);
        }
        for (at, value) in values.iter().enumerate() {
            // SAFETY: Memory::new's contract; the body stores as many values as its function
            // does. Unaligned, because C compilers let it pass.
            unsafe { first.wrapping_add(at).write_unaligned(*value) };
        }
        Ok(())
    }
}

/// A structure of the caller that points to memory, such as the description of a 2D copy.
#[derive(Debug)]
pub struct Pointing<'call, T> {
    value: T,
    call: PhantomData<&'call mut [u8]>,
}

impl<'call, T: Copy> Pointing<'call, T> {
    /// Reads the structure; NULL is [`Fault::INVALID_VALUE`].
    ///
    /// # Safety
    /// The caller's promise: `place` is NULL or holds an initialised `T`, whose pointers keep the
    /// promise of [`Memory::new`].
    pub unsafe fn new<E: Fault>(place: *const T) -> Result<Self, E> {
        // SAFETY: this function's own contract.
        Ok(Self { value: unsafe { input(place) }?, call: PhantomData })
    }

    /// Returns the structure.
    pub fn value(&self) -> T {
        self.value
    }

    /// Changes our copy of the structure.
    pub fn changed(mut self, change: impl FnOnce(&mut T)) -> Self {
        change(&mut self.value);
        self
    }

    /// Takes an address `offset` bytes from the one that `pick` chooses among the structure's
    /// pointers. The body stays within what its function documents.
    pub fn memory(&self, pick: fn(&T) -> *const c_void, offset: usize) -> Memory<'call> {
        let address = pick(&self.value).cast::<u8>().cast_mut().wrapping_add(offset);
        Memory { address, call: PhantomData }
    }
}

/// A buffer of the caller that receives a C text.
#[derive(Debug)]
pub struct TextBuffer<'call> {
    bytes: &'call mut [u8],
}

impl<'call> TextBuffer<'call> {
    /// Takes a buffer of `capacity` bytes; NULL, or no room for even the end mark, is
    /// [`Fault::INVALID_VALUE`].
    ///
    /// # Safety
    /// The caller's promise: `first` is NULL or is writable for `capacity` bytes while the call
    /// lasts.
    pub unsafe fn new<E: Fault>(first: *mut c_char, capacity: i64) -> Result<Self, E> {
        let capacity = usize::try_from(capacity).ok().filter(|capacity| *capacity > 0);
        let capacity = capacity.ok_or(E::INVALID_VALUE)?;
        // SAFETY: this function's own contract.
        Ok(Self { bytes: unsafe { slice_mut(first.cast::<u8>(), capacity) }? })
    }

    /// Stores `text` and its end mark, or nothing but [`Fault::INSUFFICIENT_SIZE`] (the rule of
    /// NVML).
    pub fn store<E: Fault>(&mut self, text: &str) -> Result<(), E> {
        if text.len() >= self.bytes.len() {
            return Err(E::INSUFFICIENT_SIZE);
        }
        self.store_shortened(text);
        Ok(())
    }

    /// Stores as much of `text` as fits before the end mark (the rule of `cuDeviceGetName`).
    pub fn store_shortened(&mut self, text: &str) {
        // A text for C ends at its first zero byte in any case.
        let text = text.split('\0').next().unwrap_or_default();
        let kept = text.floor_char_boundary(self.bytes.len() - 1);
        self.bytes[..kept].copy_from_slice(&text.as_bytes()[..kept]);
        self.bytes[kept] = 0;
    }
}

#[cfg(test)]
mod tests;
