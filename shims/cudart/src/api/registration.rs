//! What a program's CUDA code says about itself while it is loaded.
//!
//! The compiler's start-up code registers each fat binary with its kernels and variables. Here
//! this is only written down: no image is read, no driver is asked, so a program that never
//! uses the GPU pays for a few thousand small records and nothing else. `crate::code` loads an
//! image when the first of its kernels is wanted.

use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vgpu_abi::cudart::{dim3, uint3};
use vgpu_guest::convert::Memory;

use crate::code::{self, Image};
use crate::driver::Address;

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Names a fat binary; it is the address of a place of ours that is never freed, so no two are
/// ever alike, and a program that looks at what it points to does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FatBinary(u64);

impl FatBinary {
    /// Reads the handle that a program got; it is not followed.
    pub fn of(handle: *mut *mut c_void) -> Self {
        Self(handle.addr() as u64)
    }
}

/// A kernel as its program registered it.
#[derive(Clone, Debug)]
pub struct Kernel {
    binary: FatBinary,
    /// The image that holds it.
    pub image: Arc<Image>,
    /// Its name in the image, a C text.
    pub name: Address,
}

/// A variable as its program registered it.
#[derive(Clone, Debug)]
pub struct Variable {
    binary: FatBinary,
    /// The image that holds it.
    pub image: Arc<Image>,
    /// Its name in the image, a C text.
    pub name: Address,
    /// Its size in bytes.
    pub bytes: usize,
}

#[derive(Default)]
struct Registry {
    images: HashMap<FatBinary, Arc<Image>>,
    kernels: HashMap<u64, Kernel>,
    variables: HashMap<u64, Variable>,
}

/// Records a fat binary and returns its handle, which is never NULL.
pub fn register_fat_binary(wrapper: Memory<'_>) -> *mut *mut c_void {
    let place: &'static mut *mut c_void = Box::leak(Box::new(ptr::null_mut()));
    let handle = ptr::from_mut(place);
    record_image(handle, Image::wrapped(wrapper));
    handle
}

/// Ends the registration of a fat binary; all was done before.
pub fn register_fat_binary_end(_handle: *mut *mut c_void) {}

/// Forgets a fat binary with all that it holds, and unloads its image.
pub fn unregister_fat_binary(handle: *mut *mut c_void) {
    let binary = FatBinary::of(handle);
    let image = with(|registry| {
        let gone = registry.kernels.extract_if(|_, kernel| kernel.binary == binary);
        code::forget(&gone.map(|(stub, _)| stub).collect::<Vec<_>>());
        registry.variables.retain(|_, variable| variable.binary != binary);
        registry.images.remove(&binary)
    });
    if let Some(image) = image {
        image.unload();
    }
}

/// Records a kernel under the address of its stub in the program.
#[allow(clippy::too_many_arguments)] // the compiler's own argument list
pub fn register_function(
    handle: *mut *mut c_void,
    stub: *const c_char,
    _device_function: *mut c_char,
    name: Memory<'_>,
    _thread_limit: i32,
    _thread: *mut uint3,
    _block: *mut uint3,
    _block_size: *mut dim3,
    _grid_size: *mut dim3,
    _warp_size: *mut i32,
) {
    record_kernel(handle, stub.addr() as u64, name.into());
}

/// Records a variable under the address of its shadow in the program.
#[allow(clippy::too_many_arguments)] // the compiler's own argument list
pub fn register_var(
    handle: *mut *mut c_void,
    shadow: *mut c_char,
    _device_address: *mut c_char,
    name: Memory<'_>,
    _external: i32,
    bytes: usize,
    _constant: i32,
    _global: i32,
) {
    record_variable(handle, shadow.addr() as u64, name.into(), bytes);
}

/// Returns the kernel whose stub stands at `stub`.
pub fn kernel(stub: u64) -> Option<Kernel> {
    with(|registry| registry.kernels.get(&stub).cloned())
}

/// Returns the variable whose shadow stands at `shadow`.
pub fn variable(shadow: u64) -> Option<Variable> {
    with(|registry| registry.variables.get(&shadow).cloned())
}

fn record_image(handle: *mut *mut c_void, image: Image) {
    with(|registry| registry.images.insert(FatBinary::of(handle), Arc::new(image)));
}

fn record_kernel(handle: *mut *mut c_void, stub: u64, name: Address) {
    let binary = FatBinary::of(handle);
    with(|registry| {
        if let Some(image) = registry.images.get(&binary).cloned() {
            registry.kernels.insert(stub, Kernel { binary, image, name });
        }
    });
}

fn record_variable(handle: *mut *mut c_void, shadow: u64, name: Address, bytes: usize) {
    let binary = FatBinary::of(handle);
    with(|registry| {
        if let Some(image) = registry.images.get(&binary).cloned() {
            registry.variables.insert(shadow, Variable { binary, image, name, bytes });
        }
    });
}

fn with<T>(visit: impl FnOnce(&mut Registry) -> T) -> T {
    // Each visit changes one entry or drops whole ones: a panic cannot leave it half-written.
    let mut registry: MutexGuard<'_, Option<Registry>> =
        REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    visit(registry.get_or_insert_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Address = Address::NULL;

    fn handle(address: usize) -> *mut *mut c_void {
        ptr::without_provenance_mut(address)
    }

    #[test]
    fn a_kernel_is_found_by_its_stub_until_its_binary_is_unregistered() {
        let (one, other) = (handle(0x1000), handle(0x1008));
        record_image(one, Image::unknown());
        record_image(other, Image::unknown());
        record_kernel(one, 0x2000, NAME);
        record_kernel(other, 0x2001, NAME);
        record_variable(one, 0x4000, NAME, 16);
        assert!(kernel(0x2000).is_some_and(|kernel| kernel.binary == FatBinary::of(one)));
        assert!(variable(0x4000).is_some_and(|variable| variable.bytes == 16));
        unregister_fat_binary(one);
        assert!(kernel(0x2000).is_none() && variable(0x4000).is_none());
        assert!(kernel(0x2001).is_some_and(|kernel| kernel.binary == FatBinary::of(other)));
    }

    #[test]
    fn a_kernel_of_an_unknown_binary_is_not_recorded() {
        record_kernel(handle(8), 0x6000, NAME);
        assert!(kernel(0x6000).is_none());
    }
}
