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

/// Tells the driver where one side of a two-dimensional copy lies (`CUmemorytype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySide {
    /// The program's own memory.
    Host = 1,
    /// Memory of a device.
    Device = 2,
    /// The driver finds out from the address.
    Unified = 4,
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

const _: () = assert!(size_of::<LaunchConfig>() == 56);

/// Describes a two-dimensional copy (`CUDA_MEMCPY2D`); arrays are not used.
#[derive(Debug)]
#[repr(C)]
pub struct Copy2D {
    source_x_bytes: usize,
    source_y: usize,
    source_type: u32,
    source_host: u64,
    source_device: u64,
    source_array: u64,
    source_pitch: usize,
    target_x_bytes: usize,
    target_y: usize,
    target_type: u32,
    target_host: u64,
    target_device: u64,
    target_array: u64,
    target_pitch: usize,
    width_bytes: usize,
    height: usize,
}

const _: () = assert!(size_of::<Copy2D>() == 128);

impl Copy2D {
    /// Describes a copy of `height` rows of `width_bytes` between two pitched areas.
    ///
    /// Each side is a place, its kind, and the distance of its rows in bytes.
    pub fn new(
        (target, target_type, target_pitch): (&Memory<'_>, MemorySide, usize),
        (source, source_type, source_pitch): (&Memory<'_>, MemorySide, usize),
        width_bytes: usize,
        height: usize,
    ) -> Self {
        // The driver reads either the host or the device member, by the type of the side; a
        // unified address goes into the device member (CUDA Driver API, cuMemcpy2D).
        let members = |memory: &Memory<'_>, side| match side {
            MemorySide::Host => (memory.address(), 0),
            MemorySide::Device | MemorySide::Unified => (0, memory.address()),
        };
        let (source_host, source_device) = members(source, source_type);
        let (target_host, target_device) = members(target, target_type);
        Self {
            source_x_bytes: 0,
            source_y: 0,
            source_type: source_type as u32,
            source_host,
            source_device,
            source_array: 0,
            source_pitch,
            target_x_bytes: 0,
            target_y: 0,
            target_type: target_type as u32,
            target_host,
            target_device,
            target_array: 0,
            target_pitch,
            width_bytes,
            height,
        }
    }
}
