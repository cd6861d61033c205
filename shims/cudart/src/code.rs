//! The program's code on the device: images loaded when first needed, kernels found by name once.
//!
//! An image is loaded as a library of the driver, which belongs to no context: one load and one
//! handle for each kernel serve every device and outlive a reset (CUDA Driver API, "Library
//! Management"). What a program launches may be the stub that its compiler made, or a kernel or
//! function that it got from the runtime.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vgpu_guest::convert::Memory;

use crate::api::registration;
use crate::driver::{self, Address, CodeLibrary, Driver, Entry, Function, Kernel};
use crate::primary;
use crate::result::{Error, Result};

/// What the compiler writes at the beginning of a fat binary's wrapper (`fatbinary_section.h` of
/// the public compiler package): this number, a version, and the address of the image.
const WRAPPER_MAGIC: u32 = 0x4662_43b1;
/// Where the address of the image stands in the wrapper.
const WRAPPER_IMAGE: usize = 8;
/// Size of a wrapper in bytes.
const WRAPPER_BYTES: usize = 24;

/// What was found so far: by the address of a stub, or by a handle that we gave away.
static FOUND: RwLock<Option<HashMap<u64, Code>>> = RwLock::new(None);

/// Something that can be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A kernel, good in every context.
    Kernel(Kernel),
    /// A function of one context.
    Function(Function),
}

impl Code {
    /// Returns what a launch takes.
    pub fn entry(self) -> Entry {
        match self {
            Self::Kernel(kernel) => kernel.into(),
            Self::Function(function) => function.into(),
        }
    }

    /// Returns the function in the current context.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn function(self, driver: &Driver) -> Result<Function> {
        match self {
            Self::Function(function) => Ok(function),
            Self::Kernel(kernel) => {
                let mut function = Function::default();
                driver.kernel_get_function(&mut function, kernel)?;
                Ok(function)
            }
        }
    }
}

/// An image that the program registered, and what it became.
#[derive(Debug)]
pub struct Image {
    /// Where it stands in the program; `None` if its wrapper is none that we know.
    place: Option<Address>,
    library: Mutex<Option<CodeLibrary>>,
}

impl Image {
    /// Reads where an image stands from the wrapper around it.
    pub fn wrapped(wrapper: Memory<'_>) -> Self {
        let bytes = wrapper.bytes::<Error>(WRAPPER_BYTES).ok();
        Self { place: bytes.and_then(image_of), library: Mutex::new(None) }
    }

    /// Stands for an image whose wrapper is none that we know.
    #[cfg(test)]
    pub fn unknown() -> Self {
        Self { place: None, library: Mutex::new(None) }
    }

    /// Returns the library that the image became, loading it if need be.
    ///
    /// # Errors
    /// `INVALID_KERNEL_IMAGE` for an unknown wrapper, and those of the driver.
    pub fn library(&self) -> Result<CodeLibrary> {
        let driver = driver::initialised()?;
        // Held while the image is loaded: another thread that wants it waits and finds it.
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = *library {
            return Ok(library);
        }
        let place = self.place.ok_or(Error::INVALID_KERNEL_IMAGE)?;
        let mut loaded = CodeLibrary::default();
        let none = Address::NULL;
        driver.library_load_data(&mut loaded, place, none, none, 0, none, none, 0)?;
        Ok(*library.insert(loaded))
    }

    /// Unloads the image.
    pub fn unload(&self) {
        // Not waited for: in a forked child, who was loading it is gone and never lets go.
        let library = self.library.try_lock().ok().and_then(|mut library| library.take());
        if let (Some(library), Ok(driver)) = (library, driver::library()) {
            // Nobody is left to tell: this runs when the program ends or closes its library.
            let _ = driver.library_unload(library);
        }
    }
}

fn image_of(wrapper: &[u8]) -> Option<Address> {
    let (magic, rest) = wrapper.split_first_chunk()?;
    let (_, rest) = rest.split_at_checked(WRAPPER_IMAGE - magic.len())?;
    let (address, _) = rest.split_first_chunk()?;
    let known = u32::from_ne_bytes(*magic) == WRAPPER_MAGIC;
    let address = u64::from_ne_bytes(*address);
    (known && address != 0).then(|| Address::found(address))
}

/// Returns what a program means by an address that it launches or asks about.
///
/// # Errors
/// `INVALID_DEVICE_FUNCTION` if it is no stub of a registered kernel and no handle of ours, or if
/// the image has no such kernel; those of loading the image.
pub fn of(function: u64) -> Result<Code> {
    let known = read().as_ref().and_then(|found| found.get(&function).copied());
    if let Some(code) = known {
        return Ok(code);
    }
    let registered = registration::kernel(function).ok_or(Error::INVALID_DEVICE_FUNCTION)?;
    let driver = primary::current()?;
    let library = registered.image.library()?;
    let mut kernel = Kernel::default();
    driver.library_get_kernel(&mut kernel, library, registered.name).map_err(|error| {
        if error == Error::SYMBOL_NOT_FOUND { Error::INVALID_DEVICE_FUNCTION } else { error }
    })?;
    let code = Code::Kernel(kernel);
    write().get_or_insert_default().insert(function, code);
    Ok(code)
}

/// Remembers a handle that the program gets, for it may launch it as it launches a stub.
pub fn give(code: Code) {
    write().get_or_insert_default().insert(code.entry().0, code);
}

/// Forgets what was found for stubs.
pub fn forget(stubs: &[u64]) {
    if let Some(found) = write().as_mut() {
        found.retain(|address, _| !stubs.contains(address));
    }
}

/// Returns the address by which the program knows a kernel or function: the stub, or else the
/// handle itself, which it may launch too.
pub fn address_of(driver: &Driver, code: Code) -> u64 {
    let found: Vec<_> = read().iter().flatten().map(|(address, code)| (*address, *code)).collect();
    // A handle that was given away is no stub.
    let mut stubs = found.iter().filter(|(address, code)| *address != code.entry().0);
    let stub = stubs.find(|(_, known)| match (code, known) {
        // A node may keep the function that a kernel has in its context.
        (Code::Function(function), Code::Kernel(_)) => known.function(driver) == Ok(function),
        _ => code == *known,
    });
    stub.map_or_else(
        || {
            give(code);
            code.entry().0
        },
        |(address, _)| *address,
    )
}

fn read() -> RwLockReadGuard<'static, Option<HashMap<u64, Code>>> {
    // Entries are put and removed whole: a panic cannot leave one half-written.
    FOUND.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Option<HashMap<u64, Code>>> {
    FOUND.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapper(magic: u32, address: u64) -> Vec<u8> {
        let mut bytes = magic.to_ne_bytes().to_vec();
        bytes.extend(1u32.to_ne_bytes());
        bytes.extend(address.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes
    }

    #[test]
    fn the_image_is_where_the_wrapper_says() {
        assert_eq!(wrapper(WRAPPER_MAGIC, 8).len(), WRAPPER_BYTES);
        assert_eq!(image_of(&wrapper(WRAPPER_MAGIC, 0x1234)), Some(Address::found(0x1234)));
        assert_eq!(image_of(&wrapper(WRAPPER_MAGIC, 0)), None);
        assert_eq!(image_of(&wrapper(0, 0x1234)), None);
    }

    #[test]
    fn an_image_that_somebody_loads_is_not_waited_for_at_the_end() {
        let image = Image::unknown();
        let loading = image.library.lock();
        image.unload();
        assert!(loading.is_ok());
    }

    #[test]
    fn a_handle_that_was_given_away_is_launched_as_it_is() {
        give(Code::Kernel(Kernel(0x77_0001)));
        assert_eq!(of(0x77_0001), Ok(Code::Kernel(Kernel(0x77_0001))));
        assert_eq!(of(0x77_0002), Err(Error::INVALID_DEVICE_FUNCTION));
        forget(&[0x77_0001]);
        assert_eq!(of(0x77_0001), Err(Error::INVALID_DEVICE_FUNCTION));
    }
}
