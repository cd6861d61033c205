//! The linker (CUDA Driver API, Module Management: `cuLinkCreate` and its like).

use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_abi::cuda::{CUjitInputType as Input, CUlinkState, Error};
use vgpu_guest::convert::Memory;
use vgpu_guest::session;
use vgpu_guest::wire::cuda::{LinkAdd, LinkComplete, LinkCreate, LinkDestroy, LinkFetch};
use vgpu_guest::wire::header::BULK_BYTES_MAX;

use crate::code::file;
use crate::code::jit::Options;
use crate::code::upload::with_image;
use crate::remote;

/// Longest name of an input: 4,096 bytes, as a path. It is for messages only.
const NAME_BYTES_MAX: usize = 4096;

/// Largest result of a link: 2 GiB, as the largest image.
const RESULT_BYTES_MAX: u64 = 2 << 30;

static LINKS: Mutex<Option<HashMap<u64, Link>>> = Mutex::new(None);

/// One link that was begun.
#[derive(Debug, Default)]
struct Link {
    /// The options with the log buffers, which the program keeps until the link is destroyed.
    options: Options,
    /// What came of it. Its bytes stay where they are: programs hold a pointer to them.
    result: Vec<u8>,
}

fn lock() -> MutexGuard<'static, Option<HashMap<u64, Link>>> {
    // Entries go in and out whole, so a panic elsewhere leaves no half of one.
    LINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options_of(state: CUlinkState) -> Result<Options, Error> {
    let links = lock();
    let link = links.as_ref().and_then(|links| links.get(&state.0));
    link.map(|link| link.options.clone()).ok_or(Error::INVALID_HANDLE)
}

/// Begins a link.
pub(crate) fn link_create_v2(
    count: u32,
    options: Memory<'_>,
    values: Memory<'_>,
) -> Result<CUlinkState, Error> {
    remote::ready()?;
    let options = Options::read(count, options, values)?;
    let reply = remote::call_without_context(&LinkCreate { options: options.sent.clone() })?;
    options.answer(&reply.report)?;
    let link = Link { options, result: Vec::new() };
    lock().get_or_insert_default().insert(reply.state, link);
    Ok(CUlinkState(reply.state))
}

/// As [`link_create_v2`], under its old name.
pub(crate) fn link_create(
    count: u32,
    options: Memory<'_>,
    values: Memory<'_>,
) -> Result<CUlinkState, Error> {
    link_create_v2(count, options, values)
}

/// Adds an input from the program's memory.
pub(crate) fn link_add_data_v2(
    state: CUlinkState,
    kind: Input,
    data: &[u8],
    name: Memory<'_>,
    count: u32,
    options: Memory<'_>,
    values: Memory<'_>,
) -> Result<(), Error> {
    remote::ready()?;
    let name = name.readable();
    let name = if name.is_null() { &[] } else { name.before_zero::<Error>(NAME_BYTES_MAX)? };
    let options = Options::read(count, options, values)?;
    add(state, kind, data, &String::from_utf8_lossy(name), &options)
}

/// As [`link_add_data_v2`], under its old name.
pub(crate) fn link_add_data(
    state: CUlinkState,
    kind: Input,
    data: &[u8],
    name: Memory<'_>,
    count: u32,
    options: Memory<'_>,
    values: Memory<'_>,
) -> Result<(), Error> {
    link_add_data_v2(state, kind, data, name, count, options, values)
}

/// Adds an input from a file of the guest.
pub(crate) fn link_add_file_v2(
    state: CUlinkState,
    kind: Input,
    path: &CStr,
    count: u32,
    options: Memory<'_>,
    values: Memory<'_>,
) -> Result<(), Error> {
    remote::ready()?;
    let options = Options::read(count, options, values)?;
    let mut contents = file::read(path)?;
    if kind != Input::INPUT_PTX {
        // The end mark is for texts.
        contents.pop();
    }
    let name = path.to_string_lossy();
    let shown = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
    add(state, kind, &contents, shown, &options)
}

/// As [`link_add_file_v2`], under its old name.
pub(crate) fn link_add_file(
    state: CUlinkState,
    kind: Input,
    path: &CStr,
    count: u32,
    options: Memory<'_>,
    values: Memory<'_>,
) -> Result<(), Error> {
    link_add_file_v2(state, kind, path, count, options, values)
}

fn add(
    state: CUlinkState,
    kind: Input,
    data: &[u8],
    name: &str,
    options: &Options,
) -> Result<(), Error> {
    let of_link = options_of(state)?;
    if data.is_empty() {
        return Err(Error::INVALID_VALUE);
    }
    let ask = |image| LinkAdd {
        state: state.0,
        kind: kind.0,
        image,
        name: name.to_owned(),
        options: options.sent.clone(),
    };
    let report = with_image(data, ask, |reply| reply.missing != 0)?.report;
    // The logs are the link's; the values of this input are its own.
    let said = of_link.answer(&report);
    options.answer(&report).and(said)
}

/// Ends a link and returns what came of it, which stays until the link is destroyed.
pub(crate) fn link_complete(state: CUlinkState) -> Result<(*mut c_void, usize), Error> {
    remote::ready()?;
    let options = options_of(state)?;
    let reply = remote::call_without_context(&LinkComplete { state: state.0 })?;
    options.answer(&reply.report)?;
    if reply.bytes > RESULT_BYTES_MAX {
        return Err(Error::OUT_OF_MEMORY);
    }
    let mut result = vec![0; reply.bytes as usize];
    let parts = result.chunks_mut(BULK_BYTES_MAX).enumerate().map(|(index, part)| {
        let offset = (index * BULK_BYTES_MAX) as u64;
        (LinkFetch { state: state.0, offset, byte_count: part.len() as u64 }, part)
    });
    session::fetch_parts(parts)?;
    let place = (result.as_mut_ptr().cast(), result.len());
    let mut links = lock();
    let link = links.as_mut().and_then(|links| links.get_mut(&state.0));
    link.ok_or(Error::INVALID_HANDLE)?.result = result;
    Ok(place)
}

/// Destroys a link with what came of it.
pub(crate) fn link_destroy(state: CUlinkState) -> Result<(), Error> {
    remote::ready()?;
    let removed = lock().as_mut().and_then(|links| links.remove(&state.0));
    removed.ok_or(Error::INVALID_HANDLE)?;
    remote::post(&LinkDestroy { state: state.0 })
}
