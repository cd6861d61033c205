//! Libraries (CUDA Driver API, Library Management).

use std::ffi::CStr;

use vgpu_abi::cuda::{
    CUdeviceptr, CUkernel, CUlibrary, CUlibraryOption as LibraryOption, CUmodule, Error,
};
use vgpu_guest::convert::{Memory, Readable};
use vgpu_guest::wire::cuda::{
    LibraryGetGlobal, LibraryGetKernel, LibraryGetModule, LibraryListKernels, LibraryLoad,
    LibraryUnload,
};

use crate::api::module::{limited, list};
use crate::code::jit::Options;
use crate::code::upload::with_image;
use crate::code::{self, Function, Owner, file, image};
use crate::{contexts, devices, remote};

/// Most options of a library: 16; CUDA has two.
const LIBRARY_OPTIONS_MAX: u32 = 16;

/// Loads a library from an image in the program's memory; no context is needed.
pub(crate) fn library_load_data(
    image: Memory<'_>,
    options: Memory<'_>,
    values: Memory<'_>,
    count: u32,
    library_options: Memory<'_>,
    _library_values: Memory<'_>,
    library_count: u32,
) -> Result<CUlibrary, Error> {
    devices::known()?;
    check(library_options, library_count)?;
    load(image.readable(), &Options::read(count, options, values)?)
}

/// Loads a library from a file of the guest.
pub(crate) fn library_load_from_file(
    path: &CStr,
    options: Memory<'_>,
    values: Memory<'_>,
    count: u32,
    library_options: Memory<'_>,
    _library_values: Memory<'_>,
    library_count: u32,
) -> Result<CUlibrary, Error> {
    devices::known()?;
    check(library_options, library_count)?;
    let options = Options::read(count, options, values)?;
    let contents = file::read(path)?;
    load(contents.as_slice().into(), &options)
}

/// Accepts the promise that the image stays where it is, of which we need no use; tables of the
/// program's own functions are not carried.
fn check(options: Memory<'_>, count: u32) -> Result<(), Error> {
    if count > LIBRARY_OPTIONS_MAX {
        return Err(Error::INVALID_VALUE);
    }
    let options = options.readable();
    for index in 0..count as usize {
        match LibraryOption(options.value::<_, Error>(4 * index)?) {
            LibraryOption::BINARY_IS_PRESERVED => {}
            LibraryOption::HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE => {
                return Err(Error::NOT_SUPPORTED);
            }
            _ => return Err(Error::INVALID_VALUE),
        }
    }
    Ok(())
}

fn load(image: Readable<'_>, options: &Options) -> Result<CUlibrary, Error> {
    let ask = |image| LibraryLoad { image, options: options.sent.clone() };
    let reply = with_image(image::whole(image)?, ask, |reply| reply.missing != 0)?;
    options.answer(&reply.report)?;
    code::insert_owner(reply.library, Owner { context: None, library: None });
    Ok(CUlibrary(reply.library))
}

/// Unloads a library with its modules, kernels and their functions, behind everything that was
/// asked before.
pub(crate) fn library_unload(library: CUlibrary) -> Result<(), Error> {
    devices::known()?;
    code::check_library(library.0)?;
    code::remove_owner(library.0);
    remote::post_without_context(&LibraryUnload { library: library.0 })
}

/// Finds a kernel by its name; the host is asked once for each.
pub(crate) fn library_get_kernel(library: CUlibrary, name: &CStr) -> Result<CUkernel, Error> {
    devices::known()?;
    code::check_library(library.0)?;
    let name = name.to_bytes();
    if let Some(known) = code::named(library.0, name) {
        return Ok(CUkernel(known));
    }
    let request = LibraryGetKernel { library: library.0, name: limited(name)? };
    let reply = remote::call_without_context(&request)?;
    let kernel = Function::kernel(request.name, reply.parameters, library.0)?;
    code::insert(reply.kernel, kernel);
    Ok(CUkernel(reply.kernel))
}

/// Returns the library as a module of the current context.
pub(crate) fn library_get_module(library: CUlibrary) -> Result<CUmodule, Error> {
    remote::ready()?;
    code::check_library(library.0)?;
    let (context, _) = contexts::current()?;
    let module = remote::call(&LibraryGetModule { library: library.0 })?.p_mod;
    let owner = Owner { context: Some(context), library: Some(library.0) };
    code::insert_owner(module, owner);
    Ok(CUmodule(module))
}

/// Returns the address and size of a variable in the current context.
pub(crate) fn library_get_global(
    library: CUlibrary,
    name: &CStr,
) -> Result<(CUdeviceptr, usize), Error> {
    remote::ready()?;
    code::check_library(library.0)?;
    let (context, _) = contexts::current()?;
    let name = limited(name.to_bytes())?;
    let reply = remote::call_without_context(&LibraryGetGlobal { library: library.0, name })?;
    code::insert_variable(library.0, reply.address, reply.bytes, context);
    Ok((reply.address, reply.bytes as usize))
}

/// Counts the kernels of a library.
pub(crate) fn library_get_kernel_count(library: CUlibrary) -> Result<u32, Error> {
    devices::known()?;
    code::check_library(library.0)?;
    Ok(remote::call_without_context(&LibraryListKernels { library: library.0, first: u32::MAX })?
        .count)
}

/// Lists as many kernels of a library as there is room for.
pub(crate) fn library_enumerate_kernels(
    kernels: &mut [CUkernel],
    library: CUlibrary,
) -> Result<(), Error> {
    devices::known()?;
    code::check_library(library.0)?;
    list(library.0, kernels, CUkernel, |first| {
        let request = LibraryListKernels { library: library.0, first };
        Ok(remote::call_without_context(&request)?.kernels)
    })
}
