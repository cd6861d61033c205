//! NVIDIA's libcublas: its functions, called by name.

#![allow(unsafe_code, reason = "calls the C functions of the genuine library")]

use std::ffi::{CString, c_void};
use std::path::Path;

use vgpu_abi::cublas::Error;

use super::super::foreign::{Bytes, Library, Pointer};
use crate::error::DaemonError;

/// One argument. Every parameter of cuBLAS's 64-bit functions but the enums is eight bytes wide,
/// and of a wider argument a function reads the half that it needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Word<'a> {
    /// A number, an enum or an address on the device.
    Number(u64),
    /// A factor that the function reads.
    Factor(&'a Bytes<16>),
}

impl From<i64> for Word<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number.cast_unsigned())
    }
}

impl From<u64> for Word<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Word<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl Word<'_> {
    fn value(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Factor(bytes) => bytes.0.as_ptr().expose_provenance() as u64,
        }
    }
}

/// Calls a function with as many arguments as there are.
macro_rules! call {
    ($entry:expr, $words:expr, $($count:literal: $($at:literal)*;)*) => {
        match $words.len() {
            $($count => {
                type Entry = unsafe extern "C" fn($(call!(@word $at)),*) -> u32;
                // SAFETY: `Entries::ask`'s callers give the documented parameters in their order.
                // Each takes one place of eight bytes, in a register or on the stack (System V ABI
                // of x86-64, Procedure Call Standard for the Arm 64-bit Architecture).
                Some(unsafe {
                    let entry = std::mem::transmute::<*const c_void, Entry>($entry);
                    entry($($words[$at]),*)
                })
            })*
            _ => None,
        }
    };
    (@word $at:literal) => { u64 };
}

/// The open library.
#[derive(Debug)]
pub(super) struct Entries(Library);

impl Entries {
    /// Opens a library that [`super::super::find`] has looked at.
    ///
    /// # Errors
    /// [`DaemonError::DriverNotLoaded`] with the loader's own words.
    pub fn open(path: &Path) -> Result<Self, DaemonError> {
        Library::open(path).map(Self)
    }

    /// Makes a handle.
    ///
    /// # Errors
    /// What cuBLAS answers.
    pub fn create(&self) -> Result<Pointer, Error> {
        let mut handle = Pointer::default();
        let place = (&raw mut handle).expose_provenance() as u64;
        self.ask("cublasCreate_v2", &[Word::Number(place)])?;
        Ok(handle)
    }

    /// Asks for a number, which goes to memory of ours: the last argument but for `after`.
    ///
    /// # Errors
    /// What cuBLAS answers.
    pub fn number(
        &self,
        name: &str,
        before: &[Word<'_>],
        after: &[Word<'_>],
    ) -> Result<[u8; 16], Error> {
        let mut value = Bytes([0; 16]);
        let place = (&raw mut value).expose_provenance() as u64;
        self.ask(name, &[before, &[Word::Number(place)], after].concat())?;
        Ok(value.0)
    }

    /// Calls a function with its documented arguments.
    ///
    /// # Errors
    /// What cuBLAS answers; NOT_SUPPORTED for a function that this version lacks.
    pub fn ask(&self, name: &str, words: &[Word<'_>]) -> Result<(), Error> {
        let symbol = CString::new(name).map_err(|_| Error::NOT_SUPPORTED)?;
        // SAFETY: a function's address; what it is called with, `call!` says.
        let found = unsafe { self.0.find::<*const c_void>(symbol.as_bytes_with_nul()) };
        let entry = found.ok_or(Error::NOT_SUPPORTED)?;
        let words: Vec<u64> = words.iter().map(|word| word.value()).collect();
        let status = call!(entry, words,
            1: 0;
            2: 0 1;
            3: 0 1 2;
            4: 0 1 2 3;
            5: 0 1 2 3 4;
            6: 0 1 2 3 4 5;
            7: 0 1 2 3 4 5 6;
            8: 0 1 2 3 4 5 6 7;
            9: 0 1 2 3 4 5 6 7 8;
            10: 0 1 2 3 4 5 6 7 8 9;
            11: 0 1 2 3 4 5 6 7 8 9 10;
            12: 0 1 2 3 4 5 6 7 8 9 10 11;
            13: 0 1 2 3 4 5 6 7 8 9 10 11 12;
            14: 0 1 2 3 4 5 6 7 8 9 10 11 12 13;
            15: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
            16: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15;
            17: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16;
            18: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17;
            19: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18;
            20: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19;
            21: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20;
            22: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21;
            23: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22;
        );
        match status.map(Error::new) {
            None => Err(Error::NOT_SUPPORTED),
            Some(None) => Ok(()),
            Some(Some(error)) => Err(error),
        }
    }
}
