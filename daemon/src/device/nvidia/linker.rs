//! The linker of the genuine driver. It writes into the logs until a link is destroyed, so they are
//! kept as long.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{
    LinkAdd, LinkAddReply, LinkComplete, LinkCompleteReply, LinkCreate, LinkCreateReply,
    LinkDestroy, LinkFetch,
};
use vgpu_link::wire::header::BULK_BYTES_MAX;

use super::Nvidia;
use super::foreign::{Pointer, Raw, given};
use super::handles::Kind;
use super::jit::Options;
use super::module::name;
use crate::dispatch::Call;

/// A link that is being made.
#[derive(Debug)]
pub(super) struct Link {
    options: Options,
    /// What came of it.
    image: Vec<u8>,
}

pub(super) fn link_create(
    nvidia: &mut Nvidia,
    call: &Call,
    r: LinkCreate,
) -> Result<LinkCreateReply, Error> {
    nvidia.enter(call)?;
    let mut options = Options::new(&r.options)?;
    let count = options.count();
    let mut state = Pointer::default();
    let (names, values) = options.lists();
    let created = nvidia.driver.link_create_v2(count, names, values, &mut state);
    let report = options.report(created);
    let state = match created {
        Ok(()) => nvidia.handles.keep(Kind::Linker, state, call.context)?,
        Err(_) => return Ok(LinkCreateReply { state: 0, report }),
    };
    nvidia.links.insert(state, Link { options, image: Vec::new() });
    Ok(LinkCreateReply { state, report })
}

/// The driver keeps nothing of an input, and answers no log of its own for it (CUDA Driver API,
/// `cuLinkAddData`).
pub(super) fn link_add(
    nvidia: &mut Nvidia,
    call: &Call,
    r: LinkAdd,
) -> Result<LinkAddReply, Error> {
    nvidia.enter(call)?;
    let state = nvidia.handles.find(Kind::Linker, r.state)?;
    let input = nvidia.image(&r.image)?;
    let link = nvidia.links.get_mut(&r.state).ok_or(Error::INVALID_HANDLE)?;
    let Some(input) = input else {
        return Ok(LinkAddReply { missing: 1, report: link.options.report(Ok(())) });
    };
    let mut options = Options::new(&r.options)?;
    let count = options.count();
    let (names, values) = options.lists();
    let (data, bytes) = (Raw::read(&input), input.len());
    let label = name(r.name.into_bytes())?;
    let driver = &nvidia.driver;
    let added = driver.link_add_data_v2(state, r.kind, data, bytes, &label, count, names, values);
    Ok(LinkAddReply { missing: 0, report: link.options.report(added) })
}

pub(super) fn link_complete(
    nvidia: &mut Nvidia,
    call: &Call,
    r: LinkComplete,
) -> Result<LinkCompleteReply, Error> {
    nvidia.enter(call)?;
    let state = nvidia.handles.find(Kind::Linker, r.state)?;
    let link = nvidia.links.get_mut(&r.state).ok_or(Error::INVALID_HANDLE)?;
    let (mut image, mut bytes) = (Pointer::default(), 0);
    let completed = nvidia.driver.link_complete(state, &mut image, &mut bytes);
    if completed.is_ok() {
        link.image = given::<1>(image, bytes).into_flattened();
    }
    let bytes = link.image.len() as u64;
    Ok(LinkCompleteReply { bytes, report: link.options.report(completed) })
}

pub(super) fn link_fetch(
    nvidia: &mut Nvidia,
    _: &Call,
    r: LinkFetch,
    bulk: &mut Vec<u8>,
) -> Result<(), Error> {
    let link = nvidia.links.get(&r.state).ok_or(Error::INVALID_HANDLE)?;
    let start = usize::try_from(r.offset).map_err(|_| Error::INVALID_VALUE)?;
    let bytes = usize::try_from(r.byte_count).map_err(|_| Error::INVALID_VALUE)?;
    let end = start.checked_add(bytes).ok_or(Error::INVALID_VALUE)?;
    let part = link.image.get(start..end).filter(|part| part.len() <= BULK_BYTES_MAX);
    bulk.extend_from_slice(part.ok_or(Error::INVALID_VALUE)?);
    Ok(())
}

pub(super) fn link_destroy(nvidia: &mut Nvidia, call: &Call, r: LinkDestroy) -> Result<(), Error> {
    nvidia.enter(call)?;
    let state = nvidia.handles.find(Kind::Linker, r.state)?;
    let destroyed = nvidia.driver.link_destroy(state);
    nvidia.handles.end(r.state);
    nvidia.links.remove(&r.state);
    destroyed
}
