//! What a program's CUDA code says about itself while it is loaded.
//!
//! The compiler's start-up code registers each fat binary with its kernels and variables. Here
//! this is only written down: nothing is parsed, no driver is asked, so a program that never
//! uses the GPU pays for a few thousand small records and nothing else.

use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cudart::{dim3, uint3};

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

/// A kernel as its program registered it; addresses are those of the program, never read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The fat binary that holds it.
    pub binary: FatBinary,
    /// Where its name in the image stands.
    pub name: u64,
}

/// A variable as its program registered it; addresses are those of the program, never read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The fat binary that holds it.
    pub binary: FatBinary,
    /// Where its name in the image stands.
    pub name: u64,
    /// Its size in bytes.
    pub bytes: usize,
}

#[derive(Default)]
struct Registry {
    /// Where the wrapper of each image stands in the program.
    images: HashMap<FatBinary, u64>,
    kernels: HashMap<u64, Kernel>,
    variables: HashMap<u64, Variable>,
}

/// Records a fat binary and returns its handle, which is never NULL.
pub fn register_fat_binary(image: *mut c_void) -> *mut *mut c_void {
    let place: &'static mut *mut c_void = Box::leak(Box::new(ptr::null_mut()));
    let handle = ptr::from_mut(place);
    let image = image.addr() as u64;
    with(|registry| registry.images.insert(FatBinary::of(handle), image));
    handle
}

/// Ends the registration of a fat binary; all was done before.
pub fn register_fat_binary_end(_handle: *mut *mut c_void) {}

/// Forgets a fat binary with all that it holds.
pub fn unregister_fat_binary(handle: *mut *mut c_void) {
    let binary = FatBinary::of(handle);
    with(|registry| {
        registry.images.remove(&binary);
        registry.kernels.retain(|_, kernel| kernel.binary != binary);
        registry.variables.retain(|_, variable| variable.binary != binary);
    });
}

/// Records a kernel under the address of its stub in the program.
#[allow(clippy::too_many_arguments)] // the compiler's own argument list
pub fn register_function(
    handle: *mut *mut c_void,
    stub: *const c_char,
    _device_function: *mut c_char,
    name: *const c_char,
    _thread_limit: i32,
    _thread: *mut uint3,
    _block: *mut uint3,
    _block_size: *mut dim3,
    _grid_size: *mut dim3,
    _warp_size: *mut i32,
) {
    let (binary, name) = (FatBinary::of(handle), name.addr() as u64);
    with(|registry| {
        if registry.images.contains_key(&binary) {
            registry.kernels.insert(stub.addr() as u64, Kernel { binary, name });
        }
    });
}

/// Records a variable under the address of its shadow in the program.
#[allow(clippy::too_many_arguments)] // the compiler's own argument list
pub fn register_var(
    handle: *mut *mut c_void,
    shadow: *mut c_char,
    _device_address: *mut c_char,
    name: *const c_char,
    _external: i32,
    bytes: usize,
    _constant: i32,
    _global: i32,
) {
    let (binary, name) = (FatBinary::of(handle), name.addr() as u64);
    with(|registry| {
        if registry.images.contains_key(&binary) {
            let variable = Variable { binary, name, bytes };
            registry.variables.insert(shadow.addr() as u64, variable);
        }
    });
}

/// Returns the kernel whose stub stands at `stub`.
pub fn kernel(stub: u64) -> Option<Kernel> {
    with(|registry| registry.kernels.get(&stub).copied())
}

/// Returns the variable whose shadow stands at `shadow`.
pub fn variable(shadow: u64) -> Option<Variable> {
    with(|registry| registry.variables.get(&shadow).copied())
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

    fn place<T>(address: usize) -> *mut T {
        ptr::without_provenance_mut(address)
    }

    fn register_kernel(handle: *mut *mut c_void, stub: usize, name: usize) {
        let (stub, name) = (place::<c_char>(stub), place::<c_char>(name));
        let (thread, size) = (place(0), place(0));
        register_function(handle, stub, place(0), name, -1, thread, thread, size, size, place(0));
    }

    #[test]
    fn a_kernel_is_found_by_its_stub_until_its_binary_is_unregistered() {
        let one = register_fat_binary(place(0x1000));
        let other = register_fat_binary(place(0x1000));
        assert_ne!(one, other);
        register_kernel(one, 0x2000, 0x3000);
        register_kernel(other, 0x2001, 0x3001);
        register_var(one, place(0x4000), place(0), place::<c_char>(0x5000), 0, 16, 0, 0);
        let binary = FatBinary::of(one);
        assert_eq!(kernel(0x2000), Some(Kernel { binary, name: 0x3000 }));
        assert_eq!(variable(0x4000), Some(Variable { binary, name: 0x5000, bytes: 16 }));
        unregister_fat_binary(one);
        assert_eq!(kernel(0x2000), None);
        assert_eq!(variable(0x4000), None);
        let binary = FatBinary::of(other);
        assert_eq!(kernel(0x2001), Some(Kernel { binary, name: 0x3001 }));
    }

    #[test]
    fn a_kernel_of_an_unknown_binary_is_not_recorded() {
        register_kernel(place(8), 0x6000, 0x7000);
        assert_eq!(kernel(0x6000), None);
    }
}
