//! The values that driver functions take and give, as the C compiler lays them out.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

/// `cudaEvent_t` and `CUevent` are the same handle.
pub use vgpu_abi::cudart::cudaEvent_t as Event;
/// `cudaFunction_t` and `CUfunction` are the same handle.
pub use vgpu_abi::cudart::cudaFunction_t as Function;
/// `cudaKernel_t` and `CUkernel` are the same handle.
pub use vgpu_abi::cudart::cudaKernel_t as Kernel;
/// `cudaLibrary_t` and `CUlibrary` are the same handle.
pub use vgpu_abi::cudart::cudaLibrary_t as CodeLibrary;
/// `cudaStream_t` and `CUstream` are the same handle, special values included.
pub use vgpu_abi::cudart::cudaStream_t as Stream;
use vgpu_abi::{cudart12, cudart13};
use vgpu_guest::convert::Memory;

/// Names a driver context; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Context(u64);

/// Names what a launch runs: the driver takes a kernel where it takes a function, and uses it in
/// the current context (CUDA Driver API, cuLaunchKernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Entry(pub u64);

impl From<Kernel> for Entry {
    fn from(kernel: Kernel) -> Self {
        Self(kernel.0)
    }
}

impl From<Function> for Entry {
    fn from(function: Function) -> Self {
        Self(function.0)
    }
}

/// Passes an address of the caller on to the driver.
///
/// It is made from [`Memory`], so the caller's promise stands behind it, or from what stood in
/// such memory or came from the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(u64);

impl Address {
    /// No address.
    pub const NULL: Self = Self(0);

    /// Takes an address that stood in memory which the caller described, or that the driver gave:
    /// the image behind a fat binary's wrapper, or a variable.
    pub fn found(address: u64) -> Self {
        Self(address)
    }

    /// Takes the address of a list of the caller.
    pub fn of<T>(list: &mut [T]) -> Self {
        Self(list.as_mut_ptr().expose_provenance() as u64)
    }

    /// Returns the address as a number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Returns the address so many bytes further on.
    pub fn offset(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes as u64))
    }
}

impl From<Memory<'_>> for Address {
    fn from(memory: Memory<'_>) -> Self {
        Self(memory.address())
    }
}

impl From<&Memory<'_>> for Address {
    fn from(memory: &Memory<'_>) -> Self {
        Self(memory.address())
    }
}

/// Passes a C text on to the driver.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Text<'call>(*const c_char, PhantomData<&'call CStr>);

impl<'call> From<&'call CStr> for Text<'call> {
    fn from(text: &'call CStr) -> Self {
        Self(text.as_ptr(), PhantomData)
    }
}

/// Describes a launch (`CUlaunchConfig`); attributes are laid out and numbered as the runtime's.
#[derive(Debug)]
#[repr(C)]
pub struct LaunchConfig {
    /// Blocks of the grid.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// The stream.
    pub stream: Stream,
    /// The attributes.
    pub attributes: Address,
    /// How many they are.
    pub attribute_count: u32,
}

laid_out_as! { CUlaunchConfig, LaunchConfig:
    grid = gridDimX, block = blockDimX, shared_bytes = sharedMemBytes, stream = hStream,
    attributes = attrs, attribute_count = numAttrs,
}

/// Describes what a kernel node launches (`CUDA_KERNEL_NODE_PARAMS_v2`).
#[derive(Debug)]
#[repr(C)]
pub struct KernelNode {
    /// The function, if it is not a kernel.
    pub function: Function,
    /// Blocks of the grid.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// The list of arguments.
    pub parameters: Address,
    /// The arguments in another form.
    pub extra: Address,
    /// The kernel; it counts if there is no function.
    pub kernel: Kernel,
    /// The context of a kernel; 0 is the current one.
    pub context: u64,
}

laid_out_as! { CUDA_KERNEL_NODE_PARAMS_v2, KernelNode:
    function = func, grid = gridDimX, block = blockDimX, shared_bytes = sharedMemBytes,
    parameters = kernelParams, extra = extra, kernel = kern, context = ctx,
}

impl Default for KernelNode {
    fn default() -> Self {
        Self {
            function: Function::default(),
            grid: [0; 3],
            block: [0; 3],
            shared_bytes: 0,
            parameters: Address::NULL,
            extra: Address::NULL,
            kernel: Kernel::default(),
            context: 0,
        }
    }
}

/// Names where managed memory may be (`CUmemLocation`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Location {
    kind: u32,
    id: i32,
}

const _: () = assert!(size_of::<Location>() == 8);

impl From<cudart12::cudaMemLocation> for Location {
    fn from(location: cudart12::cudaMemLocation) -> Self {
        Self { kind: location.r#type.0, id: location.id }
    }
}

impl From<cudart13::cudaMemLocation> for Location {
    fn from(location: cudart13::cudaMemLocation) -> Self {
        Self { kind: location.r#type.0, id: location.unnamed4[0].cast_signed() }
    }
}
