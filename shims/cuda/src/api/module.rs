//! Modules (CUDA Driver API, Module Management).

use std::ffi::CStr;

use vgpu_abi::cuda::{CUdeviceptr, CUfunction, CUmodule, Error};
use vgpu_guest::convert::{Memory, Readable};
use vgpu_guest::wire::cuda::{
    ModuleGetFunction, ModuleGetGlobal, ModuleListFunctions, ModuleLoad, ModuleUnload,
};

use crate::code::jit::Options;
use crate::code::upload::with_image;
use crate::code::{self, Function, Owner, file, image};
use crate::{contexts, remote};

/// Loads a module from a file of the guest.
pub(crate) fn module_load(path: &CStr) -> Result<CUmodule, Error> {
    remote::ready()?;
    let contents = file::read(path)?;
    load(contents.as_slice().into(), &Options::default())
}

/// Loads a module from an image in the program's memory.
pub(crate) fn module_load_data(image: Memory<'_>) -> Result<CUmodule, Error> {
    load(image.readable(), &Options::default())
}

/// As [`module_load_data`], with options of the just-in-time compiler.
pub(crate) fn module_load_data_ex(
    image: Memory<'_>,
    count: u32,
    options: Memory<'_>,
    values: Memory<'_>,
) -> Result<CUmodule, Error> {
    remote::ready()?;
    load(image.readable(), &Options::read(count, options, values)?)
}

/// As [`module_load_data`]: a fat binary is recognised in either place.
pub(crate) fn module_load_fat_binary(image: Memory<'_>) -> Result<CUmodule, Error> {
    module_load_data(image)
}

fn load(image: Readable<'_>, options: &Options) -> Result<CUmodule, Error> {
    remote::ready()?;
    let (context, _) = contexts::current()?;
    let ask = |image| ModuleLoad { image, options: options.sent.clone() };
    let reply = with_image(image::whole(image)?, ask, |reply| reply.missing != 0)?;
    options.answer(&reply.report)?;
    code::insert_owner(reply.module, Owner { context: Some(context), library: None });
    Ok(CUmodule(reply.module))
}

/// Unloads a module behind everything that was asked before. A module of a library ends with it
/// (INVALID_HANDLE).
pub(crate) fn module_unload(module: CUmodule) -> Result<(), Error> {
    remote::ready()?;
    if code::module(module.0)?.library.is_some() {
        return Err(Error::INVALID_HANDLE);
    }
    code::remove_owner(module.0);
    remote::post(&ModuleUnload { hmod: module.0 })
}

/// Finds a function by its name; the host is asked once for each.
pub(crate) fn module_get_function(module: CUmodule, name: &CStr) -> Result<CUfunction, Error> {
    remote::ready()?;
    let owner = code::module(module.0)?;
    let context = owner.context.ok_or(Error::INVALID_HANDLE)?;
    let name = name.to_bytes();
    if let Some(known) = code::named(module.0, name) {
        return Ok(CUfunction(known));
    }
    let request = ModuleGetFunction { module: module.0, name: limited(name)? };
    let reply = remote::call_without_context(&request)?;
    let owners = [Some(module.0), owner.library];
    let function = Function::new(request.name, reply.facts, context, owners)?;
    code::insert(reply.function, function);
    Ok(CUfunction(reply.function))
}

/// Takes a name that a message can hold; a longer one belongs to no function (NOT_FOUND).
pub(crate) fn limited(name: &[u8]) -> Result<Vec<u8>, Error> {
    /// Longest name: 64 KiB, as the messages say. The compiler shortens names long before.
    const NAME_BYTES_MAX: usize = 64 << 10;
    if name.len() <= NAME_BYTES_MAX { Ok(name.to_vec()) } else { Err(Error::NOT_FOUND) }
}

/// Returns the address and size of a variable.
pub(crate) fn module_get_global_v2(
    module: CUmodule,
    name: &CStr,
) -> Result<(CUdeviceptr, usize), Error> {
    remote::ready()?;
    let context = code::module(module.0)?.context.ok_or(Error::INVALID_HANDLE)?;
    let name = limited(name.to_bytes())?;
    let reply = remote::call_without_context(&ModuleGetGlobal { module: module.0, name })?;
    code::insert_variable(module.0, reply.address, reply.bytes, context);
    Ok((reply.address, reply.bytes as usize))
}

/// Counts the functions of a module.
pub(crate) fn module_get_function_count(module: CUmodule) -> Result<u32, Error> {
    remote::ready()?;
    code::module(module.0)?;
    Ok(remote::call_without_context(&ModuleListFunctions { module: module.0, first: u32::MAX })?
        .count)
}

/// Lists as many functions of a module as there is room for.
pub(crate) fn module_enumerate_functions(
    functions: &mut [CUfunction],
    module: CUmodule,
) -> Result<(), Error> {
    remote::ready()?;
    code::module(module.0)?;
    list(module.0, functions, CUfunction, |first| {
        let request = ModuleListFunctions { module: module.0, first };
        Ok(remote::call_without_context(&request)?.functions)
    })
}

/// Lists as many handles of a module or library as there is room for.
pub(super) fn list<H>(
    owner: u64,
    places: &mut [H],
    handle: impl Fn(u64) -> H,
    ask: impl Fn(u32) -> Result<Vec<u64>, Error>,
) -> Result<(), Error> {
    let mut filled = 0;
    while filled < places.len() {
        let listed = ask(filled as u32)?;
        if listed.is_empty() {
            break;
        }
        code::insert_listed(owner, &listed);
        for (place, one) in places[filled..].iter_mut().zip(&listed) {
            *place = handle(*one);
        }
        filled = places.len().min(filled + listed.len());
    }
    Ok(())
}
