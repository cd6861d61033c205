//! Libraries of code that a program loads itself (CUDA Runtime API, "Library Management").
//!
//! Handles and options are the driver's own.

use std::ffi::{CStr, c_void};

use vgpu_guest::convert::Memory;

use super::memory::address;
use crate::code::{self, Code};
use crate::driver::{Address, CodeLibrary, Kernel};
use crate::primary;
use crate::result::{Error, Result};

/// Loads an image of the program.
pub fn library_load_data(
    image: Memory<'_>,
    options: Memory<'_>,
    values: Memory<'_>,
    count: u32,
    library_options: Memory<'_>,
    library_values: Memory<'_>,
    library_count: u32,
) -> Result<CodeLibrary> {
    let driver = primary::current()?;
    let mut library = CodeLibrary::default();
    driver.library_load_data(
        &mut library,
        image.into(),
        options.into(),
        values.into(),
        count,
        library_options.into(),
        library_values.into(),
        library_count,
    )?;
    Ok(library)
}

/// Loads an image from a file.
pub fn library_load_from_file(
    path: &CStr,
    options: Memory<'_>,
    values: Memory<'_>,
    count: u32,
    library_options: Memory<'_>,
    library_values: Memory<'_>,
    library_count: u32,
) -> Result<CodeLibrary> {
    let driver = primary::current()?;
    let mut library = CodeLibrary::default();
    driver.library_load_from_file(
        &mut library,
        path.into(),
        options.into(),
        values.into(),
        count,
        library_options.into(),
        library_values.into(),
        library_count,
    )?;
    Ok(library)
}

/// Unloads an image.
pub fn library_unload(library: CodeLibrary) -> Result<()> {
    primary::current()?.library_unload(library)
}

/// Finds a kernel by name.
pub fn library_get_kernel(library: CodeLibrary, name: Memory<'_>) -> Result<Kernel> {
    let driver = primary::current()?;
    let mut kernel = Kernel::default();
    driver.library_get_kernel(&mut kernel, library, name.into())?;
    code::give(Code::Kernel(kernel));
    Ok(kernel)
}

/// Counts the kernels of a library.
pub fn library_get_kernel_count(library: CodeLibrary) -> Result<u32> {
    let mut count = 0;
    primary::current()?.library_get_kernel_count(&mut count, library)?;
    Ok(count)
}

/// Lists the first kernels of a library, as many as there is room for.
pub fn library_enumerate_kernels(kernels: &mut [Kernel], library: CodeLibrary) -> Result<()> {
    let driver = primary::current()?;
    let room = u32::try_from(kernels.len()).map_err(|_| Error::INVALID_VALUE)?;
    driver.library_enumerate_kernels(Address::of(kernels), room, library)?;
    // What the program left in places beyond the last kernel is no handle, and may be a stub.
    let listed = library_get_kernel_count(library)? as usize;
    kernels.iter().take(listed).for_each(|kernel| code::give(Code::Kernel(*kernel)));
    Ok(())
}

/// Finds a variable by name, for the thread's device; returns its address and size in bytes.
pub fn library_get_global(library: CodeLibrary, name: Memory<'_>) -> Result<(*mut c_void, usize)> {
    let (mut pointer, mut bytes) = (0, 0);
    primary::current()?.library_get_global(&mut pointer, &mut bytes, library, name.into())?;
    Ok((address(pointer), bytes))
}

/// Finds a managed variable by name; returns its address and size in bytes.
pub fn library_get_managed(library: CodeLibrary, name: Memory<'_>) -> Result<(*mut c_void, usize)> {
    let (mut pointer, mut bytes) = (0, 0);
    primary::current()?.library_get_managed(&mut pointer, &mut bytes, library, name.into())?;
    Ok((address(pointer), bytes))
}

/// Finds a function that host and device share by name.
pub fn library_get_unified_function(library: CodeLibrary, name: &CStr) -> Result<*mut c_void> {
    let mut pointer = 0;
    primary::current()?.library_get_unified_function(&mut pointer, library, name.into())?;
    Ok(address(pointer))
}
