//! Opening the genuine libraries, and what is passed to them.

#![allow(unsafe_code, reason = "opens the genuine libraries and finds their functions")]

use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use libloading::os::unix::{Library as Opened, RTLD_LOCAL, RTLD_NOW};

use crate::device::Functions;
use crate::error::DaemonError;
use crate::log;

/// A genuine library. It stays open until the process ends, as its functions are called until
/// then.
#[derive(Debug)]
pub(crate) struct Library(Opened);

impl Library {
    /// Opens a library that [`super::find`] has looked at.
    ///
    /// # Errors
    /// [`DaemonError::DriverNotLoaded`] with the loader's own words.
    pub fn open(path: &Path) -> Result<Self, DaemonError> {
        // SAFETY: opening runs the constructors of a file that the host's owner installed as
        // NVIDIA's driver, in a worker process that exists for it.
        let opened = unsafe { Opened::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        opened.map(Self).map_err(|source| DaemonError::DriverNotLoaded {
            path: path.into(),
            source: Box::new(source),
        })
    }

    /// Finds a function by its name, which ends with a zero.
    ///
    /// # Safety
    /// `F` must be the type of a pointer to a function with the prototype of that name.
    pub unsafe fn find<F: Copy>(&self, name: &[u8]) -> Option<F> {
        // SAFETY: the caller vouches for the type.
        unsafe { self.0.get::<F>(name) }.ok().map(|function| *function)
    }

    /// Says whether the library has a function.
    pub fn has(&self, name: &CStr) -> bool {
        // SAFETY: what is found is not called; any address fits the type.
        unsafe { self.find::<*const c_void>(name.to_bytes_with_nul()) }.is_some()
    }

    /// Keeps the library open for good.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

/// A handle of the genuine library: a pointer that only the library follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(crate) struct Pointer(pub usize);

/// A structure of C, by its bytes, aligned for any of its fields.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> Bytes<N> {
    /// Reads a field.
    pub fn take<const M: usize>(&self, at: usize) -> [u8; M] {
        std::array::from_fn(|index| self.0[at + index])
    }

    /// Writes a field.
    pub fn put<const M: usize>(&mut self, at: usize, field: [u8; M]) {
        self.0[at..at + M].copy_from_slice(&field);
    }
}

/// Memory that a function reads or writes. Who makes one vouches that it is as long as the call
/// says, and that it lives as long as the library uses it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(*mut c_void, PhantomData<&'a mut [u8]>);

impl<'a> Raw<'a> {
    /// No memory.
    pub const NULL: Self = Self(std::ptr::null_mut(), PhantomData);

    /// Memory that is read.
    pub fn read<T>(from: &'a [T]) -> Self {
        Self(from.as_ptr().cast_mut().cast(), PhantomData)
    }

    /// Memory that is written.
    pub fn write<T>(to: &'a mut [T]) -> Self {
        Self(to.as_mut_ptr().cast(), PhantomData)
    }

    /// Memory at an address, of which the call takes nothing but the address.
    pub fn at(address: usize) -> Self {
        Self(std::ptr::without_provenance_mut(address), PhantomData)
    }

    /// Memory that is shared with the client, who may change it at any time: nobody here looks at
    /// it through this, only the library and the device do.
    pub fn shared(address: u64) -> Self {
        Self(std::ptr::with_exposed_provenance_mut(address as usize), PhantomData)
    }

    /// Where it is.
    pub fn address(self) -> *mut c_void {
        self.0
    }
}

/// A function of the client's program that a stream waits for: what the driver's callback is given.
#[derive(Debug)]
pub(super) struct Awaited(*mut Waited);

#[derive(Debug)]
struct Waited {
    functions: Arc<Functions>,
    ticket: u64,
}

impl Awaited {
    /// Names a function that was launched.
    pub fn new(functions: Arc<Functions>, ticket: u64) -> Self {
        Self(Box::into_raw(Box::new(Waited { functions, ticket })))
    }

    /// The callback, for a stream that is given [`Awaited::address`] with it.
    pub fn callback() -> Raw<'static> {
        let callback: extern "C" fn(usize, u32, *mut c_void) = stream_came_to;
        Raw(callback as *mut c_void, PhantomData)
    }

    /// What the callback is given. It belongs to the driver then, which calls back once.
    pub fn address(&self) -> Raw<'static> {
        Raw(self.0.cast(), PhantomData)
    }

    /// Takes it back from a driver that has refused it.
    pub fn take_back(self) {
        // SAFETY: `new` made it, and a driver that refuses a callback never calls it.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Called by the driver, on a thread of its own, when a stream has come to a function. It need not
/// wait until that has returned: what comes behind it is with the worker. Nothing here unwinds.
extern "C" fn stream_came_to(_stream: usize, status: u32, awaited: *mut c_void) {
    // SAFETY: it is what `Awaited::new` made, and a callback is called once.
    let waited = unsafe { Box::from_raw(awaited.cast::<Waited>()) };
    waited.functions.come_to(waited.ticket, status);
}

/// A function of the client's program that nodes of graphs call: what the driver gives it. It stays
/// until the worker ends, as graphs and what was launched of them name it.
#[derive(Debug)]
pub(super) struct Called(*const Waited);

// SAFETY: the address of something that is never changed and never ends; what is in there may be
// shared by threads.
unsafe impl Send for Called {}

impl Called {
    /// Names a function.
    pub fn new(functions: Arc<Functions>, ticket: u64) -> Self {
        Self(Box::leak(Box::new(Waited { functions, ticket })))
    }

    /// The function that nodes are given with [`Called::address`].
    pub fn function() -> Raw<'static> {
        let function: extern "C" fn(*mut c_void) = graph_came_to;
        Raw(function as *mut c_void, PhantomData)
    }

    /// What it is given.
    pub fn address(&self) -> Raw<'static> {
        Raw(self.0.cast_mut().cast(), PhantomData)
    }
}

/// Called by the driver, on a thread of its own, when a graph has come to a function: what is
/// behind it in the graph goes on when this returns. Nothing here unwinds.
extern "C" fn graph_came_to(called: *mut c_void) {
    // SAFETY: it is what `Called::new` made, for good.
    let waited = unsafe { &*called.cast_const().cast::<Waited>() };
    waited.functions.call(waited.ticket);
}

/// Copies a list that the library has just given: it says where it lies, and how long it is.
pub(super) fn given<const N: usize>(list: Pointer, count: usize) -> Vec<[u8; N]> {
    if list == Pointer::default() {
        return Vec::new();
    }
    let first: *const [u8; N] = std::ptr::with_exposed_provenance(list.0);
    // SAFETY: the library's documentation says that as many elements lie there until the next call
    // about the same thing, and this thread makes all of them. Bytes have no alignment.
    unsafe { std::slice::from_raw_parts(first, count) }.to_vec()
}

/// Copies a text that the library has just given, without its end mark.
pub(super) fn given_text(text: Pointer) -> Vec<u8> {
    if text == Pointer::default() {
        return Vec::new();
    }
    let first: *const c_char = std::ptr::with_exposed_provenance(text.0);
    // SAFETY: as for `given`; names end with a zero.
    unsafe { CStr::from_ptr(first) }.to_bytes().to_vec()
}

/// Tells, once for each name, that the library lacks a function that a client asked for.
pub(super) fn missing(name: &'static str) {
    static TOLD: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(name) {
        log::event("driver-lacks", &[("function", &name)]);
    }
}
