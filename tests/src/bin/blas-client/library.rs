//! cuBLAS and the driver API, called by name as the loader finds them.

use std::ffi::{CString, c_void};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// Calls a C function whose arguments are all integers or pointers.
macro_rules! call {
    ($entry:expr, $arguments:expr, $($count:literal: $($at:literal)*;)*) => {
        match $arguments.len() {
            $($count => {
                type Entry = unsafe extern "C" fn($(call!(@word $at)),*) -> u32;
                // SAFETY: the caller of `invoke` promises the function's parameters. By the System
                // V ABI of x86-64 each of them takes one whole place, of which an int reads the
                // lower half.
                unsafe {
                    let entry = std::mem::transmute::<*const c_void, Entry>($entry);
                    entry($($arguments[$at]),*)
                }
            })*
            count => panic!("no function takes {count} arguments"),
        }
    };
    (@word $at:literal) => { i64 };
}

/// An open library.
pub struct Functions(Library);

impl Functions {
    /// Opens a library by its SONAME.
    pub fn open(soname: &str) -> Self {
        // SAFETY: the library under test, opened as every client opens it.
        Self(unsafe { Library::open(Some(soname), RTLD_NOW | RTLD_LOCAL) }.expect(soname))
    }

    /// Calls a function with arguments that its documentation asks for; pointers go as numbers.
    pub fn invoke(&self, name: &str, arguments: &[i64]) -> u32 {
        let symbol = CString::new(name).expect("a name");
        // SAFETY: nothing is called yet; the symbol is a function.
        let entry = unsafe { self.0.get::<*const c_void>(symbol.as_bytes_with_nul()) };
        let entry: *const c_void = *entry.expect(name);
        call!(entry, arguments,
            0: ;
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
        )
    }
}

/// Gives the address of values of the program, for a function to read.
pub fn address<T>(values: &[T]) -> i64 {
    values.as_ptr().expose_provenance() as i64
}

/// The same for places that a function writes.
pub fn place<T>(values: &mut [T]) -> i64 {
    values.as_mut_ptr().expose_provenance() as i64
}
