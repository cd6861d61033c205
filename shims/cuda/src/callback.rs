//! Calls of the program's own functions.

use std::ffi::c_void;

use vgpu_abi::cuda::{CUhostFn, CUoccupancyB2DSize, CUstream, CUstreamCallback};

/// A function of the program that a stream is to run, with what the program wants it to be given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostFunction {
    kind: Kind,
    data: *mut c_void,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Function(CUhostFn),
    Callback(CUstreamCallback, CUstream),
}

// SAFETY: two addresses, which only the program's own function looks behind; CUDA runs such
// functions on a thread of its own, and so the program expects it.
unsafe impl Send for HostFunction {}

// SAFETY: as above; it is never changed.
unsafe impl Sync for HostFunction {}

impl HostFunction {
    /// Takes a function of `cuLaunchHostFunc`; `None` for NULL.
    pub(crate) fn new(function: CUhostFn, data: *mut c_void) -> Option<Self> {
        (!function.is_null()).then_some(Self { kind: Kind::Function(function), data })
    }

    /// Takes a function of `cuStreamAddCallback`; `None` for NULL.
    pub(crate) fn callback(
        function: CUstreamCallback,
        stream: CUstream,
        data: *mut c_void,
    ) -> Option<Self> {
        (!function.is_null()).then_some(Self { kind: Kind::Callback(function, stream), data })
    }

    /// What the program gave of a function of `cuLaunchHostFunc`.
    pub(crate) fn given(self) -> (CUhostFn, *mut c_void) {
        match self.kind {
            Kind::Function(function) => (function, self.data),
            Kind::Callback(..) => (std::ptr::null(), self.data),
        }
    }

    /// Calls it, with the stream's result code. A function of `cuLaunchHostFunc` is not told the
    /// code, and not called if the context is broken (CUDA Driver API, `cuLaunchHostFunc`).
    pub(crate) fn run(self, status: u32) {
        match self.kind {
            Kind::Function(_) if status != 0 => {}
            Kind::Function(function) => {
                // SAFETY: the program gave the address of a function of this C type, as the
                // documentation of CUhostFn asks; it is not NULL.
                let function = unsafe {
                    std::mem::transmute::<CUhostFn, extern "C" fn(*mut c_void)>(function)
                };
                function(self.data);
            }
            Kind::Callback(function, stream) => {
                type Callback = extern "C" fn(CUstream, u32, *mut c_void);
                // SAFETY: as above, for CUstreamCallback.
                let function =
                    unsafe { std::mem::transmute::<CUstreamCallback, Callback>(function) };
                function(stream, status, self.data);
            }
        }
    }
}

/// Asks the program how much dynamic shared memory a block of `threads` needs
/// (`cuOccupancyMaxPotentialBlockSize`); without a function, `otherwise`.
pub(crate) fn shared_bytes_of(
    function: CUoccupancyB2DSize,
    threads: i32,
    otherwise: usize,
) -> usize {
    if function.is_null() {
        return otherwise;
    }
    // SAFETY: the program gave the address of a function of this C type, as the documentation of
    // CUoccupancyB2DSize asks; it is not NULL.
    let function =
        unsafe { std::mem::transmute::<CUoccupancyB2DSize, extern "C" fn(i32) -> usize>(function) };
    function(threads)
}
