//! Opening the genuine libraries, and what is passed to them.

#![allow(unsafe_code, reason = "opens the genuine libraries and finds their functions")]

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use libloading::os::unix::{Library as Opened, RTLD_LOCAL, RTLD_NOW};

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

/// Memory that a function reads or writes. Who makes one vouches that it is as long as the call
/// says, and that it lives as long as the library uses it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(*mut c_void, PhantomData<&'a mut [u8]>);

impl<'a> Raw<'a> {
    /// Memory that is read.
    pub fn read<T>(from: &'a [T]) -> Self {
        Self(from.as_ptr().cast_mut().cast(), PhantomData)
    }

    /// Memory that is written.
    pub fn write<T>(to: &'a mut [T]) -> Self {
        Self(to.as_mut_ptr().cast(), PhantomData)
    }

    /// Where it is.
    pub fn address(self) -> *mut c_void {
        self.0
    }
}

/// Tells, once for each name, that the library lacks a function that a client asked for.
pub(super) fn missing(name: &'static str) {
    static TOLD: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(name) {
        log::event("driver-lacks", &[("function", &name)]);
    }
}
